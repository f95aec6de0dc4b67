//! The disk of the spool: how much of it is free, how much of that must stay free so that the queue can be emptied, and how a
//! name becomes durable.
//!
//! Deleting a row writes to the log and a checkpoint may lengthen the database, so a disk filled to the brim could not be emptied
//! by delivering.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::statvfs;

const MIB: u64 = 1024 * 1024;

/// A disk, known by a path on it.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
    /// Its size in octets.
    pub total: u64,
    /// Octets that must stay free.
    pub reserve: u64,
}

impl Disk {
    /// The disk that holds `path`; a small disk has a smaller reserve.
    pub fn of(path: PathBuf) -> io::Result<Self> {
        let disk = statvfs(&path)?;
        let total = disk.f_blocks.saturating_mul(disk.f_frsize);
        Ok(Self { path, total, reserve: (total / 16).min(64 * MIB) })
    }

    /// Octets free now; None when the disk cannot be asked: then a failed write says that it is full.
    pub fn free(&self) -> Option<u64> {
        let disk = statvfs(&self.path).ok()?;
        Some(disk.f_bavail.saturating_mul(disk.f_frsize))
    }
}

/// Makes the names in a directory durable.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
