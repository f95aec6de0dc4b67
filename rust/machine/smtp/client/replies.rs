//! What each reply means, by the table in `client`.

use super::callout::Purpose;
use super::offers::Offers;
use super::reply::{MAX_TEXT, Reply};
use super::transaction::{Fate, Setback};
use super::{Awaited, Client, Protocol, Step};
use crate::machine::message::State;
use crate::machine::smtp::chunking::Chunking;
use crate::machine::smtp::reply::greeting;

/// Why nothing is sent to a host that greets as we do.
const BROKEN: &str = "451 4.5.0 The next hop broke the protocol: ";
const OURSELVES: &str = "451 4.4.6 The next hop is this server itself";

impl Client {
    pub(super) fn on_reply(&mut self, reply: &Reply) {
        let Some(awaited) = self.awaited.pop_front() else { return };
        self.step = if self.stream.is_some() { Step::More } else { Step::Wait };
        self.replies += 1;
        if reply.code == 421 && !matches!(awaited, Awaited::Dot(Some(_))) {
            return self.close(&self.shown(reply));
        }
        match awaited {
            Awaited::Greeting | Awaited::Extended | Awaited::Plain => self.on_setup(awaited, reply),
            Awaited::StartTls => self.on_start_tls(reply),
            Awaited::Auth => self.on_auth(reply),
            Awaited::XClient => self.on_xclient(reply),
            Awaited::XForward => self.on_xforward(reply),
            Awaited::Mail => self.on_mail(reply),
            Awaited::Rcpt(slot) => self.on_rcpt(slot, reply),
            Awaited::Data => self.on_data(reply),
            Awaited::Chunk => self.on_chunk(reply),
            Awaited::Dot(slot) => self.on_dot(slot, reply),
            Awaited::LoneDot => self.finish(),
            Awaited::Reset if reply.class() == 2 => self.finish(),
            Awaited::Reset | Awaited::Quit => self.close(&reply.text()),
        }
    }

    fn on_setup(&mut self, awaited: Awaited, reply: &Reply) {
        match (awaited, reply.class()) {
            (_, 3) => self.violate(&reply.text()),
            (Awaited::Greeting, 2) if reply.text() == greeting(&self.helo_name).to_string() => {
                self.refuse(State::Pending, OURSELVES);
            }
            (Awaited::Greeting, 2) => self.send_extended_hello(),
            (Awaited::Greeting, 5) if matches!(reply.code, 521 | 556) => self.refuse(State::Failed, &reply.text()),
            (Awaited::Extended, 5) if self.protocol == Protocol::Smtp => self.send_hello("HELO", Awaited::Plain),
            (_, 2) => {
                if awaited == Awaited::Extended {
                    self.offers = Offers::read(reply, self.is_verified());
                    if self.chunking == Chunking::Off {
                        self.offers.chunking = Chunking::Off;
                    }
                    self.offer_mechanisms(reply);
                }
                self.greeted();
            }
            _ => self.refuse(State::Pending, &reply.text()),
        }
    }

    fn on_mail(&mut self, reply: &Reply) {
        let Some(transaction) = &mut self.transaction else { return };
        transaction.replied = true;
        match refused(reply) {
            _ if reply.class() == 2 => self.send_next(),
            Some(state) => {
                transaction.setback = Some(Setback::Mail);
                // A refused sender says nothing of the recipient that is asked for.
                transaction
                    .settle_open(if self.purpose == Purpose::Callout { State::Pending } else { state }, &reply.text());
                self.send_next();
            }
            None => self.violate(&reply.text()),
        }
    }

    fn on_rcpt(&mut self, slot: usize, reply: &Reply) {
        let Some(transaction) = &mut self.transaction else { return };
        match refused(reply) {
            // An acceptance without a transaction: see (d).
            _ if reply.class() == 2 && transaction.setback.is_some() => transaction.last = true,
            _ if reply.class() == 2 && self.purpose == Purpose::Callout => {
                transaction.settle(slot, State::Delivered, reply.text());
            }
            _ if reply.class() == 2 => transaction.set(slot, Fate::Accepted),
            Some(_) if transaction.setback.is_some() => {}
            Some(_) if reply.code == 552 => transaction.settle(slot, State::Pending, reply.text()),
            Some(state) => {
                self.used.refusals += usize::from(self.purpose == Purpose::Callout);
                transaction.settle(slot, state, reply.text());
            }
            None => return self.violate(&reply.text()),
        }
        self.send_next();
    }

