//! Compiled lists of addresses, in files that all workers map: who exists at the local domains, and whose mail is blocked.
//!
//! `compile` reads the operator's text file and writes an exact open-addressing hash table; `Directory` maps it read-only.
//! Promises: a snapshot is replaced whole (new file, fsync, rename, fsync of the directory) or not at all; a file that is torn
//! or hostile is refused at `open` or found `Damaged` in a lookup, never a crash and never taken for "does not exist".
//! Never decides: whether an unknown recipient is refused, and who is postmaster, is policy. May fail:
//! `io::Error` of the file system, which `compile` blames on the source or on the snapshot.
//!
//! Source: UTF-8, one entry a line: `address`, `@domain` (every address there exists), `!address` (does not exist although its
//! domain is listed); `#` begins a comment at the start of a line or after white space. Every entry goes through
//! `crate::machine::message::address`, like every address on the wire, so no spelling walks around the table.
//!
//! A list of senders is written alike: `address`, `domain` or `@domain`, `.domain` (the domain and all below it), `!address` (not
//! blocked although its domain is).
//!
//! Snapshot, integers little-endian, all u64 unless said: header (magic, version, length of the scope, entries, source mtime in
//! ns, size, inode, ctime in ns, offset of the table, slots, checksum of these) · scope · records (line u32,
//! length u16, kind u8, 0u8, octets of the key) · table of slots: 0 = free, else 24 bits of the hash above a 40 bit offset.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use memmap2::{Advice, Mmap};

use crate::store::mapped;

mod compile;
#[cfg(test)]
mod tests;

pub use compile::{Compiled, Failure, compile, read_sender};

const MAGIC: &[u8; 8] = b"MMDIRSNP";
const VERSION: u64 = 2;
/// Magic, nine words, checksum.
const HEADER: usize = 88;
/// Of the checksum, in words after the magic.
const CHECKSUM: usize = 9;
/// Octets of a record before its key.
const RECORD: usize = 8;
const OFFSET_BITS: u32 = 40;
const OFFSET_MASK: u64 = (1 << OFFSET_BITS) - 1;
/// What the directory says of an address; also the kind of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Found {
    /// Neither the address nor its domain is listed.
    Absent = 0,
    /// The address is listed.
    Address = 1,
    /// `@domain` is listed.
    Domain = 2,
    /// `!address` is listed.
    Excluded = 3,
    /// The snapshot contradicts itself: nothing is known.
    Damaged = 4,
}

/// The state of a source file: equal stamps mean an unchanged file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp {
    /// Time of last change, nanoseconds since the epoch.
    pub mtime_ns: i64,
    /// Octets.
    pub size: u64,
    /// Inode number: a file replaced by rename has another.
    pub inode: u64,
    /// Time of last change of what is known about the file, who may read it among it, nanoseconds since the epoch.
    pub ctime_ns: i64,
}

/// What the lines of a source are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// Recipients that exist.
    #[default]
    Recipients,
    /// Senders that are blocked.
    Senders,
}

/// What a source is read for: equal scopes and an unchanged source give the same snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scope {
    /// What the lines are.
    pub form: Form,
    /// Appended to entries without a domain; may be empty.
    pub default_domain: String,
    /// Domains whose recipients are looked up; none = not known, and every entry counts.
    pub local_domains: BTreeSet<String>,
    /// Domains whose entries count, though others there are not looked up.
    pub unfiltered_domains: BTreeSet<String>,
}

impl Scope {
    /// As it is kept in a snapshot made from `source`; whatever the names hold, different scopes have different texts.
    #[allow(clippy::unnecessary_debug_formatting)] // in quotes, so that no name can be taken for the rest
    fn text(&self, source: &Path) -> String {
        format!("{source:?} {self:?}")
    }
}

