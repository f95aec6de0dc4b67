//! The command whose reply is due: how long it is waited for, and what is said when it does not come.

use super::Timeout;

/// The command whose reply is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaited {
    Greeting,
    Extended,
    Plain,
    StartTls,
    Auth,
    XClient,
    XForward,
    Mail,
    Rcpt(usize),
    Data,
    /// A chunk that is not the last one.
    Chunk,
    /// End of data, or the last chunk; the slot over LMTP, where each accepted recipient gets a reply.
    Dot(Option<usize>),
    LoneDot,
    Reset,
    Quit,
}

impl Awaited {
    /// The time limit of the reply.
    pub fn timeout(self) -> Timeout {
        match self {
            Self::Greeting | Self::Extended | Self::Plain | Self::StartTls | Self::Auth | Self::XClient => {
                Timeout::Greeting
            }
            Self::XForward | Self::Mail | Self::Reset => Timeout::Mail,
            Self::Rcpt(_) => Timeout::Rcpt,
            Self::Data => Timeout::Data,
            Self::Chunk | Self::Dot(_) | Self::LoneDot => Timeout::EndOfData,
            Self::Quit => Timeout::Idle,
        }
    }

    /// Where a connection ended that ended now.
    pub fn place(self) -> &'static str {
        match self {
            Self::Greeting => "waiting for the greeting",
            Self::Extended | Self::Plain => "waiting for the reply to EHLO",
            Self::StartTls => "waiting for the reply to STARTTLS",
            Self::Auth => "waiting for the reply to AUTH",
            Self::XClient => "waiting for the reply to XCLIENT",
            Self::XForward | Self::Mail => "waiting for the reply to MAIL",
            Self::Rcpt(_) => "waiting for the reply to RCPT",
            Self::Data => "waiting for the reply to DATA",
            Self::Chunk => "waiting for the reply to a chunk",
            Self::Dot(_) => "waiting for the reply to the end of data (it may be delivered twice)",
            Self::LoneDot | Self::Reset | Self::Quit => "between transactions",
        }
    }
}
