//! Partitions as they are looked at by who does not own them: an operator's command beside a running server.
//!
//! Reads only, in short transactions, so that no checkpoint of a server waits for it; two of them may show two moments. A partition of
//! an older schema is read as it is: its owner may live. One of a later version is left out, and named by [`newer`]. `SQLite` may make
//! a `-shm` file to read a partition whose owner was killed; it gives it the database's owner.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction};

use super::error::Error;
use super::partition_dir::{PartitionDir, database, path_of};
use super::schema::{self, Schema};

/// Of a connection, in KiB below zero as `SQLite` has it: rows are read once, so more would only be filled and thrown away.
const CACHE: i64 = -256;

/// A partition that is read.
pub struct Partition {
    /// Its tag.
    pub tag: String,
    /// Its directory.
    pub path: PathBuf,
    database: PathBuf,
    connection: Connection,
}

impl Partition {
    /// Opens partition `tag` below `spool`.
    fn open(spool: &Path, tag: &str) -> Result<Self, Error> {
        let path = path_of(spool, tag);
        let database = database(&path);
        let connection = connect(&database)?;
        Schema::of(&connection, &database)?;
        Ok(Self { tag: tag.to_owned(), path, database, connection })
    }

    /// Begins to read, and returns the schema to do it by: a new owner may migrate it between two transactions.
    pub fn begin(&self) -> Result<(Transaction<'_>, Schema), Error> {
        let transaction = self.connection.unchecked_transaction()?;
        let schema = Schema::of(&transaction, &self.database)?;
        Ok((transaction, schema))
    }
}

/// Tags of all partitions, in their order.
pub fn tags(spool: &Path) -> io::Result<Vec<String>> {
    PartitionDir::names(spool)
}

/// Partition `tag`, opened; None as in [`read`].
pub fn open(spool: &Path, tag: &str) -> io::Result<Option<Partition>> {
    if_there(spool, tag, Partition::open(spool, tag))
}

/// What `read` makes of partition `tag`; None when it is of a later version, or was removed meanwhile: then it was empty.
pub fn read<T>(spool: &Path, tag: &str, read: impl FnOnce(&Partition) -> Result<T, Error>) -> io::Result<Option<T>> {
    if_there(spool, tag, Partition::open(spool, tag).and_then(|partition| read(&partition)))
}

/// What was read of partition `tag`; None as in [`read`].
pub fn if_there<T>(spool: &Path, tag: &str, read: Result<T, Error>) -> io::Result<Option<T>> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(Error::Newer(_)) => Ok(None),
        Err(error) if database(&path_of(spool, tag)).try_exists()? => {
            Err(io::Error::other(format!("partition {tag}: {error}")))
        }
        Err(_) => Ok(None),
    }
}

/// Number of messages in the spool, those of a later version among them as far as they can be counted.
pub fn count(spool: &Path) -> io::Result<i64> {
    let mut sum = 0_i64;
    for tag in tags(spool)? {
        let counted = read(spool, &tag, |partition| {
            let (transaction, _) = partition.begin()?;
            Ok(transaction.query_row("SELECT count(*) FROM message", [], |row| row.get::<_, i64>(0))?)
        })?;
        sum = sum.saturating_add(counted.unwrap_or_default());
    }
    Ok(newer(spool)?.iter().filter_map(|(_, messages)| *messages).fold(sum, i64::saturating_add))
}

/// Partitions of a later version of this program: tag and number of messages, if known.
pub fn newer(spool: &Path) -> io::Result<Vec<(String, Option<i64>)>> {
    let mut found = Vec::new();
    for tag in tags(spool)? {
        if let Err(Error::Newer(_)) = Partition::open(spool, &tag) {
            let messages = count_any(&database(&path_of(spool, &tag)));
            found.push((tag, messages));
        }
    }
    Ok(found)
}

/// Messages in the queue at `path`, of whatever version.
pub fn count_any(path: &Path) -> Option<i64> {
    schema::count_any(&connect(path).ok()?)
}

fn connect(path: &Path) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_millis(250))?;
    let read = connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0));
    if read.is_err_and(|error| error.sqlite_error_code() == Some(ErrorCode::CannotOpen)) && is_whole(path)? {
        // On a disk that cannot be written to there is no `-shm` file, and nobody who could change the database.
        let text = path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
        let flags = flags | OpenFlags::SQLITE_OPEN_URI;
        connection = Connection::open_with_flags(format!("file:{text}?immutable=1"), flags)?;
    }
    // Not before: it reads the database, too.
    connection.pragma_update(None, "cache_size", CACHE)?;
    Ok(connection)
}

/// Whether the database has all that was committed: its log is empty.
fn is_whole(path: &Path) -> io::Result<bool> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    match fs::metadata(log) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        found => Ok(found?.len() == 0),
    }
}
