//! The facts about a client that XCLIENT and XFORWARD carry: which of them a host takes, and how they are written.

use crate::machine::message::Message;
use crate::machine::smtp::xtext;

/// Longest command, CRLF included.
pub(super) const MAX_LINE: usize = 512;
/// Longest value.
const MAX_VALUE: usize = 255;
/// Not known, and not to be known.
const UNAVAILABLE: &str = "[UNAVAILABLE]";

/// A fact about a client or its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Attribute {
    /// The verified name of the client's address.
    Name = 1,
    /// The client's address.
    Addr = 2,
    /// Its port.
    Port = 4,
    /// `SMTP` or `ESMTP`.
    Proto = 8,
    /// The name that it gave with HELO or EHLO.
    Helo = 16,
    /// The queue ID of the message.
    Ident = 32,
    /// Whether the message comes from outside.
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

    /// Whether it takes this one.
    pub fn takes(self, attribute: Attribute) -> bool {
        self.0 & attribute as u8 != 0
    }

    /// The facts in as few commands as their length allows.
    pub fn commands(self, verb: &str, message: &Message) -> Vec<String> {
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
