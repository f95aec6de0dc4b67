//! What a session counts, and what it remembers of its refusals for the log.

use super::envelopes::Envelopes;
use crate::machine::smtp::reply::Reply;

/// The last refusals, kept for the session's line in the log.
const REFUSALS: usize = 4;
/// Refusals of one session that get a line of their own.
pub const LOGGED: u32 = 100;
/// Octets of a refused command that the log shows.
const SHOWN: usize = 300;

/// Counts for the log and the metrics.
#[derive(Debug, Default)]
pub struct Tally {
    /// Replies by the first digit of their code, from index 2.
    pub replies: [u32; 6],
    /// The last refusals, as sent.
    pub refusals: Vec<Reply>,
    /// What was refused, and is logged for the first [`LOGGED`].
    pub refused: u32,
    /// Transactions, as the log shows them.
    pub envelopes: Envelopes,
    /// Commands received.
    pub commands: u32,
    /// Transactions begun.
    pub transactions: u32,
    /// Octets of contents that came, refused ones among them.
    pub content: u64,
    /// Messages accepted.
    pub messages: u32,
    /// Octets behind STARTTLS that were thrown away (RFC 3207 6).
    pub injected: usize,
    /// Why the session was closed; `None` while it is open.
    pub end: Option<End>,
}

/// Why a session was closed; the last ones are for the caller of `Session::stop`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum End {
    /// QUIT.
    Quit,
    /// A browser or a TLS client.
    NotSmtp,
    /// A BDAT without a number of octets.
    BadChunk,
    /// The limit of errors is reached.
    TooManyErrors,
    /// The limit of commands that achieve nothing is reached.
    NoProgress,
    /// The session's sum of delays is spent.
    TarpitLimit,
    /// Policy refused the client.
    Refused,
    /// A limit of connections is reached.
    TooManyConnections,
    /// The client was silent for too long.
    Timeout,
    /// The session lasted too long.
    SessionTime,
    /// Too many sessions are held.
    Evicted,
    /// Nearly too many connections are open.
    IdleClosed,
    /// The server ends.
    Shutdown,
    /// Something of ours failed.
    Fault,
    /// The TLS handshake failed, or the client broke TLS later.
    TlsFailed,
    /// The limit of failed authentications is reached.
    AuthFailures,
    /// The server is short of something.
    Pressure,
}

impl End {
    const ALL: [Self; 17] = [
        Self::Quit,
        Self::NotSmtp,
        Self::BadChunk,
        Self::TooManyErrors,
        Self::NoProgress,
        Self::TarpitLimit,
        Self::Refused,
        Self::TooManyConnections,
        Self::Timeout,
        Self::SessionTime,
        Self::Evicted,
        Self::IdleClosed,
        Self::Shutdown,
        Self::Fault,
        Self::TlsFailed,
        Self::AuthFailures,
        Self::Pressure,
    ];

    /// By its number; `Fault` for one that there is not.
    pub fn numbered(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).copied().unwrap_or(Self::Fault)
    }
}

impl Tally {
    /// Counts a reply that is sent.
    pub fn count(&mut self, reply: &Reply) {
        if let Some(count) = self.replies.get_mut(usize::from(reply.class())) {
            *count += 1;
        }
        if reply.class() >= 4 {
            if self.refusals.len() == REFUSALS {
                self.refusals.remove(0);
            }
            self.refusals.push(reply.clone());
        }
    }
}

/// What was refused, for a line of its own in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The recipient, as rendered or, when it could not be read, as sent; empty when it was something else.
    pub recipient: String,
    /// What it was otherwise: the command as sent, `end of data` for a content, `connection`.
    pub command: String,
    /// Reverse-path of the transaction; empty without one and for the null reverse-path.
    pub mail_from: String,
    /// The reply.
    pub reply: Reply,
}

impl Refusal {
    /// Of a content, unless it is named otherwise.
    pub fn new(mail_from: String, reply: Reply) -> Self {
        Self { recipient: String::new(), command: "end of data".to_owned(), mail_from, reply }
    }

    /// Names it by the command line.
    pub fn name(&mut self, line: &[u8]) {
        let shown = String::from_utf8_lossy(line.get(..SHOWN).unwrap_or(line));
        match shown.split_once(':').filter(|(verb, _)| verb.to_ascii_uppercase().starts_with("RCPT")) {
            Some((_, path)) => {
                let path = path.trim();
                let path = path.rsplit_once('>').map_or(path, |(path, _)| path);
                path.trim_start_matches('<').clone_into(&mut self.recipient);
                self.command = String::new();
            }
            None => self.command = shown.into_owned(),
        }
    }
}
