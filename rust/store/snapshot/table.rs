//! The table of a directory: what was read of one source, in an `SQLite` database that the directory process keeps.
//!
//! Reads only, in one transaction, so that rows and generation belong together. A database that is missing has nothing. `SQLite` may make
//! `-wal` and `-shm` files beside it, as in `crate::store::spool::read_only`. May fail: `io::Error` when it is no such database, damaged or locked.
//!
//! ```text
//! state    key, value: `identity` (of the settings by which it was read), `generation` (another one after each change), `digest` of the rows,
//!          `history_from` and others
//! entry    number, id, name
//! address  entry, text (an entry in the notation of the text file), targets (one a line)
//! history  generation, entry, text: the entries that became others with each generation after `history_from`, and what they had before;
//!          for each generation also the entry 0, whose text is the digest of the rows before it
//! ```
#![forbid(unsafe_code)]

use std::io;
use std::path::Path;
use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Params, params};

/// Of a connection, in KiB below zero as `SQLite` has it: rows are read once.
const CACHE: i64 = -1024;
/// While a full read is swapped in.
const PATIENCE: Duration = Duration::from_secs(5);

/// An open table, in a transaction; None inside when there is none.
pub struct Table(Option<Connection>);

/// Entries that became others, each with a text that it had.
pub type History = Vec<(i64, Vec<u8>)>;

/// One row.
pub struct Row<'a> {
    /// Number of its entry.
    pub entry: i64,
    /// In the notation of the text file.
    pub text: &'a [u8],
    /// Addresses that get its mail instead, one a line; empty: none.
    pub targets: &'a [u8],
}

impl Table {
    /// Opens the table in the database at `path`.
    pub fn open(path: &Path) -> io::Result<Self> {
        if !path.try_exists()? {
            return Ok(Self::missing());
        }
        connect(path).map(|connection| Self(Some(connection))).map_err(failed)
    }

    /// One that is not there.
    pub const fn missing() -> Self {
        Self(None)
    }

    /// What it is now: equal states mean equal rows. Empty when there is none, or none was read whole yet.
    pub fn state(&self) -> io::Result<String> {
        let (identity, generation, digest) =
            (self.value("identity")?, self.value("generation")?, self.value("digest")?);
        let is_whole = !matches!(generation.as_str(), "" | "0");
        Ok(if is_whole { format!("{identity} {generation}.{digest}") } else { String::new() })
    }

    fn value(&self, key: &str) -> io::Result<String> {
        let Some(connection) = &self.0 else { return Ok(String::new()) };
        let found = connection
            .query_row("SELECT value FROM state WHERE key=?1", [key], |row| Ok(text_of(row.get_ref(0)?)))
            .optional();
        found.map(Option::unwrap_or_default).map_err(failed)
    }

    /// The entries that are others than at `generation`, each with a text that it had; empty where it had none. None when that is not known: so it
    /// is as well where the rows of that generation had another `digest`, as in a table that went back to an earlier one.
    pub fn history(&self, generation: u64, digest: &str) -> io::Result<Option<History>> {
        let Some(connection) = &self.0 else { return Ok(None) };
        if !self.value("history_from")?.parse().is_ok_and(|from: u64| from <= generation) {
            return Ok(None);
        }
        let generation = i64::try_from(generation).unwrap_or(i64::MAX);
        let follows = "SELECT 1 FROM history WHERE generation=?1 AND entry=0 AND text=?2";
        let follower =
            connection.query_row(follows, params![generation.saturating_add(1), digest], |_| Ok(())).optional();
        if follower.map_err(failed)?.is_none() {
            return Ok(None);
        }
        let read = || {
            let query = "SELECT entry, text FROM history WHERE generation > ?1 AND entry != 0";
            let mut statement = connection.prepare(query)?;
            let rows =
                statement.query_map([generation], |row| Ok((row.get(0)?, octets_of(row.get_ref(1)?).to_vec())))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map(Some).map_err(failed)
    }

    /// Gives each row to `take`, in the order of their entries, until that gives false; `wrong` makes an error of what the table cannot give.
    pub fn read<E>(
        &self,
        wrong: impl Fn(io::Error) -> E,
        take: impl FnMut(Row<'_>) -> Result<bool, E>,
    ) -> Result<(), E> {
        self.give("SELECT entry, text, targets FROM address ORDER BY entry, text", [], wrong, take)
    }

    /// The same with the rows of one entry.
    pub fn read_entry<E>(
        &self,
        entry: i64,
        wrong: impl Fn(io::Error) -> E,
        take: impl FnMut(Row<'_>) -> Result<bool, E>,
    ) -> Result<(), E> {
        self.give("SELECT entry, text, targets FROM address WHERE entry=?1 ORDER BY text", [entry], wrong, take)
    }

    fn give<E>(
        &self,
        query: &str,
        parameters: impl Params,
        wrong: impl Fn(io::Error) -> E,
        mut take: impl FnMut(Row<'_>) -> Result<bool, E>,
    ) -> Result<(), E> {
        let Some(connection) = &self.0 else { return Ok(()) };
        let wrong = |error| wrong(failed(error));
        let mut statement = connection.prepare_cached(query).map_err(wrong)?;
        let mut rows = statement.query(parameters).map_err(wrong)?;
        while let Some(row) = rows.next().map_err(wrong)? {
            let octets = |column| row.get_ref(column).map(octets_of).map_err(wrong);
            let (text, targets) = (octets(1)?, octets(2)?);
            if !take(Row { entry: row.get(0).map_err(wrong)?, text, targets })? {
                break;
            }
        }
        Ok(())
    }

    /// The name that the directory has for an entry; empty when it has none.
    pub fn name(&self, entry: i64) -> String {
        let Some(connection) = &self.0 else { return String::new() };
        let query = "SELECT name FROM entry WHERE number=?1";
        connection.query_row(query, [entry], |row| Ok(text_of(row.get_ref(0)?))).unwrap_or_default()
    }
}

/// What the table at `path` is now; see [`Table::state`].
pub fn state(path: &Path) -> io::Result<String> {
    Table::open(path)?.state()
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(PATIENCE)?;
    connection.execute_batch("BEGIN")?;
    connection.pragma_update(None, "cache_size", CACHE)?;
    Ok(connection)
}

fn octets_of(value: ValueRef<'_>) -> &[u8] {
    match value {
        ValueRef::Text(octets) | ValueRef::Blob(octets) => octets,
        _ => &[],
    }
}

fn text_of(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Blob(octets) => octets.iter().map(|octet| format!("{octet:02x}")).collect::<Vec<_>>().concat(),
        other => String::from_utf8_lossy(octets_of(other)).into_owned(),
    }
}

#[allow(clippy::needless_pass_by_value)] // made for map_err
fn failed(error: rusqlite::Error) -> io::Error {
    io::Error::other(error.to_string())
}
