//! Room on the disk: new messages are refused while there is still enough to take the old ones out.
//!
//! Deleting a row writes to the log and a checkpoint may lengthen the database, so a disk filled to the brim could not be emptied
//! by delivering. Freed pages stay in the database and count as room: they take the next messages.
#![forbid(unsafe_code)]

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::statvfs;

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

    /// Why no message may be added now, or None; `spare` tells the octets free inside the database.
    pub fn shortage(&self, spare: impl FnOnce() -> u64) -> Option<String> {
        let left = available(&self.path)?;
        (left < self.reserve && spare() < self.reserve).then(|| {
            format!(
                "the disk of the spool is full: {} KiB left, {} KiB are kept for emptying the queue",
                left / 1024,
                self.reserve / 1024
            )
        })
    }
}

/// None when it cannot be asked: then writing itself will tell.
fn available(path: &Path) -> Option<u64> {
    statvfs(path).ok().map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize))
}
