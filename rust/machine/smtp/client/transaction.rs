//! What is known of one transaction: what became of each recipient, and what the next hop must offer for it.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;

use crate::machine::message::content::{Octets, Reader};
use crate::machine::message::section::Section;
use crate::machine::message::{Message, Parameters, Recipient, State};
use crate::machine::smtp::chunking::Chunking;

use super::offers::{Offers, RequireTls};

/// `(recipient index, state, reply in one line)`.
pub type Outcome = (usize, State, String);

/// What became of one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// RCPT not answered yet.
    Waiting,
    /// RCPT got 2xx: the end of data decides.
    Accepted,
    /// Decided.
    Settled(State, String),
}

/// What a next hop refuses to all recipients together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setback {
    /// MAIL: whatever a recipient is answered does not count.
    Mail,
    /// A chunk: RSET has to follow (RFC 3030 2).
    Chunk,
}

/// One transaction.
#[derive(Debug)]
pub struct Transaction {
    /// What is sent.
    pub message: Arc<Message>,
    /// Recipients by slot: index in the message and fate.
    pub recipients: Vec<(usize, Fate)>,
    /// The content file, opened before the first command so that a missing one costs no transaction.
    pub file: Option<Box<dyn Reader>>,
    /// MAIL carries SMTPUTF8.
    pub smtputf8: bool,
    /// A reply to one of its commands was read.
    pub replied: bool,
    /// What was refused to all recipients together.
    pub setback: Option<Setback>,
    /// The connection ends with this transaction.
    pub last: bool,
}

impl Transaction {
    /// None when an index names no recipient.
    pub fn new(message: Arc<Message>, indexes: &[usize]) -> Option<Self> {
        let count = message.envelope.recipients.len();
        let recipients =
            indexes.iter().map(|&index| (index < count).then_some((index, Fate::Waiting))).collect::<Option<_>>()?;
        Some(Self { message, recipients, file: None, smtputf8: false, replied: false, setback: None, last: false })
    }

    /// Settles what must not or cannot be sent to a next hop with these offers.
    pub fn check(&mut self, offers: &Offers) {
        self.smtputf8 = offers.smtputf8 && self.wants_smtputf8();
        if let Octets::File(file) = &self.message.content.octets {
            match file.open() {
                Ok(open) => self.file = Some(open),
                Err(error) => return self.settle_open(State::Pending, &unreadable(&error)),
            }
        }
        if has_control(&self.message.envelope.reverse_path) {
            return self.settle_open(State::Failed, "553 5.1.7 Control character in the sender's address");
        }
        if let Some(reason) = self.untrusted(offers.require_tls) {
            return self.settle_open(State::Failed, reason);
        }
        let limit = offers.size.filter(|&limit| limit > 0).unwrap_or(u64::MAX);
        if self.message.size() > limit {
            let reason =
                format!("552 5.3.4 Message of {} octets exceeds the next hop's limit of {limit}", self.message.size());
            return self.settle_open(State::Failed, &reason);
        }
        if !offers.smtputf8 {
            match self.needs_smtputf8() {
                Ok(false) => {}
                Ok(true) => return self.settle_open(State::Failed, NO_SMTPUTF8),
                Err(error) => return self.settle_open(State::Pending, &unreadable(&error)),
            }
        }
        let lacking = match self.body() {
            Some(BINARY) if offers.chunking != Chunking::Binary => Some(NO_BINARY),
            Some(EIGHT_BIT) if !offers.eight_bit => Some(NO_EIGHT_BIT),
            _ => None,
        };
        if let Some(reason) = lacking {
            return self.settle_open(State::Failed, reason);
        }
        self.check_recipients(offers);
    }

