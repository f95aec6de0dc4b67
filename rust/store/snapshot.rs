//! Compiled lists of addresses, in files that all workers map: who exists at the local domains, and whose mail is blocked.
//!
//! `compile` reads the operator's text file and the tables of directories, and writes an exact open-addressing hash table; `Directory`
//! maps it read-only.
//! Where little changed since, `compile` writes a small file of changes instead; the whole snapshot upon which it is, its base, is beside it.
//! Promises: a snapshot is replaced whole (new file, fsync, rename, fsync of the directory) or not at all, together with its base; a file that is torn
//! or hostile is refused at `open` or found `Damaged` in a lookup, never a crash and never taken for "does not exist".
//! Never decides: whether an unknown recipient is refused, and who is postmaster, is policy. May fail:
//! `io::Error` of the file system, which `compile` blames on an input or on the snapshot.
//!
//! Text file: UTF-8, one entry a line: `address`, `@domain` (every address there exists), `!address` (does not exist although its
//! domain is listed), `address = address, address` (an alias: its mail goes to these instead), `@domain = @domain` (another name of a domain:
//! an address there exists if the same one at the other domain does, and is delivered there), `@domain = address, address` (every address there
//! exists, and its mail goes to these); `#` begins a comment at the start of a line or after white space. Every entry goes through
//! `crate::machine::message::address`, like every address on the wire, so no spelling walks around the table. A table has entries of the
//! same notation. Of several inputs the first that has an address decides about it.
//!
//! A list of senders is written alike: `address`, `domain` or `@domain`, `.domain` (the domain and all below it), `!address` (not
//! blocked although its domain is).
//!
//! The layout of the file is in `format.rs`.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::machine::message::address::Normalisation;

#[cfg(test)]
mod alias_tests;
#[cfg(test)]
mod changes_tests;
mod compile;
mod directory;
mod format;
mod kept;
#[cfg(test)]
mod kept_tests;
mod layer;
#[cfg(test)]
mod normalisation_tests;
mod table;
#[cfg(test)]
mod table_tests;
#[cfg(test)]
mod tests;

pub use compile::{Compiled, Failure, Note, compile, read_sender};
pub use directory::{Directory, Resolution};
pub use format::Record;
pub use kept::{Kept, row_of};
pub use table::state as table_state;

/// Most domains that are each another name of the next, and most aliases that each lead to the next.
const LONGEST_CHAIN: usize = 10;
/// Most addresses that get the mail of one.
const MOST_TARGETS: usize = 1000;

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
    /// The address is listed, and its mail goes to other addresses.
    Alias = 5,
    /// Its domain is another name of one that is listed.
    AliasDomain = 6,
    /// Its domain is listed, which does not include an address that another server may read as a route.
    OtherRoute = 7,
    /// `@domain` is listed, and the mail of every address there goes to others.
    CatchAll = 8,
}

impl Found {
    /// Whether it is said of a domain.
    fn is_domain(self) -> bool {
        matches!(self, Self::Domain | Self::AliasDomain | Self::CatchAll)
    }

    /// Whether it is said of the address itself, not of its domain; or nothing can be said.
    fn is_own(self) -> bool {
        matches!(self, Self::Address | Self::Excluded | Self::Damaged | Self::Alias)
    }
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
    /// Which spellings of recipients are one mailbox.
    pub normalisation: Normalisation,
}

impl Scope {
    /// As it is kept in a snapshot made from `inputs`; whatever the names hold, different scopes have different texts.
    fn text(&self, inputs: &[Input]) -> String {
        format!("{inputs:?} {self:?}")
    }

    /// The end of that: which spellings are one mailbox.
    fn spelling(&self) -> String {
        format!(" normalisation: {:?} }}", self.normalisation)
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
