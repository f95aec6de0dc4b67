//! Counts what is in the spool, for the operator: by status, by next hop, by domain.
//!
//! Reads every envelope once, in short transactions and as many threads as there are processors, so that a million messages take less
//! than a second.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;

use rusqlite::Row;

use super::error::Error;
use super::filter::{Status, is_open, next_hop, text};
use super::held::Held;
use super::read_only::{self, Partition};
use super::walk::{Recipients, message, recipient, walk};

/// Messages that are counted in one transaction.
const COUNTED: i64 = 20_000;

/// What is counted of a group of open recipients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Open recipients.
    pub recipients: i64,
    /// Those of them that were tried already.
    pub deferred: i64,
    /// When the first of their messages came, milliseconds since the epoch.
    pub oldest: i64,
}

/// What is in the spool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Messages.
    pub messages: i64,
    /// Recipients that something is still to be done for.
    pub recipients: i64,
    /// Octets of trace fields and content of all messages.
    pub octets: i64,
    /// When the first message came, milliseconds since the epoch; None without one.
    pub oldest: Option<i64>,
    /// Messages by the number of their status.
    pub statuses: [i64; Status::COUNT],
    /// By the next hop that recipients were tried at last, or are to be tried at because an operator said so; empty: not known yet.
    pub next_hops: HashMap<String, Tally>,
    /// By the domain of the recipients, in small letters.
    pub domains: HashMap<String, Tally>,
}

impl Stats {
    fn add_message(&mut self, row: &Row<'_>, recipients: &mut Recipients<'_, '_>) -> Result<(), Error> {
        let (arrival, size): (i64, i64) = (row.get(message::ARRIVAL)?, row.get(message::SIZE)?);
        self.messages += 1;
        self.octets = self.octets.saturating_add(size);
        self.oldest = Some(self.oldest.map_or(arrival, |oldest| oldest.min(arrival)));
        let mut tried = false;
        while let Some(one) = recipients.next()? {
            if is_open(one)? {
                let deferred = one.get::<_, i64>(recipient::ATTEMPTS)? > 0;
                tried |= deferred;
                self.add_recipient(one, arrival, deferred);
            }
        }
        let status = Status::of(Held::numbered(row.get(message::HELD)?), tried);
        if let Some(count) = self.statuses.get_mut(status as usize) {
            *count += 1;
        }
        Ok(())
    }

    fn add_recipient(&mut self, row: &Row<'_>, arrival: i64, deferred: bool) {
        self.recipients += 1;
        let one = Tally { recipients: 1, deferred: i64::from(deferred), oldest: arrival };
        add(&mut self.next_hops, next_hop(row), one);
        let domain = text(row, recipient::ADDRESS).rsplit_once('@').map_or("", |(_, domain)| domain);
        if domain.bytes().any(|octet| octet.is_ascii_uppercase()) {
            add(&mut self.domains, &domain.to_ascii_lowercase(), one);
        } else {
            add(&mut self.domains, domain, one);
        }
    }

    fn add(&mut self, other: Self) {
        self.messages += other.messages;
        self.recipients += other.recipients;
        self.octets = self.octets.saturating_add(other.octets);
        self.oldest = self.oldest.into_iter().chain(other.oldest).min();
        for (count, more) in self.statuses.iter_mut().zip(other.statuses) {
            *count += more;
        }
        for (tallies, others) in [(&mut self.next_hops, other.next_hops), (&mut self.domains, other.domains)] {
            for (key, tally) in others {
                add(tallies, &key, tally);
            }
        }
    }
}

fn add(tallies: &mut HashMap<String, Tally>, key: &str, more: Tally) {
    match tallies.get_mut(key) {
        None => _ = tallies.insert(key.to_owned(), more),
        Some(tally) => {
            tally.recipients += more.recipients;
            tally.deferred += more.deferred;
            tally.oldest = tally.oldest.min(more.oldest);
        }
    }
}

/// Counts all messages of the spool, without those of a later version of this program.
pub fn stats(spool: &Path) -> io::Result<Stats> {
    let (tags, stats) = (Mutex::new(read_only::tags(spool)?), Mutex::new(Stats::default()));
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let count = || -> io::Result<()> {
        loop {
            let Some(tag) = lock(&tags).pop() else { return Ok(()) };
            if let Some(counted) = read_only::read(spool, &tag, of_partition)? {
                lock(&stats).add(counted);
            }
        }
    };
    thread::scope(|scope| {
        let running: Vec<_> = (1..threads).map(|_| scope.spawn(count)).collect();
        let own = count();
        let others =
            running.into_iter().map(|thread| thread.join().map_err(|_| io::Error::other("a counting thread died"))?);
        others.fold(own, io::Result::and)
    })?;
    Ok(stats.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn of_partition(partition: &Partition) -> Result<Stats, Error> {
    let (mut stats, mut after) = (Stats::default(), -1);
    loop {
        let (transaction, schema) = partition.begin()?;
        let last = walk(&transaction, schema, after, COUNTED, |row, recipients| {
            stats.add_message(row, recipients).map(ControlFlow::Continue)
        })?;
        match last {
            Some(last) => after = last,
            None => return Ok(stats),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
