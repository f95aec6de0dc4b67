//! The allow and block lists of the connection filter: prefixes of any length, with expiry and reason, in a file that all workers map.
//!
//! A source is a text file of one list, written by a person or by `mailmoat block` and `mailmoat allow`. `compile` makes one snapshot of all
//! sources; `Snapshot` maps it read-only and answers for one address. The longest prefix in force decides; of equal ones the allow list.
//! Promises: a snapshot is replaced whole (new file, fsync, rename, fsync of the directory) or not at all; of a source with a mistake no
//! line is taken, and what it said before stays; a snapshot that is torn is refused at `open`, by its checksum. An entry ends at its
//! second, without a new snapshot. May fail: `io::Error` of the file system, sentences about sources.
//!
//! Source: UTF-8, one entry a line: `PREFIX [since=TIME] [until=TIME] [# reason]`. A comment, after `#` or `;`, is the reason of an entry
//! on the same line. TIME is UTC (RFC 3339), a date alone is its midnight.

mod compile;
mod entry_list;
mod line;
mod records;
mod snapshot;
mod source;
mod table;
#[cfg(test)]
mod tests;
mod time;

pub use compile::{Compiled, compile};
pub use entry_list::EntryList;
pub use snapshot::{InForce, Snapshot};
pub use source::{Source, SourceState};
pub use time::{read_time, write_time};

/// Longest reason, in octets.
pub const MAX_REASON: usize = 240;

/// One of the two lists. Of equal prefixes the greater one decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum List {
    /// Clients that are refused.
    Block = 0,
    /// Clients that no filter judges.
    Allow = 1,
}

impl List {
    fn of(octet: u8) -> Option<Self> {
        match octet {
            0 => Some(Self::Block),
            1 => Some(Self::Allow),
            _ => None,
        }
    }
}

/// What a list says of a prefix. Times are seconds since the epoch, 0 = not known (`since`) or for ever (`until`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Terms {
    /// When it was made.
    pub since: u32,
    /// The second in which it ends.
    pub until: u32,
    /// Why, for people; at most `MAX_REASON` octets without control characters.
    pub reason: String,
}

impl Terms {
    /// Whether they hold at this second.
    pub fn hold_at(&self, now: u32) -> bool {
        self.until == 0 || self.until > now
    }
}
