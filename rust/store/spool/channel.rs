//! Where the loop's thread and the writer thread meet: operations one way, completions the other, an eventfd to wake the loop.
//!
//! Neither side ever waits for the other's work while it holds a lock. What waits is bounded by its askers: an insert by a
//! session that is held until it is notified, a load or a settlement by a delivery attempt, a remove by a message.
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};

use super::op::{Completion, Op};

struct Waiting<W> {
    ops: Vec<Op<W>>,
    /// Somebody waits for one of them.
    awaited: bool,
    closed: bool,
}

/// Shared by the two threads.
pub struct Channel<W> {
    waiting: Mutex<Waiting<W>>,
    arrived: Condvar,
    news: Mutex<Vec<Completion<W>>>,
    event: OwnedFd,
    /// The last batch was committed.
    pub healthy: AtomicBool,
    /// Messages in the queue.
    pub count: AtomicI64,
    /// Octets free inside the database, as of the last batch.
    pub spare: AtomicU64,
}

impl<W> Channel<W> {
    pub fn new(count: i64) -> std::io::Result<Self> {
        Ok(Self {
            waiting: Mutex::new(Waiting { ops: Vec::new(), awaited: false, closed: false }),
            arrived: Condvar::new(),
            news: Mutex::new(Vec::new()),
            event: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            healthy: AtomicBool::new(true),
            count: AtomicI64::new(count),
            spare: AtomicU64::new(0),
        })
    }

    /// Readable while there are completions to fetch.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    /// Hands `op` to the writer, and returns whether it takes any: not when the partition is closed.
    pub fn ask(&self, op: Op<W>) -> bool {
        let mut waiting = lock(&self.waiting);
        if waiting.closed {
            return false;
        }
        // Only the first finds the writer asleep, and the first that somebody waits for finds it lingering.
        let wakes = waiting.ops.is_empty() || (op.is_awaited() && !waiting.awaited);
        waiting.awaited |= op.is_awaited();
        waiting.ops.push(op);
        if wakes {
            self.arrived.notify_one();
        }
        true
    }

    /// No more operations; the writer ends after those that wait.
    pub fn close(&self) {
        lock(&self.waiting).closed = true;
        self.arrived.notify_one();
    }

    /// All that waits, and whether that is the end. Sleeps for `pause` unless it is the end, then while there is nothing, but no
    /// longer than `patience`, and then for `linger` until there is something that somebody waits for.
    pub fn wait(&self, pause: Duration, linger: Duration, patience: Option<Duration>) -> (Vec<Op<W>>, bool) {
        let idle = |waiting: &mut Waiting<W>| waiting.ops.is_empty() && !waiting.closed;
        let mut waiting = lock(&self.waiting);
        if !pause.is_zero() {
            let open = |waiting: &mut Waiting<W>| !waiting.closed;
            waiting = self.arrived.wait_timeout_while(waiting, pause, open).unwrap_or_else(PoisonError::into_inner).0;
        }
        let mut waiting = match patience {
            None => self.arrived.wait_while(waiting, idle).unwrap_or_else(PoisonError::into_inner),
            Some(time) => {
                self.arrived.wait_timeout_while(waiting, time, idle).unwrap_or_else(PoisonError::into_inner).0
            }
        };
        if !waiting.ops.is_empty() {
            let unawaited = |waiting: &mut Waiting<W>| !(waiting.awaited || waiting.closed);
            waiting =
                self.arrived.wait_timeout_while(waiting, linger, unawaited).unwrap_or_else(PoisonError::into_inner).0;
        }
        waiting.awaited = false;
        (std::mem::take(&mut waiting.ops), waiting.closed)
    }

    /// Publishes completions and wakes the loop once for all of them.
    pub fn complete(&self, news: Vec<Completion<W>>) {
        if news.is_empty() {
            return;
        }
        lock(&self.news).extend(news);
        // Fails only when the counter is at its top: then the loop is awake already.
        let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
    }

    /// All completions since the last call.
    pub fn completions(&self) -> Vec<Completion<W>> {
        // First the descriptor: news that comes after it makes it readable again.
        let _ = rustix::io::read(&self.event, &mut [0_u8; 8]);
        std::mem::take(&mut *lock(&self.news))
    }
}

/// A panic while the lock was held leaves nothing half-done here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::sync_channel;

    use super::*;

    #[test]
    fn a_pause_gathers_what_comes_meanwhile_and_ends_with_the_exchange() {
        let channel = Arc::new(Channel::<u32>::new(0).unwrap());
        let ask = || channel.ask(Op::Remove { waiter: None, sequence: 1 });
        assert!(ask());
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| channel.wait(Duration::from_secs(60), Duration::ZERO, None));
            assert!(ask());
            channel.close();
            let (ops, closed) = writer.join().unwrap();
            assert_eq!((ops.len(), closed), (2, true));
        });
        assert!(!ask());
    }
    #[test]
    fn what_nobody_waits_for_goes_with_what_somebody_does() {
        let channel = Arc::new(Channel::<u32>::new(0).unwrap());
        let removed = || channel.ask(Op::Remove { waiter: None, sequence: 1 });
        let wait = |linger| channel.wait(Duration::ZERO, linger, None).0.len();
        let (reply, _answer) = sync_channel(1);
        assert!(removed());
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| wait(Duration::from_secs(60)));
            assert!(channel.ask(Op::Crashed { sequence: 1, reply: reply.clone() }));
            assert_eq!(writer.join().unwrap(), 2);
        });
        assert!(removed());
        assert_eq!(wait(Duration::from_millis(1)), 1, "alone it is not kept for ever");
        assert!(channel.ask(Op::Crashed { sequence: 1, reply }));
        assert_eq!(wait(Duration::from_secs(60)), 1);
    }
}
