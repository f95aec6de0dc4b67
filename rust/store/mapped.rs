//! Files that are mapped read-only: snapshots, which are never changed in place.

use std::fs::File;
use std::io;
use std::path::Path;

use memmap2::Mmap;

/// Maps the snapshot at `path`.
pub fn open(path: &Path) -> io::Result<Mmap> {
    let file = File::open(path)?;
    // SAFETY: a snapshot is written under another name, never changed after its rename to this one and only ever
    // replaced by a rename, so the mapped inode is never written or truncated. It is read through bounds-checked slices only.
    unsafe { Mmap::map(&file) }
}
