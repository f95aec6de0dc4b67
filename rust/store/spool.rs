//! A partition of the spool: what was acknowledged is on disk.
//!
//! Promises: an insert is reported as done only after it is durable (RFC 5321 4.5.5, 6.1: a server that answered 250 must not lose
//! the message); exactly one process owns a partition at any moment; a partition whose owner is gone can be adopted whole.
//! Never: deletes a message that was not removed, or waits on a timer to fill a batch. `create`, `adopt`, `schedule` and
//! `close` block on the disk, everything else only hands over. Must be made after
//! fork: a thread does not survive it, and a forked copy would share the lock. A failure is an `io::Error` or, for what was
//! asked of the writer, a completion with its text; its handling is described in `writer.rs`, the files on disk in `partition_dir.rs`.
//!
//! The writer takes no part in policy; as the one module here that works on its own it reads the monotonic clock, to space its
//! attempts to recover.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

mod channel;
mod content_files;
mod disk_space;
mod error;
mod list;
mod migration;
mod op;
mod partition_dir;
mod rows;
mod schema;
mod store;
mod tag;
#[cfg(test)]
mod tests;
mod writer;

pub use error::Error;
pub use list::{Listed, count, list, newer};
pub use op::Completion;
pub use store::Next;

use channel::Channel;
use content_files::ContentFiles;
use disk_space::DiskSpace;
use op::Op;
use partition_dir::{Landmark, PartitionDir};
use store::{Group, Store};
use writer::Writer;

use crate::machine::message::{Message, Outcome};

/// A partition of a later version of this program. It is owned, so that no other worker tries it again and again, and kept as it is.
#[derive(Debug)]
pub struct Sealed {
    /// The number of messages in it, if known.
    pub messages: Option<i64>,
    /// Why it is not worked on.
    pub reason: String,
    /// Held for its lock.
    pub directory: PartitionDir,
}

/// What an adoption gives.
pub enum Adopted<W> {
    /// A partition to work on.
    Partition(Partition<W>),
    /// One that waits for a later version.
    Sealed(Sealed),
}

/// A group of recipients of one message that are tried together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scheduled {
    /// Of the message.
    pub queue_id: String,
    /// When the message came, milliseconds since the epoch.
    pub arrival: i64,
    /// When the group is tried.
    pub next: Next,
}

/// The writer thread, which returns at its end whether the queue is empty.
type Running = JoinHandle<Result<bool, Error>>;

/// An owned partition. `W` is what waits for an operation: kept, and given back with the news.
pub struct Partition<W> {
    tag: String,
    incoming: PathBuf,
    landmark: Landmark,
    next: AtomicI64,
    channel: Arc<Channel<W>>,
    /// None once closed.
    running: Mutex<Option<(Running, PartitionDir)>>,
}

