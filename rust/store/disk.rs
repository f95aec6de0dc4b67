//! The disk of the spool: how much of it is free, how much of that must stay free so that the queue can be emptied, and how a
//! name becomes durable.
//!
//! Deleting a row writes to the log and a checkpoint may lengthen the database, so a disk filled to the brim could not be emptied
//! by delivering. The one truth about a full disk is the reserve: unfinished content leaves twice of it, messages leave it once
//! (`spool/disk_space.rs`), and [`Disk::used`] is 100 % where unfinished content begins to be refused.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::statvfs;

const MIB: u64 = 1024 * 1024;
/// Octets of a disk that count: a larger one is near its end when it has as little left as one of this size.
const COUNTED: u64 = 100 * 1024 * MIB;

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

impl Disk {
    /// The share of the disk that is used, 0 to 1, where 1 is that unfinished content is refused; of room and inodes the one that is
    /// shorter. `spare` is what is free inside the databases: messages go there first. None when the disk cannot be asked.
    pub fn used(&self, spare: u64) -> Option<f64> {
        let disk = statvfs(&self.path).ok()?;
        let left = disk.f_bavail.saturating_mul(disk.f_frsize).saturating_add(spare);
        let kept = 2 * self.reserve;
        let room = 1.0 - ratio(left.saturating_sub(kept), self.total.min(COUNTED).saturating_sub(kept));
        // A file system that makes inodes as it needs them counts none.
        let inodes = if disk.f_files == 0 { 0.0 } else { 1.0 - ratio(disk.f_favail, disk.f_files) };
        Some(room.max(inodes).clamp(0.0, 1.0))
    }
}

#[allow(clippy::cast_precision_loss)] // a share for people and thresholds
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// Makes the names in a directory durable.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_used_up_where_content_is_refused() {
        let mut disk = Disk::of("/".into()).unwrap();
        let left = disk.free().unwrap();
        let before = disk.used(0).unwrap();
        assert!((0.0..=1.0).contains(&before));
        disk.reserve = left;
        assert!(disk.used(0).unwrap() >= 1.0);
        assert!(disk.used(4 * left).unwrap() < 1.0);
    }
}
