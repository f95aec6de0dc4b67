//! Where snapshots are put: beside the one in force are its base, drafts, and what killed processes left of these.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::store::disk::sync_directory;
use crate::store::snapshot::layer::{Layer, base_path};

/// The directory of the snapshot at `target`.
pub(super) fn parent_of(target: &Path) -> &Path {
    target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Removes drafts that killed processes left, or bases. A draft that still lives then fails at its rename: lost work, never a torn snapshot.
pub(super) fn sweep(target: &Path, suffix: &[u8]) {
    let name = target.file_name().unwrap_or_default().as_encoded_bytes();
    for entry in fs::read_dir(parent_of(target)).into_iter().flatten().flatten() {
        let rest = entry.file_name().as_encoded_bytes().strip_prefix(name).map(<[u8]>::to_vec);
        if rest.is_some_and(|rest| rest.starts_with(b".") && rest.ends_with(suffix)) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Keeps other compiles from replacing the snapshot and from removing bases, until it is dropped. A file system without such locks has none:
/// there are two compiles at a time only while one server takes the place of another.
pub(super) fn alone(target: &Path) -> Option<File> {
    let directory = File::open(parent_of(target)).ok()?;
    flock(&directory, FlockOperation::LockExclusive).ok()?;
    Some(directory)
}

/// Gives the whole snapshot with this mark, at `target` or put aside before, the name that it has as a base; false when it is not there any more.
pub(super) fn keep_base(target: &Path, mark: u64) -> io::Result<bool> {
    let path = base_path(target, mark);
    let is_there = || Layer::open(&path).is_ok_and(|base| base.mark() == mark);
    if is_there() {
        return Ok(true);
    }
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => fs::hard_link(target, &path)?,
    }
    sync_directory(parent_of(target))?;
    Ok(is_there())
}
