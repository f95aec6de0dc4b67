//! The facts about a client that XCLIENT and XFORWARD carry: which of them a host takes, and how they are written.

use crate::machine::message::Message;
use crate::machine::smtp::attribute::{Attribute, XFORWARD};
use crate::machine::smtp::xtext;

/// Longest command, CRLF included.
pub(super) const MAX_LINE: usize = 512;
/// Longest value.
const MAX_VALUE: usize = 255;
/// Not known, and not to be known.
const UNAVAILABLE: &str = "[UNAVAILABLE]";

/// A fact as it is written; of one that is not known, that it is not.
fn value(attribute: Attribute, message: &Message) -> String {
    let envelope = &message.envelope;
    let known = match attribute {
        Attribute::Name => envelope.client_name(),
        Attribute::Addr if envelope.client().contains(':') => return format!("IPV6:{}", envelope.client()),
        Attribute::Addr => envelope.client(),
        Attribute::Proto => envelope.protocol(),
        Attribute::Helo => envelope.helo_name(),
        Attribute::Ident => &message.queue_id,
        Attribute::Source if envelope.client().is_empty() => "LOCAL",
        Attribute::Source => "REMOTE",
        Attribute::Port | Attribute::Login | Attribute::DestAddr | Attribute::DestPort => "",
    };
    if known.is_empty() || known.len() > MAX_VALUE { UNAVAILABLE.to_owned() } else { xtext::encode(known) }
}

/// The attributes that a host takes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Attributes(u16);

impl Attributes {
    /// Reads what stands behind the keyword.
    pub fn read<'a>(words: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut taken = 0;
        for word in words {
            taken |= Attribute::of(word).map_or(0, Attribute::bit);
        }
        Self(taken)
    }

    /// Whether it takes this one.
    pub fn takes(self, attribute: Attribute) -> bool {
        self.0 & attribute.bit() != 0
    }

    /// The facts that are sent, those of XFORWARD, in as few commands as their length allows.
    pub fn commands(self, verb: &str, message: &Message) -> Vec<String> {
        let mut commands: Vec<String> = Vec::new();
        for attribute in XFORWARD.into_iter().filter(|&attribute| self.takes(attribute)) {
            let fact = format!(" {}={}", attribute.name(), value(attribute, message));
            match commands.last_mut() {
                Some(command) if command.len() + fact.len() + 2 <= MAX_LINE => command.push_str(&fact),
                _ => commands.push(format!("{verb}{fact}")),
            }
        }
        commands
    }
}
