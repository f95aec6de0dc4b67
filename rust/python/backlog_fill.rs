//! From the spool into the backlog without a Python object a message, without the GIL, and without holding the lock for long.

use std::io;

use super::backlog::{Backlog, State, seconds};
use crate::machine::backlog::{Group, Marks};
use crate::store::spool::{self, Group as Scheduled, Partition};

/// Messages read and added in one go: the loop waits for the lock for less than a millisecond.
const PAGE: usize = 500;
/// A time before all: a line in which something is due now is announced by the next `advance`, as the loop learns it.
const UNSEEN: u64 = 0;
/// Pages of one call.
const PAGES: usize = 100;

/// Times and limits that hold for a call.
#[derive(Clone, Copy)]
pub struct Terms {
    /// Now, milliseconds since the epoch.
    pub wall: i64,
    /// Now on the steady clock, milliseconds.
    pub now: u64,
    /// No group waits longer from now, milliseconds: a clock that was set back delays nothing for long.
    pub longest: u64,
    /// Octets from which on a message is big.
    pub big: i64,
    /// What was deferred is due now.
    pub at_once: bool,
}

/// How far a call came: the sequence after which to go on, `None` at the end; names of destinations that have no line yet, which the
/// next page needs; and queue ids of messages that were in memory when a worker crashed: they are not added.
pub type Filled = (Option<i64>, Vec<String>, Vec<String>);

/// Adds messages after sequence `after`, until the end, a name that is not known, or a number of them.
pub fn fill<W: Send + 'static>(
    partition: &Partition<W>,
    backlog: &Backlog,
    mut after: i64,
    terms: Terms,
) -> io::Result<Filled> {
    let mut suspects = Vec::new();
    for _ in 0..PAGES {
        let page = partition.schedule_page(after, PAGE)?;
        let Some(last) = page.last() else { return Ok((None, Vec::new(), suspects)) };
        let mut state = backlog.lock();
        let unknown = unknown(&state, &page);
        if !unknown.is_empty() {
            return Ok((Some(after), unknown, suspects));
        }
        let number = state.number(partition.tag()).ok_or_else(|| io::Error::other("too many partitions"))?;
        for message in page.chunk_by(|one, next| one.sequence == next.sequence) {
            let Some(first) = message.first() else { continue };
            if first.crashes > 0 {
                suspects.push(spool::queue_id(partition.tag(), first.sequence));
            } else if state.inner.lines_of(number, first.sequence).is_empty() {
                // It waits already where an operator has released it meanwhile.
                add(&mut state, number, message, terms);
            }
        }
        after = last.sequence;
    }
    Ok((Some(after), Vec::new(), suspects))
}

fn unknown(state: &State, page: &[Scheduled]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for one in page {
        if state.inner.known(&one.next.next_hop).is_none() && !names.contains(&one.next.next_hop) {
            names.push(one.next.next_hop.clone());
        }
    }
    names
}

/// Adds the groups of one message, one for each line, due when the first of its recipients is.
fn add(state: &mut State, partition: u16, message: &[Scheduled], terms: Terms) {
    let mut lines: Vec<(u32, &Scheduled)> = Vec::with_capacity(1);
    for one in message {
        let Some(line) = state.inner.known(&one.next.next_hop) else { continue };
        match lines.iter_mut().find(|(known, _)| *known == line) {
            Some((_, first)) if one.next.due < first.next.due => *first = one,
            Some(_) => {}
            None => lines.push((line, one)),
        }
    }
    let parted = Marks::PARTED.when(lines.len() > 1);
    for (line, first) in lines {
        let fresh = first.next.attempts == 0;
        let wait = u64::try_from(first.next.due.saturating_sub(terms.wall)).unwrap_or_default().min(terms.longest);
        let due = if terms.at_once { terms.now } else { terms.now.saturating_add(wait) };
        // Perhaps an outage deferred it, which may still last: the end of one brings it back.
        let stranded = Marks::STRANDED.when(!fresh && due > terms.now);
        let marks = Marks::FRESH.when(fresh).and(Marks::BIG.when(first.size >= terms.big)).and(parted).and(stranded);
        let (sequence, arrival) = (first.sequence, seconds(first.arrival));
        state.inner.put(line, &Group { sequence, partition, marks, arrival, due }, UNSEEN);
    }
}
