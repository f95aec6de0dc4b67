//! The sending side: one connection to a next hop, spoken in SMTP or LMTP. Bytes in, steps out; no socket, no clock.
//!
//! # Theory of operation
//!
//! Every command written puts one entry (for the end of data over LMTP: one for each accepted recipient) into the queue
//! `awaited`; every reply read takes the entry at the front and is looked up in this table. There is no other state but the
//! running [`Transaction`] and the content [`Stream`] that is being written.
//!
//! | awaited   | 2yz                        | 354                     | 4yz                | 5yz                         |
//! |-----------|----------------------------|-------------------------|--------------------|-----------------------------|
//! | Greeting  | EHLO / LHLO                | x                       | refuse, deferred   | refuse (a)                  |
//! | Extended  | offers read, **Ready**     | x                       | refuse, deferred   | HELO; LMTP: refuse, deferred|
//! | Plain     | **Ready**                  | x                       | refuse, deferred   | refuse, deferred            |
//! | Mail      | RCPT (b)                   | x                       | all deferred, RSET | all failed, RSET            |
//! | Rcpt      | accepted; next RCPT (b)    | x                       | deferred           | failed; 552: deferred (c)   |
//! | Data      | x                          | content, or lone dot (d)| accepted deferred, RSET | accepted failed, RSET  |
//! | Dot       | delivered, **Done**        | x                       | deferred, **Done** | failed, **Done**            |
//! | `LoneDot` | **Done**                   | **Done**                | **Done**           | **Done**                    |
//! | Reset     | **Done**                   | close                   | close              | close                       |
//! | Quit      | close                      | close                   | close              | close                       |
//!
//! * x: protocol error: undecided recipients are deferred, the connection is closed. So are garbage, overlong replies, and a
//!   reply (or any octet) that comes before its command was taken by [`Client::output`]: such a reply is never matched, but for (e).
//! * 421 to anything but the end of data over LMTP: undecided recipients are deferred, the connection is closed. Over LMTP it
//!   speaks for one recipient, the others' replies are read on, then the connection is closed.
//! * (a) 521 and 556 (RFC 7504) say that this host takes no messages under any circumstances: failed. Any other 5yz greeting, 554 too,
//!   is about this client or this moment, mostly a block list's or an overload's doing, and an HELO refused is a mistake in settings:
//!   deferred, so that an operator's slip does not bounce a queue. So is a greeting that is word for word our own: the next hop
//!   is this server.
//! * (b) With PIPELINING (RFC 2920) MAIL, all RCPT and DATA went in one write; their replies only sort the recipients. Without
//!   it the next command is written here.
//! * (c) RFC 5321 4.5.3.1.10: 552 was once the code for too many recipients.
//! * (d) 354 with nobody accepted can only follow a pipelined DATA: a lone dot ends it (RFC 2920 3.1). Should the host have
//!   refused MAIL and yet accepted a recipient, or speak LMTP (no reply is defined then), the connection is closed instead.
//! * (e) 4yz and 5yz while the content is still being sent: the host has seen enough of it. The reply counts as the one to the end of
//!   data, which is then never sent; over LMTP it speaks for one recipient, and the content goes on for those left. The connection is
//!   closed. 2yz is never believed there.
//!
//! A connection lost after the final dot defers: the message may then be delivered twice, but never not at all (RFC 1047).
//! RSET is sent only when a transaction ended before the end of data; after [`Step::Done`] the next may begin at once.
//!
//! Called by delivery alone. Bad input is a step, never an error. RFC 5321 3.1, 3.3, 4.5.3.2, 4.5.4; RFC 2033; RFC 1870; RFC 6152; RFC 6531.
#![forbid(unsafe_code)]

mod reply;
mod stuffing;
#[cfg(test)]
mod tests;
mod transaction;

use std::collections::VecDeque;
use std::io::Write;
use std::sync::Arc;

use crate::machine::message::content::Octets;
use crate::machine::message::{Message, State};
use crate::machine::smtp::reply::greeting;

use reply::{MAX_TEXT, Reader, Reply};
use stuffing::{Stream, Stuffer};
use transaction::{Fate, Transaction};
pub use transaction::{Offers, Outcome};

