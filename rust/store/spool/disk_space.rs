//! Room on the disk: new messages are refused while there is still enough to take the old ones out.
//!
//! Freed pages stay in the database and count as room: they take the next messages.
#![forbid(unsafe_code)]

use std::io;
use std::path::PathBuf;

use super::error::Error;
use crate::store::disk::Disk;

const MIB: u64 = 1024 * 1024;

/// The disk a partition is on.
#[derive(Debug)]
pub struct DiskSpace {
    disk: Disk,
    /// Octets written to the log between two checkpoints; `store.rs` has the measurement.
    pub checkpoint: u64,
}

impl DiskSpace {
    /// Of the disk that holds `path`; a small disk has smaller bounds.
    pub fn new(path: PathBuf) -> io::Result<Self> {
        let disk = Disk::of(path)?;
        let checkpoint = (disk.total / 64).min(16 * MIB);
        Ok(Self { disk, checkpoint })
    }

    /// Octets that new messages may take in the next batch, 0 when the disk is full; `spare` gives the octets free inside the
    /// database. A batch is written twice, into the log and from there into the database.
    pub fn allowance(&self, spare: impl FnOnce() -> u64) -> u64 {
        // If the disk cannot be queried, the write itself will fail.
        let Some(left) = self.disk.free() else { return u64::MAX };
        if left >= self.disk.reserve {
            return left.saturating_sub(self.disk.reserve / 2) / 2;
        }
        let spare = spare();
        if spare >= self.disk.reserve { (spare / 2).min(self.checkpoint) } else { 0 }
    }

    /// The error for a message that is above the allowance.
    pub fn refusal(&self) -> Error {
        let kept = self.disk.reserve / 1024;
        Error::Message(format!("the disk of the spool is full: the last {kept} KiB are kept for emptying the queue"))
    }
}
