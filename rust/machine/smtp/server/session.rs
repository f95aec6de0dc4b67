//! The SMTP server session as a value machine: octets in, steps out (RFC 5321 3, 4.1).
//!
//! # Theory of operation
//! [`Session::receive`] takes what the peer sent and works through it until something outside is needed, which it names as a
//! [`Step`]. The caller writes [`Session::take_output`], does the step, and gives the result: [`Session::answer`] after `Ask`,
//! [`Session::release`] after `Hold`, [`Session::committed`] after `Commit`, [`Session::challenge`] and others after
//! `Authenticate`. Until then more input is only kept (`Wait`).
//!
//! * A session is in one [`Phase`], whose table says for each verb whether it is done or which reply refuses it; what needs no
//!   policy is answered here, so garbage costs its sender's session nothing but time.
//! * It reads octets in one [`Mode`]: command lines, a content, a chunk of one, or the lines of a SASL exchange.
//! * A question to policy exists only at the stages that are asked ([`Config::asked`]); elsewhere the machine passes by itself.
//! * Every 5xx reply of a session that is not exempt is held for the tarpit time *before* it joins the output. Replies made
//!   earlier are in the output already and leave first. 2xx, 3xx, 4xx and 421 are never held.
//! * One turn takes at most [`TURN_COMMANDS`]; what is left waits (`Yield`) until the others of the worker had theirs. So does
//!   each input of a session that makes no progress ([`Session::makes_no_progress`]).
//! * The result never depends on how the input was cut: a line is judged when its end is there, a content when its end is.
//!
//! It reads no clock, opens no socket and contains no policy.

use std::sync::Arc;

use super::auth::Authentication;
use super::config::Config;
use super::mode::{Input, Mode};
use super::phase::Phase;
use super::step::Step;
use super::tally::{End, Refusal, Tally};
use super::tarpit::Tarpit;
use super::transaction::Transaction;
use crate::machine::smtp::extensions::{Offers, Standing};
use crate::machine::smtp::forwarded::Client;
use crate::machine::smtp::reply::{self, Reply};

#[cfg(test)]
mod chunk_tests;
mod chunks;
mod commands;
mod content;
mod message;
mod policy;
mod proxied;
mod replies;
mod sasl;
mod start_tls;
#[cfg(test)]
mod tests;
mod view;

use policy::Question;
use proxied::Proxied;

/// Commands worked on before the other sessions have their turn. Ordinary mail pipelines fewer (RFC 2920 3.1).
pub const TURN_COMMANDS: u32 = 16;
/// Commands that achieved nothing, or errors beyond the messages, after which a session gives way to the others: more than any
/// client needs that says hello, begins TLS, authenticates and gives an envelope.
pub const PATIENCE: u32 = 12;

/// What the peer said hello with: HELO or EHLO (RFC 5321 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Smtp,
    Esmtp,
}

/// What the caller has to give the session.
#[derive(Debug)]
enum Pending {
    Nothing,
    Answer(Question),
    Release(Reply),
    Commit,
    Authenticate,
    /// The word that TLS may begin, or may not.
    StartTls,
    /// The end of the TLS handshake.
    Handshake,
    /// A turn: TLS is on.
    Secured,
    Client(Box<Client>),
}

/// Go on with the input, or stop with a step.
enum Flow {
    Next,
    Stop(Step),
}

/// One SMTP session.
#[derive(Debug)]
pub struct Session {
    config: Arc<Config>,
    /// What the session offers, and what that follows from beside the configuration.
    offers: Offers,
    standing: Standing,
    id: Box<str>,
    peer: Box<str>,
    /// Verified name of the peer; empty while none is known.
    peer_name: Box<str>,
    phase: Phase,
    helo_name: Box<str>,
    dialect: Dialect,
    transaction: Option<Box<Transaction>>,
    mode: Mode,
    input: Input,
    output: Vec<u8>,
    pending: Pending,
    /// Commands this turn may still take.
    turn: u32,
    idle: u32,
    errors: u32,
    tarpit: Tarpit,
    auth: Authentication,
    tally: Tally,
    /// Refused since the last call of [`Session::take_refused`].
    refused: Vec<Refusal>,
    queue_id: Box<str>,
    /// Of TLS, once it is on.
    cipher_suite: Option<&'static str>,
    /// Nothing is done before TLS is on.
    demands_tls: bool,
    /// STARTTLS got 454.
    tls_refused: bool,
    /// What servers in front of us have said.
    proxied: Option<Box<Proxied>>,
}

