//! The sending side: one connection to a next hop, spoken in SMTP or LMTP. Bytes in, steps out; no socket, no clock.
//!
//! # Theory of operation
//!
//! Every command written puts one entry (for the end of data over LMTP: one for each accepted recipient) into the queue
//! `awaited`; every reply read takes the entry at the front and is looked up in this table. There is no other state but the
//! running [`Transaction`] and the content [`Stream`] that is being written.
//!
//! | awaited   | 2xx                        | 354                     | 4xx                | 5xx                         |
//! |-----------|----------------------------|-------------------------|--------------------|-----------------------------|
//! | Greeting  | EHLO / LHLO                | x                       | refuse, deferred   | refuse (a)                  |
//! | Extended  | offers read, STARTTLS (g), AUTH (f)      | x                       | refuse, deferred   | HELO; LMTP: refuse, deferred|
//! | Plain     | AUTH (f)                   | x                       | refuse, deferred   | refuse, deferred            |
//! | `StartTls`| **`StartTls`** (h)         | x                       | in clear, or refuse (g) | in clear, or refuse (g) |
//! | Auth      | **Ready**                  | x; 334: next response   | refuse, deferred   | refuse, deferred            |
//! | `XClient` | EHLO / LHLO                | x                       | all deferred, close| all deferred, close         |
//! | `XForward`| go on                      | x                       | go on              | go on                       |
//! | Mail      | RCPT (b)                   | x                       | all deferred, RSET | all failed, RSET            |
//! | Rcpt      | accepted; next RCPT (b)    | x                       | deferred           | failed; 552: deferred (c)   |
//! | Data      | x                          | content, or lone dot (d)| accepted deferred, RSET | accepted failed, RSET  |
//! | Chunk     | next chunk                 | x                       | deferred, RSET (i) | failed, RSET (i)            |
//! | Dot       | delivered, **Done**        | x                       | deferred, **Done** | failed, **Done**            |
//! | `LoneDot` | **Done**                   | **Done**                | **Done**           | **Done**                    |
//! | Reset     | **Done**                   | close                   | close              | close                       |
//! | Quit      | close                      | close                   | close              | close                       |
//!
//! * x: protocol error: undecided recipients are deferred, the connection is closed. So are garbage, overlong replies, and a
//!   reply (or any octet) that comes before its command was taken by [`Client::output`]: such a reply is never matched, but for (e).
//! * 421 to anything but the end of data over LMTP: undecided recipients are deferred, the connection is closed. Over LMTP it
//!   speaks for one recipient, the others' replies are read on, then the connection is closed.
//! * (a) 521 and 556 (RFC 7504) say that this host takes no messages under any circumstances: failed. Any other 5xx greeting, 554 too,
//!   is about this client or this moment, mostly a block list's or an overload's doing, and an HELO refused is a mistake in settings:
//!   deferred, so that a slip bounces no queue. So is a greeting that is word for word our own: the next hop is this server.
//! * (b) With PIPELINING (RFC 2920) MAIL, all RCPT and DATA went in one write (for a callout: see there); their replies only sort the recipients. Without
//!   it the next command is written here. With CHUNKING the content follows the last reply to RCPT by BDAT (RFC 3030 2), and no DATA;
//!   without an accepted recipient RSET follows.
//! * (c) RFC 5321 4.5.3.1.10: 552 was once the code for too many recipients.
//! * (d) 354 without an accepted recipient can only follow a pipelined DATA: a lone dot ends it (RFC 2920 3.1). Should the host have
//!   refused MAIL and yet accepted a recipient, or speak LMTP (no reply is defined then), the connection is closed instead.
//! * (e) 4xx and 5xx while the content is still being sent: the host refuses the rest of it. The reply counts as the one to the end of
//!   data, which is then never sent; over LMTP it speaks for one recipient, and the content goes on for those left. The connection is
//!   closed. 2xx is never accepted there, but to a chunk of which all octets have left.
//! * (f) With credentials; without them **Ready**. What cannot be authenticated is never sent: it would be refused for good.
//! * (g) [`Tls`]: STARTTLS is said after the first reply to EHLO that offers it, unless TLS is not asked for. Where TLS is needed and not
//!   to be had, the connection is refused, deferred. Where it is not needed, it goes on in clear; a handshake that fails, or that the
//!   host ends without a word in TLS, ends it, and [`Client::retry_in_clear`] says that another one without TLS may be tried at once.
//! * (h) The TLS handshake follows. Octets behind this reply close the connection: they came in clear and would be taken for what was
//!   said within TLS. Afterwards EHLO is said again, and the offers from before are forgotten (RFC 3207 4.2).
//! * (i) With CHUNKING, also where `Dot` is the reply to the last chunk: RFC 3030 2 asks for RSET. Chunks are pipelined: where more of them
//!   have left, their replies are read first; where not all has left, (e) applies. Over LMTP, where nobody can say how many replies
//!   still come, the connection is closed.
//!
//! A connection lost after the final dot defers: the message may then be delivered twice, but never not at all (RFC 1047).
//! RSET is sent only when a transaction ended before the end of data, a chunk was refused, or for a callout; after [`Step::Done`] the next
//! may begin at once. Where the host has announced for how many transactions (MAILMAX), QUIT follows the last, and the connection closes.
//!
//! Bad input is a step, no error. RFC 5321 3.1, 3.3, 4.5.3.2, 4.5.4; RFC 1870, 2033, 3030; RFC 3461 5.2; RFC 6152, 6531, 9422.

