//! Reads messages and their recipients side by side, both in the order of the messages: one query for all.
#![forbid(unsafe_code)]

use std::ops::ControlFlow;

use rusqlite::fallible_streaming_iterator::FallibleStreamingIterator;
use rusqlite::{Connection, Row, Rows};

use super::error::Error;
use super::schema::Schema;

/// Columns of a message's row.
pub mod message {
    pub const SEQUENCE: usize = 0;
    pub const ARRIVAL: usize = 1;
    pub const REVERSE_PATH: usize = 2;
    pub const SIZE: usize = 3;
    pub const HELD: usize = 4;
    pub const CRASHES: usize = 5;
}

/// Columns of a recipient's row.
pub mod recipient {
    pub const ADDRESS: usize = 0;
    pub const STATE: usize = 2;
    pub const ATTEMPTS: usize = 5;
    pub const NEXT_HOP: usize = 6;
    pub const NEXT_HOP_FIXED: usize = 7;
    pub const SEQUENCE: usize = 9;
}

/// The recipients of one message, while it is visited.
pub struct Recipients<'a, 'statement> {
    rows: &'a mut Rows<'statement>,
    sequence: i64,
    /// The row that the rows are at was given out.
    given: bool,
}

impl<'statement> Recipients<'_, 'statement> {
    /// The next recipient's row.
    pub fn next(&mut self) -> Result<Option<&Row<'statement>>, Error> {
        loop {
            if self.given {
                self.rows.advance()?;
                self.given = false;
            }
            let Some(row) = self.rows.get() else { return Ok(None) };
            let of: i64 = row.get(recipient::SEQUENCE)?;
            if of > self.sequence {
                return Ok(None);
            }
            self.given = true;
            if of == self.sequence {
                break;
            }
        }
        Ok(self.rows.get())
    }
}

/// The messages after a sequence up to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The last before them.
    pub after: i64,
    /// The last of them.
    pub last: i64,
}

impl Span {
    /// All that come after this one.
    pub fn after(after: i64) -> Self {
        Self { after, last: i64::MAX }
    }
}

/// Visits up to `most` messages of a span, or until the visitor breaks; returns the last one's sequence, None when there was none.
pub fn walk(
    connection: &Connection,
    schema: Schema,
    span: Span,
    most: i64,
    mut visit: impl FnMut(&Row<'_>, &mut Recipients<'_, '_>) -> Result<ControlFlow<()>, Error>,
) -> Result<Option<i64>, Error> {
    let mut messages = connection.prepare_cached(schema.messages())?;
    let mut recipients = connection.prepare_cached(schema.recipients())?;
    let mut rows = recipients.query([span.after, span.last])?;
    rows.advance()?;
    let (mut messages, mut last) = (messages.query([span.after, span.last, most])?, None);
    while let Some(row) = messages.next()? {
        let sequence = row.get(message::SEQUENCE)?;
        last = Some(sequence);
        let mut of = Recipients { rows: &mut rows, sequence, given: false };
        if visit(row, &mut of)?.is_break() {
            break;
        }
        // What the visitor did not look at is skipped.
        while of.next()?.is_some() {}
    }
    Ok(last)
}
