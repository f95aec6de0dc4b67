//! The queue of a partition: one `SQLite` database in WAL mode, `synchronous=FULL`, one connection. Its tables are described in
//! `schema.rs`.
//!
//! Measured with `life_cycles` in `tests.rs` (4 KiB messages, insert and remove, a second of processor time, a busy two-core
//! machine, hence +-15 %): pages of 4 KiB 40k in batches of 16 and 47k of 64, with a backlog 24k and 33k; 8 KiB, of which one
//! such content wastes nearly half, 32k, 37k, 20k, 26k; 16 and 32 KiB within the noise of 4 KiB, but they write four and eight
//! times as much for a commit of one message. A checkpoint every 4, 16 or 64 MiB of log: no difference above the noise; 16 MiB
//! keeps recovery short. A page cache of 32 MiB instead of 8: none.
#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, params};

use super::attempts::{AttemptRow, Attempts};
use super::error::Error;
use super::held::Held;
use super::migration::migrate;
use super::rows::{self, Stored};
use super::schedule::Next;
use super::schema::{self, Schema, VERSION};
use crate::machine::message::content::Octets;
use crate::machine::message::{Message, Outcome, Recipient};
use crate::store::checksum;

/// Of the connection. Checkpoints are the writer's, after the waiters have been notified: see `writer.rs`; `SQLite`'s own stays as a
/// backstop. The log is cut back when a reader made it grow. `secure_delete` would write every freed page.
const SETTINGS: &str = "
PRAGMA synchronous = FULL;
PRAGMA wal_autocheckpoint = 32768;
PRAGMA journal_size_limit = 67108864;
PRAGMA cache_size = -8192;
PRAGMA secure_delete = OFF;
PRAGMA temp_store = MEMORY;
";

/// Statements of the connection that stay prepared: all of them.
const STATEMENTS: usize = 32;

/// Tables read whole for contradictions when a queue is adopted. Contents have their checksums, and would be gigabytes.
const CHECKED: [&str; 2] = ["message", "recipient"];

/// An open queue.
#[derive(Debug)]
pub struct Store {
    pub(super) connection: Connection,
    attempts: Attempts,
    /// Damage was met, perhaps where octets and attempts are.
    pub(super) careful: bool,
}

impl Store {
    /// Makes a new, empty queue at `path` and closes it: a database may not be renamed while it is open.
    pub fn create(path: &Path) -> Result<(), Error> {
        let connection = Connection::open(path)?;
        schema::create(&connection)?;
        connection.close().map_err(|(_, error)| error.into())
    }