/// Most lines of a reply; to EHLO more, each of them being an extension.
const MAX_LINES: usize = 100;
const MAX_EXTENSIONS: usize = 200;
/// Why nothing is sent to a host that greets as we do.
const OURSELVES: &str = "451 4.4.6 The next hop is this server itself";

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// RFC 5321.
    Smtp,
    /// RFC 2033.
    Lmtp,
}

/// What the caller has to do next, after it has written [`Client::output`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// Wait for input, at most as long as [`Client::timeout`] says.
    Wait = 0,
    /// The connection is set up: a transaction may begin.
    Ready = 1,
    /// The transaction has ended: take the outcomes. The next may begin.
    Done = 2,
    /// Close the connection. If a transaction was running, its outcomes are there.
    Closed = 3,
    /// Content from a file: take the output again whenever the transport has room.
    More = 4,
}

/// Which time limit applies (RFC 5321 4.5.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Timeout {
    /// Greeting and the reply to EHLO, HELO, LHLO.
    Greeting = 0,
    /// Reply to MAIL or RSET.
    Mail = 1,
    /// Reply to RCPT.
    Rcpt = 2,
    /// Reply to DATA.
    Data = 3,
    /// Writing the next chunk of content.
    Block = 4,
    /// Reply to the end of data.
    EndOfData = 5,
    /// Between transactions, and for the reply to QUIT.
    Idle = 6,
}

/// The command whose reply is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    Greeting,
    Extended,
    Plain,
    Mail,
    Rcpt(usize),
    Data,
    /// End of data; the slot over LMTP, where each accepted recipient gets a reply.
    Dot(Option<usize>),
    LoneDot,
    Reset,
    Quit,
}

/// A call that the state of the connection does not allow, or an argument that no caller may give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Misuse(pub &'static str);

/// One connection.
#[derive(Debug)]
pub struct Client {
    protocol: Protocol,
    helo_name: String,
    reader: Reader,
    output: Vec<u8>,
    awaited: VecDeque<Awaited>,
    offers: Offers,
    transaction: Option<Transaction>,
    stream: Option<Stream>,
    outcomes: Vec<Outcome>,
    opened: bool,
    refusal: Option<(State, String)>,
    untouched: bool,
    replies: u64,
    step: Step,
}

impl Client {
    /// A connection just made, before its greeting. `helo_name`: a domain or address literal.
    pub fn new(protocol: Protocol, helo_name: &str) -> Result<Self, Misuse> {
        if helo_name.is_empty() || !helo_name.bytes().all(|octet| octet.is_ascii_graphic()) {
            return Err(Misuse("the hello name must be a domain or an address literal"));
        }
        Ok(Self {
            protocol,
            helo_name: helo_name.to_owned(),
            reader: Reader::default(),
            output: Vec::new(),
            awaited: VecDeque::from([Awaited::Greeting]),
            offers: Offers::default(),
            transaction: None,
            stream: None,
            outcomes: Vec::new(),
            opened: false,
            refusal: None,
            untouched: false,
            replies: 0,
            step: Step::Wait,
        })
    }

    /// What is to be done now.
    pub fn step(&self) -> Step {
        self.step
    }

    /// The time limit that applies now.
    pub fn timeout(&self) -> Timeout {
        if self.stream.is_some() {
            return Timeout::Block;
        }
        match self.awaited.front() {
            Some(Awaited::Greeting | Awaited::Extended | Awaited::Plain) => Timeout::Greeting,
            Some(Awaited::Mail | Awaited::Reset) => Timeout::Mail,
            Some(Awaited::Rcpt(_)) => Timeout::Rcpt,
            Some(Awaited::Data) => Timeout::Data,
            Some(Awaited::Dot(_) | Awaited::LoneDot) => Timeout::EndOfData,
            Some(Awaited::Quit) | None => Timeout::Idle,
        }
    }

    /// Why a connection closed before it was ever ready: state for every message that waits for it, and the reply.
    pub fn refusal(&self) -> Option<&(State, String)> {
        self.refusal.as_ref()
    }

