//! What can go wrong with a partition, and whose fault it is.
#![forbid(unsafe_code)]

use std::fmt;
use std::io;

use rusqlite::ErrorCode;

/// How the text begins where there is no message to work on.
pub const NO_MESSAGE: &str = "no such message";

/// A failed operation on the queue; the text is for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// This operation alone cannot be done; the queue is well.
    Message(String),
    /// What is stored of this message is damaged; the queue is well.
    DamagedMessage(String),
    /// The queue cannot be read or written now.
    Queue(String),
    /// What is in the queue file is not a queue: it must be set aside.
    Damaged(String),
    /// The queue is of a later version of this program, which alone can read it.
    Newer(String),
}

impl Error {
    /// There is no message of this queue id.
    pub fn absent() -> Self {
        Self::Message(format!("{NO_MESSAGE} in this partition"))
    }

    /// There is none that may be delivered.
    pub fn held() -> Self {
        Self::Message(format!("{NO_MESSAGE} to deliver: it is held"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Message(text)
        | Self::DamagedMessage(text)
        | Self::Queue(text)
        | Self::Damaged(text)
        | Self::Newer(text)) = self;
        formatter.write_str(text)
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        let text = match &error {
            rusqlite::Error::SqliteFailure(failure, _) => format!("{error} (SQLite {})", failure.extended_code),
            _ => error.to_string(),
        };
        // Damage inside a row: a value that no message can have.
        if matches!(
            error,
            rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::Utf8Error(..)
        ) {
            return Self::DamagedMessage(text);
        }
        // Every statement is a constant, so it is the tables that are not as they were made.
        if matches!(error, rusqlite::Error::SqlInputError { .. }) {
            return Self::Damaged(text);
        }
        match error.sqlite_error_code() {
            Some(ErrorCode::ConstraintViolation) => Self::Message(text),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged(text),
            _ => Self::Queue(text),
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Queue(error.to_string())
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::other(error.to_string())
    }
}
