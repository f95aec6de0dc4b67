//! The queue of a partition: one `SQLite` database in WAL mode, `synchronous=FULL`, one connection.
//!
//! ```text
//! message    one row a message; `due` and `attempts` change; `file` names its content file
//! recipient  one row a recipient, in the order of the RCPT commands; `state` as in `crate::machine::message::State`
//! content    octets of a message without content file, as received; the trace fields are in `message`
//! ```
//! An operator may read it with any sqlite3 of 3.51.3 or later while the server runs.
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

use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};

use super::error::Error;
use crate::machine::message::content::{Content, Octets};
use crate::machine::message::{Envelope, Message, Recipient, State};
use crate::store::content::ContentFile;

/// `PRAGMA user_version` of the schema below.
pub const VERSION: i64 = 1;

const SCHEMA: &str = "
PRAGMA page_size = 4096;
PRAGMA journal_mode = WAL;
BEGIN;
CREATE TABLE message(seq INTEGER PRIMARY KEY, arrival INTEGER NOT NULL, due INTEGER NOT NULL, attempts INTEGER NOT NULL,
  reverse_path TEXT NOT NULL, smtputf8 INTEGER NOT NULL, eight_bit INTEGER NOT NULL, size INTEGER NOT NULL,
  session_id TEXT NOT NULL, client TEXT NOT NULL, trace BLOB NOT NULL, file TEXT) STRICT;
CREATE TABLE recipient(seq INTEGER NOT NULL, n INTEGER NOT NULL, address TEXT NOT NULL, state INTEGER NOT NULL,
  reply TEXT NOT NULL, PRIMARY KEY(seq, n)) STRICT, WITHOUT ROWID;
CREATE TABLE content(seq INTEGER PRIMARY KEY, octets BLOB NOT NULL) STRICT;
PRAGMA user_version = 1;
COMMIT;
";

/// Of the connection. Checkpoints are the writer's, after the waiters have been told: see `writer.rs`; `SQLite`'s own stays as a
/// backstop. The log is cut back when a reader made it grow. `secure_delete` would write every freed page.
const SETTINGS: &str = "
PRAGMA synchronous = FULL;
PRAGMA wal_autocheckpoint = 32768;
PRAGMA journal_size_limit = 67108864;
PRAGMA cache_size = -8192;
PRAGMA secure_delete = OFF;
PRAGMA temp_store = MEMORY;
";

/// One recipient's outcome: index in the envelope, new state, reply or reason.
pub type Outcome = (u32, State, String);

/// One message of [`Store::schedule`]: sequence, arrival and due (milliseconds since the epoch), attempts.
pub type Due = (i64, i64, i64, u32);

/// An open queue.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
}

impl Store {
    /// Makes a new, empty queue at `path` and closes it: a database may not be renamed while it is open.
    pub fn create(path: &Path) -> Result<(), Error> {
        let connection = Connection::open(path)?;
        connection.execute_batch(SCHEMA)?;
        connection.close().map_err(|(_, error)| error.into())
    }