    fn on_data(&mut self, reply: &Reply) {
        let Some(transaction) = &mut self.transaction else { return };
        match refused(reply) {
            Some(state) => {
                transaction.settle_open(state, &reply.text());
                self.send_reset();
            }
            None if reply.code != 354 => self.violate(&reply.text()),
            None if transaction.has_accepted() => self.send_content(),
            // No reply is out of its place: a server may say 354 after it has refused everybody (RFC 2920 3.2).
            None if transaction.last || self.protocol == Protocol::Lmtp => {
                self.close(&format!("{BROKEN}354 without a recipient"));
            }
            None => self.send(b".\r\n", Awaited::LoneDot),
        }
    }

    fn on_chunk(&mut self, reply: &Reply) {
        let is_sent = self.is_sent();
        let Some(transaction) = &mut self.transaction else { return };
        let Some(state) = refused(reply) else {
            if reply.class() != 2 {
                self.violate(&reply.text());
            }
            return;
        };
        transaction.setback = Some(Setback::Chunk);
        transaction.settle_open(state, &reply.text());
        if is_sent && self.protocol == Protocol::Smtp {
            return; // What was sent behind it is refused, too.
        }
        // How many replies still come over LMTP nobody can say.
        transaction.last = true;
        self.awaited.clear();
        self.end_content();
    }

    fn on_dot(&mut self, slot: Option<usize>, reply: &Reply) {
        if !self.is_sent() {
            self.distrust();
        }
        let Some(transaction) = &mut self.transaction else { return };
        let Some(state) = refused(reply).or((reply.class() == 2).then_some(State::Delivered)) else {
            return self.violate(&reply.text());
        };
        transaction.last |= reply.code == 421;
        if self.offers.chunking != Chunking::Off && state != State::Delivered {
            transaction.setback = Some(Setback::Chunk);
        }
        match slot {
            Some(slot) => transaction.settle(slot, state, reply.text()),
            None => transaction.settle_open(state, &reply.text()),
        }
        if self.awaited.is_empty() {
            self.end_content();
        }
    }

    /// All replies to the content are read. What has not left, its end at least, must not: it is not needed any more.
    fn end_content(&mut self) {
        self.output.clear();
        self.stream = None;
        if self
            .transaction
            .as_ref()
            .is_some_and(|transaction| transaction.setback == Some(Setback::Chunk) && !transaction.last)
        {
            self.send_reset();
        } else {
            self.finish();
        }
    }

    /// The transaction is over, all its replies are read.
    pub(super) fn finish(&mut self) {
        if let Some(transaction) = self.transaction.take() {
            self.step = if transaction.last { Step::Closed } else { Step::Done };
            self.outcomes = transaction.into_outcomes(self.success());
            if self.step == Step::Done && self.is_spent() {
                self.leave();
            }
        }
    }

    /// The state of those who are delivered and whose sender asked for a report that the next hop does not make; over LMTP they
    /// are in their mailboxes.
    fn success(&self) -> Option<State> {
        let state = if self.protocol == Protocol::Lmtp { State::Placed } else { State::Relayed };
        (!self.offers.dsn).then_some(state)
    }

    /// Defers all that is not delivered: after one reply too many, each later one was taken for the recipient before its own.
    pub(super) fn violate(&mut self, what: &str) {
        let broken = format!("{BROKEN}{what}");
        if let Some(transaction) = &mut self.transaction {
            transaction.reopen_failed();
        } else if self.purpose == Purpose::Callout {
            self.doubt_refusals(&broken);
        }
        self.close(&broken);
    }

    /// A transaction may begin, or the one that waited for XCLIENT does.
    pub(super) fn open(&mut self) {
        self.opened = true;
        if self.transaction.is_some() {
            return self.start();
        }
        self.step = Step::Ready;
    }

    pub(super) fn refuse(&mut self, state: State, reply: &str) {
        if !self.opened {
            self.refusal = Some((state, reply.to_owned()));
        }
        self.close(reply);
        // The host is alive and waits for it (RFC 5321 3.1).
        self.output.extend_from_slice(b"QUIT\r\n");
    }

    /// Defers the undecided recipients; the connection is of no more use.
    pub(super) fn close(&mut self, reply: &str) {
        let reply = reply.get(..MAX_TEXT).unwrap_or(reply);
        if let Some(mut transaction) = self.transaction.take() {
            self.untouched = !transaction.replied;
            transaction.settle_open(State::Pending, reply);
            self.outcomes = transaction.into_outcomes(self.success());
        }
        if !self.opened && self.refusal.is_none() {
            self.refusal = Some((State::Pending, reply.to_owned()));
        }
        self.retry_in_clear |= self.may_be_in_clear();
        self.output.clear();
        self.awaited.clear();
        self.stream = None;
        self.step = Step::Closed;
    }
}

/// What a refusing reply means for those it speaks for.
pub fn refused(reply: &Reply) -> Option<State> {
    match reply.class() {
        4 => Some(State::Pending),
        5 => Some(State::Failed),
        _ => None,
    }
}
