//! AUTH as a client (RFC 4954): which mechanism is used, and what is said in it.
//!
//! Promises: the password itself goes only to a server whose certificate was verified; a server that only has to show that it holds
//! the keys made from it gets a proof of SCRAM. No reply of the server that repeats what was sent is kept, and no reason names the
//! account: senders read it in their bounces. A refusal defers: the account is an administrator's to repair, and no sender's mistake.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use memchr::memmem;

use super::credentials::Credentials;
use super::reply::Reply;
use super::scram::{Binding, Scram};
use super::{Awaited, Client};
use crate::machine::base64;
use crate::machine::message::State;

/// Longest AUTH line with an initial response, CRLF included (RFC 4954 4).
const MAX_LINE: usize = 512;
/// Octets by which a repeated secret is recognised: the reply may cut it anywhere.
const RECOGNISED: usize = 16;
const FAILED: &str = "454 4.7.8 Not authenticated";
const NONE_USABLE: &str = "454 4.7.8 Not authenticated: the next hop offers no mechanism that is usable here";
const NOT_VERIFIED: &str =
    "454 4.7.8 Not authenticated: the next hop takes only the password itself, and its certificate was not verified";
const NOT_PROVEN: &str = "454 4.7.8 Not authenticated: the next hop did not prove that it holds the password's keys";

/// The binding that is unique to a TLS connection (RFC 9266).
pub const EXPORTER: &str = "tls-exporter";

/// What is known of the TLS connection.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Channel {
    /// The server's certificate was verified.
    pub verified: bool,
    /// How an exchange can be bound to it: type and octets.
    pub binding: Option<(&'static str, Vec<u8>)>,
}

/// A mechanism; the order is that of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mechanism {
    ScramPlus,
    Scram,
    Plain,
    Login,
}

impl Mechanism {
    const ALL: [Self; 4] = [Self::ScramPlus, Self::Scram, Self::Plain, Self::Login];

    fn name(self) -> &'static str {
        match self {
            Self::ScramPlus => "SCRAM-SHA-256-PLUS",
            Self::Scram => "SCRAM-SHA-256",
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
        }
    }

    fn shows_the_password(self) -> bool {
        matches!(self, Self::Plain | Self::Login)
    }
}

/// How far an exchange is.
#[derive(Debug)]
enum Exchange {
    /// With the first message, while that is still to be said.
    Scram(Scram, Option<String>),
    /// What is still to be said.
    Saying(Vec<String>),
}

/// The credentials, what the server offers, and the exchange that runs.
#[derive(Debug)]
pub struct Authentication {
    credentials: Arc<Credentials>,
    nonce: String,
    channel: Option<Channel>,
    offered: Vec<Mechanism>,
    exchange: Option<Exchange>,
    done: bool,
    /// It was tried, and that is why the connection closed.
    pub refused: bool,
}

impl Authentication {
    pub fn new(credentials: Arc<Credentials>, nonce: &str) -> Self {
        Self {
            credentials,
            nonce: nonce.to_owned(),
            channel: None,
            offered: Vec::new(),
            exchange: None,
            done: false,
            refused: false,
        }
    }

    /// The session began anew.
    pub fn forget(&mut self) {
        self.done = false;
        // No nonce is used twice, and nor is this binding (RFC 9266 4.1).
        self.nonce.push('0');
        if let Some(channel) = &mut self.channel {
            channel.binding.take_if(|(kind, _)| *kind == EXPORTER);
        }
    }

    #[cfg(test)]
    pub fn succeed(&mut self) {
        self.done = true;
    }

