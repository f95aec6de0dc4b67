//! Replies on their way out: noted for the log, held by the tarpit, counted, written.

use super::{Flow, Pending, Session, TURN_COMMANDS};
use crate::machine::smtp::reply::{self, Reply};
use crate::machine::smtp::server::mode::{Input, Mode};
use crate::machine::smtp::server::phase::Phase;
use crate::machine::smtp::server::step::Step;
use crate::machine::smtp::server::tally::{End, LOGGED, Refusal};
use crate::machine::smtp::server::tarpit::Hold;
use crate::machine::smtp::server::transaction::Transaction;

impl Session {
    /// The hold is over: a turn begins.
    pub fn release(&mut self) -> Step {
        self.turn = TURN_COMMANDS;
        match std::mem::replace(&mut self.pending, Pending::Nothing) {
            Pending::Release(reply) => {
                let flow = self.send(&reply);
                self.drive(flow)
            }
            pending => {
                self.pending = pending;
                Step::Wait
            }
        }
    }

    /// Sends a reply, through the tarpit where it belongs there.
    pub(super) fn say(&mut self, reply: Reply) -> Flow {
        if reply.class() >= 4 {
            self.note(&reply);
        }
        self.hold(reply, 0)
    }

    /// Sends a reply; the tarpit holds a 5xx reply to a client that has not authenticated, for `least` milliseconds at least.
    pub(super) fn hold(&mut self, reply: Reply, least: u64) -> Flow {
        let hold = if self.auth.is_done() { Hold::No } else { self.tarpit.hold(&self.config, &reply, least) };
        match hold {
            Hold::No => self.send(&reply),
            Hold::Spent => self.close(&reply::DELAYS_SPENT, End::TarpitLimit),
            Hold::For(time) => {
                self.pending = Pending::Release(reply);
                Flow::Stop(Step::Hold(time))
            }
        }
    }

    /// Notes a refusal for the log; the caller fills in what was refused, else it is a content.
    fn note(&mut self, reply: &Reply) {
        self.tally.refused += 1;
        if self.tally.refused <= LOGGED {
            let sender = self.transaction.as_deref().map_or_else(String::new, Transaction::sender);
            self.refused.push(Refusal::new(sender, reply.clone()));
        }
    }

    pub(super) fn send(&mut self, reply: &Reply) -> Flow {
        self.tally.count(reply);
        reply.write(&mut self.output);
        self.errors += u32::from(reply.class() == 5);
        if self.config.errors > 0 && self.errors >= self.config.errors {
            return self.close(&reply::TOO_MANY_ERRORS, End::TooManyErrors);
        }
        if self.config.auth_failures > 0 && self.auth.failures >= self.config.auth_failures {
            return self.close(&reply::TOO_MANY_FAILURES, End::AuthFailures);
        }
        Flow::Next
    }

    /// Closes because policy refuses what the client does with a 421.
    pub(super) fn send_away(&mut self, reply: &Reply) -> Flow {
        self.note(reply);
        self.close(reply, End::Refused)
    }

    /// Ends the session from outside with a 421: time-out, shutdown, eviction. A held reply is dropped.
    pub fn stop(&mut self, reply: &Reply, end: End) -> Step {
        self.pending = Pending::Nothing;
        self.mode = Mode::default();
        self.auth.exchange = None;
        self.transaction = None;
        self.input = Input::default();
        self.tally.count(reply);
        reply.clone().named(&self.config.hostname).write(&mut self.output);
        self.tally.end = Some(end);
        self.phase = Phase::Closed;
        Step::Close
    }

    pub(super) fn close(&mut self, reply: &Reply, end: End) -> Flow {
        self.stop(reply, end);
        Flow::Stop(Step::Close)
    }
}
