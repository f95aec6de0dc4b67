//! The schema of a partition's database, and which versions of it this program knows.
//!
//! ```text
//! message    one row a message, without its octets, so that all of them are soon read; `parameters`, `origin`: notation of
//!            `crate::machine::message::Parameters`; `results` is policy's; `file` names its content file; `checksum` as in
//!            `crate::store::checksum`, NULL when an older version stored the message; `held` as in `held.rs`; `crashes` of
//!            workers that were busy with it
//! recipient  one row a recipient, in the order of the RCPT commands; `state` as in `crate::machine::message::State`; `due`,
//!            `attempts`, `next_hop` change; open recipients that have the same three are a group; `next_hop_fixed` is an
//!            operator's choice; `reported`: a delay report was made
//! content    one row a message: its trace fields, and the octets as received unless they are in a content file
//! attempt    the latest attempts that deferred a recipient of a message: see `attempts.rs`
//! ```
//! A message that is delivered at once never touches `attempt`. An operator may read it with any sqlite3 of 3.51.3 or later while
//! the server runs. A schema that differs in anything has another number, and `migration.rs` leads to it.
#![forbid(unsafe_code)]

use std::path::Path;

use rusqlite::Connection;

use super::error::Error;

/// `PRAGMA user_version` of the schema below.
pub const VERSION: i64 = 3;

/// All tables of a queue.
pub const TABLES: &str = "
CREATE TABLE message(seq INTEGER PRIMARY KEY, arrival INTEGER NOT NULL, reverse_path TEXT NOT NULL,
  parameters TEXT NOT NULL, origin TEXT NOT NULL, results TEXT NOT NULL, eight_bit INTEGER NOT NULL,
  size INTEGER NOT NULL, file TEXT, checksum INTEGER, held INTEGER NOT NULL, crashes INTEGER NOT NULL) STRICT;
CREATE TABLE recipient(seq INTEGER NOT NULL, n INTEGER NOT NULL, address TEXT NOT NULL, parameters TEXT NOT NULL,
  state INTEGER NOT NULL, reply TEXT NOT NULL, due INTEGER NOT NULL, attempts INTEGER NOT NULL, next_hop TEXT NOT NULL,
  next_hop_fixed TEXT NOT NULL, reported INTEGER NOT NULL, PRIMARY KEY(seq, n)) STRICT, WITHOUT ROWID;
CREATE TABLE content(seq INTEGER PRIMARY KEY, trace BLOB NOT NULL, octets BLOB) STRICT;
CREATE TABLE attempt(seq INTEGER NOT NULL, n INTEGER NOT NULL, at INTEGER NOT NULL, next_hop TEXT NOT NULL,
  peer TEXT NOT NULL, outcomes TEXT NOT NULL, PRIMARY KEY(seq, n)) STRICT, WITHOUT ROWID;
PRAGMA user_version = 3;
";

/// A schema that this program can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schema {
    /// That of mailmoat before 0.1.0, with one due time a message: to be migrated, or only to be looked at while its owner lives.
    One,
    /// The one after it, without holds, checksums and attempts: the same.
    Two,
    /// That of this program.
    Three,
}

impl Schema {
    /// That of the database at `path`. One of a later version is [`Error::Newer`]; one without a version was never a partition's.
    pub fn of(connection: &Connection, path: &Path) -> Result<Self, Error> {
        match connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))? {
            VERSION => Ok(Self::Three),
            2 => Ok(Self::Two),
            1 => Ok(Self::One),
            0 => Err(Error::Damaged(format!("{} is not a queue", path.display()))),
            other => Err(Error::Newer(format!(
                "{} has schema version {other}, this program supports {VERSION}: start the version of mailmoat that made it",
                path.display()
            ))),
        }
    }

    /// What `walk.rs` reads of the messages after ?1 up to ?2, in their order, ?3 of them at most.
    pub fn messages(self) -> &'static str {
        match self {
            Self::One | Self::Two => {
                "SELECT seq,arrival,reverse_path,size,0,0 FROM message
                 WHERE seq>?1 AND seq<=?2 ORDER BY seq LIMIT ?3"
            }
            Self::Three => {
                "SELECT seq,arrival,reverse_path,size,held,crashes FROM message
                 WHERE seq>?1 AND seq<=?2 ORDER BY seq LIMIT ?3"
            }
        }
    }

    /// The recipients of the messages after ?1 up to ?2, in their order, as `rows.rs` reads them; behind that their messages.
    pub fn recipients(self) -> &'static str {
        match self {
            Self::One => {
                "SELECT address,'',state,reply,due,attempts,'','',0,seq FROM recipient JOIN message USING(seq)
                 WHERE seq>?1 AND seq<=?2 ORDER BY seq,n"
            }
            Self::Two => {
                "SELECT address,parameters,state,reply,due,attempts,next_hop,'',0,seq FROM recipient
                 WHERE seq>?1 AND seq<=?2 ORDER BY seq,n"
            }
            Self::Three => {
                "SELECT address,parameters,state,reply,due,attempts,next_hop,next_hop_fixed,reported,seq FROM recipient
                 WHERE seq>?1 AND seq<=?2 ORDER BY seq,n"
            }
        }
    }

    /// What `rows.rs` reads of message ?1.
    pub fn message(self) -> &'static str {
        match self {
            Self::One => {
                "SELECT arrival,reverse_path,iif(smtputf8,'SMTPUTF8',''),
                 trim(iif(session_id='','','SESSION='||session_id)||iif(client='','',' CLIENT='||client)),
                 '',eight_bit,size,file,NULL,trace,octets,0,0 FROM message LEFT JOIN content USING(seq) WHERE seq=?1"
            }
            Self::Two => {
                "SELECT arrival,reverse_path,parameters,origin,results,eight_bit,size,file,NULL,trace,octets,0,0
                 FROM message LEFT JOIN content USING(seq) WHERE seq=?1"
            }
            Self::Three => {
                "SELECT arrival,reverse_path,parameters,origin,results,eight_bit,size,file,checksum,trace,octets,held,crashes
                 FROM message LEFT JOIN content USING(seq) WHERE seq=?1"
            }
        }
    }
}

/// Makes the tables of a new queue.
pub fn create(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("PRAGMA page_size = 4096; PRAGMA journal_mode = WAL;")?;
    connection.execute_batch(&format!("BEGIN; {TABLES} COMMIT;"))
}

/// Messages in a queue of whatever version; None when it has no such table.
pub fn count_any(connection: &Connection) -> Option<i64> {
    connection.query_row("SELECT count(*) FROM message", [], |row| row.get(0)).ok()
}
