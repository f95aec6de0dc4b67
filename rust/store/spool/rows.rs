//! How rows of the database become values. A row that no message can have is an error of its message alone.
#![forbid(unsafe_code)]

use std::path::Path;

use rusqlite::types::Type;
use rusqlite::{Connection, Row};

use super::schema::Schema;
use crate::machine::message::content::{Content, Octets};
use crate::machine::message::{Envelope, Message, Parameters, Recipient, State};
use crate::store::content::ContentFile;

/// What [`message`] reads, in its order.
pub const MESSAGE: &str = "SELECT arrival,reverse_path,parameters,origin,results,eight_bit,size,trace,file
    FROM message WHERE seq=?1";

/// A row of [`MESSAGE`]; recipients and content in the database are still missing.
pub fn message(row: &Row<'_>, queue_id: String, file: &Path) -> rusqlite::Result<Message> {
    let trace: Vec<u8> = row.get(7)?;
    let size = row.get::<_, i64>(6)?.cast_unsigned().saturating_sub(trace.len() as u64);
    let octets = if row.get::<_, Option<String>>(8)?.is_some() {
        Octets::File(Box::new(ContentFile::kept(file.to_owned(), size)))
    } else {
        Octets::Memory(Vec::new())
    };
    Ok(Message {
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
    })
}

/// The recipients of message `sequence`, in their order.
pub fn recipients(connection: &Connection, schema: Schema, sequence: i64) -> rusqlite::Result<Vec<Recipient>> {
    let mut statement = connection.prepare_cached(schema.recipients())?;
    let rows = statement.query_map([sequence], |row| {
        let number = row.get(2)?;
        Ok(Recipient {
            address: row.get(0)?,
            parameters: parameters(row, 1)?,
            state: State::numbered(number).ok_or(rusqlite::Error::IntegralValueOutOfRange(2, number))?,
            reply: row.get(3)?,
            due: row.get(4)?,
            attempts: attempts(row, 5)?,
            next_hop: row.get(6)?,
        })
    })?;
    rows.collect()
}

/// A damaged number must not hide the messages beside it.
pub fn attempts(row: &Row<'_>, column: usize) -> rusqlite::Result<u32> {
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