    /// What the next hop offers; None before the connection is set up.
    pub fn offers(&self) -> Option<&Offers> {
        self.opened.then_some(&self.offers)
    }

    /// The connection closed before anything but 421 was answered to the transaction: where the connection had been kept idle,
    /// another one may be tried at once.
    pub fn untouched(&self) -> bool {
        self.untouched
    }

    /// Whole replies read so far: only they are progress, octets of one that never ends are not.
    pub fn replies(&self) -> u64 {
        self.replies
    }

    /// Takes the outcomes of the transaction that ended: one for each index it was begun with.
    pub fn outcomes(&mut self) -> Vec<Outcome> {
        std::mem::take(&mut self.outcomes)
    }

    /// Takes what is to be written now. May turn the step from More to Wait or Closed.
    pub fn output(&mut self) -> Vec<u8> {
        if let Some(stream) = self.stream.take() {
            match stream.advance(&mut self.output) {
                Ok(Some(rest)) => self.stream = Some(rest),
                Ok(None) => self.step = Step::Wait,
                Err(error) => self.close(&transaction::unreadable(&error)),
            }
        }
        std::mem::take(&mut self.output)
    }

    /// Takes what the socket gave.
    pub fn receive(&mut self, bytes: &[u8]) -> Step {
        if self.step != Step::Closed {
            self.reader.push(bytes);
        }
        while self.step != Step::Closed && !self.reader.is_empty() {
            let limit = if self.awaited.front() == Some(&Awaited::Extended) { MAX_EXTENSIONS } else { MAX_LINES };
            match self.reader.next(limit) {
                _ if self.awaited.is_empty() => self.violate("a reply without a command"),
                Ok(Some(reply)) if self.is_sent() || (self.sends_content() && refused(&reply).is_some()) => {
                    self.on_reply(&reply);
                }
                Ok(Some(reply)) => self.violate(&format!("replied before its turn: {}", reply.text())),
                Ok(None) if self.sends_content() && self.reader.begins_refusal() => {
                    self.distrust();
                    break;
                }
                _ if !self.is_sent() => self.violate("a reply before its command"),
                Ok(None) => break,
                Err(garbage) => self.violate(garbage),
            }
        }
        self.step
    }

    /// Not all of a content has left: a refusal may come all the same, see (e).
    fn sends_content(&self) -> bool {
        matches!(self.awaited.front(), Some(Awaited::Dot(_))) && !self.is_sent()
    }

    /// After the running transaction nothing can be relied on: the connection closes.
    fn distrust(&mut self) {
        if let Some(transaction) = &mut self.transaction {
            transaction.last = true;
        }
    }

    /// Everything written so far has left: a reply now cannot be older than its command.
    fn is_sent(&self) -> bool {
        self.output.is_empty() && self.stream.is_none()
    }

    /// Begins a transaction for these recipients of the message; only after Ready or Done.
    pub fn begin(&mut self, message: Arc<Message>, indexes: &[usize]) -> Result<Step, Misuse> {
        if !matches!(self.step, Step::Ready | Step::Done) {
            return Err(Misuse("the connection is not ready for a transaction"));
        }
        let mut transaction = Transaction::new(message, indexes).ok_or(Misuse("no such recipient"))?;
        transaction.check(&self.offers);
        let slots = transaction.slots(&Fate::Waiting);
        let (eight_bit, smtputf8) = (transaction.eight_bit(), self.offers.smtputf8 && transaction.wants_smtputf8());
        self.transaction = Some(transaction);
        if slots.is_empty() {
            self.finish();
            return Ok(self.step);
        }
        self.step = Step::Wait;
        self.send_mail(eight_bit, smtputf8);
        if self.offers.pipelining {
            for slot in slots {
                self.send_rcpt(slot);
            }
            self.send(b"DATA\r\n", Awaited::Data);
        }
        Ok(self.step)
    }

    /// Ends an idle connection in good manners.
    pub fn quit(&mut self) -> Step {
        if matches!(self.step, Step::Ready | Step::Done) {
            self.step = Step::Wait;
            self.send(b"QUIT\r\n", Awaited::Quit);
        }
        self.step
    }