impl Stamp {
    /// Of the file with this metadata.
    pub fn of(metadata: &fs::Metadata) -> Self {
        let ns = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
        Self {
            mtime_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
            size: metadata.size(),
            inode: metadata.ino(),
            ctime_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// FNV-1a with a finisher, so that its low and high bits are both usable; `domain` keeps the two name spaces apart.
fn hash(domain: bool, key: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ u64::from(domain);
    for octet in key {
        hash = (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    hash ^ (hash >> 32)
}

fn word(octets: &[u8], at: usize) -> Option<u64> {
    octets.get(at..at.checked_add(8)?)?.try_into().ok().map(u64::from_le_bytes)
}

struct Header {
    scope: u64,
    entries: u64,
    stamp: Stamp,
    table: u64,
    slots: u64,
}

impl Header {
    fn encode(&self) -> Vec<u8> {
        let Stamp { mtime_ns, size, inode, ctime_ns } = self.stamp;
        let (mtime, ctime) = (mtime_ns.cast_unsigned(), ctime_ns.cast_unsigned());
        let words = [VERSION, self.scope, self.entries, mtime, size, inode, ctime, self.table, self.slots];
        let mut octets = MAGIC.to_vec();
        octets.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        let sum = hash(false, &octets);
        octets.extend_from_slice(&sum.to_le_bytes());
        octets
    }

    /// `Err` says what is wrong with the file.
    fn decode(file: &[u8]) -> Result<Self, &'static str> {
        let body = file.get(..HEADER - 8).filter(|body| body.starts_with(MAGIC)).ok_or("not a recipient snapshot")?;
        let at = |index: usize| word(file, 8 + 8 * index).ok_or("cut short");
        if at(0)? != VERSION {
            return Err("written by another version");
        }
        if at(CHECKSUM)? != hash(false, body) {
            return Err("damaged header");
        }
        let stamp =
            Stamp { mtime_ns: at(3)?.cast_signed(), size: at(4)?, inode: at(5)?, ctime_ns: at(6)?.cast_signed() };
        let header = Self { scope: at(1)?, entries: at(2)?, stamp, table: at(7)?, slots: at(8)? };
        let end = header.slots.checked_mul(8).and_then(|octets| octets.checked_add(header.table));
        let records = (HEADER as u64).checked_add(header.scope);
        let whole = end == Some(file.len() as u64) && records.is_some_and(|records| records <= header.table);
        if !whole || !header.slots.is_power_of_two() || header.entries >= header.slots {
            return Err("cut short");
        }
        Ok(header)
    }
}

/// A compiled directory, mapped read-only.
pub struct Directory {
    map: Mmap,
    header: Header,
}

impl Directory {
    /// Maps the snapshot at `path`; `InvalidData` when it is none, of another version, or cut short.
    pub fn open(path: &Path) -> io::Result<Self> {
        let map = mapped::open(path)?;
        let header = Header::decode(&map).map_err(|what| io::Error::new(io::ErrorKind::InvalidData, what))?;
        map.advise(Advice::WillNeed)?;
        Ok(Self { map, header })
    }

    /// Different entries in it.
    pub fn entries(&self) -> u64 {
        self.header.entries
    }

    /// The source it was compiled from.
    pub fn stamp(&self) -> Stamp {
        self.header.stamp
    }

    /// Whether it was made from the file of this name for this scope.
    pub fn is_for(&self, source: &Path, scope: &Scope) -> bool {
        let length = usize::try_from(self.header.scope).unwrap_or(usize::MAX);
        let octets = self.map.get(HEADER..).and_then(|rest| rest.get(..length)).unwrap_or_default();
        octets == scope.text(source).as_bytes()
    }

    /// What is known of the address with this `Address::key` and domain, and the line of the source that says so (0 = none).
    pub fn lookup(&self, key: &str, domain: &str) -> (Found, u32) {
        let by_address = self.find(false, key.as_bytes());
        let found = by_address.and_then(|found| match found {
            None if !domain.is_empty() => self.find(true, domain.as_bytes()),
            found => Some(found),
        });
        match found {
            Some(Some(found)) => found,
            Some(None) => (Found::Absent, 0),
            None => (Found::Damaged, 0),
        }
    }

    /// The same in a list of senders, where an entry for a domain may be for those below it, too. The nearest entry decides.
    pub fn lookup_sender(&self, key: &str, domain: &str) -> (Found, u32) {
        let found = self.lookup(key, domain);
        if found.0 != Found::Absent || domain.is_empty() || domain.starts_with('[') {
            return found;
        }
        let below = format!(".{domain}");
        let mut rest = below.as_str();
        loop {
            match self.find(true, rest.as_bytes()) {
                None => return (Found::Damaged, 0),
                Some(Some(found)) => return found,
                Some(None) => {}
            }
            let Some(next) = rest.get(1..).and_then(|name| name.find('.')).and_then(|dot| rest.get(1 + dot..)) else {
                return (Found::Absent, 0);
            };
            rest = next;
        }
    }

    /// `None`: the snapshot contradicts itself. `Some(None)`: no such record.
    #[allow(clippy::option_option)]
    fn find(&self, domain: bool, key: &[u8]) -> Option<Option<(Found, u32)>> {
        let hash = hash(domain, key);
        let (table, slots) = (usize::try_from(self.header.table).ok()?, self.header.slots);
        for step in 0..slots {
            let slot = hash.wrapping_add(step) & (slots - 1);
            match word(&self.map, table.checked_add(usize::try_from(slot).ok()?.checked_mul(8)?)?)? {
                0 => return Some(None),
                entry if entry >> OFFSET_BITS == hash >> OFFSET_BITS => {
                    let (kind, line, found) = self.record(usize::try_from(entry & OFFSET_MASK).ok()?)?;
                    if found == key && (kind == Found::Domain) == domain {
                        return Some(Some((kind, line)));
                    }
                }
                _ => {}
            }
        }
        None
    }

    fn record(&self, at: usize) -> Option<(Found, u32, &[u8])> {
        let records = self.map.get(..usize::try_from(self.header.table).ok()?)?;
        read_record(records.get(at..)?)
    }
}

fn read_record(octets: &[u8]) -> Option<(Found, u32, &[u8])> {
    let (head, rest) = octets.split_first_chunk::<RECORD>()?;
    let [l0, l1, l2, l3, n0, n1, kind, 0] = *head else { return None };
    let kind = match kind {
        1 => Found::Address,
        2 => Found::Domain,
        3 => Found::Excluded,
        _ => return None,
    };
    Some((kind, u32::from_le_bytes([l0, l1, l2, l3]), rest.get(..usize::from(u16::from_le_bytes([n0, n1])))?))
}
