//! The writer thread of a partition: group commit.
//!
//! It commits all that waits when the previous commit has ended, so a batch grows with the load; after a batch of several
//! messages it waits until `PACE` has passed since that began, so that a fast disk does not make batches small. A message that
//! comes alone is never kept waiting; what nobody waits for is, for `LINGER`. A waiter is notified after the COMMIT that made its operation durable, and once a batch the
//! descriptor is written.
//!
//! # When writing fails
//! The batch is rolled back and all its inserts fail; its removes, settlements and changes are kept. A failed fsync leaves unknown what
//! reached the disk, so the connection is closed, and before anything else is written the sequences of the failed inserts are
//! deleted: they were never acknowledged. Until that works, tried at most once a second, inserts and loads fail at once.
//! Where the database is damaged, what cannot be deleted of a message's octets stays, so that the message can go.
//! What is kept is bounded by the messages of the partition, what waits by the sessions that wait for it.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::channel::Channel;
use super::content_files::ContentFiles;
use super::disk_space::DiskSpace;
use super::error::Error;
use super::op::{Answer, Completion, Op, apply, completion, taken};
use super::partition_dir::{Landmark, PartitionDir};
use super::store::Store;
use super::verifier::Verifier;

/// Pause between attempts to get a failed queue working again.
const PAUSE: Duration = Duration::from_secs(1);
/// Least time from the beginning of a batch of several messages to that of the next: `docs/decisions.md` has what it saves.
const PACE: Duration = Duration::from_millis(2);
/// How long what nobody waits for, such as the end of a delivered message, is kept for an operation whose commit then serves both.
const LINGER: Duration = Duration::from_millis(5);

/// The thread's state.
pub struct Writer<W> {
    channel: Arc<Channel<W>>,
    database: PathBuf,
    tag: String,
    content_files: ContentFiles,
    verifier: Verifier<W>,
    disk_space: DiskSpace,
    landmark: Landmark,
    /// The directory was where it was when the last batch began.
    in_place: bool,
    /// Octets that the inserts of the next batch may take; 0 when the disk is full or the directory is gone.
    allowance: u64,
    /// None after a failure, until it is open and written to again.
    store: Option<Store>,
    /// Removes, settlements and changes that failed, to be done first.
    kept: Vec<Op<W>>,
    /// Failed inserts that may be on disk nevertheless.
    doubtful: Vec<i64>,
    /// Octets written since the last checkpoint, roughly.
    written: u64,
    error: Error,
    /// An operation failed because the database is damaged.
    damaged: bool,
    tried: Option<Instant>,
}

