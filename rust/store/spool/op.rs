//! The operations of the writer, how each is done inside a transaction, and its result for the caller.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use super::attempts::AttemptRow;
use super::changes::Change;
use super::content_files::ContentFiles;
use super::error::Error;
use super::held::Held;
use super::rows::Stored;
use super::schedule::{Group, Next};
use super::store::Store;
use super::tag;
use crate::machine::message::content::Octets;
use crate::machine::message::{Message, Outcome};

/// One thing asked of the writer.
pub enum Op<W> {
    Insert { waiter: W, sequence: i64, message: Arc<Message> },
    Settle { waiter: Option<W>, sequence: i64, settlement: Box<Settlement> },
    End { sequence: i64, settlement: Box<Settlement> },
    Remove { waiter: Option<W>, sequence: i64 },
    Change { waiter: Option<W>, sequence: i64, change: Change },
    Load { waiter: W, sequence: i64 },
    Schedule { after: i64, most: usize, reply: SyncSender<Result<Vec<Group>, Error>> },
    Crashed { sequence: i64, reply: SyncSender<Result<i64, Error>> },
}

impl<W> Op<W> {
    /// Whether somebody waits for it. What became of a delivery is stored all the same, a moment later.
    pub fn is_awaited(&self) -> bool {
        match self {
            Self::Settle { waiter, .. } | Self::Remove { waiter, .. } | Self::Change { waiter, .. } => waiter.is_some(),
            Self::End { .. } => false,
            Self::Insert { .. } | Self::Load { .. } | Self::Schedule { .. } | Self::Crashed { .. } => true,
        }
    }
}

/// What a delivery attempt made of a group of recipients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// Of each recipient it was for.
    pub outcomes: Vec<Outcome>,
    /// When they are tried next.
    pub next: Next,
    /// How it was made, if it deferred somebody.
    pub attempt: Option<AttemptRow>,
    /// Places of recipients for which a delay report was made.
    pub reported: Vec<u32>,
}

/// News for a waiter: the message for a load, None for the rest, or what went wrong.
#[derive(Debug)]
pub struct Completion<W> {
    /// Who asked.
    pub waiter: W,
    /// What became of it.
    pub result: Result<Option<Arc<Message>>, Failure>,
}

/// Why an operation was not done; the text is for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It could not be done, for now or for good.
    Refused(String),
    /// What is stored of the message that was to be loaded is damaged.
    Damaged(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Refused(text) | Self::Damaged(text)) = self;
        formatter.write_str(text)
    }
}

/// What became of an [`Op`] inside the transaction.
pub enum Answer {
    Done,
    Removed(bool),
    /// Its content file, if it has one, is still to be verified.
    Loaded(Box<Stored>),
    Scheduled(Vec<Group>),
    Crashes(i64),
    Refused(String),
    Damaged(String),
}

/// Octets of disk that `op` takes for good; a content file that was written as it came has them already.
pub fn taken<W>(op: &Op<W>) -> u64 {
    match op {
        Op::Insert { message, .. } => match &message.content.octets {
            Octets::Memory(octets) => 1024 + octets.len() as u64 + message.trace.len() as u64,
            Octets::File(file) => 1024 + file.unwritten(),
        },
        _ => 0,
    }
}

/// Does `op` in the open transaction.
pub fn apply<W>(store: &mut Store, content_files: &mut ContentFiles, tag: &str, op: &Op<W>) -> Result<Answer, Error> {
    match op {
        Op::Insert { sequence, message, .. } => {
            let file = content_files.store(*sequence, &message.content.octets)?;
            store.insert(*sequence, message, file.as_deref())?;
        }
        Op::Settle { sequence, settlement, .. } => settle(store, *sequence, settlement)?,
        Op::End { sequence, settlement } => {
            if store.end(*sequence, &settlement.outcomes, &settlement.next)? {
                return Ok(Answer::Removed(true));
            }
        }
        Op::Remove { sequence, .. } => return store.remove(*sequence).map(Answer::Removed),
        Op::Change { sequence, change, .. } => store.change(*sequence, change)?,
        Op::Load { sequence, .. } => {
            let stored = store.load(*sequence, tag::queue_id(tag, *sequence), &content_files.path(*sequence))?;
            if stored.held != Held::No {
                return Err(Error::held());
            }
            stored.verify()?;
            return Ok(Answer::Loaded(Box::new(stored)));
        }
        Op::Schedule { after, most, .. } => return store.schedule(*after, *most).map(Answer::Scheduled),
        Op::Crashed { sequence, .. } => return store.crashed(*sequence).map(Answer::Crashes),
    }
    Ok(Answer::Done)
}

fn settle(store: &mut Store, sequence: i64, settlement: &Settlement) -> Result<(), Error> {
    let Settlement { outcomes, next, attempt, reported } = settlement;
    let known = store.settle(sequence, outcomes, next)?;
    store.note_reported(sequence, reported)?;
    match attempt {
        // Of a message that was removed meanwhile nothing is kept.
        Some(row) if known => store.add_attempt(sequence, row, outcomes),
        _ => Ok(()),
    }
}

/// The result for the waiter of `op`, if there is one.
pub fn completion<W>(op: Op<W>, answer: Answer) -> Option<Completion<W>> {
    let waiter = match op {
        Op::Insert { waiter, .. } | Op::Load { waiter, .. } => waiter,
        Op::Settle { waiter, .. } | Op::Remove { waiter, .. } | Op::Change { waiter, .. } => waiter?,
        Op::End { .. } => return None,
        // The caller may have gone; then the result is not needed.
        Op::Schedule { reply, .. } => {
            let _ = reply.send(match answer {
                Answer::Scheduled(all) => Ok(all),
                answer => Err(refusal(answer)),
            });
            return None;
        }
        Op::Crashed { reply, .. } => {
            let _ = reply.send(match answer {
                Answer::Crashes(crashes) => Ok(crashes),
                answer => Err(refusal(answer)),
            });
            return None;
        }
    };
    let result = match answer {
        Answer::Loaded(stored) => Ok(Some(Arc::new(stored.message))),
        Answer::Refused(text) => Err(Failure::Refused(text)),
        Answer::Damaged(text) => Err(Failure::Damaged(text)),
        Answer::Removed(false) => Err(Failure::Refused(Error::absent().to_string())),
        _ => Ok(None),
    };
    Some(Completion { waiter, result })
}

fn refusal(answer: Answer) -> Error {
    match answer {
        Answer::Refused(text) | Answer::Damaged(text) => Error::Queue(text),
        _ => Error::Queue("it was not done".to_owned()),
    }
}