    /// The connection is lost, or is to be given up: `cause` such as `Timed out` goes into the reason.
    pub fn end(&mut self, cause: &str) -> Step {
        if self.step != Step::Closed {
            let place = match (&self.stream, self.awaited.front()) {
                (Some(_), _) => "while the content was sent",
                (_, Some(Awaited::Greeting)) => "waiting for the greeting",
                (_, Some(Awaited::Extended | Awaited::Plain)) => "waiting for the reply to EHLO",
                (_, Some(Awaited::Mail)) => "waiting for the reply to MAIL",
                (_, Some(Awaited::Rcpt(_))) => "waiting for the reply to RCPT",
                (_, Some(Awaited::Data)) => "waiting for the reply to DATA",
                (_, Some(Awaited::Dot(_))) => "waiting for the reply to the end of data (it may be delivered twice)",
                _ => "between transactions",
            };
            self.close(&format!("421 4.4.2 {cause} {place}"));
        }
        self.step
    }

    fn send(&mut self, command: &[u8], awaited: Awaited) {
        self.output.extend_from_slice(command);
        self.awaited.push_back(awaited);
    }

    fn send_hello(&mut self, verb: &str, awaited: Awaited) {
        let command = format!("{verb} {}\r\n", self.helo_name);
        self.send(command.as_bytes(), awaited);
    }

    fn send_mail(&mut self, eight_bit: bool, smtputf8: bool) {
        let Some(transaction) = &self.transaction else { return };
        let message = &transaction.message;
        let mut command = format!("MAIL FROM:<{}>", message.envelope.reverse_path).into_bytes();
        if self.offers.size.is_some() {
            // Writing to a Vec cannot fail.
            let _ = write!(command, " SIZE={}", message.size());
        }
        if eight_bit {
            command.extend_from_slice(b" BODY=8BITMIME");
        }
        if smtputf8 {
            command.extend_from_slice(b" SMTPUTF8");
        }
        command.extend_from_slice(b"\r\n");
        self.send(&command, Awaited::Mail);
    }

    fn send_rcpt(&mut self, slot: usize) {
        let Some(transaction) = &self.transaction else { return };
        let address = transaction.address(slot);
        for part in [b"RCPT TO:<".as_slice(), address.as_bytes(), b">\r\n"] {
            self.output.extend_from_slice(part);
        }
        self.awaited.push_back(Awaited::Rcpt(slot));
    }

    fn send_reset(&mut self) {
        self.send(b"RSET\r\n", Awaited::Reset);
    }

    /// Without PIPELINING: the command after the reply just read.
    fn send_next(&mut self) {
        let Some(transaction) = &self.transaction else { return };
        if self.offers.pipelining {
            return;
        }
        if let Some(&slot) = transaction.slots(&Fate::Waiting).first() {
            self.send_rcpt(slot);
        } else if transaction.has_accepted() {
            self.send(b"DATA\r\n", Awaited::Data);
        } else {
            self.send_reset();
        }
    }

    fn on_reply(&mut self, reply: &Reply) {
        let Some(awaited) = self.awaited.pop_front() else { return };
        self.step = if self.stream.is_some() { Step::More } else { Step::Wait };
        self.replies += 1;
        if reply.code == 421 && !matches!(awaited, Awaited::Dot(Some(_))) {
            return self.close(&reply.text());
        }
        match awaited {
            Awaited::Greeting | Awaited::Extended | Awaited::Plain => self.on_setup(awaited, reply),
            Awaited::Mail => self.on_mail(reply),
            Awaited::Rcpt(slot) => self.on_rcpt(slot, reply),
            Awaited::Data => self.on_data(reply),
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
            (Awaited::Greeting, 2) if self.protocol == Protocol::Lmtp => self.send_hello("LHLO", Awaited::Extended),
            (Awaited::Greeting, 2) => self.send_hello("EHLO", Awaited::Extended),
            (Awaited::Greeting, 5) if matches!(reply.code, 521 | 556) => self.refuse(State::Failed, &reply.text()),
            (Awaited::Extended, 5) if self.protocol == Protocol::Smtp => self.send_hello("HELO", Awaited::Plain),
            (_, 2) => {
                if awaited == Awaited::Extended {
                    self.offers = Offers::read(reply);
                }
                self.opened = true;
                self.step = Step::Ready;
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
                transaction.refused = true;
                transaction.settle_open(state, &reply.text());
                self.send_next();
            }
            None => self.violate(&reply.text()),
        }
    }