    /// Opens the queue at `path`, which must exist.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        if !path.try_exists()? {
            return Err(Error::Damaged(format!("{} is missing", path.display())));
        }
        let connection = Connection::open_with_flags(path, flags)?;
        // A reader that finds the log of a killed owner holds a lock while it recovers it.
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.execute_batch(SETTINGS)?;
        check_version(&connection, path)?;
        Ok(Self { connection })
    }

    /// Reads the whole database for contradictions: damage must be found before the partition is worked on.
    pub fn check(&self) -> Result<(), Error> {
        let report: String = self.connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if report == "ok" { Ok(()) } else { Err(Error::Damaged(report)) }
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

    /// Moves what the log holds into the database, as far as no reader stands in the way.
    pub fn checkpoint(&self) -> Result<(), Error> {
        Ok(self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?)
    }

    /// Octets free inside the database.
    pub fn spare(&self) -> Result<u64, Error> {
        let pages: i64 = self.connection.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
        let size: i64 = self.connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
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
        self.connection.prepare_cached("INSERT INTO message VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12)")?.execute(
            params![
                sequence,
                message.arrival,
                message.due,
                message.attempts,
                envelope.reverse_path,
                envelope.smtputf8,
                message.content.eight_bit,
                message.size().cast_signed(),
                envelope.session_id,
                envelope.client,
                message.trace,
                file
            ],
        )?;
        let mut statement = self.connection.prepare_cached("INSERT INTO recipient VALUES(?1,?2,?3,?4,?5)")?;
        for (n, recipient) in (0_i64..).zip(&envelope.recipients) {
            statement.execute(params![sequence, n, recipient.address, recipient.state as u8, recipient.reply])?;
        }
        if let (None, Octets::Memory(octets)) = (file, &message.content.octets) {
            self.connection.prepare_cached("INSERT INTO content VALUES(?1,?2)")?.execute(params![sequence, octets])?;
        }
        Ok(())
    }

    /// Writes the outcomes of an attempt and when the next one is due.
    pub fn settle(&self, sequence: i64, outcomes: &[Outcome], due: i64, attempts: u32) -> Result<(), Error> {
        let mut statement =
            self.connection.prepare_cached("UPDATE recipient SET state=?3, reply=?4 WHERE seq=?1 AND n=?2")?;
        for (n, state, reply) in outcomes {
            statement.execute(params![sequence, n, *state as u8, reply])?;
        }
        self.connection
            .prepare_cached("UPDATE message SET due=?2, attempts=?3 WHERE seq=?1")?
            .execute(params![sequence, due, attempts])?;
        Ok(())
    }

    /// Deletes a message and tells whether there was one.
    pub fn remove(&self, sequence: i64) -> Result<bool, Error> {
        let removed = self.connection.prepare_cached("DELETE FROM message WHERE seq=?1")?.execute([sequence])?;
        if removed > 0 {
            self.connection.prepare_cached("DELETE FROM recipient WHERE seq=?1")?.execute([sequence])?;
            self.connection.prepare_cached("DELETE FROM content WHERE seq=?1")?.execute([sequence])?;
        }
        Ok(removed > 0)
    }

    /// Reads a message. `file` gives the content file's path, if it has one.
    pub fn load(&self, sequence: i64, queue_id: String, file: &Path) -> Result<Message, Error> {
        let mut message = self
            .connection
            .prepare_cached(
                "SELECT arrival,due,attempts,reverse_path,smtputf8,session_id,client,trace,eight_bit,size,file
                 FROM message WHERE seq=?1",
            )?
            .query_row([sequence], |row| read_message(row, queue_id, file))
            .optional()?
            .ok_or_else(|| Error::Message("no such message in this partition".to_owned()))?;
        message.envelope.recipients = recipients(&self.connection, sequence)?;
        if let Octets::Memory(octets) = &mut message.content.octets {
            *octets = self
                .connection
                .prepare_cached("SELECT octets FROM content WHERE seq=?1")?
                .query_row([sequence], |row| row.get(0))
                .optional()?
                .ok_or_else(|| Error::Message("the content of this message is missing".to_owned()))?;
        }
        Ok(message)
    }

    /// All messages, in the order of their coming.
    pub fn schedule(&self) -> Result<Vec<Due>, Error> {
        let mut statement = self.connection.prepare("SELECT seq,arrival,due,attempts FROM message ORDER BY seq")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, attempts(row, 3)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
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

/// Refuses a database of another schema; one without a version was never a partition's.
pub fn check_version(connection: &Connection, path: &Path) -> Result<(), Error> {
    match connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))? {
        VERSION => Ok(()),
        0 => Err(Error::Damaged(format!("{} is not a queue", path.display()))),
        other => Err(Error::Newer(format!(
            "{} has schema version {other}, this program knows {VERSION}: start the version of mailmoat that made it",
            path.display()
        ))),
    }
}

/// Messages in a queue of whatever version; None when it has no such table.
pub fn count_any(connection: &Connection) -> Option<i64> {
    connection.query_row("SELECT count(*) FROM message", [], |row| row.get(0)).ok()
}

/// The recipients of message `sequence`, in their order.
pub fn recipients(connection: &Connection, sequence: i64) -> rusqlite::Result<Vec<Recipient>> {
    let mut statement =
        connection.prepare_cached("SELECT address,state,reply FROM recipient WHERE seq=?1 ORDER BY n")?;
    let rows = statement.query_map([sequence], |row| {
        let state = match row.get::<_, i64>(1)? {
            0 => State::Pending,
            1 => State::Delivered,
            2 => State::Failed,
            3 => State::Closed,
            other => return Err(rusqlite::Error::IntegralValueOutOfRange(1, other)),
        };
        Ok(Recipient { address: row.get(0)?, state, reply: row.get(2)? })
    })?;
    rows.collect()
}

/// A damaged number must not hide the messages beside it.
fn attempts(row: &Row<'_>, column: usize) -> rusqlite::Result<u32> {
    Ok(u32::try_from(row.get::<_, i64>(column)?.clamp(0, i64::from(u16::MAX))).unwrap_or_default())
}

/// A row of the query in [`Store::load`]; recipients and content in the database are still missing.
fn read_message(row: &Row<'_>, queue_id: String, file: &Path) -> rusqlite::Result<Message> {
    let trace: Vec<u8> = row.get(7)?;
    let size = row.get::<_, i64>(9)?.cast_unsigned().saturating_sub(trace.len() as u64);
    let octets = if row.get::<_, Option<String>>(10)?.is_some() {
        Octets::File(Box::new(ContentFile::kept(file.to_owned(), size)))
    } else {
        Octets::Memory(Vec::new())
    };
    Ok(Message {
        queue_id,
        arrival: row.get(0)?,
        due: row.get(1)?,
        attempts: attempts(row, 2)?,
        envelope: Envelope {
            reverse_path: row.get(3)?,
            recipients: Vec::new(),
            smtputf8: row.get(4)?,
            session_id: row.get(5)?,
            client: row.get(6)?,
        },
        trace,
        content: Content { octets, eight_bit: row.get(8)? },
        share: None,
    })
}
