//! The table of phases: which verb is done when, and which reply refuses it otherwise (RFC 5321 4.1.4).

use crate::machine::smtp::command::Command;
use crate::machine::smtp::reply::{self, Reply};

/// How far the dialogue is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The greeting refused service: nothing but QUIT.
    Refused = 0,
    /// Before HELO or EHLO.
    Fresh = 1,
    /// Between transactions.
    Ready = 2,
    /// MAIL was accepted, no recipient yet.
    Mail = 3,
    /// At least one recipient was accepted.
    Rcpt = 4,
    /// The first chunk of a content was accepted, the last one has not come.
    Chunks = 5,
    /// After 354.
    Content = 6,
    /// The last reply is said.
    Closed = 7,
}

/// Verbs with a row of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Hello,
    Mail,
    Rcpt,
    Data,
    Auth,
    Bdat,
    Proxied,
    Any,
    Quit,
}

impl Verb {
    pub fn of(command: &Command<'_>) -> Self {
        match command {
            Command::Helo(_) | Command::Ehlo(_) => Self::Hello,
            Command::Mail { .. } => Self::Mail,
            Command::Rcpt { .. } => Self::Rcpt,
            Command::Data => Self::Data,
            Command::Auth(_) => Self::Auth,
            Command::Bdat(_) => Self::Bdat,
            Command::Xclient(_) | Command::Xforward(_) => Self::Proxied,
            Command::Quit => Self::Quit,
            _ => Self::Any,
        }
    }

    /// A recipient or a chunk brings a message nearer, or is refused and counts as an error; there may be more of them than the limit.
    pub fn may_be_idle(self) -> bool {
        !matches!(self, Self::Rcpt | Self::Bdat | Self::Quit)
    }
}

type Row = [Option<Reply>; 6];
const DO: Option<Reply> = None;

/// For each verb and phase the reply that refuses it; None: it is done. Refused, Fresh, Ready, Mail, Rcpt, Chunks.
static TABLE: [(Verb, Row); 9] = [
    (Verb::Hello, [Some(reply::NO_SERVICE), DO, DO, DO, DO, DO]),
    (
        Verb::Mail,
        [
            Some(reply::NO_SERVICE),
            Some(reply::HELLO_FIRST),
            DO,
            Some(reply::NESTED_MAIL),
            Some(reply::NESTED_MAIL),
            Some(reply::NESTED_MAIL),
        ],
    ),
    (
        Verb::Rcpt,
        [Some(reply::NO_SERVICE), Some(reply::MAIL_FIRST), Some(reply::MAIL_FIRST), DO, DO, Some(reply::CHUNKS_BEGUN)],
    ),
    (
        Verb::Data,
        [
            Some(reply::NO_SERVICE),
            Some(reply::MAIL_FIRST),
            Some(reply::MAIL_FIRST),
            Some(reply::NO_RECIPIENT),
            DO,
            Some(reply::CHUNKS_BEGUN),
        ],
    ),
    (
        Verb::Auth,
        [
            Some(reply::NO_SERVICE),
            Some(reply::HELLO_FIRST),
            DO,
            Some(reply::AUTH_IN_TRANSACTION),
            Some(reply::AUTH_IN_TRANSACTION),
            Some(reply::AUTH_IN_TRANSACTION),
        ],
    ),
    (
        Verb::Proxied,
        [
            Some(reply::NO_SERVICE),
            DO,
            DO,
            Some(reply::IN_TRANSACTION),
            Some(reply::IN_TRANSACTION),
            Some(reply::IN_TRANSACTION),
        ],
    ),
    (
        Verb::Bdat,
        [
            Some(reply::NO_SERVICE),
            Some(reply::MAIL_FIRST),
            Some(reply::MAIL_FIRST),
            Some(reply::CHUNK_FOR_NOBODY),
            DO,
            DO,
        ],
    ),
    (Verb::Any, [Some(reply::NO_SERVICE), DO, DO, DO, DO, DO]),
    (Verb::Quit, [DO, DO, DO, DO, DO, DO]),
];

/// The reply that refuses this verb in this phase.
pub fn refusal(verb: Verb, phase: Phase) -> Option<&'static Reply> {
    let (_, row) = TABLE.iter().find(|(of, _)| *of == verb)?;
    row.get(phase as usize)?.as_ref()
}
