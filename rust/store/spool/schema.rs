//! The schema of a partition's database, and which versions of it this program knows.
//!
//! ```text
//! message    one row a message; `parameters`, `origin`: notation of `crate::machine::message::Parameters`; `results` is
//!            policy's; `file` names its content file
//! recipient  one row a recipient, in the order of the RCPT commands; `state` as in `crate::machine::message::State`; `due`,
//!            `attempts`, `next_hop` change; open recipients that have the same three are a group
//! content    octets of a message without content file, as received; the trace fields are in `message`
//! ```
//! An operator may read it with any sqlite3 of 3.51.3 or later while the server runs. A schema that differs in anything has
//! another number, and `migration.rs` leads to it.
#![forbid(unsafe_code)]

use std::path::Path;

use rusqlite::Connection;

use super::error::Error;

/// `PRAGMA user_version` of the schema below.
pub const VERSION: i64 = 2;

/// The tables that differ from the schema before.
pub const TABLES: &str = "
CREATE TABLE message(seq INTEGER PRIMARY KEY, arrival INTEGER NOT NULL, reverse_path TEXT NOT NULL,
  parameters TEXT NOT NULL, origin TEXT NOT NULL, results TEXT NOT NULL, eight_bit INTEGER NOT NULL,
  size INTEGER NOT NULL, trace BLOB NOT NULL, file TEXT) STRICT;
CREATE TABLE recipient(seq INTEGER NOT NULL, n INTEGER NOT NULL, address TEXT NOT NULL, parameters TEXT NOT NULL,
  state INTEGER NOT NULL, reply TEXT NOT NULL, due INTEGER NOT NULL, attempts INTEGER NOT NULL, next_hop TEXT NOT NULL,
  PRIMARY KEY(seq, n)) STRICT, WITHOUT ROWID;
PRAGMA user_version = 2;
";

const CONTENT: &str = "CREATE TABLE content(seq INTEGER PRIMARY KEY, octets BLOB NOT NULL) STRICT;";

/// The recipients of message ?1 in their order, as `rows.rs` reads them.
const RECIPIENTS: &str = "
SELECT address,parameters,state,reply,due,attempts,next_hop FROM recipient WHERE seq=?1 ORDER BY n";

/// The same of schema 1, whose messages had one due time.
const RECIPIENTS_1: &str = "
SELECT address,'',state,reply,due,attempts,'' FROM recipient JOIN message USING(seq) WHERE seq=?1 ORDER BY n";

/// A schema that this program can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schema {
    /// That of mailmoat before 0.1.0: to be migrated, or only to be looked at while its owner lives.
    One,
    /// That of this program.
    Two,
}

impl Schema {
    /// That of the database at `path`. One of a later version is [`Error::Newer`]; one without a version was never a partition's.
    pub fn of(connection: &Connection, path: &Path) -> Result<Self, Error> {
        match connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))? {
            VERSION => Ok(Self::Two),
            1 => Ok(Self::One),
            0 => Err(Error::Damaged(format!("{} is not a queue", path.display()))),
            other => Err(Error::Newer(format!(
                "{} has schema version {other}, this program supports {VERSION}: start the version of mailmoat that made it",
                path.display()
            ))),
        }
    }

    /// The query for the recipients of a message.
    pub fn recipients(self) -> &'static str {
        match self {
            Self::One => RECIPIENTS_1,
            Self::Two => RECIPIENTS,
        }
    }
}

/// Makes the tables of a new queue.
pub fn create(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("PRAGMA page_size = 4096; PRAGMA journal_mode = WAL;")?;
    connection.execute_batch(&format!("BEGIN; {TABLES} {CONTENT} COMMIT;"))
}

/// Messages in a queue of whatever version; None when it has no such table.
pub fn count_any(connection: &Connection) -> Option<i64> {
    connection.query_row("SELECT count(*) FROM message", [], |row| row.get(0)).ok()
}
