//! Counts what is in the spool, for the operator: by status, by next hop, by domain.
//!
//! Reads every envelope once, in short transactions. Partitions are cut into pieces that several threads count side by side: one
//! partition may have a million messages, and where they are not in memory, the disk is asked for several pages at a time.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use rusqlite::Row;

use super::error::Error;
use super::filter::{Status, is_open, next_hop, text};
use super::held::Held;
use super::read_only::{self, Partition};
use super::walk::{Recipients, Span, message, recipient, walk};

/// Messages that are counted in one transaction.
const COUNTED: i64 = 20_000;
/// Pieces of a partition at most, and sequences of a piece at least.
const PIECES: i64 = 64;
const PIECE: i64 = 5_000;
/// Threads at least: more than some hosts have processors, because threads that wait for the disk need none.
const THREADS: usize = 8;

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
    fn add_span(&mut self, partition: &Partition, mut span: Span) -> Result<(), Error> {
        loop {
            let (transaction, schema) = partition.begin()?;
            let last = walk(&transaction, schema, span, COUNTED, |row, recipients| {
                self.add_message(row, recipients).map(ControlFlow::Continue)
            })?;
            match last {
                Some(last) => span.after = last,
                None => return Ok(()),
            }
        }
    }

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

/// What is still to be counted: spans, those of one partition together.
struct Pieces(Mutex<Vec<(String, Span)>>);

impl Pieces {
    fn of(spool: &Path, partitions: &[Partition]) -> io::Result<Self> {
        let mut pieces = Vec::new();
        for partition in partitions {
            let spans = read_only::if_there(spool, &partition.tag, spans(partition))?.unwrap_or_default();
            pieces.extend(spans.into_iter().map(|span| (partition.tag.clone(), span)));
        }
        Ok(Self(Mutex::new(pieces)))
    }

    /// The partition that is to be read next.
    fn next_tag(&self) -> Option<String> {
        lock(&self.0).last().map(|(tag, _)| tag.clone())
    }

    /// The next span, if it is of this partition.
    fn take(&self, tag: &str) -> Option<Span> {
        lock(&self.0).pop_if(|(of, _)| of == tag).map(|(_, span)| span)
    }

    /// Leaves out a partition that is gone.
    fn drop_all(&self, tag: &str) {
        lock(&self.0).retain(|(of, _)| of != tag);
    }
}

/// Counts all messages of the spool, without those of a later version of this program.
pub fn stats(spool: &Path) -> io::Result<Stats> {
    let tags = read_only::tags(spool)?.into_iter();
    // They stay open until all is counted: the log of a killed owner is recovered once, and not by each thread.
    let partitions: Vec<_> =
        tags.filter_map(|tag| read_only::open(spool, &tag).transpose()).collect::<io::Result<_>>()?;
    let (pieces, stats) = (Pieces::of(spool, &partitions)?, Mutex::new(Stats::default()));
    let threads = thread::available_parallelism().map_or(1, usize::from).max(THREADS);
    let others = threads.min(lock(&pieces.0).len()).saturating_sub(1);
    let count = || count(spool, &pieces, &stats);
    thread::scope(|scope| {
        let running: Vec<_> = (0..others).map(|_| scope.spawn(count)).collect();
        let own = count();
        let others =
            running.into_iter().map(|thread| thread.join().map_err(|_| io::Error::other("a counting thread died"))?);
        others.fold(own, io::Result::and)
    })?;
    Ok(stats.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Counts pieces while there are any, those of one partition over one connection.
fn count(spool: &Path, pieces: &Pieces, stats: &Mutex<Stats>) -> io::Result<()> {
    let mut counted = Stats::default();
    while let Some(tag) = pieces.next_tag() {
        let of_partition = read_only::read(spool, &tag, |partition| {
            let mut counted = Stats::default();
            while let Some(span) = pieces.take(&tag) {
                counted.add_span(partition, span)?;
            }
            Ok(counted)
        })?;
        match of_partition {
            Some(more) => counted.add(more),
            None => pieces.drop_all(&tag),
        }
    }
    lock(stats).add(counted);
    Ok(())
}

/// The spans that a partition is cut into. The last one has no end: messages come while others are counted.
fn spans(partition: &Partition) -> Result<Vec<Span>, Error> {
    let (transaction, _) = partition.begin()?;
    let bound = |which| {
        let query = format!("SELECT coalesce({which}(seq),0) FROM message");
        transaction.query_row(&query, [], |row| row.get::<_, i64>(0))
    };
    let (mut after, last) = (bound("min")?.saturating_sub(1), bound("max")?);
    let length = (last.saturating_sub(after) / PIECES).saturating_add(1).max(PIECE);
    let mut spans = Vec::new();
    while last.saturating_sub(after) > length {
        spans.push(Span { after, last: after + length });
        after += length;
    }
    spans.push(Span::after(after));
    Ok(spans)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
