//! STARTTLS, and what changes once TLS is on (RFC 3207).
//!
//! What stands behind STARTTLS in clear is thrown away, whoever put it there, and the 220 is the last that leaves in clear (RFC 3207 6). What
//! was said before TLS is forgotten (RFC 3207 4.2); errors, delays and the exemption by address are not: they are no knowledge
//! obtained from the client.

use super::{Dialect, Flow, Mode, Offers, Pending, Phase, Session, Standing, Step, reply};
use crate::machine::smtp::command::Command;
use crate::machine::smtp::reply::Reply;
use crate::machine::smtp::server::mode::Input;
use crate::machine::smtp::server::tally::End;
use crate::machine::tls::{Facts, Fault};
use crate::machine::wire::machine::Machine;

impl Session {
    /// Offers STARTTLS from the next EHLO on, or not.
    pub fn offer_tls(&mut self, offered: bool) {
        self.stand(Standing { start_tls: offered, ..self.standing });
    }

    /// Refuses all commands but EHLO, NOOP, STARTTLS and QUIT until TLS is on (RFC 3207 4).
    pub fn require_tls(&mut self) {
        self.demands_tls = true;
    }

    /// After `StartTls`: says 220, and forgets what came behind the command. Before anything was said, implicit TLS (RFC 8314 3): nothing
    /// is said. The TLS handshake comes next; `Wait`: not now.
    pub fn accept_tls(&mut self) -> Step {
        match self.pending {
            Pending::StartTls => {
                self.tally.injected += self.input.rest().len();
                self.input = Input::default();
                self.send(&reply::START_TLS);
            }
            Pending::Nothing if self.tally.replies.iter().all(|count| *count == 0) => {}
            _ => return Step::Wait,
        }
        self.pending = Pending::Handshake;
        Step::NeedInput
    }

    /// After `StartTls`: says 454, and goes on in clear.
    pub fn refuse_tls(&mut self) -> Step {
        if !matches!(self.pending, Pending::StartTls) {
            return Step::Wait;
        }
        self.pending = Pending::Nothing;
        self.tls_refused = true;
        let flow = self.say(reply::NO_TLS);
        self.drive(flow)
    }

    /// STARTTLS.
    pub(super) fn start_tls(&mut self) -> Flow {
        match self.standing {
            Standing { secured: true, .. } => self.say(reply::SECURED),
            Standing { start_tls: false, .. } => self.say(reply::NOT_IMPLEMENTED),
            _ => {
                self.pending = Pending::StartTls;
                Flow::Stop(Step::StartTls)
            }
        }
    }

    /// The reply that refuses a command because TLS is demanded.
    pub(super) fn in_clear(&self, command: &Command<'_>) -> Option<Reply> {
        if !self.demands_tls || self.standing.secured {
            return None;
        }
        // For good only what is the client's fault: it would return its mail.
        let refusal = if self.tls_refused { reply::TLS_LATER } else { reply::TLS_FIRST };
        match command {
            Command::Ehlo(_) | Command::Noop | Command::StartTls | Command::Quit => None,
            Command::Helo(_) => Some(refusal.plain()),
            _ => Some(refusal),
        }
    }

    fn stand(&mut self, standing: Standing) {
        self.standing = standing;
        self.offers = Offers::of(&self.config, standing);
    }
}

impl Machine for Session {
    type Step = Step;

    fn feed(&mut self, plaintext: &[u8]) -> usize {
        Self::feed(self, plaintext)
    }

    fn receive(&mut self, plaintext: &[u8]) -> Step {
        Self::receive(self, plaintext)
    }

    fn take_output(&mut self) -> Vec<u8> {
        Self::take_output(self)
    }

    fn handshaking(&self) -> Step {
        if self.is_over() { Step::Close } else { Step::NeedInput }
    }

    fn established(&mut self, facts: &Facts, plaintext: &[u8]) -> Step {
        self.transaction = None;
        self.helo_name = "".into();
        self.dialect = Dialect::Smtp;
        self.phase = Phase::Fresh;
        self.mode = Mode::default();
        self.input = Input::default();
        self.output = Vec::new();
        self.input.push(plaintext);
        self.auth.forget();
        self.pending = Pending::Secured;
        self.cipher_suite = Some(facts.cipher_suite);
        self.stand(Standing { secured: true, ..self.standing });
        Step::Secured
    }

    fn broken(&mut self, _: Fault) -> Step {
        if self.phase != Phase::Closed {
            self.pending = Pending::Nothing;
            self.mode = Mode::default();
            self.transaction = None;
            self.input = Input::default();
            self.tally.end = Some(End::TlsFailed);
            self.phase = Phase::Closed;
        }
        Step::Close
    }

    fn is_over(&self) -> bool {
        self.phase == Phase::Closed
    }
}
