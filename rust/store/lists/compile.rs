//! Makes a snapshot of all sources; the contract is the parent's.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;

use super::records::{HEADER, LINE, Layout, NO_PARENT, OUTERMOST, RECORD, Record};
use super::snapshot::Snapshot;
use super::source::{Source, SourceState};
use super::{List, MAX_REASON, Terms};
use crate::machine::prefix::Prefix;
use crate::store::disk::sync_directory;
use crate::store::snapshot::Stamp;

/// What `compile` did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Compiled {
    /// Entries of the block list.
    pub blocked: usize,
    /// Entries of the allow list.
    pub allowed: usize,
    /// What is wrong with sources: the index of each, and a sentence. What these said before stays.
    pub problems: Vec<(usize, String)>,
    /// Whether another snapshot is in force now.
    pub changed: bool,
}

/// Compiles the sources into the snapshot `target`, without what has ended by `now`. One at a time: its caller has the lock.
pub fn compile(target: &Path, sources: &[Source], now: u32) -> io::Result<Compiled> {
    let before = Snapshot::open(target).ok();
    let (mut draft, mut problems) = (Draft::default(), Vec::new());
    for (index, source) in sources.iter().enumerate() {
        let known = before.as_ref().and_then(|before| Known::of(before, source));
        let unchanged = known.as_ref().is_some_and(|known| known.state.stamp == source.stamp());
        let read = if unchanged || !source.settled { None } else { Some(source.read()) };
        match (read, known) {
            (Some(Ok((list, stamp))), _) => {
                let entries = list.iter().map(|(prefix, terms)| (prefix, terms.clone()));
                draft.add(source, stamp, entries.filter(|entry| entry.1.hold_at(now)))?;
            }
            (read, known) => {
                let why = read.and_then(Result::err).unwrap_or_default();
                problems.extend(why.into_iter().map(|why| (index, why)));
                draft.keep(source, known.as_ref(), now)?;
            }
        }
    }
    let same = before.as_ref().is_some_and(|before| before.sources() == draft.sources);
    if !same {
        write(target, &draft.build())?;
    }
    let blocked = draft.entries.iter().filter(|entry| entry.list == List::Block).count();
    Ok(Compiled { blocked, allowed: draft.entries.len() - blocked, problems, changed: !same })
}

/// What the snapshot before has of a source.
struct Known<'a> {
    snapshot: &'a Snapshot,
    index: usize,
    state: &'a SourceState,
}

impl<'a> Known<'a> {
    fn of(snapshot: &'a Snapshot, source: &Source) -> Option<Self> {
        let same = |state: &&SourceState| state.path == source.path && state.list == source.list;
        let (index, state) = snapshot.sources().iter().enumerate().find(|(_, state)| same(state))?;
        Some(Self { snapshot, index, state })
    }
}

/// An entry to be written.
struct Entry {
    prefix: Prefix,
    list: List,
    until: u32,
    since: u32,
    reason: u32,
    source: u16,
}

/// A snapshot being made.
#[derive(Default)]
struct Draft {
    entries: Vec<Entry>,
    sources: Vec<SourceState>,
    reasons: Vec<u8>,
    places: HashMap<String, u32>,
}

impl Draft {
    fn keep(&mut self, source: &Source, known: Option<&Known<'_>>, now: u32) -> io::Result<()> {
        let Some(&Known { snapshot, index, state }) = known else {
            return self.add(source, Stamp::default(), std::iter::empty());
        };
        let of_it = snapshot.iter().filter(|entry| usize::from(entry.source) == index && entry.holds_at(now));
        self.add(source, state.stamp, of_it.map(|entry| (entry.prefix, snapshot.terms(&entry))))
    }

    fn add(&mut self, source: &Source, stamp: Stamp, of_it: impl Iterator<Item = (Prefix, Terms)>) -> io::Result<()> {
        let too_many = |_| io::Error::new(io::ErrorKind::InvalidInput, "too many lists");
        let (number, before) = (u16::try_from(self.sources.len()).map_err(too_many)?, self.entries.len());
        for (prefix, terms) in of_it {
            let reason = self.place(terms.reason);
            let Terms { since, until, .. } = terms;
            self.entries.push(Entry { prefix, list: source.list, until, since, reason, source: number });
        }
        let entries = u32::try_from(self.entries.len() - before).map_err(too_many)?;
        self.sources.push(SourceState { path: source.path.clone(), list: source.list, stamp, entries });
        Ok(())
    }

