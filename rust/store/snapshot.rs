//! Compiled lists of addresses, in files that all workers map: who exists at the local domains, and whose mail is blocked.
//!
//! `compile` reads the operator's text file and the tables of directories, and writes an exact open-addressing hash table; `Directory`
//! maps it read-only.
//! Promises: a snapshot is replaced whole (new file, fsync, rename, fsync of the directory) or not at all; a file that is torn
//! or hostile is refused at `open` or found `Damaged` in a lookup, never a crash and never taken for "does not exist".
//! Never decides: whether an unknown recipient is refused, and who is postmaster, is policy. May fail:
//! `io::Error` of the file system, which `compile` blames on an input or on the snapshot.
//!
//! Text file: UTF-8, one entry a line: `address`, `@domain` (every address there exists), `!address` (does not exist although its
//! domain is listed); `#` begins a comment at the start of a line or after white space. Every entry goes through
//! `crate::machine::message::address`, like every address on the wire, so no spelling walks around the table. A table has entries of the
//! same notation. Of several inputs the first that has an address decides about it.
//!
//! A list of senders is written alike: `address`, `domain` or `@domain`, `.domain` (the domain and all below it), `!address` (not
//! blocked although its domain is).
//!
//! The layout of the file is in `format.rs`.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use memmap2::{Advice, Mmap};

use crate::store::mapped;
use format::{HEADER, Header, OFFSET_BITS, OFFSET_MASK, Record, hash, word};

mod compile;
mod format;
mod table;
#[cfg(test)]
mod table_tests;
#[cfg(test)]
mod tests;

pub use compile::{Compiled, Failure, Note, compile, read_sender};
pub use table::state as table_state;

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

/// What is compiled: the text file, or the table of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// In the records that come from it: 0 is the text file, all others are tables.
    pub number: u8,
    /// What people call a table.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
}

impl Input {
    /// The text file at `path`.
    pub fn text(path: &Path) -> Self {
        Self { number: 0, name: String::new(), path: path.to_owned() }
    }

    /// Whether it is the table of a directory.
    pub fn is_table(&self) -> bool {
        self.number != 0
    }
}

/// What a snapshot says, and which entry of which input says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// What it says.
    pub found: Found,
    /// Number of the input; 0 without one.
    pub source: u8,
    /// Line of the text file, or number of the entry in the table; 0 = none.
    pub line: u32,
}

impl Answer {
    /// Of nobody in particular.
    const fn of_none(found: Found) -> Self {
        Self { found, source: 0, line: 0 }
    }
}

/// What inputs are read for: equal scopes and unchanged inputs give the same snapshot.
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
    /// As it is kept in a snapshot made from `inputs`; whatever the names hold, different scopes have different texts.
    fn text(&self, inputs: &[Input]) -> String {
        format!("{inputs:?} {self:?}")
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

    /// The text file it was compiled from; zeros without one.
    pub fn stamp(&self) -> Stamp {
        self.header.stamp
    }

    /// Whether it was made from the inputs of these names for this scope.
    pub fn is_for(&self, inputs: &[Input], scope: &Scope) -> bool {
        self.part(HEADER as u64, self.header.scope) == scope.text(inputs).as_bytes()
    }

    /// The tables it was compiled from: their numbers, each with what `table_state` said then.
    pub fn tables(&self) -> Vec<(u8, String)> {
        let text = self.part((HEADER as u64).saturating_add(self.header.scope), self.header.states);
        let lines = std::str::from_utf8(text).unwrap_or_default().lines();
        lines
            .filter_map(|line| line.split_once(' '))
            .filter_map(|(number, state)| Some((number.parse().ok()?, state.to_owned())))
            .collect()
    }

    fn part(&self, start: u64, length: u64) -> &[u8] {
        let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
        self.map.get(at(start)..at(start.saturating_add(length))).unwrap_or_default()
    }

    /// What is known of the address with this `Address::key` and domain.
    pub fn lookup(&self, key: &str, domain: &str) -> Answer {
        let by_address = self.find(false, key.as_bytes());
        let found = by_address.and_then(|found| match found {
            None if !domain.is_empty() => self.find(true, domain.as_bytes()),
            found => Some(found),
        });
        match found {
            Some(Some(found)) => found,
            Some(None) => Answer::of_none(Found::Absent),
            None => Answer::of_none(Found::Damaged),
        }
    }

    /// The same in a list of senders, where an entry for a domain may be for those below it, too. The nearest entry decides.
    pub fn lookup_sender(&self, key: &str, domain: &str) -> Answer {
        let found = self.lookup(key, domain);
        if found.found != Found::Absent || domain.is_empty() || domain.starts_with('[') {
            return found;
        }
        let below = format!(".{domain}");
        let mut rest = below.as_str();
        loop {
            match self.find(true, rest.as_bytes()) {
                None => return Answer::of_none(Found::Damaged),
                Some(Some(found)) => return found,
                Some(None) => {}
            }
            let Some(next) = rest.get(1..).and_then(|name| name.find('.')).and_then(|dot| rest.get(1 + dot..)) else {
                return Answer::of_none(Found::Absent);
            };
            rest = next;
        }
    }

    /// `None`: the snapshot contradicts itself. `Some(None)`: no such record.
    #[allow(clippy::option_option)]
    fn find(&self, domain: bool, key: &[u8]) -> Option<Option<Answer>> {
        let hash = hash(domain, key);
        let (table, slots) = (usize::try_from(self.header.table).ok()?, self.header.slots);
        for step in 0..slots {
            let slot = hash.wrapping_add(step) & (slots - 1);
            match word(&self.map, table.checked_add(usize::try_from(slot).ok()?.checked_mul(8)?)?)? {
                0 => return Some(None),
                entry if entry >> OFFSET_BITS == hash >> OFFSET_BITS => {
                    let record = self.record(usize::try_from(entry & OFFSET_MASK).ok()?)?;
                    if record.key == key && (record.kind == Found::Domain) == domain {
                        return Some(Some(Answer { found: record.kind, source: record.source, line: record.line }));
                    }
                }
                _ => {}
            }
        }
        None
    }

    fn record(&self, at: usize) -> Option<Record<'_>> {
        let records = self.map.get(..usize::try_from(self.header.table).ok()?)?;
        Record::read(records.get(at..)?)
    }
}
