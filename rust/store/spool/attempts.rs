//! The attempts that deferred a recipient, for the operator: the latest [`KEPT`] of each message.
//!
//! `outcomes` has a line for each reply: the places of its recipients, as `0-3,7`; the number of their state; the reply.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::fmt::Write as _;

use rusqlite::{Connection, params};

use super::error::Error;
use super::rows;
use crate::machine::message::{Outcome, State};

/// Attempts of a message that are kept.
pub const KEPT: i64 = 20;
/// Outcomes of one attempt that are read: of more recipients than a message can have.
const OUTCOMES: usize = 100_000;

/// An attempt that is to be stored. What it made of each recipient is stored with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRow {
    /// When it ended, milliseconds since the epoch.
    pub at: i64,
    /// The next hop it was made to.
    pub next_hop: String,
    /// Address and port of the server that was reached; empty when none was.
    pub peer: String,
}

/// A stored attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAttempt {
    /// Its number among those of the message that deferred somebody, from 1.
    pub number: i64,
    /// How it was made.
    pub row: AttemptRow,
    /// What it made of each recipient, as far as it can be read.
    pub outcomes: Vec<Outcome>,
}

/// Which messages may have attempts, so that removing one that has none costs no query.
#[derive(Debug, Default)]
pub struct Attempts {
    /// Any up to this sequence may: it had some when the queue was opened.
    before: i64,
    /// Those since then, in blocks of 64.
    since: HashMap<i64, u64>,
}

impl Attempts {
    /// Those of the queue behind `connection`.
    pub fn of(connection: &Connection) -> Result<Self, Error> {
        let before = connection.query_row("SELECT coalesce(max(seq),-1) FROM attempt", [], |row| row.get(0))?;
        Ok(Self { before, since: HashMap::new() })
    }

    /// Stores an attempt for message `sequence`, and deletes the oldest where there are too many.
    pub fn add(
        &mut self,
        connection: &Connection,
        sequence: i64,
        row: &AttemptRow,
        outcomes: &[Outcome],
    ) -> Result<(), Error> {
        let mut insert = connection.prepare_cached(
            "INSERT INTO attempt SELECT ?1,coalesce(max(n),0)+1,?2,?3,?4,?5 FROM attempt WHERE seq=?1",
        )?;
        insert.execute(params![sequence, row.at, row.next_hop, row.peer, encode(outcomes)])?;
        *self.since.entry(sequence >> 6).or_default() |= 1 << (sequence & 63);
        let mut forget = connection
            .prepare_cached("DELETE FROM attempt WHERE seq=?1 AND n<=(SELECT max(n) FROM attempt WHERE seq=?1)-?2")?;
        forget.execute([sequence, KEPT])?;
        Ok(())
    }

    /// Deletes those of message `sequence`.
    pub fn remove(&mut self, connection: &Connection, sequence: i64) -> Result<(), Error> {
        if self.forget(sequence) || sequence <= self.before {
            connection.prepare_cached("DELETE FROM attempt WHERE seq=?1")?.execute([sequence])?;
        }
        Ok(())
    }

    /// Forgets a message, and returns whether it had one since the queue was opened.
    fn forget(&mut self, sequence: i64) -> bool {
        let (block, bit) = (sequence >> 6, 1 << (sequence & 63));
        let Some(bits) = self.since.get_mut(&block).filter(|bits| **bits & bit != 0) else { return false };
        *bits &= !bit;
        if *bits == 0 {
            self.since.remove(&block);
        }
        true
    }
}

