//! How rows of the database become values. A row that no message can have is an error of its message alone.
#![forbid(unsafe_code)]

use std::path::Path;

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row};

use super::error::Error;
use super::held::Held;
use super::schema::Schema;
use crate::machine::message::content::{Content, Octets};
use crate::machine::message::{Envelope, Message, Parameters, Recipient, State};
use crate::store::checksum;
use crate::store::content::ContentFile;

/// A message as it is stored.
pub struct Stored {
    /// Its envelope, trace and content.
    pub message: Message,
    /// Of trace and content, if it was stored by this version.
    pub checksum: Option<u64>,
    /// Why it is held.
    pub held: Held,
    /// Workers that died while they were busy with it.
    pub crashes: u32,
}

impl Stored {
    /// Whether its content is in a file.
    pub fn has_file(&self) -> bool {
        matches!(self.message.content.octets, Octets::File(_))
    }

    /// Compares the checksum of a content that is in memory, of one in a file nothing.
    pub fn verify(&self) -> Result<(), Error> {
        match &self.message.content.octets {
            Octets::Memory(octets) => self.verify_sum(checksum::of_content(octets)),
            Octets::File(_) => Ok(()),
        }
    }

    /// Reads the content file, if it has one, and compares size and checksum.
    pub fn verify_file(&self) -> Result<(), Error> {
        let Octets::File(file) = &self.message.content.octets else { return Ok(()) };
        let (size, sum) = checksum::of_file(file.path())
            .map_err(|error| Error::DamagedMessage(format!("its content file cannot be read: {error}")))?;
        if size != file.size() {
            let text = format!("its content file has {size} octets in place of {}", file.size());
            return Err(Error::DamagedMessage(text));
        }
        self.verify_sum(sum)
    }

    fn verify_sum(&self, content: u64) -> Result<(), Error> {
        let found = checksum::of_message(&self.message.trace, content);
        if self.checksum.is_none_or(|stored| stored == found) {
            return Ok(());
        }
        Err(Error::DamagedMessage("its stored octets have changed: they do not have its checksum".to_owned()))
    }
}

/// Reads message `sequence` whole but for a content file, whose path is `file`.
pub fn stored(
    connection: &Connection,
    schema: Schema,
    sequence: i64,
    queue_id: String,
    file: &Path,
) -> Result<Stored, Error> {
    let mut stored = connection
        .prepare_cached(schema.message())?
        .query_row([sequence], |row| message(row, queue_id, file))
        .optional()?
        .ok_or_else(Error::absent)?;
    stored.message.envelope.recipients = recipients(connection, schema, sequence)?;
    Ok(stored)
}

/// A row of [`Schema::message`]; its recipients are still missing.
fn message(row: &Row<'_>, queue_id: String, file: &Path) -> rusqlite::Result<Stored> {
    let trace: Vec<u8> = row.get(9)?;
    let octets = if row.get::<_, Option<String>>(7)?.is_some() {
        let size = row.get::<_, i64>(6)?.cast_unsigned().saturating_sub(trace.len() as u64);
        Octets::File(Box::new(ContentFile::kept(file.to_owned(), size)))
    } else {
        Octets::Memory(row.get(10)?)
    };
    let message = Message {
        queue_id,
        arrival: row.get(0)?,
        envelope: Envelope {
            reverse_path: row.get(1)?,
            parameters: parameters(row, 2)?,
            recipients: Vec::new(),
            origin: parameters(row, 3)?,
            results: row.get(4)?,
        },
        trace,
        content: Content { octets, eight_bit: row.get(5)? },
        share: None,
    };
    Ok(Stored {
        message,
        checksum: row.get::<_, Option<i64>>(8)?.map(i64::cast_unsigned),
        held: Held::numbered(row.get(11)?),
        crashes: small(row, 12)?,
    })
}

/// The recipients of message `sequence`, in their order.
pub fn recipients(connection: &Connection, schema: Schema, sequence: i64) -> rusqlite::Result<Vec<Recipient>> {
    let mut statement = connection.prepare_cached(schema.recipients())?;
    let rows = statement.query_map([sequence - 1, sequence], |row| {
        let number = row.get(2)?;
        Ok(Recipient {
            address: row.get(0)?,
            parameters: parameters(row, 1)?,
            state: State::numbered(number).ok_or(rusqlite::Error::IntegralValueOutOfRange(2, number))?,
            reply: row.get(3)?,
            due: row.get(4)?,
            attempts: small(row, 5)?,
            next_hop: row.get(6)?,
            next_hop_fixed: row.get(7)?,
            reported: row.get(8)?,
        })
    })?;
    rows.collect()
}

/// A small number; a damaged one must not hide the messages beside it.
pub fn small(row: &Row<'_>, column: usize) -> rusqlite::Result<u32> {
    Ok(u32::try_from(row.get::<_, i64>(column)?.clamp(0, i64::from(u16::MAX))).unwrap_or_default())
}

/// Nor a damaged text.
pub fn text(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    Ok(String::from_utf8_lossy(row.get_ref(column)?.as_bytes()?).into_owned())
}

fn parameters(row: &Row<'_>, column: usize) -> rusqlite::Result<Parameters> {
    let text: String = row.get(column)?;
    let strange = || rusqlite::Error::FromSqlConversionFailure(column, Type::Text, "not a list of parameters".into());
    Parameters::parse(&text).ok_or_else(strange)
}