mod announcement;
mod attributes;
mod authentication;
mod awaited;
mod callout;
#[cfg(test)]
mod chunk_tests;
mod commands;
mod credentials;
mod due;
mod keys;
mod limits;
mod mark;
mod offers;
mod replies;
mod reply;
mod scram;
mod security;
mod step;
mod stream;
mod stuffing;
#[cfg(test)]
mod tests;
mod transaction;

use std::collections::VecDeque;
use std::sync::Arc;

use crate::machine::message::{Message, State};
use crate::machine::smtp::chunking::Chunking;

use announcement::Announcement;
use authentication::Authentication;
pub use authentication::Channel;
use awaited::Awaited;
use callout::Purpose;
pub use credentials::Credentials;
use limits::Used;
pub use offers::Offers;
use replies::refused;
use reply::Reader;
use security::Security;
pub use security::Tls;
pub use step::{Misuse, Protocol, Step, Timeout};
use stream::Stream;
pub use transaction::Outcome;
use transaction::Transaction;

/// Most lines of a reply; to EHLO more, each of them being an extension.
const MAX_LINES: usize = 100;
const MAX_EXTENSIONS: usize = 200;

/// One connection.
#[derive(Debug)]
pub struct Client {
    protocol: Protocol,
    helo_name: String,
    mark: String,
    reader: Reader,
    output: Vec<u8>,
    awaited: VecDeque<Awaited>,
    offers: Offers,
    used: Used,
    transaction: Option<Transaction>,
    stream: Option<Stream>,
    outcomes: Vec<Outcome>,
    opened: bool,
    refusal: Option<(State, String)>,
    authentication: Option<Box<Authentication>>,
    announcement: Announcement,
    chunking: Chunking,
    purpose: Purpose,
    untouched: bool,
    tls: Tls,
    security: Security,
    retry_in_clear: bool,
    replies: u64,
    step: Step,
}

impl Client {
    /// A connection just made, before its greeting. `helo_name`: a domain or address literal.
    pub fn new(protocol: Protocol, helo_name: &str) -> Result<Self, Misuse> {
        if helo_name.is_empty() || !helo_name.bytes().all(|octet| octet.is_ascii_graphic()) {
            return Err(Misuse("the HELO name must be a domain or an address literal"));
        }
        Ok(Self {
            protocol,
            helo_name: helo_name.to_owned(),
            mark: String::new(),
            reader: Reader::default(),
            output: Vec::new(),
            awaited: VecDeque::from([Awaited::Greeting]),
            offers: Offers::default(),
            used: Used::default(),
            transaction: None,
            stream: None,
            outcomes: Vec::new(),
            opened: false,
            refusal: None,
            authentication: None,
            announcement: Announcement::Nothing,
            chunking: Chunking::Binary,
            purpose: Purpose::Delivery,
            untouched: false,
            tls: Tls::None,
            security: Security::Clear,
            retry_in_clear: false,
            replies: 0,
            step: Step::Wait,
        })
    }

    /// Authenticates before anything is sent (RFC 4954). `nonce`: printable, without a comma, never used before.
    #[must_use]
    pub fn authenticating(mut self, credentials: Arc<Credentials>, nonce: &str) -> Self {
        self.authentication = Some(Box::new(Authentication::new(credentials, nonce)));
        self
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
            _ if self.security.is_handshaking() => Timeout::Handshake,
            awaited => awaited.map_or(Timeout::Idle, |awaited| awaited.timeout()),
        }
    }

    /// Why a connection closed before it was ever ready: state for every message that waits for it, and the reply.
    pub fn refusal(&self) -> Option<&(State, String)> {
        self.refusal.as_ref()
    }

    /// The connection closed because authentication failed, or none was possible.
    pub fn authentication_refused(&self) -> bool {
        self.authentication.as_ref().is_some_and(|authentication| authentication.refused)
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

    /// Whole replies read so far, and one for the TLS handshake: only they are progress, octets of one that never ends are not.
    pub fn replies(&self) -> u64 {
        self.replies
    }

    /// Takes the outcomes of the transaction that ended: one for each recipient that it had.
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
                Ok(Some(reply)) if self.is_due() || (self.sends_content() && refused(&reply).is_some()) => {
                    self.on_reply(&reply);
                }
                Ok(Some(reply)) => self.violate(&format!("replied before its turn: {}", reply.text())),
                Ok(None) if self.sends_content() && self.reader.begins_refusal() => {
                    self.distrust();
                    break;
                }
                _ if !self.is_due() => self.violate("a reply before its command"),
                Ok(None) => break,
                Err(garbage) => self.violate(garbage),
            }
        }
        self.step
    }

    /// Begins a transaction for the first of these recipients of the message, as many as the announced limits permit (RFC 9422); only
    /// after Ready or Done. Where nobody fits, the session ends with QUIT, untouched.
    pub fn begin(&mut self, message: Arc<Message>, indexes: &[usize]) -> Result<Step, Misuse> {
        if !matches!(self.step, Step::Ready | Step::Done) {
            return Err(Misuse("the connection is not ready for a transaction"));
        }
        let Some(fitting) = self.fitting(&message, indexes) else { return Ok(self.step) };
        let mut transaction = Transaction::new(message, fitting).ok_or(Misuse("no such recipient"))?;
        // Nothing is said of a message that cannot be sent.
        transaction.check(&self.offers);
        self.transaction = Some(transaction);
        self.step = Step::Wait;
        self.announce();
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
                _ if self.security.is_handshaking() => "during the TLS handshake",
                (None, awaited) => awaited.map_or("between transactions", |awaited| awaited.place()),
            };
            self.close(&format!("421 4.4.2 {cause} {place}"));
        }
        self.step
    }
}
