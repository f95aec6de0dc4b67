//! Files that are mapped read-only: snapshots, which are never changed in place.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use memmap2::Mmap;
use rustix::fs::OFlags;

/// Maps the snapshot at `path`. Whatever is there, it waits for nobody.
pub fn open(path: &Path) -> io::Result<Mmap> {
    let file = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a file"));
    }
    // SAFETY: a snapshot is written under another name, never changed after its rename to this one and only ever
    // replaced by a rename, so the mapped inode is never written or truncated. It is read through bounds-checked slices only.
    unsafe { Mmap::map(&file) }
}
