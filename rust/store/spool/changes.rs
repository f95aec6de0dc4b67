//! What an operator, or the server in its own defence, does with a stored message besides delivering it.
#![forbid(unsafe_code)]

use rusqlite::params;

use super::error::Error;
use super::held::Held;
use super::rows;
use super::schedule::open_states;
use super::schema::Schema;
use super::store::Store;
use crate::machine::message::{Recipient, State};

/// Deaths of workers that were busy with a message, after which it is set aside.
const CRASHES: i64 = 2;

/// One change of a message. Each leaves a message that is held where it is, but for [`Change::Release`] and [`Change::Fail`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It is in no schedule any more.
    Hold(Held),
    /// It is delivered again, and what its workers died of is forgotten.
    Release,
    /// Its open recipients are due then.
    Retry {
        /// Milliseconds since the epoch.
        due: i64,
    },
    /// Every recipient that is left has failed for good, and is to be reported; so the message is held no more.
    Fail {
        /// The reply that says why.
        reply: String,
        /// When it is reported, milliseconds since the epoch.
        due: i64,
    },
    /// Whoever it could not be delivered to is tried elsewhere.
    Redirect {
        /// Where.
        to: Redirection,
        /// When, milliseconds since the epoch.
        due: i64,
    },
}

/// Where a message goes in place of where its envelope and the routes say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redirection {
    /// To a next hop in its written form; empty: where the routes say.
    NextHop(String),
    /// To these addresses, normalised.
    Recipients(Vec<String>),
}

impl Store {
    /// Changes message `sequence`. [`Error::Message`] when there is none.
    pub fn change(&self, sequence: i64, change: &Change) -> Result<(), Error> {
        match change {
            Change::Hold(held) => self.hold(sequence, *held),
            Change::Release => self.release(sequence),
            Change::Retry { due } => {
                self.known(sequence)?;
                let changed = format!("UPDATE recipient SET due=?2 WHERE seq=?1 AND state IN ({})", open_states());
                self.connection.prepare_cached(&changed)?.execute(params![sequence, due])?;
                Ok(())
            }
            Change::Fail { reply, due } => {
                self.release(sequence)?;
                let changed = "UPDATE recipient SET state=?2, reply=?3, due=?4 WHERE seq=?1 AND state=?5";
                let (failed, pending) = (State::Failed as u8, State::Pending as u8);
                self.connection.prepare_cached(changed)?.execute(params![sequence, failed, reply, due, pending])?;
                Ok(())
            }
            Change::Redirect { to: Redirection::NextHop(next_hop), due } => self.fix(sequence, next_hop, *due),
            Change::Redirect { to: Redirection::Recipients(addresses), due } => self.replace(sequence, addresses, *due),
        }
    }

    /// Counts the death of a worker that was busy with message `sequence`, and holds it when it was not the first. Returns
    /// how many there were; 0 when there is no such message.
    pub fn crashed(&self, sequence: i64) -> Result<i64, Error> {
        let counted = "UPDATE message SET crashes=crashes+1 WHERE seq=?1";
        if self.connection.prepare_cached(counted)?.execute([sequence])? == 0 {
            return Ok(0);
        }
        let read = "SELECT crashes, held FROM message WHERE seq=?1";
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let (crashes, held): (i64, i64) = self.connection.prepare_cached(read)?.query_row([sequence], row)?;
        if crashes >= CRASHES && held == Held::No as i64 {
            self.hold(sequence, Held::Crashed)?;
        }
        Ok(crashes)
    }

    fn hold(&self, sequence: i64, held: Held) -> Result<(), Error> {
        let changed = "UPDATE message SET held=?2 WHERE seq=?1";
        known(self.connection.prepare_cached(changed)?.execute(params![sequence, held as u8])?)
    }

    fn release(&self, sequence: i64) -> Result<(), Error> {
        let changed = "UPDATE message SET held=0, crashes=0 WHERE seq=?1";
        known(self.connection.prepare_cached(changed)?.execute([sequence])?)
    }

    fn fix(&self, sequence: i64, next_hop: &str, due: i64) -> Result<(), Error> {
        self.known(sequence)?;
        let changed = "UPDATE recipient SET state=?2, next_hop_fixed=?3, due=?4 WHERE seq=?1 AND state IN (?2,?5)";
        let (pending, failed) = (State::Pending as u8, State::Failed as u8);
        self.connection.prepare_cached(changed)?.execute(params![sequence, pending, next_hop, due, failed])?;
        Ok(())
    }

    /// Puts recipients with these addresses in the place of those it could not be delivered to; an address that is among them
    /// already gets no second one.
    fn replace(&self, sequence: i64, addresses: &[String], due: i64) -> Result<(), Error> {
        self.known(sequence)?;
        let recipients = rows::recipients(&self.connection, Schema::Three, sequence)?;
        let first = recipients.len();
        let redirected = |one: &Recipient| matches!(one.state, State::Pending | State::Failed);
        let (mut old, mut added) = (Vec::new(), Vec::<Recipient>::new());
        for (place, recipient) in (0_i64..).zip(&recipients).filter(|(_, one)| redirected(one)) {
            let (state, others) = recipient.redirected(addresses, due);
            old.push((place, state));
            for other in others {
                if added.iter().all(|one| one.address != other.address) {
                    added.push(other);
                }
            }
        }
        let mut update =
            self.connection.prepare_cached("UPDATE recipient SET state=?3, reply=?4, due=?5 WHERE seq=?1 AND n=?2")?;
        let reply = format!("250 2.1.5 Redirected to {}", addresses.join(", "));
        for (place, state) in old {
            update.execute(params![sequence, place, state as u8, reply, due])?;
        }
        self.insert_recipients(sequence, i64::try_from(first).unwrap_or(i64::MAX), &added)
    }

    /// [`Error::Message`] when there is no message `sequence`.
    fn known(&self, sequence: i64) -> Result<(), Error> {
        let mut statement = self.connection.prepare_cached("SELECT 1 FROM message WHERE seq=?1")?;
        if statement.exists([sequence])? { Ok(()) } else { Err(Error::absent()) }
    }
}

/// [`Error::Message`] when no message was changed.
fn known(changed: usize) -> Result<(), Error> {
    if changed > 0 { Ok(()) } else { Err(Error::absent()) }
}
