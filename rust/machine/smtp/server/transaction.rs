//! A mail transaction: from an accepted MAIL to its end of data (RFC 5321 3.3).

use std::collections::HashSet;

use super::chunk::ChunkedContent;
use crate::machine::message::address::{Address, Normalisation};
use crate::machine::message::{Envelope, Origin, Parameters, Recipient, State, asks_for_success};
use crate::machine::smtp::extensions;
use crate::machine::smtp::parameters::MailParameters;
use crate::machine::smtp::redirected::handed_on;
use crate::machine::smtp::reply::Reply;
use crate::machine::smtp::server::trace::Received;

/// Recipients of one transaction refused because it has enough of them (RFC 5321 4.5.3.1.10: 452, and the client may send the
/// rest later) before each further one counts as an error.
const RECIPIENTS_OVERSHOOT: u32 = 1000;

/// What is to be done for a recipient that was accepted.
#[derive(Debug, PartialEq, Eq)]
pub enum Fate {
    /// It gets the message.
    Delivery,
    /// It was accepted only to be reported, with this reply.
    Report(Reply),
    /// Several others get the message instead, which is to be reported.
    Expansion,
}

/// A recipient that was accepted.
#[derive(Debug)]
pub struct Accepted {
    /// Who gets the message.
    pub address: Address,
    /// Parameters of RCPT.
    pub parameters: Parameters,
    /// What is to be done for it.
    pub fate: Fate,
}

/// What a transaction consists of so far.
#[derive(Debug)]
pub struct Transaction {
    /// None is the null reverse-path.
    pub reverse_path: Option<Address>,
    /// Each once.
    pub recipients: Vec<Accepted>,
    /// Parameters of MAIL.
    pub parameters: MailParameters,
    /// What its chunks have brought so far; None without any, and while the next one comes.
    pub chunks: Option<Box<ChunkedContent>>,
    /// Whole header fields that are added to those of the content.
    pub added: Vec<u8>,
    /// The message is accepted and not kept.
    pub discard: bool,
    /// `TLS-Required: No` is in the header section.
    pub tls_optional: bool,
    /// Recipients refused because there are enough.
    excess: u32,
}

impl Transaction {
    /// Of an accepted MAIL.
    pub fn new(reverse_path: Option<Address>, parameters: MailParameters) -> Self {
        Self {
            reverse_path,
            recipients: Vec::new(),
            parameters,
            chunks: None,
            added: Vec::new(),
            discard: false,
            tls_optional: false,
            excess: 0,
        }
    }

    /// The reverse-path without angle brackets; empty for the null reverse-path.
    pub fn sender(&self) -> String {
        self.reverse_path.as_ref().map_or_else(String::new, Address::to_string)
    }

    /// Adds a recipient, and returns whether it is a new one.
    pub fn add(&mut self, recipient: Accepted, normalisation: &Normalisation) -> bool {
        let is_it = normalisation.same_as(&recipient.address);
        let is_new = !self.recipients.iter().any(|known| is_it(&known.address));
        drop(is_it);
        if is_new {
            self.recipients.push(recipient);
        }
        is_new
    }

    /// Adds `targets` in the place of a recipient, with what was asked for it (RFC 3461 5.2.7); returns whether one is new.
    ///
    /// One target is an alias, and gets all that was asked for. Of several, one that is the recipient itself does; the others report no
    /// success, and if that was asked for, the recipient stays to be reported as expanded.
    pub fn add_targets(
        &mut self,
        address: Address,
        parameters: Parameters,
        targets: Vec<Address>,
        normalisation: &Normalisation,
    ) -> bool {
        let is_one = targets.len() == 1;
        let stays = targets.iter().any(normalisation.same_as(&address));
        let others = handed_on(&parameters, is_one);
        let is_reported = !is_one && !stays && asks_for_success(&parameters);
        let mut is_new = false;
        // To compare each with each would be as much as their product.
        let mut known: HashSet<String> =
            self.recipients.iter().map(|known| normalisation.key(&known.address)).collect();
        for target in targets {
            if known.insert(normalisation.key(&target)) {
                let stays = normalisation.same_as(&address)(&target);
                let parameters = if stays { parameters.clone() } else { others.clone() };
                self.recipients.push(Accepted { address: target, parameters, fate: Fate::Delivery });
                is_new = true;
            }
        }
        if is_reported {
            is_new |= self.add(Accepted { address, parameters, fate: Fate::Expansion }, normalisation);
        }
        is_new
    }

    /// Counts a recipient that is one too many, and returns whether it is an error.
    pub fn exceed(&mut self) -> bool {
        self.excess += 1;
        self.excess > RECIPIENTS_OVERSHOOT
    }

    /// Takes these recipients out, as they are rendered. Without any recipient left, the message is discarded.
    pub fn drop_recipients(&mut self, dropped: &[String]) {
        let dropped: HashSet<&str> = dropped.iter().map(String::as_str).collect();
        self.recipients.retain(|recipient| !dropped.contains(recipient.address.to_string().as_str()));
        self.discard |= self.recipients.is_empty();
    }

    /// The recipient, where there is one alone.
    pub fn only_recipient(&self) -> Option<String> {
        match self.recipients.as_slice() {
            [only] => Some(only.address.to_string()),
            _ => None,
        }
    }

    /// The envelope of the message, which came at `arrival`, milliseconds since the epoch.
    pub fn into_envelope(self, session_id: &str, received: &Received<'_>, arrival: i64) -> Envelope {
        let reverse_path = self.sender();
        let recipients = self.recipients.into_iter().map(|Accepted { address, parameters, fate }| {
            let (state, reply) = match fate {
                Fate::Delivery => (State::Pending, String::new()),
                Fate::Report(reply) => (State::Failed, reply.to_string()),
                Fate::Expansion => (State::Expanded, String::new()),
            };
            Recipient { parameters, state, reply, ..Recipient::new(address.to_string(), arrival) }
        });
        Envelope {
            reverse_path,
            parameters: extensions::kept_of_mail(&self.parameters),
            recipients: recipients.collect(),
            origin: Envelope::origin(&Origin {
                session_id,
                client: received.peer,
                client_name: received.peer_name,
                helo_name: received.helo_name,
                protocol: if received.extended { "ESMTP" } else { "SMTP" },
                // The parameter outweighs the field (RFC 8689 4.1).
                tls_optional: self.tls_optional && !self.parameters.require_tls,
            }),
            results: String::new(),
        }
    }
}