    /// The first line. Without it, why there is none.
    fn begin(&mut self) -> Result<String, &'static str> {
        let usable = |mechanism: &Mechanism| match mechanism {
            Mechanism::ScramPlus => self.channel.as_ref().is_some_and(|channel| channel.binding.is_some()),
            Mechanism::Scram => true,
            Mechanism::Plain | Mechanism::Login => self.channel.as_ref().is_some_and(|channel| channel.verified),
        };
        let mut offered = Mechanism::ALL.into_iter().filter(|mechanism| self.offered.contains(mechanism));
        let Some(mechanism) = offered.clone().find(usable) else {
            return Err(if offered.any(Mechanism::shows_the_password) { NOT_VERIFIED } else { NONE_USABLE });
        };
        let command = format!("AUTH {}", mechanism.name());
        let first = match mechanism {
            Mechanism::ScramPlus | Mechanism::Scram => {
                let scram = Scram::new(&self.credentials, self.binding(mechanism), &self.nonce);
                let first = scram.begin();
                self.exchange = Some(Exchange::Scram(scram, Some(first.clone())));
                first
            }
            Mechanism::Plain => {
                let said = format!("\0{}\0{}", self.credentials.name(), self.credentials.password());
                self.exchange = Some(Exchange::Saying(vec![said.clone()]));
                said
            }
            Mechanism::Login => {
                let said = [self.credentials.password(), self.credentials.name()].map(str::to_owned);
                self.exchange = Some(Exchange::Saying(said.into()));
                return Ok(command);
            }
        };
        let line = format!("{command} {}", base64::encode(first.as_bytes()));
        if line.len() + 2 > MAX_LINE {
            return Ok(command);
        }
        match &mut self.exchange {
            Some(Exchange::Saying(rest)) => rest.clear(),
            Some(Exchange::Scram(_, first)) => *first = None,
            None => {}
        }
        Ok(line)
    }

    fn binding(&self, mechanism: Mechanism) -> Binding {
        match self.channel.as_ref().and_then(|channel| channel.binding.clone()) {
            Some((kind, octets)) if mechanism == Mechanism::ScramPlus => Binding::To(kind, octets),
            Some(_) => Binding::NotOffered,
            None => Binding::Impossible,
        }
    }

    /// The answer to a challenge; a plain sentence when there is none.
    fn answer(&mut self, challenge: &[u8]) -> Result<String, &'static str> {
        match &mut self.exchange {
            Some(Exchange::Scram(scram, first)) => {
                let challenge = base64::decode(challenge.trim_ascii()).ok_or("it is not base64")?;
                // Empty: the first message was too long for the line with the mechanism's name. Asked for it again and again, the
                // exchange would never end.
                if challenge.is_empty() {
                    return first.take().ok_or("it asks again for the first message");
                }
                scram.answer(&challenge, &self.credentials)
            }
            // Whatever it asks in: `Username:` has been seen in clear, too.
            Some(Exchange::Saying(rest)) => rest.pop().ok_or("it asks for more than the mechanism has"),
            None => Err("no exchange runs"),
        }
    }

    /// A text holds a part of what was sent: some servers repeat a line that they do not understand.
    fn is_repeated_in(&self, text: &str) -> bool {
        let (name, password) = (self.credentials.name(), self.credentials.password());
        let whole = base64::encode(format!("\0{name}\0{password}").as_bytes());
        let text = text.to_ascii_lowercase();
        [password, &base64::encode(password.as_bytes()), &whole].iter().any(|sent| {
            let sent = sent.to_ascii_lowercase();
            let mut parts = sent.as_bytes().windows(sent.len().min(RECOGNISED));
            parts.any(|part| memmem::find(text.as_bytes(), part).is_some())
        })
    }

    /// Whether 235 is believed.
    fn succeeds(&mut self) -> bool {
        match self.exchange.take() {
            Some(Exchange::Scram(scram, _)) => scram.finish(),
            Some(Exchange::Saying(rest)) => rest.is_empty(),
            None => false,
        }
    }
}

impl Client {
    /// What is known of the TLS connection that was just set up.
    pub fn bind(&mut self, channel: Channel) {
        if let Some(authentication) = &mut self.authentication {
            authentication.channel = Some(channel);
            authentication.offered.clear();
        }
    }

    /// Reads the mechanisms of an EHLO reply. Some servers write `AUTH=`, from before the standard.
    pub(super) fn offer_mechanisms(&mut self, reply: &Reply) {
        let Some(authentication) = &mut self.authentication else { return };
        authentication.offered.clear();
        for line in reply.texts().skip(1) {
            let mut words = line.split(|&octet| octet == b'=' || octet.is_ascii_whitespace());
            if !words.next().is_some_and(|keyword| keyword.eq_ignore_ascii_case(b"AUTH")) {
                continue;
            }
            for word in words {
                let known = Mechanism::ALL.into_iter();
                authentication.offered.extend(known.filter(|known| word.eq_ignore_ascii_case(known.name().as_bytes())));
            }
        }
    }

    /// Begins to authenticate where there is something to authenticate with; else the connection is open.
    pub(super) fn authenticate(&mut self) {
        match self.authentication.as_mut().filter(|authentication| !authentication.done) {
            None => self.open(),
            Some(authentication) => match authentication.begin() {
                Ok(line) => self.send(format!("{line}\r\n").as_bytes(), Awaited::Auth),
                Err(reason) => self.refuse_authentication(reason),
            },
        }
    }

    pub(super) fn on_auth(&mut self, reply: &Reply) {
        let Some(authentication) = &mut self.authentication else { return };
        match reply.code {
            334 => match authentication.answer(reply.texts().next().unwrap_or_default()) {
                Ok(answer) => {
                    let line = format!("{}\r\n", base64::encode(answer.as_bytes()));
                    self.send(line.as_bytes(), Awaited::Auth);
                }
                Err(wrong) => {
                    self.refuse_authentication(&format!("{FAILED}: its challenge was not answered, for {wrong}"));
                    self.output = b"*\r\n".to_vec();
                }
            },
            200..300 if authentication.succeeds() => {
                authentication.done = true;
                self.open();
            }
            200..300 => self.refuse_authentication(NOT_PROVEN),
            300..400 => self.violate(&self.shown(reply)),
            _ => self.refuse_authentication(&format!("{FAILED}: {}", self.shown(reply))),
        }
    }

    /// The text of a reply that may be kept: its code alone where it repeats a secret.
    pub(super) fn shown(&self, reply: &Reply) -> String {
        let text = reply.text();
        let is_repeated =
            self.authentication.as_ref().is_some_and(|authentication| authentication.is_repeated_in(&text));
        if is_repeated { reply.code.to_string() } else { text }
    }

    fn refuse_authentication(&mut self, reason: &str) {
        if let Some(authentication) = &mut self.authentication {
            authentication.refused = true;
        }
        self.refuse(State::Pending, reason);
    }
}
