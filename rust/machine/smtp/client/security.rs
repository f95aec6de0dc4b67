//! STARTTLS from the client's side: when it is said, and what follows when TLS is not to be had (RFC 3207).

use super::authentication::EXPORTER;
use super::reply::Reply;
use super::{Awaited, Channel, Client, Misuse, Offers, Step};
use crate::machine::message::State;
use crate::machine::tls::{Facts, Fault};
use crate::machine::wire::machine::Machine;

/// What a connection asks of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// It is not begun.
    None,
    /// It is begun where it is offered; without it the connection goes on.
    May,
    /// Nothing is sent without it.
    Encrypt,
    /// Nothing is sent without it and the certificate that is asked for.
    Verify,
}

/// How far TLS is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Security {
    /// All goes in clear.
    Clear,
    /// STARTTLS was said.
    Asked,
    /// The handshake has begun after STARTTLS.
    Handshake,
    /// The handshake has begun, and nothing was said before.
    Implicit,
    /// TLS is on, and the server has said nothing in it yet: with TLS 1.3 it may still refuse what we sent last (RFC 8446 4.4.2.4).
    Unanswered,
    /// TLS is on.
    On,
}

impl Security {
    pub(super) fn is_handshaking(self) -> bool {
        matches!(self, Self::Handshake | Self::Implicit)
    }
}

impl Client {
    /// The same connection, asking this of TLS.
    #[must_use]
    pub fn with_tls(self, tls: Tls) -> Self {
        Self { tls, ..self }
    }

    /// The connection closed because TLS, which was wanted and not needed, failed: another one without it may be tried at once.
    pub fn retry_in_clear(&self) -> bool {
        self.retry_in_clear
    }

    /// The TLS handshake begins: after [`Step::StartTls`], or before anything was read (RFC 8314 3).
    pub fn accept_tls(&mut self) -> Result<(), Misuse> {
        self.security = match (self.step, self.security, self.replies) {
            (Step::StartTls, Security::Asked, _) => Security::Handshake,
            (Step::Wait, Security::Clear, 0) if self.reader.is_empty() => Security::Implicit,
            _ => return Err(Misuse("the connection is not ready for a TLS handshake")),
        };
        self.step = Step::Wait;
        Ok(())
    }

    /// The reply to EHLO or HELO is read: TLS, or ready.
    pub(super) fn greeted(&mut self) {
        match (self.tls, self.security, self.offers.start_tls) {
            (Tls::None, ..) | (_, Security::On, _) => self.authenticate(),
            (_, Security::Clear, true) => {
                self.security = Security::Asked;
                self.send(b"STARTTLS\r\n", Awaited::StartTls);
            }
            (Tls::May, ..) => self.authenticate(),
            _ => self.refuse(State::Pending, &format!("451 {} The next hop does not offer STARTTLS", self.status())),
        }
    }

    pub(super) fn on_start_tls(&mut self, reply: &Reply) {
        match (reply.class(), self.tls) {
            (2, _) if !self.reader.is_empty() => self.violate("octets behind the reply to STARTTLS"),
            (2, _) => self.step = Step::StartTls,
            (4 | 5, Tls::May) => {
                self.security = Security::Clear;
                self.authenticate();
            }
            (4 | 5, _) => {
                let text = format!("451 {} The next hop refused STARTTLS: {}", self.status(), reply.text());
                self.refuse(State::Pending, &text);
            }
            _ => self.violate(&reply.text()),
        }
    }

    /// TLS is on, and the certificate is that of the host.
    pub(super) fn is_verified(&self) -> bool {
        self.tls == Tls::Verify && self.security == Security::On
    }

    /// TLS was begun, has not come about and is not needed.
    pub(super) fn may_be_in_clear(&self) -> bool {
        self.tls == Tls::May && matches!(self.security, Security::Asked | Security::Handshake | Security::Unanswered)
    }

    /// The enhanced status code of a message that waits because of TLS (RFC 3463 3.8).
    fn status(&self) -> &'static str {
        if self.tls == Tls::Verify { "4.7.5" } else { "4.7.0" }
    }
}

impl Machine for Client {
    type Step = Step;

    fn feed(&mut self, _: &[u8]) -> usize {
        0
    }

    fn receive(&mut self, plaintext: &[u8]) -> Step {
        if self.security == Security::Unanswered && !plaintext.is_empty() {
            self.security = Security::On;
        }
        Self::receive(self, plaintext)
    }

    fn take_output(&mut self) -> Vec<u8> {
        self.output()
    }

    fn handshaking(&self) -> Step {
        self.step
    }

    fn established(&mut self, facts: &Facts, plaintext: &[u8]) -> Step {
        if self.step == Step::Closed {
            return self.step;
        }
        if self.security == Security::Handshake {
            self.offers = Offers::default();
            self.send_extended_hello();
        }
        self.security = if self.security == Security::Handshake { Security::Unanswered } else { Security::On };
        self.replies += 1;
        let binding = match &facts.exporter {
            Some(octets) => (EXPORTER, octets.to_vec()),
            None => ("tls-server-end-point", facts.end_point.to_vec()),
        };
        // A verdict for the record alone is given without a look at what the server signs.
        self.bind(Channel { verified: self.tls == Tls::Verify && facts.verified(), binding: Some(binding) });
        Machine::receive(self, plaintext)
    }

    fn broken(&mut self, fault: Fault) -> Step {
        if self.step != Step::Closed {
            let text = match self.security {
                Security::On => format!("421 4.4.2 The next hop broke TLS: {fault}"),
                _ => format!("451 {} The TLS handshake failed: {fault}", self.status()),
            };
            self.close(&text);
        }
        self.step
    }

    /// No reply comes any more, whether the socket is closed as well or not.
    fn peer_closed(&mut self, _: Step) -> Step {
        self.end("Connection lost")
    }

    fn is_over(&self) -> bool {
        self.step == Step::Closed
    }
}
