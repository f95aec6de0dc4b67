//! A message as the spool keeps it and delivery sends it: envelope, trace fields, content.
//!
//! A value without behaviour. The session machine makes one from a finished transaction, the spool stores and loads it, the
//! client machine sends it. It is shared behind an `Arc` and never changes; what changes (outcomes, due time, attempts) is
//! told to the spool and kept by the scheduler.

pub mod address;
pub mod content;
pub mod firewall;
pub mod header;
pub mod mailbox;
pub mod pra;
pub mod section;
mod token;

use content::{Content, Share};

/// What became of one recipient so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum State {
    /// Not tried, or every attempt ended in a temporary failure.
    Pending = 0,
    /// The next hop took it.
    Delivered = 1,
    /// It failed for good and a report about it is owed.
    Failed = 2,
    /// It failed for good and nothing is owed any more: reported, or no report is allowed.
    Closed = 3,
}

/// One recipient of an envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The address in its normalised form, without angle brackets.
    pub address: String,
    /// What became of it.
    pub state: State,
    /// The reply or reason behind the state, such as `550 5.1.1 User unknown`; empty when never tried.
    pub reply: String,
}

/// Who sent it, to whom, and how it came here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Envelope {
    /// Reverse-path without angle brackets; empty for the null reverse-path.
    pub reverse_path: String,
    /// Recipients in the order of their RCPT commands.
    pub recipients: Vec<Recipient>,
    /// MAIL carried SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// Session that brought it, for the logs; empty for a report made here.
    pub session_id: String,
    /// Address of the client; empty for a report made here.
    pub client: String,
}

/// One message.
#[derive(Debug)]
pub struct Message {
    /// Unique in the whole spool for ever: partition tag followed by a sequence number.
    pub queue_id: String,
    /// Time of acceptance, milliseconds since the epoch.
    pub arrival: i64,
    /// Time of the next attempt, milliseconds since the epoch.
    pub due: i64,
    /// Delivery attempts made.
    pub attempts: u32,
    /// Envelope.
    pub envelope: Envelope,
    /// What goes in front of the content: stamps and `Received`, each field ended by CRLF; and when the body is in a file, the
    /// header section with its empty line. Messages stored by an older version have the header section in the file, too: only
    /// trace and content in this order are the message, and nobody may ask where in them the header section ends.
    pub trace: Vec<u8>,
    /// The rest.
    pub content: Content,
    /// What both take out of the budget of the worker that received them.
    pub share: Share,
}

impl Message {
    /// Octets that go to the next hop: trace and content.
    pub fn size(&self) -> u64 {
        self.trace.len() as u64 + self.content.size()
    }
}
