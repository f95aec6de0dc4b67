//! Reads content files whole before their messages are given out, in a thread of its own: reading a large file would keep the
//! writer, and with it everyone who waits for a commit.
//!
//! The thread begins with the first message that has a content file, and ends with the partition. What waits is bounded by the
//! messages that delivery has room for.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SendError, Sender, channel};
use std::thread::{self, JoinHandle};

use super::channel::Channel;
use super::op::{Completion, Failure};
use super::rows::Stored;

/// The thread, and where what it is to verify is put in.
type Running<W> = (Sender<(W, Stored)>, JoinHandle<()>);

/// The thread, once there is one.
pub struct Verifier<W> {
    tag: String,
    channel: Arc<Channel<W>>,
    running: Option<Running<W>>,
}

impl<W: Send + 'static> Verifier<W> {
    /// Of the partition `tag`, whose results go to `channel`.
    pub fn new(tag: &str, channel: Arc<Channel<W>>) -> Self {
        Self { tag: tag.to_owned(), channel, running: None }
    }

    /// Verifies the content file of a message, then gives it to its waiter.
    pub fn verify(&mut self, waiter: W, stored: Stored) {
        if self.running.is_none() {
            self.running = self.start().ok();
        }
        let asked = match &self.running {
            Some((asked, _)) => asked.send((waiter, stored)),
            None => Err(SendError((waiter, stored))),
        };
        if let Err(SendError((waiter, stored))) = asked {
            self.channel.complete(vec![verified(waiter, stored)]);
        }
    }

    /// Waits until everything has been verified.
    pub fn finish(&mut self) {
        if let Some((asked, thread)) = self.running.take() {
            drop(asked);
            let _ = thread.join();
        }
    }

    fn start(&self) -> std::io::Result<Running<W>> {
        let (asked, waiting) = channel();
        let results = Arc::clone(&self.channel);
        let thread = thread::Builder::new().name(format!("read-{}", self.tag));
        Ok((asked, thread.spawn(move || run(&waiting, &results))?))
    }
}

fn run<W>(waiting: &Receiver<(W, Stored)>, results: &Channel<W>) {
    for (waiter, stored) in waiting {
        results.complete(vec![verified(waiter, stored)]);
    }
}

fn verified<W>(waiter: W, stored: Stored) -> Completion<W> {
    let result = match stored.verify_file() {
        Ok(()) => Ok(Some(Arc::new(stored.message))),
        Err(error) => Err(Failure::Damaged(error.to_string())),
    };
    Completion { waiter, result }
}
