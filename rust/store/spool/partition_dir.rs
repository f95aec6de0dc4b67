//! The directory of a partition: made, claimed, set aside and removed under its lock.
//!
//! ```text
//! <spool>/partitions/<tag>/   lock  queue.db  content/  incoming/
//! <spool>/new-<tag>/          being made; its maker holds the lock
//! <spool>/removed-<tag>/      empty, being deleted
//! <spool>/damaged/<tag>/      set aside for the operator; never touched again
//! ```
//! Whoever holds the `flock` of `lock` owns the partition. The lock dies with its process, so an owner that was killed leaves a
//! partition that can be claimed. A partition appears under `partitions` complete and locked, and leaves it locked, by a rename.
#![forbid(unsafe_code)]

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, IFlags, flock, ioctl_getflags, ioctl_setflags};
use rustix::system::uname;

use super::store::Store;
use super::tag;
use crate::store::disk::sync_directory;

/// One partition's directory, owned as long as this value lives.
#[derive(Debug)]
pub struct PartitionDir {
    spool: PathBuf,
    path: PathBuf,
    tag: String,
    /// Held open for its lock. Opened with `CLOEXEC`: a started program must not inherit the ownership.
    _lock: File,
}

impl PartitionDir {
    /// Makes a new partition with an empty queue. `now_ms`, the host's name and the process id make its tag; one in use moves on to the next millisecond.
    ///
    /// The spool directory itself must be there: one that was moved away, or whose disk is not mounted, is not to be made again
    /// by a worker that was started anew.
    pub fn create(spool: &Path, now_ms: u64) -> io::Result<Self> {
        match private_directory(&spool.join("partitions"), false) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(io::Error::new(error.kind(), format!("{}: {error}", spool.display())));
            }
            _ => {}
        }
        sync_directory(spool)?;
        let (mut stamp, node) = (now_ms, uname());
        loop {
            match Self::make(spool, tag::make(stamp, node.nodename().to_bytes(), std::process::id())) {
                // Taken, or swept away by `sweep` of another process between two steps: another name.
                Err(error)
                    if stamp < now_ms + 100
                        && matches!(
                            error.kind(),
                            ErrorKind::AlreadyExists | ErrorKind::NotFound | ErrorKind::WouldBlock
                        ) =>
                {
                    stamp += 1;
                }
                made => return made,
            }
        }
    }

    fn make(spool: &Path, tag: String) -> io::Result<Self> {
        let path = path_of(spool, &tag);
        if path.exists() || spool.join("damaged").join(&tag).exists() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let making = spool.join(format!("new-{tag}"));
        spread(spool);
        private_directory(&making, false)?;
        let made = fill(&making, &path);
        if made.is_err() {
            // Best effort: what stays is swept by the next adoption.
            let _ = fs::remove_dir_all(&making);
        }
        Ok(Self { spool: spool.to_owned(), path, tag, _lock: made? })
    }

    /// Names of all partitions, owned or not.
    pub fn names(spool: &Path) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(spool.join("partitions")) {
            Ok(entries) => entries,
            // No server has run here yet.
            Err(error) if error.kind() == ErrorKind::NotFound && spool.is_dir() => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            names.extend(entry?.file_name().into_string().ok().filter(|name| tag::is_tag(name)));
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Takes ownership of partition `tag` unless it is owned or gone.
    pub fn claim(spool: &Path, tag: &str) -> io::Result<Option<Self>> {
        let path = path_of(spool, tag);
        // A partition comes and goes whole, so one without a lock file lost it; otherwise its messages would never be found.
        let lock = match OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path.join("lock"))
        {
            Ok(lock) => lock,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
            Err(error) => return Err(error),
        };
        if !try_lock(&lock)? || !same_file(&lock, &path.join("lock"))? {
            // Owned, or removed between opening and locking: then the lock is of a file that will never be opened again.
            return Ok(None);
        }
        Ok(Some(Self { spool: spool.to_owned(), path, tag: tag.to_owned(), _lock: lock }))
    }

    /// Whether partition `tag` is owned now. Looks by a shared lock held for an instant: a claim in that very instant
    /// finds the partition taken and has to come back.
    pub fn owned(spool: &Path, tag: &str) -> io::Result<bool> {
        let lock = File::open(path_of(spool, tag).join("lock"))?;
        match flock(&lock, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(false),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// The partition's tag.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// Its database.
    pub fn database(&self) -> PathBuf {
        database(&self.path)
    }

    /// Where committed content files are.
    pub fn content(&self) -> PathBuf {
        content(&self.path)
    }

    /// Where content files are while they are received.
    pub fn incoming(&self) -> PathBuf {
        self.path.join("incoming")
    }

    /// How to tell, without the place itself, whether its directory is still where it was.
    pub fn landmark(&self) -> io::Result<Landmark> {
        let lock = self.path.join("lock");
        let found = fs::metadata(&lock)?;
        Ok(Landmark { file: (found.dev(), found.ino()), lock })
    }

    /// Makes the directories that are missing, and deletes what an owner before left in `incoming`, which schema 1 called `loose`.
    pub fn tidy(&self) -> io::Result<()> {
        private_directory(&self.content(), true)?;
        private_directory(&self.incoming(), true)?;
        match fs::remove_dir_all(self.path.join("loose")) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        for entry in fs::read_dir(self.incoming())? {
            fs::remove_file(entry?.path())?;
        }
        Ok(())
    }

    /// Moves a damaged partition out of the way, for the operator to fix, and returns where it is. The queue must be closed.
    pub fn set_aside(self) -> io::Result<PathBuf> {
        let damaged = self.spool.join("damaged");
        private_directory(&damaged, true)?;
        let target = damaged.join(&self.tag);
        self.leave(&target)?;
        sync_directory(&damaged)?;
        Ok(target)
    }

    /// Deletes the partition. The queue must be closed and empty.
    pub fn remove(self) -> io::Result<()> {
        let target = self.spool.join(format!("removed-{}", self.tag));
        self.leave(&target)?;
        // It is gone from the spool. Another worker's `sweep` may be at the same directory, and finishes what we cannot.
        let _ = fs::remove_dir_all(&target);
        Ok(())
    }

    fn leave(&self, target: &Path) -> io::Result<()> {
        fs::rename(&self.path, target)?;
        sync_directory(&self.spool.join("partitions"))?;
        sync_directory(&self.spool)
    }
}

/// Asks the file system to place each new directory in `spool` for itself, as ext4 does with those that are unrelated (chattr(1), `T`).
///
/// Otherwise all partitions lie where their parent does. Without a journal, ext4 passes over each file that was deleted there in the
/// last minutes, also by another program, when it makes a new one: that has cost up to 500 us for each content file. Other file systems have
/// no such attribute, and need none.
fn spread(spool: &Path) {
    // Whether it is granted is seen in nothing but the time it takes.
    let _ = File::open(spool).and_then(|directory| {
        let flags = ioctl_getflags(&directory)? | IFlags::TOPDIR;
        Ok(ioctl_setflags(&directory, flags)?)
    });
}

/// Where partition `tag` is, if there is one.
pub fn path_of(spool: &Path, tag: &str) -> PathBuf {
    spool.join("partitions").join(tag)
}

/// Where committed content files are in the partition at `path`.
pub fn content(path: &Path) -> PathBuf {
    path.join("content")
}

/// The lock file of a partition, as it was found when the partition was opened.
#[derive(Debug)]
pub struct Landmark {
    lock: PathBuf,
    /// Device and inode.
    file: (u64, u64),
}

impl Landmark {
    /// Whether it is still there. A database that was moved or deleted can be written to as long as it is open, but what is
    /// written to it is lost, or never found.
    pub fn stands(&self) -> bool {
        fs::metadata(&self.lock).is_ok_and(|found| (found.dev(), found.ino()) == self.file)
    }
}

/// Deletes what processes that died while making or removing a partition left behind. Failure only postpones it.
pub fn sweep(spool: &Path) {
    for entry in fs::read_dir(spool).into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.strip_prefix("removed-").is_some_and(tag::is_tag) {
            let _ = fs::remove_dir_all(entry.path());
        } else if let Some(tag) = name.strip_prefix("new-").filter(|tag| tag::is_tag(tag)) {
            let _ = sweep_unfinished(spool, &entry.path(), tag);
        }
    }
}

