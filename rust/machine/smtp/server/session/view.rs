//! What the caller may see of a session, and what it takes from it.

use super::policy::Question;
use super::{PATIENCE, Pending, Session};
use crate::machine::message::address::Address;
use crate::machine::smtp::server::checked_content::CheckedContent;
use crate::machine::smtp::server::envelopes::Envelopes;
use crate::machine::smtp::server::mode::Mode;
use crate::machine::smtp::server::phase::Phase;
use crate::machine::smtp::server::tally::{Refusal, Tally};
use crate::machine::smtp::server::tarpit::Tarpit;
use crate::machine::smtp::server::transaction::Transaction;

impl Session {
    /// At a content stage, before the answer to it: takes these recipients, as they are rendered, out of the transaction; the
    /// message goes to the rest. Without any recipient left it is discarded.
    pub fn drop_recipients(&mut self, dropped: &[String]) {
        let asked = matches!(self.pending, Pending::Answer(Question::EndOfHeaders | Question::EndOfData));
        if let Some(transaction) = self.transaction.as_mut().filter(|_| asked) {
            transaction.drop_recipients(dropped);
        }
    }

    /// Takes the replies to be written.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// Takes what was refused since the last call.
    pub fn take_refused(&mut self) -> Vec<Refusal> {
        std::mem::take(&mut self.refused)
    }

    /// Whether there is something to take.
    pub fn has_refused(&self) -> bool {
        !self.refused.is_empty()
    }

    /// Octets of input kept and not yet worked on.
    pub fn buffered(&self) -> usize {
        self.input.rest().len()
    }

    /// A reply is held now.
    pub fn is_held(&self) -> bool {
        matches!(self.pending, Pending::Release(_))
    }

    /// The caller has to give an answer, a release or a commit.
    pub fn is_pending(&self) -> bool {
        !matches!(self.pending, Pending::Nothing)
    }

    /// So much was said without a message that the sessions which bring some come first.
    pub fn makes_no_progress(&self) -> bool {
        self.idle >= PATIENCE || self.errors >= self.tally.messages.saturating_add(PATIENCE)
    }

    /// Content is being received, or its next chunk is awaited.
    pub fn in_content(&self) -> bool {
        matches!(self.phase, Phase::Content | Phase::Chunks) || matches!(self.mode, Mode::Chunk(_))
    }

    /// Name given with HELO or EHLO; empty before. At that stage the one that policy is asked about.
    pub fn helo_name(&self) -> &str {
        match &self.pending {
            Pending::Answer(Question::Hello { name, .. }) => name,
            _ => &self.helo_name,
        }
    }

    /// The transaction, from an accepted MAIL on; at that stage the one that policy is asked about.
    pub fn transaction(&self) -> Option<&Transaction> {
        match &self.pending {
            Pending::Answer(Question::Mail(transaction)) => Some(transaction),
            _ => self.transaction.as_deref(),
        }
    }

    /// The address of the peer, or of the client that it speaks for; empty when it is not known.
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// The recipient policy is asked about.
    pub fn recipient(&self) -> Option<&Address> {
        match &self.pending {
            Pending::Answer(Question::Rcpt { address, .. }) => Some(address),
            _ => None,
        }
    }

    /// The header section of the content, once it is there.
    pub fn header(&self) -> &[u8] {
        self.mode.content().map_or(&[], CheckedContent::header)
    }

    /// Counts so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// What the log says of transactions; it goes on from there.
    pub fn envelopes(&mut self) -> &mut Envelopes {
        &mut self.tally.envelopes
    }

    /// Holds so far.
    pub fn tarpit(&self) -> &Tarpit {
        &self.tarpit
    }

    /// Holds each 5xx reply for these milliseconds from now on, in place of the configuration's; an exempt session never.
    pub fn hold_refusals(&mut self, milliseconds: u64) {
        self.tarpit.time = Some(milliseconds);
    }

    /// Names the peer in the messages that follow: a name that its address has, and that has the address.
    pub fn set_peer_name(&mut self, name: &str) {
        self.peer_name = name.into();
    }
}