impl Session {
    /// A session with the peer at this address, `exempt` from the tarpit or not. Begin with [`Session::connect`].
    pub fn new(config: Arc<Config>, id: &str, peer: &str, exempt: bool) -> Self {
        Self {
            offers: Offers::of(&config, Standing::default()),
            standing: Standing::default(),
            config,
            id: id.into(),
            peer: peer.into(),
            peer_name: "".into(),
            phase: Phase::Fresh,
            helo_name: "".into(),
            dialect: Dialect::Smtp,
            transaction: None,
            mode: Mode::default(),
            input: Input::default(),
            output: Vec::new(),
            pending: Pending::Nothing,
            turn: TURN_COMMANDS,
            idle: 0,
            errors: 0,
            tarpit: Tarpit::new(exempt),
            auth: Authentication::default(),
            tally: Tally::default(),
            refused: Vec::new(),
            queue_id: "".into(),
            cipher_suite: None,
            demands_tls: false,
            tls_refused: false,
            proxied: None,
        }
    }

    /// The connection is there: asks policy or greets.
    pub fn connect(&mut self) -> Step {
        self.pending = Pending::Nothing;
        let flow = self.ask(Question::Connect);
        self.drive(flow)
    }

    /// Takes input and begins a turn; one without room for a command where the session makes no progress.
    pub fn receive(&mut self, octets: &[u8]) -> Step {
        self.turn = if self.makes_no_progress() { 0 } else { TURN_COMMANDS };
        if self.phase == Phase::Closed {
            return Step::Close;
        }
        let fed = self.feed(octets);
        self.input.push(octets.get(fed..).unwrap_or_default());
        self.go_on()
    }

    /// Takes octets of a content, the bulk of it, to the store without a copy, and returns how many; none when something else comes next.
    fn feed(&mut self, octets: &[u8]) -> usize {
        let (Pending::Nothing, []) = (&self.pending, self.input.rest()) else { return 0 };
        if self.phase == Phase::Closed {
            return 0;
        }
        let taken = self.mode.feed(&self.config.content, octets);
        self.tally.content += taken as u64;
        taken
    }

    /// Begins a turn with the input that is there.
    pub fn proceed(&mut self) -> Step {
        self.turn = TURN_COMMANDS;
        if matches!(self.pending, Pending::Secured) {
            self.pending = Pending::Nothing;
        }
        self.go_on()
    }

    /// The message is on disk, or could not be put there and `refused` is the reply to the peer: a turn begins.
    pub fn committed(&mut self, refused: Option<Reply>) -> Step {
        if !matches!(self.pending, Pending::Commit) {
            return Step::Wait;
        }
        self.pending = Pending::Nothing;
        self.turn = TURN_COMMANDS;
        self.reset();
        let reply = refused.unwrap_or_else(|| {
            self.tally.messages += 1;
            self.idle = 0;
            reply::queued(&self.queue_id)
        });
        let flow = self.say(reply);
        self.drive(flow)
    }

    /// Works on what is there, unless the caller has to give something first.
    fn go_on(&mut self) -> Step {
        if matches!(self.pending, Pending::Nothing) { self.drive(Flow::Next) } else { Step::Wait }
    }

    fn drive(&mut self, flow: Flow) -> Step {
        let mut flow = flow;
        loop {
            if let Flow::Stop(step) = flow {
                return step;
            }
            if self.phase == Phase::Closed {
                return Step::Close;
            }
            let mut input = std::mem::take(&mut self.input);
            let next = match self.mode {
                Mode::Line(state) => self.line(state, &mut input),
                Mode::Data(_) => self.content(&mut input),
                Mode::Sasl(state) => self.sasl(state, &mut input),
                Mode::Chunk(_) => self.chunk(&mut input),
                Mode::Lost => Some(self.close(&reply::LOST, End::BadChunk)),
            };
            if self.phase != Phase::Closed {
                self.input = input;
            }
            let Some(next) = next else {
                // Everything is used, or the rest of a line is awaited.
                self.input.shrink();
                return Step::NeedInput;
            };
            flow = next;
        }
    }

    /// Ends the transaction, if there is one.
    fn reset(&mut self) {
        self.transaction = None;
        self.mode = Mode::default();
        self.forget_origin();
        if matches!(self.phase, Phase::Mail | Phase::Rcpt | Phase::Chunks) {
            self.phase = Phase::Ready;
        }
    }
}