    /// Opens the queue at `path`, which must exist and be of this program's schema.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let connection = connect(path)?;
        match Schema::of(&connection, path)? {
            Schema::Three => Self::of(connection),
            Schema::One | Schema::Two => Err(Error::Queue(format!("{} is of an older schema", path.display()))),
        }
    }

    /// Opens the queue at `path` that somebody else left: reads its envelopes for contradictions, because damage must be found
    /// before the partition is worked on, and brings it to this program's schema.
    pub fn adopt(path: &Path) -> Result<Self, Error> {
        let mut connection = connect(path)?;
        let schema = Schema::of(&connection, path)?;
        for table in CHECKED {
            let check = format!("PRAGMA quick_check({table})");
            let report: String = connection.query_row(&check, [], |row| row.get(0))?;
            if report != "ok" {
                return Err(Error::Damaged(report));
            }
        }
        migrate(&mut connection, schema)?;
        let store = Self::of(connection)?;
        store.check_columns()?;
        Ok(store)
    }

    /// Whether the tables have the columns that are worked with: `quick_check` does not compare what they are called.
    fn check_columns(&self) -> Result<(), Error> {
        self.schedule(i64::MAX, 1)?;
        for statement in [Schema::Three.messages(), Schema::Three.recipients(), Schema::Three.message()] {
            self.connection.prepare(statement)?;
        }
        Ok(())
    }

    fn of(connection: Connection) -> Result<Self, Error> {
        let attempts = Attempts::of(&connection)?;
        Ok(Self { connection, attempts, careful: false })
    }

    /// Begins a transaction; one that only reads costs no write.
    pub fn begin(&self) -> Result<(), Error> {
        self.run("BEGIN")
    }

    /// Ends it; when this returns, what was written is on disk.
    pub fn commit(&self) -> Result<(), Error> {
        self.run("COMMIT")
    }

    /// Writes a page without changing anything, to learn whether writing works.
    pub fn touch(&self) -> Result<(), Error> {
        Ok(self.connection.pragma_update(None, "user_version", VERSION)?)
    }

    /// Moves what the log holds into the database, as far as no reader prevents it.
    pub fn checkpoint(&self) -> Result<(), Error> {
        Ok(self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?)
    }

    /// Octets free inside the database.
    pub fn spare(&self) -> Result<u64, Error> {
        let number = |pragma| self.connection.prepare_cached(pragma)?.query_row([], |row| row.get::<_, i64>(0));
        let (pages, size) = (number("PRAGMA freelist_count")?, number("PRAGMA page_size")?);
        Ok(pages.saturating_mul(size).cast_unsigned())
    }

    /// Closes the queue; the last one to do so folds the log into the database.
    pub fn close(self) -> Result<(), Error> {
        self.connection.close().map_err(|(_, error)| error.into())
    }

    /// Writes a message; `file` names its content file. [`Error::Message`] when there is one of this sequence already: then
    /// nothing was changed.
    pub fn insert(&self, sequence: i64, message: &Message, file: Option<&str>) -> Result<(), Error> {
        let envelope = &message.envelope;
        let sum = match &message.content.octets {
            Octets::Memory(octets) => Some(checksum::of_content(octets)),
            Octets::File(file) => file.sum(),
        };
        let sum = sum.map(|sum| checksum::of_message(&message.trace, sum).cast_signed());
        self.connection.prepare_cached("INSERT INTO message VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,0)")?.execute(
            params![
                sequence,
                message.arrival,
                envelope.reverse_path,
                envelope.parameters.as_str(),
                envelope.origin.as_str(),
                envelope.results,
                message.content.eight_bit,
                message.size().cast_signed(),
                file,
                sum,
                Held::No as u8
            ],
        )?;
        self.insert_recipients(sequence, 0, &envelope.recipients)?;
        let octets = match (file, &message.content.octets) {
            (None, Octets::Memory(octets)) => Some(octets),
            _ => None,
        };
        let mut statement = self.connection.prepare_cached("INSERT INTO content VALUES(?1,?2,?3)")?;
        statement.execute(params![sequence, message.trace, octets])?;
        Ok(())
    }

    /// Writes recipients of a message, the first of which has the place `first`.
    pub(super) fn insert_recipients(&self, sequence: i64, first: i64, recipients: &[Recipient]) -> Result<(), Error> {
        let mut statement =
            self.connection.prepare_cached("INSERT INTO recipient VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11)")?;
        for (n, recipient) in (first..).zip(recipients) {
            statement.execute(params![
                sequence,
                n,
                recipient.address,
                recipient.parameters.as_str(),
                recipient.state as u8,
                recipient.reply,
                recipient.due,
                recipient.attempts,
                recipient.next_hop,
                recipient.next_hop_fixed,
                recipient.reported
            ])?;
        }
        Ok(())
    }

    /// Writes the outcomes of an attempt, and when these recipients are tried next; returns whether there was such a recipient.
    pub fn settle(&self, sequence: i64, outcomes: &[Outcome], next: &Next) -> Result<bool, Error> {
        let mut statement = self.connection.prepare_cached(
            "UPDATE recipient SET state=?3, reply=?4, due=?5, attempts=?6, next_hop=?7 WHERE seq=?1 AND n=?2",
        )?;
        let mut changed = 0;
        for Outcome { index, state, reply } in outcomes {
            let row = params![sequence, index, *state as u8, reply, next.due, next.attempts, next.next_hop];
            changed += statement.execute(row)?;
        }
        Ok(changed > 0)
    }

    /// Deletes a message whose open recipients all have an outcome here, each an end, and returns whether it did; otherwise
    /// writes the outcomes.
    pub fn end(&mut self, sequence: i64, outcomes: &[Outcome], next: &Next) -> Result<bool, Error> {
        if self.open_places(sequence)?.is_subset(&outcomes.iter().map(|one| one.index).collect()) {
            return self.remove(sequence);
        }
        self.settle(sequence, outcomes, next)?;
        Ok(false)
    }

    /// Notes that a delay report was made for these recipients.
    pub fn note_reported(&self, sequence: i64, indexes: &[u32]) -> Result<(), Error> {
        let mut statement = self.connection.prepare_cached("UPDATE recipient SET reported=1 WHERE seq=?1 AND n=?2")?;
        for index in indexes {
            statement.execute(params![sequence, index])?;
        }
        Ok(())
    }

    /// Deletes a message, and returns whether there was one.
    pub fn remove(&mut self, sequence: i64) -> Result<bool, Error> {
        let removed = self.connection.prepare_cached("DELETE FROM message WHERE seq=?1")?.execute([sequence])?;
        if removed > 0 {
            self.connection.prepare_cached("DELETE FROM recipient WHERE seq=?1")?.execute([sequence])?;
            if !self.careful {
                self.delete_octets(sequence)?;
            }
        }
        Ok(removed > 0)
    }

    /// Deletes what [`Self::remove`] left of a message in a damaged database, in a transaction of its own: a failed one cannot be
    /// committed, even after a savepoint. What cannot be deleted stays, of no message.
    pub fn clear(&mut self, sequence: i64) -> Result<(), Error> {
        if !self.careful {
            return Ok(());
        }
        self.begin()?;
        match self.delete_octets(sequence) {
            Err(Error::Damaged(_)) => self.run("ROLLBACK"),
            deleted => deleted.and_then(|()| self.commit()),
        }
    }

    fn delete_octets(&mut self, sequence: i64) -> Result<(), Error> {
        self.connection.prepare_cached("DELETE FROM content WHERE seq=?1")?.execute([sequence])?;
        self.attempts.remove(&self.connection, sequence)
    }

    /// Stores how an attempt was made that had these outcomes; in a damaged database nothing.
    pub fn add_attempt(&mut self, sequence: i64, row: &AttemptRow, outcomes: &[Outcome]) -> Result<(), Error> {
        if self.careful { Ok(()) } else { self.attempts.add(&self.connection, sequence, row, outcomes) }
    }

    /// Reads a message. `file` gives the content file's path, if it has one.
    pub fn load(&self, sequence: i64, queue_id: String, file: &Path) -> Result<Stored, Error> {
        rows::stored(&self.connection, Schema::Three, sequence, queue_id, file)
    }

    /// Number of messages.
    pub fn count(&self) -> Result<i64, Error> {
        Ok(self.connection.query_row("SELECT count(*) FROM message", [], |row| row.get(0))?)
    }

    /// The highest sequence, 0 when empty.
    pub fn last(&self) -> Result<i64, Error> {
        Ok(self.connection.query_row("SELECT coalesce(max(seq),0) FROM message", [], |row| row.get(0))?)
    }

    /// Sequences of the messages with a content file.
    pub fn filed(&self) -> Result<HashSet<i64>, Error> {
        let mut statement = self.connection.prepare("SELECT seq FROM message WHERE file IS NOT NULL")?;
        let rows = statement.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn run(&self, statement: &str) -> Result<(), Error> {
        self.connection.prepare_cached(statement)?.execute([])?;
        Ok(())
    }
}

fn connect(path: &Path) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if !path.try_exists()? {
        return Err(Error::Damaged(format!("{} is missing", path.display())));
    }
    let connection = Connection::open_with_flags(path, flags)?;
    // A reader that finds the log of a killed owner holds a lock while it recovers it.
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.execute_batch(SETTINGS)?;
    Ok(connection)
}