    /// Where the reason is among the reasons: each different one is kept once.
    fn place(&mut self, reason: String) -> u32 {
        if self.reasons.is_empty() {
            self.reasons.push(0);
        }
        if reason.is_empty() || reason.len() > MAX_REASON {
            return 0;
        }
        let end = u32::try_from(self.reasons.len()).unwrap_or_default();
        *self.places.entry(reason).or_insert_with_key(|reason| {
            self.reasons.push(u8::try_from(reason.len()).unwrap_or_default());
            self.reasons.extend_from_slice(reason.as_bytes());
            end
        })
    }

    /// The octets of the file.
    fn build(&mut self) -> Vec<u8> {
        // Of those with the same prefix the last decides while it holds: the allow list's, and of these the one that holds longest.
        self.entries.sort_by_key(|entry| (entry.prefix, entry.list, entry.until.wrapping_sub(1), entry.source));
        let mut file = vec![0; HEADER];
        for source in &self.sources {
            write_source(source, &mut file);
        }
        let mut layout = Layout { sources: self.sources.len(), reasons: file.len(), ..Layout::default() };
        if self.reasons.is_empty() {
            self.reasons.push(0);
        }
        file.extend_from_slice(&self.reasons);
        let four = self.entries.partition_point(|entry| entry.prefix.is_ipv4());
        let (of_four, of_six) = self.entries.split_at_checked(four).unwrap_or_default();
        layout.four = (write_table(of_four, &mut file), of_four.len());
        layout.six = (write_table(of_six, &mut file), of_six.len());
        layout.blocked = self.entries.iter().filter(|entry| entry.list == List::Block).count();
        layout.length = file.len();
        layout.seal(&mut file);
        file
    }
}

fn write_source(source: &SourceState, file: &mut Vec<u8>) {
    let path = source.path.as_os_str().as_bytes();
    file.extend_from_slice(&u16::try_from(path.len()).unwrap_or_default().to_le_bytes());
    file.extend_from_slice(path);
    file.push(source.list as u8);
    let Stamp { mtime_ns, size, inode, ctime_ns } = source.stamp;
    for word in [mtime_ns.cast_unsigned(), size, inode, ctime_ns.cast_unsigned()] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    file.extend_from_slice(&source.entries.to_le_bytes());
}

/// Adds a table; where its keys begin.
fn write_table(entries: &[Entry], file: &mut Vec<u8>) -> usize {
    file.resize(file.len().next_multiple_of(LINE), 0);
    let keys = file.len();
    for entry in entries {
        match entry.prefix.address() {
            IpAddr::V4(address) => file.extend_from_slice(&address.to_bits().to_le_bytes()),
            IpAddr::V6(address) => file.extend_from_slice(&address.to_bits().to_le_bytes()),
        }
    }
    file.resize(file.len().next_multiple_of(LINE), 0);
    let mut records = Vec::with_capacity(entries.len() * RECORD);
    let mut around: Vec<(u32, Prefix)> = Vec::new(); // the entries that contain the one at hand, outermost first
    for (index, entry) in (0..).zip(entries) {
        while around.pop_if(|(_, outer)| !outer.covers(entry.prefix)).is_some() {}
        let record = Record {
            parent: around.last().map_or(NO_PARENT, |(parent, _)| *parent),
            until: entry.until,
            reason: entry.reason,
            source: entry.source,
            length: entry.prefix.length(),
            list: entry.list,
        };
        let outermost = if record.parent == NO_PARENT { OUTERMOST } else { 0 };
        file.extend_from_slice(&(outermost | u16::from(record.length)).to_le_bytes());
        record.write(&mut records);
        around.push((index, entry.prefix));
    }
    file.resize(file.len().next_multiple_of(LINE), 0);
    file.append(&mut records);
    for entry in entries {
        file.extend_from_slice(&entry.since.to_le_bytes());
    }
    keys
}

/// Puts the file in the place of the one before, readable for the owner of the directory.
fn write(target: &Path, octets: &[u8]) -> io::Result<()> {
    let directory = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let new = target.with_extension("new");
    let written = create(&new, octets, directory).and_then(|()| fs::rename(&new, target));
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written.and_then(|()| sync_directory(directory))
}

fn create(new: &Path, octets: &[u8], directory: &Path) -> io::Result<()> {
    // One that a killed process left goes first: a link in its place must not lead root to another file.
    if let Err(error) = fs::remove_file(new)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
    let (owner, ours) = (fs::metadata(directory)?, file.metadata()?);
    if owner.uid() != ours.uid() {
        fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
    }
    file.write_all(octets)?;
    file.sync_all()
}