impl<W: Send + 'static> Writer<W> {
    pub fn new(
        channel: Arc<Channel<W>>,
        directory: &PartitionDir,
        landmark: Landmark,
        store: Store,
        content_files: ContentFiles,
        disk_space: DiskSpace,
    ) -> Self {
        Self {
            database: directory.database(),
            tag: directory.tag().to_owned(),
            content_files,
            verifier: Verifier::new(directory.tag(), Arc::clone(&channel)),
            channel,
            disk_space,
            landmark,
            in_place: true,
            allowance: 0,
            store: Some(store),
            kept: Vec::new(),
            doubtful: Vec::new(),
            written: 0,
            error: Error::Queue(String::new()),
            damaged: false,
            tried: None,
        }
    }

    /// Works until the channel is closed and all is committed; returns whether the queue is empty then.
    pub fn run(mut self) -> Result<bool, Error> {
        let mut pause = Duration::ZERO;
        let mut begun = Instant::now();
        loop {
            let ill = self.store.is_none() || !self.channel.healthy.load(Relaxed);
            let (ops, closed) = self.channel.wait(pause.saturating_sub(begun.elapsed()), LINGER, ill.then_some(PAUSE));
            begun = Instant::now();
            let several = ops.iter().filter(|op| matches!(op, Op::Insert { .. })).nth(1).is_some();
            pause = if several { PACE } else { Duration::ZERO };
            // A closed channel is the last chance.
            let is_time = closed || self.tried.is_none_or(|tried| tried.elapsed() >= PAUSE);
            if self.store.is_none() && is_time {
                self.recover();
            }
            self.look();
            self.batch(ops);
            if closed {
                return self.finish();
            }
        }
    }

    /// Gets a failed queue working again: opened, written to, rid of the failed inserts, and what was kept is done.
    fn recover(&mut self) {
        self.tried = Some(Instant::now());
        match self.reopen() {
            Ok(store) => {
                self.store = Some(store);
                for sequence in std::mem::take(&mut self.doubtful) {
                    self.content_files.discard(sequence);
                }
                self.look(); // before the notifications: a notified waiter must find the partition healthy
                let kept = std::mem::take(&mut self.kept);
                self.batch(kept);
            }
            Err(error) => self.error = error,
        }
    }

    /// Whether new messages can be taken.
    fn look(&mut self) {
        let Some(store) = &self.store else { return };
        self.in_place = self.landmark.stands();
        self.allowance =
            if self.in_place { self.disk_space.allowance(|| store.spare().unwrap_or_default()) } else { 0 };
        self.channel.healthy.store(self.allowance > 0, Relaxed);
    }

    fn reopen(&self) -> Result<Store, Error> {
        let mut store = Store::open(&self.database)?;
        store.careful = self.damaged;
        store.begin()?;
        store.touch()?;
        for &sequence in &self.doubtful {
            store.remove(sequence)?;
        }
        store.commit()?;
        Ok(store)
    }

    /// One transaction for all `ops`, then the news of it.
    fn batch(&mut self, ops: Vec<Op<W>>) {
        if ops.is_empty() {
            return;
        }
        let mut answers = Vec::with_capacity(ops.len());
        let attempted = self.store.is_some();
        match self.commit(&ops, &mut answers) {
            Ok(()) => self.committed(ops, answers),
            Err(error) => {
                if attempted {
                    self.fail(error);
                }
                self.undone(ops, answers, attempted);
            }
        }
        self.checkpoint();
        let spare = self.store.as_ref().and_then(|store| store.spare().ok());
        self.channel.spare.store(spare.unwrap_or_default(), Relaxed);
    }

    fn commit(&mut self, ops: &[Op<W>], answers: &mut Vec<Answer>) -> Result<(), Error> {
        let Self { store: Some(store), content_files, tag, disk_space, in_place, allowance, .. } = self else {
            return Err(self.error.clone());
        };
        store.begin()?;
        for op in ops {
            let answer = match allowance.checked_sub(taken(op)) {
                Some(left) => {
                    *allowance = left;
                    apply(store, content_files, tag, op)
                }
                None if *in_place => Err(disk_space.refusal()),
                None => Err(Error::Message("the spool directory was moved or deleted".to_owned())),
            };
            match answer {
                Err(Error::Message(text)) => answers.push(Answer::Refused(text)),
                Err(Error::DamagedMessage(text)) => answers.push(Answer::Damaged(text)),
                // A failed read affects no other operation: nothing was written.
                Err(Error::Damaged(text)) if matches!(op, Op::Load { .. }) => answers.push(Answer::Damaged(text)),
                answer => answers.push(answer?),
            }
        }
        content_files.sync()?;
        store.commit()
    }

    fn committed(&mut self, ops: Vec<Op<W>>, answers: Vec<Answer>) {
        let mut news = Vec::with_capacity(ops.len());
        let (mut added, mut gone) = (0_i64, Vec::new());
        for (op, answer) in ops.into_iter().zip(answers) {
            self.written += 4096; // of every other row touched; the error is on the side of more checkpoints
            match (op, answer) {
                (op @ (Op::Remove { sequence, .. } | Op::End { sequence, .. }), answer @ Answer::Removed(_)) => {
                    added -= i64::from(matches!(answer, Answer::Removed(true)));
                    gone.push(sequence);
                    news.extend(completion(op, answer));
                }
                (Op::Insert { waiter, message, .. }, Answer::Done) => {
                    added += 1;
                    self.written += message.size();
                    news.push(Completion { waiter, result: Ok(None) });
                }
                (op, answer) => news.extend(self.completion(op, answer)),
            }
        }
        self.channel.count.fetch_add(added, Relaxed);
        self.channel.complete(news);
        for sequence in gone {
            self.content_files.discard(sequence);
            if let Some(Err(error)) = self.store.as_mut().map(|store| store.clear(sequence)) {
                self.fail(error);
            }
        }
    }

    /// After a failed batch: loads that were answered stand, inserts fail, the rest is kept.
    fn undone(&mut self, ops: Vec<Op<W>>, answers: Vec<Answer>, attempted: bool) {
        let mut news = Vec::new();
        let mut answers = answers.into_iter();
        for op in ops {
            let refused = || Answer::Refused(self.error.to_string());
            match (op, answers.next()) {
                (op @ (Op::Load { .. } | Op::Schedule { .. }), answer) => {
                    let answer = answer.unwrap_or_else(refused);
                    news.extend(self.completion(op, answer));
                }
                // Counted again it would count for two.
                (op @ Op::Crashed { .. }, _) => news.extend(completion(op, refused())),
                // Refused by itself: a message of this sequence that was there before must stay.
                (op @ Op::Insert { .. }, Some(answer @ Answer::Refused(_))) => news.extend(completion(op, answer)),
                (op @ Op::Insert { sequence, .. }, _) => {
                    if attempted {
                        self.doubtful.push(sequence);
                    }
                    news.extend(completion(op, refused()));
                }
                (op, _) => self.kept.push(op),
            }
        }
        self.channel.complete(news);
    }

    /// The result for the waiter of `op`, if there is one that can be given now.
    fn completion(&mut self, op: Op<W>, answer: Answer) -> Option<Completion<W>> {
        match (op, answer) {
            (Op::Load { waiter, .. }, Answer::Loaded(stored)) if stored.has_file() => {
                self.verifier.verify(waiter, *stored);
                None
            }
            (op, answer) => completion(op, answer),
        }
    }

    fn fail(&mut self, error: Error) {
        // Closing rolls back. Its own failure says no more than `error` does.
        self.store = None;
        self.damaged |= matches!(error, Error::Damaged(_));
        self.error = error;
        self.channel.healthy.store(false, Relaxed);
    }

    fn checkpoint(&mut self) {
        if self.written < self.disk_space.checkpoint {
            return;
        }
        self.written = 0;
        if let Some(Err(error)) = self.store.as_ref().map(Store::checkpoint) {
            self.fail(error);
        }
    }

    fn finish(mut self) -> Result<bool, Error> {
        let lost = std::mem::take(&mut self.kept);
        let news = lost.into_iter().filter_map(|op| completion(op, Answer::Refused(self.error.to_string())));
        self.channel.complete(news.collect());
        self.verifier.finish();
        let store = self.store.ok_or(self.error)?;
        let empty = store.count()? == 0;
        store.close()?;
        Ok(empty)
    }
}
