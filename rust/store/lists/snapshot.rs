//! A snapshot of all lists, mapped read-only.
#![forbid(unsafe_code)]

use std::io;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use memmap2::{Advice, Mmap};

use super::records::{HEADER, Layout, Record, word};
use super::source::SourceState;
use super::table::{Entry, Table};
use super::{List, Terms};
use crate::machine::prefix::Prefix;
use crate::store::mapped;
use crate::store::snapshot::Stamp;

/// An entry as it is in force; [`Snapshot::terms`] has the rest of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InForce {
    /// The list it is on.
    pub list: List,
    /// Its prefix.
    pub prefix: Prefix,
    /// The second in which it ends; 0: never.
    pub until: u32,
    /// Index of the source that it comes from.
    pub source: u16,
    index: usize,
    reason: u32,
}

impl InForce {
    fn new(prefix: Prefix, index: usize, record: &Record) -> Self {
        let Record { list, until, source, reason, .. } = *record;
        Self { list, prefix, until, source, index, reason }
    }

    /// Whether it holds at this second.
    pub fn holds_at(&self, now: u32) -> bool {
        self.until == 0 || self.until > now
    }
}

/// A compiled set of lists.
#[derive(Debug)]
pub struct Snapshot {
    map: Mmap,
    layout: Layout,
    four: Table<u32>,
    six: Table<u128>,
    sources: Vec<SourceState>,
}

impl Snapshot {
    /// Maps the snapshot at `path`; `InvalidData` when it is none, of another version, cut short or damaged.
    pub fn open(path: &Path) -> io::Result<Self> {
        let map = mapped::open(path)?;
        let invalid = |what| io::Error::new(io::ErrorKind::InvalidData, what);
        let layout = Layout::open(&map).map_err(invalid)?;
        let four = Table::open(&map, layout.four).ok_or_else(|| invalid("damaged"))?;
        let six = Table::open(&map, layout.six).ok_or_else(|| invalid("damaged"))?;
        let sources = read_sources(&map, layout.sources).ok_or_else(|| invalid("damaged"))?;
        map.advise(Advice::WillNeed)?;
        Ok(Self { map, layout, four, six, sources })
    }

    /// The entry that decides about an address at this second: the longest prefix in force, of equal ones the allow list's.
    pub fn find(&self, address: IpAddr, now: u32) -> Option<InForce> {
        match address.to_canonical() {
            IpAddr::V4(address) => self.four.find(&self.map, address.to_bits(), now).map(of_four),
            IpAddr::V6(address) => self.six.find(&self.map, address.to_bits(), now).map(of_six),
        }
    }

    /// What the list says of an entry.
    pub fn terms(&self, entry: &InForce) -> Terms {
        let since = if entry.prefix.is_ipv4() {
            self.four.since(&self.map, entry.index)
        } else {
            self.six.since(&self.map, entry.index)
        };
        let reason = self.reason(entry.reason).unwrap_or_default().to_owned();
        Terms { since: since.unwrap_or_default(), until: entry.until, reason }
    }

    /// All entries, also those that have ended, IPv4 first, in the order of their prefixes.
    pub fn iter(&self) -> impl Iterator<Item = InForce> {
        let four = (0..self.four.len()).filter_map(|index| self.four.get(&self.map, index).map(of_four));
        let six = (0..self.six.len()).filter_map(|index| self.six.get(&self.map, index).map(of_six));
        four.chain(six)
    }

    /// How many entries the list has, also those that have ended.
    pub fn entries(&self, list: List) -> usize {
        match list {
            List::Block => self.layout.blocked,
            List::Allow => (self.four.len() + self.six.len()).saturating_sub(self.layout.blocked),
        }
    }

    /// The first second after `now` in which an entry ends; `None` when none does.
    pub fn next_end(&self, now: u32) -> Option<u32> {
        let four =
            (0..self.four.len()).filter_map(|index| self.four.get(&self.map, index).map(|entry| entry.record.until));
        let six =
            (0..self.six.len()).filter_map(|index| self.six.get(&self.map, index).map(|entry| entry.record.until));
        four.chain(six).filter(|until| *until > now).min()
    }

    /// What it was compiled from.
    pub fn sources(&self) -> &[SourceState] {
        &self.sources
    }

    /// Octets of the snapshot.
    pub fn octets(&self) -> usize {
        self.map.len()
    }

    fn reason(&self, at: u32) -> Option<&str> {
        let at = self.layout.reasons.checked_add(usize::try_from(at).ok()?)?;
        let (length, octets) = self.map.get(at..)?.split_first()?;
        std::str::from_utf8(octets.get(..usize::from(*length))?).ok()
    }
}

fn of_four(Entry { index, key, record }: Entry<u32>) -> InForce {
    InForce::new(Prefix::ipv4(key, record.length), index, &record)
}

fn of_six(Entry { index, key, record }: Entry<u128>) -> InForce {
    InForce::new(Prefix::from_parts(key, record.length), index, &record)
}

fn read_sources(file: &[u8], count: usize) -> Option<Vec<SourceState>> {
    let (mut at, mut sources) = (HEADER, Vec::new());
    for _ in 0..count {
        let length = usize::from(u16::from_le_bytes(*file.get(at..)?.first_chunk()?));
        let path = PathBuf::from(std::ffi::OsStr::from_bytes(file.get(at + 2..)?.get(..length)?));
        at += 2 + length;
        let list = List::of(*file.get(at)?)?;
        let stamp = Stamp {
            mtime_ns: word(file, at + 1)?.cast_signed(),
            size: word(file, at + 9)?,
            inode: word(file, at + 17)?,
            ctime_ns: word(file, at + 25)?.cast_signed(),
        };
        let entries = u32::from_le_bytes(*file.get(at + 33..)?.first_chunk()?);
        at += 37;
        sources.push(SourceState { path, list, stamp, entries });
    }
    Some(sources)
}
