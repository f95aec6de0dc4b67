//! A partition of the spool: what was acknowledged is on disk.
//!
//! Promises: an insert is reported as done only after it is durable (RFC 5321 4.5.5, 6.1: a server that answered 250 must not lose
//! the message); exactly one process owns a partition at any moment; a partition whose owner is gone can be adopted whole.
//! Never: deletes a message that was not removed, or waits on a timer to fill a batch. `create`, `adopt`, `claim`, `schedule`,
//! `crashed` and `close` block on the disk, everything else only hands over. Must be made after
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

mod adoption;
mod attempts;
#[cfg(test)]
mod change_tests;
mod changes;
mod channel;
mod content_files;
mod disk_space;
mod error;
mod filter;
mod held;
mod list;
mod migration;
mod op;
mod partition_dir;
mod portable;
#[cfg(test)]
mod query_tests;
mod read_only;
mod rows;
mod schedule;
mod schema;
mod show;
mod stats;
mod store;
mod tag;
#[cfg(test)]
mod tests;
mod verifier;
mod walk;
mod writer;

pub use adoption::{Adopted, Sealed};
pub use attempts::{AttemptRow, StoredAttempt};
pub use changes::{Change, Redirection};
pub use error::{Error, NO_MESSAGE};
pub use filter::{Filter, Pattern, Status};
pub use held::Held;
pub use list::{Listed, Page, page};
pub use op::{Completion, Failure, Settlement};
pub use portable::{export, import};
pub use read_only::{count, newer};
pub use schedule::{Group, Next};
pub use show::{Shown, show};
pub use stats::{Stats, Tally, stats};
pub use tag::{queue_id, sequence};

use channel::Channel;
use content_files::ContentFiles;
use disk_space::DiskSpace;
use op::Op;
use partition_dir::{Landmark, PartitionDir};
use store::Store;
use writer::Writer;

use crate::machine::message::Message;

/// Messages of which the schedule is read in one transaction.
const PAGE: usize = 10_000;

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
        queue_id(&self.tag, self.next.fetch_add(1, Relaxed))
    }

    /// Stores a message; its waiter is notified when it is on disk.
    pub fn insert(&self, waiter: W, message: Arc<Message>) -> io::Result<()> {
        let sequence = self.sequence(&message.queue_id)?;
        self.ask(Op::Insert { waiter, sequence, message })
    }

    /// Stores what a delivery attempt made of a group of recipients, and when they are tried next. Those that are not in its
    /// outcomes stay as they are.
    pub fn settle(&self, waiter: Option<W>, queue_id: &str, settlement: Settlement) -> io::Result<()> {
        let (sequence, settlement) = (self.sequence(queue_id)?, Box::new(settlement));
        self.ask(Op::Settle { waiter, sequence, settlement })
    }

    /// Deletes a message whose open recipients all have an outcome here, each an end; otherwise stores the outcomes.
    pub fn end(&self, queue_id: &str, settlement: Settlement) -> io::Result<()> {
        let (sequence, settlement) = (self.sequence(queue_id)?, Box::new(settlement));
        self.ask(Op::End { sequence, settlement })
    }

    /// Deletes a message with the next commit.
    pub fn remove(&self, waiter: Option<W>, queue_id: &str) -> io::Result<()> {
        let sequence = self.sequence(queue_id)?;
        self.ask(Op::Remove { waiter, sequence })
    }

    /// Changes a message with the next commit.
    pub fn change(&self, waiter: Option<W>, queue_id: &str, change: Change) -> io::Result<()> {
        let sequence = self.sequence(queue_id)?;
        self.ask(Op::Change { waiter, sequence, change })
    }

    /// Counts the death of a worker that was busy with a message, and sets it aside when it was not the first; returns how many
    /// there were, 0 when there is no such message.
    pub fn crashed(&self, queue_id: &str) -> io::Result<i64> {
        let sequence = self.sequence(queue_id)?;
        let (reply, answer) = sync_channel(1);
        self.ask(Op::Crashed { sequence, reply })?;
        Ok(answer.recv().map_err(io::Error::other)??)
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

    /// The groups of recipients of the next `most` messages after sequence `after`, -1 at the beginning, in the order of their
    /// coming; without those of held messages.
    pub fn schedule_page(&self, after: i64, most: usize) -> io::Result<Vec<Group>> {
        let (reply, answer) = sync_channel(1);
        self.ask(Op::Schedule { after, most, reply })?;
        Ok(answer.recv().map_err(io::Error::other)??)
    }

    /// All of them.
    pub fn schedule(&self) -> io::Result<Vec<Scheduled>> {
        let (mut scheduled, mut after) = (Vec::new(), -1);
        loop {
            let groups = self.schedule_page(after, PAGE)?;
            let Some(last) = groups.last() else { return Ok(scheduled) };
            after = last.sequence;
            scheduled.extend(groups.into_iter().map(|group| Scheduled {
                queue_id: queue_id(&self.tag, group.sequence),
                arrival: group.arrival,
                next: group.next,
            }));
        }
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
        if self.channel.ask(op) { Ok(()) } else { Err(io::Error::other(format!("partition {} is closed", self.tag))) }
    }

    fn sequence(&self, queue_id: &str) -> io::Result<i64> {
        sequence(&self.tag, queue_id).ok_or_else(|| {
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
