//! The operations of the writer, how each is done inside a transaction, and its result for the caller.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use super::content_files::ContentFiles;
use super::error::Error;
use super::store::{Group, Next, Store};
use super::tag;
use crate::machine::message::content::Octets;
use crate::machine::message::{Message, Outcome};

/// One thing asked of the writer.
pub enum Op<W> {
    Insert { waiter: W, sequence: i64, message: Arc<Message> },
    Settle { waiter: Option<W>, sequence: i64, outcomes: Vec<Outcome>, next: Next },
    Remove { sequence: i64 },
    Load { waiter: W, sequence: i64 },
    Schedule { reply: SyncSender<Result<Vec<Group>, Error>> },
}

/// News for a waiter: the message for a load, None for the rest, or an error text for the log.
#[derive(Debug)]
pub struct Completion<W> {
    /// Who asked.
    pub waiter: W,
    /// What became of it.
    pub result: Result<Option<Arc<Message>>, String>,
}

/// What became of an [`Op`] inside the transaction.
pub enum Answer {
    Done,
    Removed(bool),
    Loaded(Arc<Message>),
    Scheduled(Vec<Group>),
    Refused(String),
}

/// Octets of disk that `op` takes for good; a received content file has them already.
pub fn taken<W>(op: &Op<W>) -> u64 {
    match op {
        Op::Insert { message, .. } => match &message.content.octets {
            Octets::Memory(octets) => 1024 + octets.len() as u64 + message.trace.len() as u64,
            Octets::File(_) => 1024,
        },
        _ => 0,
    }
}

/// Does `op` in the open transaction.
pub fn apply<W>(store: &Store, content_files: &mut ContentFiles, tag: &str, op: &Op<W>) -> Result<Answer, Error> {
    match op {
        Op::Insert { sequence, message, .. } => {
            let file = content_files.store(*sequence, &message.content.octets)?;
            store.insert(*sequence, message, file.as_deref())?;
        }
        Op::Settle { sequence, outcomes, next, .. } => store.settle(*sequence, outcomes, next)?,
        Op::Remove { sequence } => return store.remove(*sequence).map(Answer::Removed),
        Op::Load { sequence, .. } => {
            let message = store.load(*sequence, tag::queue_id(tag, *sequence), &content_files.path(*sequence))?;
            return Ok(Answer::Loaded(Arc::new(message)));
        }
        Op::Schedule { .. } => return store.schedule().map(Answer::Scheduled),
    }
    Ok(Answer::Done)
}

/// The result for the waiter of `op`, if there is one.
pub fn completion<W>(op: Op<W>, answer: Answer) -> Option<Completion<W>> {
    let waiter = match op {
        Op::Insert { waiter, .. } | Op::Load { waiter, .. } => waiter,
        Op::Settle { waiter, .. } => waiter?,
        Op::Remove { .. } => return None,
        Op::Schedule { reply } => {
            // The caller may have gone; then the result is not needed.
            let _ = reply.send(match answer {
                Answer::Scheduled(all) => Ok(all),
                Answer::Refused(text) => Err(Error::Queue(text)),
                _ => Ok(Vec::new()),
            });
            return None;
        }
    };
    let result = match answer {
        Answer::Loaded(message) => Ok(Some(message)),
        Answer::Refused(text) => Err(text),
        _ => Ok(None),
    };
    Some(Completion { waiter, result })
}