/// A maker that still lives must not lose its directory: without a lock file only an empty one goes (its maker tries again).
fn sweep_unfinished(spool: &Path, path: &Path, tag: &str) -> io::Result<()> {
    let lock = match OpenOptions::new().write(true).open(path.join("lock")) {
        Err(error) if error.kind() == ErrorKind::NotFound => return fs::remove_dir(path),
        opened => opened?,
    };
    if try_lock(&lock)? && same_file(&lock, &path.join("lock"))? {
        let target = spool.join(format!("removed-{tag}"));
        fs::rename(path, &target)?;
        fs::remove_dir_all(&target)?;
    }
    Ok(())
}

/// The database of the partition at `path`.
pub fn database(path: &Path) -> PathBuf {
    path.join("queue.db")
}

/// Makes all that is in a partition at `making`, then moves it to `path`.
fn fill(making: &Path, path: &Path) -> io::Result<File> {
    let lock = OpenOptions::new().write(true).create_new(true).mode(0o600).open(making.join("lock"))?;
    if !try_lock(&lock)? {
        return Err(ErrorKind::WouldBlock.into());
    }
    private_directory(&making.join("content"), false)?;
    private_directory(&making.join("incoming"), false)?;
    Store::create(&database(making))?;
    sync_directory(making)?;
    fs::rename(making, path)?;
    if let Some(partitions) = path.parent() {
        sync_directory(partitions)?;
    }
    Ok(lock)
}

fn private_directory(path: &Path, may_exist: bool) -> io::Result<()> {
    DirBuilder::new().mode(0o700).recursive(may_exist).create(path)
}

fn try_lock(file: &File) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn same_file(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
