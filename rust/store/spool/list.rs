//! What is in the spool, for the operator: all partitions, also those of a running server.
//!
//! Reads only, in short transactions of a page of messages, so that no checkpoint of a server waits for it; two pages may show
//! two moments. A partition of the schema before is read as it is: its owner may live. `SQLite` may make a `-shm` file to read a partition whose owner was killed; it gives it the database's owner.
#![forbid(unsafe_code)]

use std::io;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::error::Error;
use super::partition_dir::{PartitionDir, database};
use super::rows;
use super::schema::{self, Schema};
use super::tag;
use crate::machine::message::Recipient;

/// Messages read in one transaction.
const PAGE: i64 = 500;

/// One message of the spool, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Queue id.
    pub queue_id: String,
    /// Time of acceptance, milliseconds since the epoch.
    pub arrival: i64,
    /// Reverse-path without angle brackets.
    pub reverse_path: String,
    /// Octets of trace fields and content.
    pub size: i64,
    /// Recipients in the order of their RCPT commands.
    pub recipients: Vec<Recipient>,
    /// Tag of the partition.
    pub partition: String,
    /// A process owns the partition now.
    pub owned: bool,
}

/// All messages of the spool, by partition and order of coming, without those of a later version of this program.
pub fn list(spool: &Path) -> io::Result<Vec<Listed>> {
    let mut all = Vec::new();
    each(spool, |connection, path, tag| {
        let owned = PartitionDir::owned(spool, tag)?;
        let mut after = 0;
        while let Some(last) = page(connection, path, tag, owned, after, &mut all)? {
            after = last;
        }
        Ok(())
    })?;
    Ok(all)
}

/// Number of messages in the spool, those of a later version among them as far as they can be counted.
pub fn count(spool: &Path) -> io::Result<i64> {
    let mut sum = 0;
    each(spool, |connection, _, _| {
        sum += connection.query_row("SELECT count(*) FROM message", [], |row| row.get::<_, i64>(0))?;
        Ok(())
    })?;
    Ok(newer(spool)?.iter().filter_map(|(_, messages)| *messages).fold(sum, i64::saturating_add))
}

/// Partitions of a later version of this program: tag and number of messages, if known.
pub fn newer(spool: &Path) -> io::Result<Vec<(String, Option<i64>)>> {
    let mut found = Vec::new();
    for tag in PartitionDir::names(spool)? {
        let path = database(&spool.join("partitions").join(&tag));
        if let Err(Error::Newer(_)) = open(&path) {
            let messages = count_any(&path);
            found.push((tag, messages));
        }
    }
    Ok(found)
}

/// Messages in the queue at `path`, of whatever version.
pub fn count_any(path: &Path) -> Option<i64> {
    schema::count_any(&connect(path).ok()?)
}

fn each(spool: &Path, mut visit: impl FnMut(&Connection, &Path, &str) -> Result<(), Error>) -> io::Result<()> {
    for tag in PartitionDir::names(spool)? {
        let path = database(&spool.join("partitions").join(&tag));
        match open(&path).and_then(|connection| visit(&connection, &path, &tag)) {
            Ok(()) | Err(Error::Newer(_)) => {}
            // Removed meanwhile: it was empty.
            Err(error) if path.try_exists()? => {
                return Err(io::Error::other(format!("partition {tag}: {error}")));
            }
            Err(_) => {}
        }
    }
    Ok(())
}

fn open(path: &Path) -> Result<Connection, Error> {
    let connection = connect(path)?;
    Schema::of(&connection, path)?;
    Ok(connection)
}

fn connect(path: &Path) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_millis(250))?;
    Ok(connection)
}

/// Appends the messages that follow sequence `after`; returns the last one's, or None at the end.
fn page(
    connection: &Connection,
    path: &Path,
    tag: &str,
    owned: bool,
    after: i64,
    all: &mut Vec<Listed>,
) -> Result<Option<i64>, Error> {
    let transaction = connection.unchecked_transaction()?;
    // A new owner may have migrated it meanwhile.
    let schema = Schema::of(&transaction, path)?;
    let mut statement = transaction
        .prepare_cached("SELECT seq,arrival,reverse_path,size FROM message WHERE seq>?1 ORDER BY seq LIMIT ?2")?;
    let mut rows = statement.query([after, PAGE])?;
    let mut last = None;
    while let Some(row) = rows.next()? {
        let sequence = row.get(0)?;
        last = Some(sequence);
        all.push(Listed {
            queue_id: tag::queue_id(tag, sequence),
            arrival: row.get(1)?,
            reverse_path: row.get(2)?,
            size: row.get(3)?,
            recipients: rows::recipients(&transaction, schema, sequence)?,
            partition: tag.to_owned(),
            owned,
        });
    }
    Ok(last)
}
