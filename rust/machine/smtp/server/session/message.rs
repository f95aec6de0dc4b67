//! The message of a transaction whose content is whole, with its trace field.

use super::{Pending, Session};
use crate::machine::message::Message;
use crate::machine::message::content::Taken;
use crate::machine::message::firewall::Firewall;
use crate::machine::smtp::server::trace::{Received, cleaned};

impl Session {
    /// Puts these whole header fields on top of the header section, below `Received`: what the client of a submission left out
    /// (RFC 6409 8). After `Commit`, before [`Self::message`].
    pub fn add_fields(&mut self, fields: &[u8]) {
        if let Some(transaction) = &mut self.transaction {
            transaction.added = fields.to_vec();
        }
    }

    /// The message of the transaction, with a `Received` field on top (RFC 5321 4.4). After `Commit` only; `None` when policy
    /// chose to discard it. `arrival` is in milliseconds since the epoch, `date` the same as RFC 5322 3.3 writes it; `stamps`
    /// are whole header fields to go above `Received`; `firewall` is for a stranger's message.
    pub fn message(
        &mut self,
        queue_id: &str,
        arrival: i64,
        date: &str,
        stamps: &[u8],
        firewall: Option<&Firewall>,
    ) -> Option<Message> {
        if !matches!(self.pending, Pending::Commit) {
            return None;
        }
        let transaction = self.transaction.take()?;
        let taken = std::mem::take(&mut self.mode).into_content()?.finish().ok()?;
        self.queue_id = queue_id.into();
        if transaction.discard {
            return None;
        }
        let mut trace = stamps.to_vec();
        let received = Received {
            helo_name: &self.helo_name,
            peer: &self.peer,
            peer_name: &self.peer_name,
            hostname: &self.config.hostname,
            extended: self.extended(),
            smtputf8: transaction.parameters.smtputf8,
            authenticated: self.auth.is_done(),
            cipher_suite: self.cipher_suite,
            queue_id,
            recipient: transaction.only_recipient(),
            date,
        };
        received.write(&mut trace);
        let Taken { header, content, share } = match firewall {
            Some(firewall) => cleaned(taken, firewall),
            None => taken,
        };
        trace.extend_from_slice(&transaction.added);
        trace.extend_from_slice(&header);
        let envelope = transaction.into_envelope(&self.id, &received, arrival);
        Some(Message { queue_id: queue_id.to_owned(), arrival, envelope, trace, content, share })
    }
}
