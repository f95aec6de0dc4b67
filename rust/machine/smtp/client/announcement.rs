//! Who brought a message, as a next hop that asks for it is told: XCLIENT, by which it treats that client as its own, or XFORWARD,
//! which it only logs (both are Postfix's; its `XCLIENT_README` and `XFORWARD_README` define them).
//!
//! XCLIENT begins a session anew, in the name of one client: the connection carries one message then. XFORWARD is for one transaction, and
//! nothing depends on its reply.

#[cfg(test)]
mod tests;

use super::reply::Reply;
use super::transaction::Fate;
use super::{Awaited, Client};
use crate::machine::message::{Message, State};
use crate::machine::smtp::xtext;

/// Longest command, CRLF included, and longest value.
const MAX_LINE: usize = 512;
const MAX_VALUE: usize = 255;
/// Not known, and not to be known.
const UNAVAILABLE: &str = "[UNAVAILABLE]";

/// A fact about a client or its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Attribute {
    Name = 1,
    Addr = 2,
    Port = 4,
    Proto = 8,
    Helo = 16,
    Ident = 32,
    Source = 64,
}

impl Attribute {
    const ALL: [Self; 7] = [Self::Name, Self::Addr, Self::Port, Self::Proto, Self::Helo, Self::Ident, Self::Source];

    fn name(self) -> &'static str {
        match self {
            Self::Name => "NAME",
            Self::Addr => "ADDR",
            Self::Port => "PORT",
            Self::Proto => "PROTO",
            Self::Helo => "HELO",
            Self::Ident => "IDENT",
            Self::Source => "SOURCE",
        }
    }

    /// The fact as it is written; of one that is not known, that it is not.
    fn value(self, message: &Message) -> String {
        let envelope = &message.envelope;
        let known = match self {
            Self::Name => envelope.client_name(),
            Self::Addr if envelope.client().contains(':') => return format!("IPV6:{}", envelope.client()),
            Self::Addr => envelope.client(),
            Self::Port => "",
            Self::Proto => envelope.protocol(),
            Self::Helo => envelope.helo_name(),
            Self::Ident => &message.queue_id,
            Self::Source if envelope.client().is_empty() => "LOCAL",
            Self::Source => "REMOTE",
        };
        if known.is_empty() || known.len() > MAX_VALUE { UNAVAILABLE.to_owned() } else { xtext::encode(known) }
    }
}

/// The attributes that a host takes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Attributes(u8);

impl Attributes {
    /// Reads what stands behind the keyword.
    pub fn read<'a>(words: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut taken = 0;
        for word in words {
            let known = Attribute::ALL.into_iter().find(|known| word.eq_ignore_ascii_case(known.name().as_bytes()));
            taken |= known.map_or(0, |known| known as u8);
        }
        Self(taken)
    }

    fn takes(self, attribute: Attribute) -> bool {
        self.0 & attribute as u8 != 0
    }

    /// The facts in as few commands as their length allows.
    fn commands(self, verb: &str, message: &Message) -> Vec<String> {
        let mut commands: Vec<String> = Vec::new();
        for attribute in Attribute::ALL.into_iter().filter(|&attribute| self.takes(attribute)) {
            let fact = format!(" {}={}", attribute.name(), attribute.value(message));
            match commands.last_mut() {
                Some(command) if command.len() + fact.len() + 2 <= MAX_LINE => command.push_str(&fact),
                _ => commands.push(format!("{verb}{fact}")),
            }
        }
        commands
    }
}

/// What a connection says of the clients whose messages it carries.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Announcement {
    /// Nothing.
    #[default]
    Nothing,
    /// Whatever the host takes.
    Offered,
    /// It was made for one client.
    Made,
}

impl Client {
    /// The same connection, which says who brought the messages where that is asked for.
    #[must_use]
    pub fn announcing(self) -> Self {
        Self { announcement: Announcement::Offered, ..self }
    }

    /// Begins the transaction, after XCLIENT where that is taken.
    pub(super) fn announce(&mut self) {
        let Some(transaction) = &self.transaction else { return };
        let taken = self.offers.xclient;
        if self.announcement != Announcement::Offered
            || !taken.takes(Attribute::Addr)
            || transaction.message.envelope.client().is_empty()
            || transaction.slots(&Fate::Waiting).is_empty()
        {
            return self.start();
        }
        self.announcement = Announcement::Made;
        // Each begins the session anew: one has to be enough.
        let commands = taken.commands("XCLIENT", &transaction.message);
        if let Some(first) = commands.first() {
            self.send(format!("{first}\r\n").as_bytes(), Awaited::XClient);
        }
    }

    pub(super) fn on_xclient(&mut self, reply: &Reply) {
        match reply.class() {
            2 => {
                if let Some(authentication) = &mut self.authentication {
                    authentication.forget();
                }
                self.send_extended_hello();
            }
            3 => self.violate(&reply.text()),
            _ => self.refuse(State::Pending, &format!("451 4.7.0 The next hop refused XCLIENT: {}", reply.text())),
        }
    }

    /// With PIPELINING, as all that offer it do: XFORWARD, whose replies are waited for with that to MAIL.
    pub(super) fn send_xforward(&mut self) {
        let Some(transaction) = &self.transaction else { return };
        if self.announcement != Announcement::Offered || !self.offers.pipelining {
            return;
        }
        for command in self.offers.xforward.commands("XFORWARD", &transaction.message) {
            self.send(format!("{command}\r\n").as_bytes(), Awaited::XForward);
        }
    }

    pub(super) fn on_xforward(&mut self, reply: &Reply) {
        match reply.class() {
            3 => self.violate(&reply.text()),
            4 | 5 => self.offers.xforward = Attributes::default(),
            _ => {}
        }
    }
}