impl<W: Send + 'static> Partition<W> {
    /// Makes a fresh partition below `spool`; `now_ms` is the time in milliseconds since the epoch.
    pub fn create(spool: &Path, now_ms: u64) -> io::Result<Self> {
        let directory = PartitionDir::create(spool, now_ms)?;
        let store = Store::open(&directory.database())?;
        Ok(Self::start(directory, store)?)
    }

    /// Takes over one partition whose owner is gone; None when there is none. `turn` says where to begin looking, so that
    /// several workers do not all try the same one.
    ///
    /// A failure of a partition is an error naming it. A damaged one has been set aside first, so calling again goes on with
    /// the next; one that cannot be opened now hides no other.
    pub fn adopt(spool: &Path, turn: usize) -> io::Result<Option<Adopted<W>>> {
        partition_dir::sweep(spool);
        let mut names = PartitionDir::names(spool)?;
        let start = turn.checked_rem(names.len()).unwrap_or_default();
        names.rotate_left(start);
        let mut failure = None;
        for name in names {
            match Self::try_adopt(spool, &name) {
                Ok(Some(adopted)) => return Ok(Some(adopted)),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(error),
                Err(error) => failure = Some(error),
            }
        }
        failure.map_or(Ok(None), Err)
    }

    fn try_adopt(spool: &Path, name: &str) -> io::Result<Option<Adopted<W>>> {
        let Some(directory) = PartitionDir::claim(spool, name)? else { return Ok(None) };
        let opened = Store::adopt(&directory.database());
        match opened {
            Ok(store) => {
                directory.tidy()?;
                Ok(Some(Adopted::Partition(Self::start(directory, store)?)))
            }
            Err(Error::Newer(text)) => {
                let messages = list::count_any(&directory.database());
                Ok(Some(Adopted::Sealed(Sealed { messages, reason: format!("partition {name}: {text}"), directory })))
            }
            Err(Error::Damaged(text)) => {
                let target = directory.set_aside()?;
                let text = format!("partition {name} is damaged and was moved to {}: {text}", target.display());
                Err(io::Error::new(io::ErrorKind::InvalidData, text))
            }
            Err(error) => Err(io::Error::other(format!("partition {name}: {error}"))),
        }
    }

    fn start(directory: PartitionDir, store: Store) -> Result<Self, Error> {
        let channel = Arc::new(Channel::new(store.count()?)?);
        let next = AtomicI64::new(store.last()? + 1);
        let content_files = ContentFiles::open(directory.content(), &store.filed()?)?;
        let disk_space = DiskSpace::new(directory.content())?;
        let writer =
            Writer::new(Arc::clone(&channel), &directory, directory.landmark()?, store, content_files, disk_space);
        let thread = thread::Builder::new().name(format!("spool-{}", directory.tag())).spawn(move || writer.run())?;
        Ok(Self {
            tag: directory.tag().to_owned(),
            incoming: directory.incoming(),
            landmark: directory.landmark()?,
            next,
            channel,
            running: Mutex::new(Some((thread, directory))),
        })
    }

    /// Name of the partition and beginning of its queue ids.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// An eventfd, readable while there are completions.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.channel.descriptor()
    }

    /// Where content files are written while they are received.
    pub fn incoming(&self) -> &Path {
        &self.incoming
    }

    /// Whether messages can be taken: the last batch could be committed, the disk has room, and the directory is in place.
    pub fn healthy(&self) -> bool {
        self.channel.healthy.load(Relaxed) && self.in_place()
    }

    /// Whether its directory is where it was; one `stat`.
    pub fn in_place(&self) -> bool {
        self.landmark.stands()
    }

    /// Octets free inside its database, which the next messages take first.
    pub fn spare(&self) -> u64 {
        self.channel.spare.load(Relaxed)
    }

    /// Messages in it.
    pub fn len(&self) -> i64 {
        self.channel.count.load(Relaxed)
    }

    /// Whether there is no message in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A queue id that was never given before. It is spent by one insert, also by one that failed.
    pub fn next_queue_id(&self) -> String {
        tag::queue_id(&self.tag, self.next.fetch_add(1, Relaxed))
    }

    /// Stores a message; its waiter is notified when it is on disk.
    pub fn insert(&self, waiter: W, message: Arc<Message>) -> io::Result<()> {
        let sequence = self.sequence(&message.queue_id)?;
        self.ask(Op::Insert { waiter, sequence, message })
    }

    /// Stores what a delivery attempt made of a group of recipients, and when they are tried next. Those that are not in
    /// `outcomes` stay as they are.
    pub fn settle(&self, waiter: Option<W>, queue_id: &str, outcomes: Vec<Outcome>, next: Next) -> io::Result<()> {
        let sequence = self.sequence(queue_id)?;
        self.ask(Op::Settle { waiter, sequence, outcomes, next })
    }

    /// Deletes a message with the next commit.
    pub fn remove(&self, queue_id: &str) -> io::Result<()> {
        let sequence = self.sequence(queue_id)?;
        self.ask(Op::Remove { sequence })
    }

    /// Reads a message; its waiter is given it.
    pub fn load(&self, waiter: W, queue_id: &str) -> io::Result<()> {
        let sequence = self.sequence(queue_id)?;
        self.ask(Op::Load { waiter, sequence })
    }

    /// All news since the last call, in the order of their coming.
    pub fn completions(&self) -> Vec<Completion<W>> {
        self.channel.completions()
    }

    /// Every group of recipients in it, by messages in the order of their coming.
    pub fn schedule(&self) -> io::Result<Vec<Scheduled>> {
        let (reply, answer) = sync_channel(1);
        self.ask(Op::Schedule { reply })?;
        let groups = answer.recv().map_err(io::Error::other)??;
        let named = |group: Group| Scheduled {
            queue_id: tag::queue_id(&self.tag, group.sequence),
            arrival: group.arrival,
            next: group.next,
        };
        Ok(groups.into_iter().map(named).collect())
    }

    /// Commits what waits, closes the queue and gives up the partition; removes it when it is empty. Again: nothing.
    pub fn close(&self) -> io::Result<()> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((thread, directory)) = running else { return Ok(()) };
        self.channel.close();
        let empty = thread.join().map_err(|_| io::Error::other("the writer thread of the spool died"))??;
        if empty { directory.remove() } else { Ok(()) }
    }

    fn ask(&self, op: Op<W>) -> io::Result<()> {
        self.channel.ask(op).map_err(|_| io::Error::other(format!("partition {} is closed", self.tag)))
    }

    fn sequence(&self, queue_id: &str) -> io::Result<i64> {
        tag::sequence(&self.tag, queue_id).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("{queue_id} is not of partition {}", self.tag))
        })
    }
}

impl<W> Drop for Partition<W> {
    fn drop(&mut self) {
        // Not closed by its owner: what waits is committed before the lock goes, and the partition stays for adoption.
        self.channel.close();
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((thread, _place)) = running {
            let _ = thread.join();
        }
    }
}
