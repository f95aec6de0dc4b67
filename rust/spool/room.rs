//! Room on the disk: new messages are refused while there is still enough to take the old ones out.
//!
//! Deleting a row writes to the log and a checkpoint may lengthen the database, so a disk filled to the brim could not be emptied
//! by delivering. Freed pages stay in the database and count as room: they take the next messages.
#![forbid(unsafe_code)]

use std::io;
use std::path::PathBuf;

use rustix::fs::statvfs;

use super::trouble::Trouble;

const MIB: u64 = 1024 * 1024;

/// The disk a partition is on.
#[derive(Debug)]
pub struct Room {
    path: PathBuf,
    /// Octets that must stay free.
    reserve: u64,
    /// Octets written to the log between two checkpoints; `store.rs` tells the measurement.
    pub checkpoint: u64,
}

impl Room {
    /// Of the disk that holds `path`; a small disk has smaller bounds.
    pub fn new(path: PathBuf) -> io::Result<Self> {
        let disk = statvfs(&path)?;
        let total = disk.f_blocks.saturating_mul(disk.f_frsize);
        Ok(Self { path, reserve: (total / 16).min(64 * MIB), checkpoint: (total / 64).min(16 * MIB) })
    }

    /// Octets that new messages may take in the next batch, 0 when the disk is full; `spare` tells the octets free inside the
    /// database. A batch is written twice, into the log and from there into the database.
    pub fn allowance(&self, spare: impl FnOnce() -> u64) -> u64 {
        // When the disk cannot be asked, writing itself will tell.
        let Ok(disk) = statvfs(&self.path) else { return u64::MAX };
        let left = disk.f_bavail.saturating_mul(disk.f_frsize);
        if left >= self.reserve {
            return left.saturating_sub(self.reserve / 2) / 2;
        }
        let spare = spare();
        if spare >= self.reserve { (spare / 2).min(self.checkpoint) } else { 0 }
    }

    /// What to tell of a message that is above the allowance.
    pub fn refusal(&self) -> Trouble {
        let kept = self.reserve / 1024;
        Trouble::Message(format!("the disk of the spool is full: the last {kept} KiB are kept for emptying the queue"))
    }
}
