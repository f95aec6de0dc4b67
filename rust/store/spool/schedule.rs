//! What is due when: the groups of recipients in a queue.
#![forbid(unsafe_code)]

use std::collections::HashSet;

use rusqlite::params;

use super::error::Error;
use super::held::Held;
use super::rows;
use super::store::Store;
use crate::machine::message::State;

/// When a group of recipients is tried next: see `crate::machine::message::Recipient`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    /// Time of the attempt, milliseconds since the epoch.
    pub due: i64,
    /// Attempts made.
    pub attempts: u32,
    /// Key of the destination of the last one.
    pub next_hop: String,
}

/// A group of recipients of one message that are tried together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its message, as `crate::store::spool::queue_id` names it.
    pub sequence: i64,
    /// When that came, milliseconds since the epoch.
    pub arrival: i64,
    /// Octets of its trace and content.
    pub size: i64,
    /// Workers that died while they were busy with it.
    pub crashes: u32,
    /// When the group is tried next.
    pub next: Next,
}

impl Store {
    /// The groups of the next `most` messages after sequence `after` that are not held, in the order of their coming. A message
    /// without one, all of whose recipients are at their end, is there once: it is to be removed.
    pub fn schedule(&self, after: i64, most: usize) -> Result<Vec<Group>, Error> {
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT m.seq, arrival, size, crashes, coalesce(due, arrival), coalesce(attempts, 0), coalesce(next_hop, '')
             FROM (SELECT seq, arrival, size, crashes FROM message WHERE seq>?1 AND held={} ORDER BY seq LIMIT ?2) m
             LEFT JOIN recipient r ON r.seq = m.seq AND state IN ({}) ORDER BY m.seq, n",
            Held::No as u8,
            open_states()
        ))?;
        let mut rows = statement.query(params![after, i64::try_from(most).unwrap_or(i64::MAX)])?;
        let (mut groups, mut first) = (Vec::<Group>::new(), 0);
        while let Some(row) = rows.next()? {
            let group = Group {
                sequence: row.get(0)?,
                arrival: row.get(1)?,
                size: row.get(2)?,
                crashes: rows::small(row, 3)?,
                next: Next { due: row.get(4)?, attempts: rows::small(row, 5)?, next_hop: rows::text(row, 6)? },
            };
            if groups.last().is_some_and(|last| last.sequence != group.sequence) {
                first = groups.len();
            }
            if !groups.get(first..).unwrap_or_default().contains(&group) {
                groups.push(group);
            }
        }
        Ok(groups)
    }

    /// Places of the recipients of a message for which something is still to be done.
    pub fn open_places(&self, sequence: i64) -> Result<HashSet<u32>, Error> {
        let read = format!("SELECT n FROM recipient WHERE seq=?1 AND state IN ({})", open_states());
        let mut statement = self.connection.prepare_cached(&read)?;
        let places = statement.query_map([sequence], |row| row.get(0))?;
        Ok(places.collect::<Result<_, _>>()?)
    }
}

/// The numbers of the states in which something is still to be done, for a list in SQL.
pub fn open_states() -> String {
    State::OPEN.map(|state| (state as u8).to_string()).join(",")
}
