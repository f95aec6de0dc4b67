//! A message as the spool keeps it and delivery sends it: envelope, trace fields, content.
//!
//! A value without behaviour. The session machine makes one from a finished transaction, the spool stores and loads it, the
//! client machine sends it. It is shared behind an `Arc` and never changes; what changes (outcomes, due times, attempts) is
//! stored by the spool and kept by the queue.

pub mod address;
pub mod author;
pub mod content;
mod envelope;
pub mod firewall;
pub mod header;
pub mod mailbox;
mod parameters;
pub mod pra;
mod recipient;
pub mod section;
mod shown;
mod token;

pub use envelope::{Envelope, Origin};
pub use parameters::Parameters;
pub use recipient::{Outcome, Recipient, State, asks_for_success};

use content::{Content, Share};

/// One message.
#[derive(Debug)]
pub struct Message {
    /// Unique in the whole spool for ever: partition tag followed by a sequence number.
    pub queue_id: String,
    /// Time of acceptance, milliseconds since the epoch.
    pub arrival: i64,
    /// Envelope.
    pub envelope: Envelope,
    /// What goes in front of the content: stamps and `Received`, each field ended by CRLF; and when the body is in a file, the
    /// header section with its empty line. Messages stored by an older version have the header section in the file, too: only
    /// trace and content in this order are the message, and the end of the header section in them must not be asked for.
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