/// The attempts of message `sequence`, oldest first.
pub fn read(connection: &Connection, sequence: i64) -> Result<Vec<StoredAttempt>, Error> {
    let mut statement =
        connection.prepare_cached("SELECT n,at,next_hop,peer,outcomes FROM attempt WHERE seq=?1 ORDER BY n")?;
    let rows = statement.query_map([sequence], |row| {
        Ok(StoredAttempt {
            number: row.get(0)?,
            row: AttemptRow { at: row.get(1)?, next_hop: rows::text(row, 2)?, peer: rows::text(row, 3)? },
            outcomes: decode(&rows::text(row, 4)?),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn encode(outcomes: &[Outcome]) -> String {
    let mut lines: Vec<(&Outcome, String, u32)> = Vec::new();
    for outcome in outcomes {
        match lines.iter_mut().rev().find(|(one, ..)| (one.state, &one.reply) == (outcome.state, &outcome.reply)) {
            None => lines.push((outcome, outcome.index.to_string(), outcome.index)),
            Some((_, places, last)) => {
                extend(places, *last, outcome.index);
                *last = outcome.index;
            }
        }
    }
    let line = |(one, places, _): &(&Outcome, String, u32)| {
        format!("{places} {} {}\n", one.state as u8, one.reply.replace(['\r', '\n'], " "))
    };
    lines.iter().map(line).collect()
}

/// Appends a place to a list that ends with `last`.
fn extend(places: &mut String, last: u32, place: u32) {
    let next = last.checked_add(1) == Some(place);
    let range = places.rfind('-').filter(|&dash| places.rfind(',').is_none_or(|comma| comma < dash));
    match range {
        Some(dash) if next => places.truncate(dash),
        _ => {}
    }
    // Writing to a String cannot fail.
    let _ = write!(places, "{}{place}", if next { '-' } else { ',' });
}

fn decode(text: &str) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ' ');
        let (Some(places), Some(state), Some(reply)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let Some(state) = state.parse().ok().and_then(State::numbered) else { continue };
        for range in places.split(',') {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (Ok(first), Ok(last)) = (first.parse::<u32>(), last.parse::<u32>()) else { continue };
            let room = OUTCOMES.saturating_sub(outcomes.len());
            let places = (first..=last).take(room);
            outcomes.extend(places.map(|index| Outcome { index, state, reply: reply.to_owned() }));
        }
    }
    outcomes.sort_by_key(|outcome| outcome.index);
    outcomes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn outcome(index: u32, state: State, reply: &str) -> Outcome {
        Outcome { index, state, reply: reply.to_owned() }
    }

    #[test]
    fn recipients_with_one_reply_share_a_line() {
        let later = "451 4.3.0 later";
        let outcomes: Vec<Outcome> = (0..4)
            .map(|index| outcome(index, State::Pending, later))
            .chain([outcome(5, State::Delivered, "250 ok"), outcome(7, State::Pending, later)])
            .collect();
        assert_eq!(encode(&outcomes), "0-3,7 0 451 4.3.0 later\n5 1 250 ok\n");
    }

    #[test]
    fn damaged_text_costs_its_lines_alone_and_no_memory() {
        let read = decode("0-4294967295 0 x\nnonsense\n1 9 no state\n,,3-1 0 y");
        assert_eq!(read.len(), OUTCOMES);
        assert_eq!(decode("x 0 y\n2 0 z"), [outcome(2, State::Pending, "z")]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(replies in prop::collection::vec((0_u32..3, 0_i64..4, "[a-c]{0,2}"), 0..20)) {
            let mut index = 0;
            let outcomes: Vec<Outcome> = replies
                .iter()
                .map(|(gap, state, reply)| {
                    index += gap + 1;
                    outcome(index, State::numbered(*state).unwrap(), reply)
                })
                .collect();
            prop_assert_eq!(decode(&encode(&outcomes)), outcomes);
        }

        #[test]
        fn messages_with_attempts_are_known(sequences in prop::collection::vec(0_i64..300, 0..40)) {
            let connection = Connection::open_in_memory().unwrap();
            connection.execute_batch(super::super::schema::TABLES).unwrap();
            let mut attempts = Attempts::of(&connection).unwrap();
            let row = AttemptRow { at: 1, next_hop: "smtp://hop".to_owned(), peer: String::new() };
            for &sequence in &sequences {
                attempts.add(&connection, sequence, &row, &[]).unwrap();
            }
            for sequence in 0..300 {
                prop_assert_eq!(attempts.forget(sequence), sequences.contains(&sequence));
            }
            prop_assert!(attempts.since.is_empty());
        }
    }
}