    fn on_rcpt(&mut self, slot: usize, reply: &Reply) {
        let Some(transaction) = &mut self.transaction else { return };
        match refused(reply) {
            // An acceptance without a transaction: see (d).
            _ if reply.class() == 2 && transaction.refused => transaction.last = true,
            _ if reply.class() == 2 => transaction.set(slot, Fate::Accepted),
            Some(_) if transaction.refused => {}
            Some(_) if reply.code == 552 => transaction.settle(slot, State::Pending, reply.text()),
            Some(state) => transaction.settle(slot, state, reply.text()),
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
            None if transaction.last || self.protocol == Protocol::Lmtp => self.violate("354 without a recipient"),
            None => self.send(b".\r\n", Awaited::LoneDot),
        }
    }

    fn send_content(&mut self) {
        let Some(transaction) = &mut self.transaction else { return };
        match self.protocol {
            Protocol::Smtp => self.awaited.push_back(Awaited::Dot(None)),
            Protocol::Lmtp => {
                let slots = transaction.slots(&Fate::Accepted);
                self.awaited.extend(slots.into_iter().map(|slot| Awaited::Dot(Some(slot))));
            }
        }
        let mut stuffer = Stuffer::default();
        stuffer.push(&transaction.message.trace, &mut self.output);
        match (&transaction.message.content.octets, transaction.file.take()) {
            (Octets::File(content), Some(file)) => {
                self.stream = Some(Stream::new(file, content.size(), stuffer));
                self.step = Step::More;
            }
            (Octets::Memory(octets), _) => {
                stuffer.push(octets, &mut self.output);
                stuffer.finish(&mut self.output);
            }
            (Octets::File(_), None) => self.close("451 4.3.0 The stored content was not opened"),
        }
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
        match slot {
            Some(slot) => transaction.settle(slot, state, reply.text()),
            None => transaction.settle_open(state, &reply.text()),
        }
        if self.awaited.is_empty() {
            // What has not left, the final dot at least, must not: nobody waits for this content.
            self.output.clear();
            self.stream = None;
            self.finish();
        }
    }

    /// The transaction is over, all its replies are read.
    fn finish(&mut self) {
        if let Some(transaction) = self.transaction.take() {
            self.step = if transaction.last { Step::Closed } else { Step::Done };
            self.outcomes = transaction.into_outcomes();
        }
    }

    fn violate(&mut self, what: &str) {
        self.close(&format!("451 4.5.0 The next hop broke the protocol: {what}"));
    }

    fn refuse(&mut self, state: State, reply: &str) {
        self.refusal = Some((state, reply.to_owned()));
        self.close("");
        // The host is alive and waits for it (RFC 5321 3.1).
        self.output.extend_from_slice(b"QUIT\r\n");
    }

    /// Defers whoever is undecided; the connection is of no more use.
    fn close(&mut self, reply: &str) {
        let reply = reply.get(..MAX_TEXT).unwrap_or(reply);
        if let Some(mut transaction) = self.transaction.take() {
            self.untouched = !transaction.replied;
            transaction.settle_open(State::Pending, reply);
            self.outcomes = transaction.into_outcomes();
        }
        if !self.opened && self.refusal.is_none() {
            self.refusal = Some((State::Pending, reply.to_owned()));
        }
        self.output.clear();
        self.awaited.clear();
        self.stream = None;
        self.step = Step::Closed;
    }
}

/// What a refusing reply means for those it speaks for.
fn refused(reply: &Reply) -> Option<State> {
    match reply.class() {
        4 => Some(State::Pending),
        5 => Some(State::Failed),
        _ => None,
    }
}