    /// Why a message that requires TLS cannot go to such a next hop; a report is not lost over it (RFC 8689 4.2.1, 5).
    fn untrusted(&self, next_hop: RequireTls) -> Option<&'static str> {
        let envelope = &self.message.envelope;
        match next_hop {
            _ if envelope.reverse_path.is_empty() || !envelope.requires_tls() => None,
            RequireTls::Offered => None,
            RequireTls::NotOffered => Some("550 5.7.30 REQUIRETLS support required"),
            RequireTls::Unverified => Some("550 5.7.10 Encryption needed: the next hop's certificate was not verified"),
        }
    }

    fn check_recipients(&mut self, offers: &Offers) {
        for slot in 0..self.recipients.len() {
            let address = self.address(slot);
            if has_control(address) {
                self.settle(slot, State::Failed, "553 5.1.3 Control character in the recipient's address".to_owned());
            } else if !offers.smtputf8 && !address.is_ascii() {
                self.settle(slot, State::Failed, NO_SMTPUTF8.to_owned());
            }
        }
    }

    /// What MAIL has to say of the content; None of one with lines of ASCII. A binary one is never sent as anything else
    /// (RFC 3030 3).
    pub fn body(&self) -> Option<&'static str> {
        let message = &self.message;
        if message.envelope.is_binary() {
            return Some(BINARY);
        }
        (message.content.eight_bit || !message.trace.is_ascii()).then_some(EIGHT_BIT)
    }

    /// MAIL is to carry SMTPUTF8, when it is offered.
    fn wants_smtputf8(&self) -> bool {
        let envelope = &self.message.envelope;
        envelope.smtputf8()
            || !envelope.reverse_path.is_ascii()
            || (0..self.recipients.len()).any(|slot| !self.address(slot).is_ascii())
    }

    /// The message cannot go without SMTPUTF8 to anyone: non-ASCII sender, or declared as such with a non-ASCII header section.
    /// One that only carried the parameter may go on without it (RFC 6531 3.2).
    fn needs_smtputf8(&mut self) -> io::Result<bool> {
        let message = &self.message;
        if !message.envelope.reverse_path.is_ascii() {
            return Ok(true);
        }
        if !message.envelope.smtputf8() {
            return Ok(false);
        }
        if !message.trace.is_ascii() {
            return Ok(true);
        }
        if !message.content.eight_bit {
            return Ok(false);
        }
        // The header section may end in the trace already.
        let trace = message.trace.as_slice();
        match (&message.content.octets, &mut self.file) {
            (Octets::Memory(octets), _) => has_eight_bit_header(trace.chain(octets.as_slice())),
            (Octets::File(_), Some(file)) => {
                let found = has_eight_bit_header(trace.chain(BufReader::new(&mut *file)))?;
                file.rewind()?;
                Ok(found)
            }
            (Octets::File(_), None) => Ok(false),
        }
    }

    /// Address of the recipient in `slot`.
    pub fn address(&self, slot: usize) -> &str {
        let recipients = &self.message.envelope.recipients;
        self.recipients
            .get(slot)
            .and_then(|(index, _)| recipients.get(*index))
            .map_or("", |recipient| &recipient.address)
    }

    /// Parameters of RCPT of the recipient in `slot`.
    pub fn parameters(&self, slot: usize) -> Option<&Parameters> {
        let (index, _) = self.recipients.get(slot)?;
        Some(&self.message.envelope.recipients.get(*index)?.parameters)
    }

    /// Slots of recipients with this fate.
    pub fn slots(&self, fate: &Fate) -> Vec<usize> {
        self.recipients.iter().enumerate().filter(|(_, (_, other))| other == fate).map(|(slot, _)| slot).collect()
    }

    /// A recipient was accepted and waits for the end of data.
    pub fn has_accepted(&self) -> bool {
        self.recipients.iter().any(|(_, fate)| *fate == Fate::Accepted)
    }

    /// Sets the fate of one recipient.
    pub fn set(&mut self, slot: usize, fate: Fate) {
        if let Some((_, old)) = self.recipients.get_mut(slot) {
            *old = fate;
        }
    }

    /// Decides one recipient.
    pub fn settle(&mut self, slot: usize, state: State, reply: String) {
        self.set(slot, Fate::Settled(state, reply));
    }

    /// Decides everyone who is undecided.
    pub fn settle_open(&mut self, state: State, reply: &str) {
        for (_, fate) in &mut self.recipients {
            if !matches!(fate, Fate::Settled(..)) {
                *fate = Fate::Settled(state, reply.to_owned());
            }
        }
    }

    /// Makes the failed recipients undecided.
    pub fn reopen_failed(&mut self) {
        for (_, fate) in &mut self.recipients {
            if matches!(fate, Fate::Settled(State::Failed, _)) {
                *fate = Fate::Waiting;
            }
        }
    }

    /// The outcomes; an undecided recipient is deferred, so that none is ever lost. `success` is the state of those that were
    /// delivered and whose sender asked for a report of that; None where the next hop makes it (RFC 3461 5.2.1, 5.2.2).
    pub fn into_outcomes(self, success: Option<State>) -> Vec<Outcome> {
        let envelope = &self.message.envelope;
        let reporting = success.filter(|_| !envelope.reverse_path.is_empty());
        let delivered = |index: usize| match reporting {
            Some(state) if envelope.recipients.get(index).is_some_and(Recipient::reports_success) => state,
            _ => State::Delivered,
        };
        let outcome = |(index, fate)| match fate {
            Fate::Settled(State::Delivered, reply) => (index, delivered(index), reply),
            Fate::Settled(state, reply) => (index, state, reply),
            Fate::Waiting | Fate::Accepted => (index, State::Pending, "451 4.5.0 No reply".to_owned()),
        };
        self.recipients.into_iter().map(outcome).collect()
    }
}

const BINARY: &str = "BINARYMIME";
const EIGHT_BIT: &str = "8BITMIME";
const NO_BINARY: &str = "550 5.6.3 The next hop does not offer BINARYMIME and the message needs it";
const NO_EIGHT_BIT: &str = "550 5.6.3 The next hop does not offer 8BITMIME and the message needs it";
const NO_SMTPUTF8: &str = "550 5.6.7 The next hop does not offer SMTPUTF8 and the message needs it";

/// The reason for a content file that cannot be read: ours to fix, so temporary.
pub fn unreadable(error: &io::Error) -> String {
    format!("451 4.3.0 The stored content cannot be read: {}", error.kind())
}

/// CR and LF above all: the types upstream exclude them, yet one here would be a command injected into the dialogue.
pub fn has_control(text: &str) -> bool {
    text.bytes().any(|octet| octet.is_ascii_control())
}

/// An octet above 127 is in the header section.
fn has_eight_bit_header(mut content: impl BufRead) -> io::Result<bool> {
    let mut section = Section::default();
    loop {
        let buffer = content.fill_buf()?;
        let mut rest = buffer;
        while section.read(&mut rest).is_some() {}
        // The octet that ends the section without belonging to it was read, too.
        let read = buffer.len() - rest.len() - usize::from(section.is_ended());
        if !buffer.get(..read).unwrap_or_default().is_ascii() {
            return Ok(true);
        }
        if buffer.is_empty() || section.is_ended() {
            return Ok(false);
        }
        let length = buffer.len();
        content.consume(length);
    }
}
