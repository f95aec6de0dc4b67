//! The SMTP server session as a value machine: octets in, steps out (RFC 5321 3, 4.1).
//!
//! # Theory of operation
//! [`Session::receive`] takes what the peer sent and works through it until something outside is needed, which it names as a
//! [`Step`]. The caller writes [`Session::take_output`], does the step, and tells the result: [`Session::answer`] after `Ask`,
//! [`Session::release`] after `Hold`, [`Session::committed`] after `Commit`. Until then more input is only kept (`Wait`).
//!
//! * A session is in one [`Phase`]. `TABLE` says for each verb and phase whether it is done or which reply refuses it; what
//!   needs no policy is answered here, so garbage costs its sender's session nothing but time.
//! * A question to policy exists only at the stages that are asked ([`Config::asked`]); elsewhere the machine passes by itself.
//! * Every 5yz reply of a session that is not exempt is held for the tarpit time *before* it joins the output. Replies made
//!   earlier are in the output already and leave first. 2yz, 3yz, 4yz and 421 are never held.
//! * One turn takes at most [`TURN_COMMANDS`]; what is left waits (`Yield`) until the others of the worker had theirs.
//! * The result never depends on how the input was cut: a line is judged when its end is there, a content when its end is.
//!
//! It reads no clock, opens no socket and knows no policy.
#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::sync::Arc;

use crate::machine::message::address::{Address, Limits, Path};
use crate::machine::message::header::{self, Firewall};
use crate::machine::message::{Envelope, Message, Recipient, State};
use crate::machine::smtp::command::{self, Command, MailParameters, Malformed, Offers};
use crate::machine::smtp::reply::{self, Reply};
use crate::store::content::{BareNewline, ContentRules, Decoder, Fault, Octets, Taken};
use crate::store::shared::Source;

/// Octets a MAIL line may have above the command limit: SIZE 26 (RFC 1870 3), BODY 17 (RFC 6152 2), SMTPUTF8 10 (RFC 6531 3.1).
const MAIL_EXTRA: usize = 26 + 17 + 10;
/// What SUBMITTER adds, when it is offered. RFC 4405 names no length: the keyword, and the longest mailbox with every octet
/// written as three (RFC 3461 4).
const SUBMITTER_EXTRA: usize = " SUBMITTER=".len() + 3 * (Limits::USUAL.path - "<>".len());
/// The path for which a command line of the usual length has room (RFC 5321 4.5.3.1.3): longer ones lengthen the line.
const PATH: usize = 256;
/// The command line bound that holds even when the limit is switched off.
const COMMAND_BOUND: usize = 65_536;
/// How a TLS connection begins: a handshake record.
const TLS_HELLO: &[u8] = &[0x16, 0x03];
/// Refusals remembered for the session's line in the log, the last ones.
const REFUSALS: usize = 4;
/// Commands worked on before the other sessions have their turn. Ordinary mail pipelines fewer (RFC 2920 3.1).
pub const TURN_COMMANDS: u32 = 16;
/// Recipients of one transaction refused because it has enough of them (RFC 5321 4.5.3.1.10: 452, and the client may send the
/// rest later) before each further one counts as an error.
const RECIPIENTS_OVERSHOOT: u32 = 1000;
/// Refusals of one session that get a line of their own.
pub const LOGGED: u32 = 100;
/// Octets of a refused command that the log shows.
const SHOWN: usize = 300;

type Offered = fn(&Config) -> bool;
const ALWAYS: Offered = |_| true;
const NOT_YET: Offered = |_| false;

/// The extensions of this server, in the order of the EHLO reply; those not offered yet keep their row.
const EXTENSIONS: [(&str, Offered); 10] = [
    ("PIPELINING", ALWAYS),                          // RFC 2920
    ("SIZE", ALWAYS),                                // RFC 1870
    ("8BITMIME", |config| config.content.eight_bit), // RFC 6152
    ("ENHANCEDSTATUSCODES", ALWAYS),                 // RFC 2034
    ("SUBMITTER", |config| config.submitter),        // RFC 4405
    ("SMTPUTF8", |config| config.smtputf8),          // RFC 6531
    ("STARTTLS", NOT_YET),                           // RFC 3207
    ("AUTH", NOT_YET),                               // RFC 4954
    ("CHUNKING", NOT_YET),                           // RFC 3030
    ("DSN", NOT_YET),                                // RFC 3461
];

/// What sessions of a worker have in common, from their beginning to their end. Zero switches a limit off.
#[derive(Debug, Clone)]
pub struct Config {
    /// The server's name.
    pub hostname: String,
    /// Domain given to an address that has none; may be empty.
    pub default_domain: String,
    /// Limits of addresses.
    pub addresses: Limits,
    /// Rules for content.
    pub content: ContentRules,
    /// Octets of a command line with its CRLF.
    pub command_line: usize,
    /// Recipients of a transaction.
    pub recipients: usize,
    /// `Received` fields of a content.
    pub hops: usize,
    /// Errors before the session is closed: 5xx replies, and recipients far beyond the limit.
    pub errors: u32,
    /// Commands without an accepted message before the session is closed.
    pub idle_commands: u32,
    /// Milliseconds each 5yz reply is held.
    pub tarpit: u64,
    /// Milliseconds all holds of one session may sum up to.
    pub tarpit_session: u64,
    /// SUBMITTER is offered (RFC 4405).
    pub submitter: bool,
    /// SMTPUTF8 is offered (RFC 6531); 8BITMIME where [`ContentRules::eight_bit`] says so.
    pub smtputf8: bool,
    /// Stages at which policy is asked: a set of [`Stage`] bits.
    pub asked: u8,
}

/// Where policy can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// The connection is there, nothing is said.
    Connect = 0,
    /// HELO or EHLO.
    Helo = 1,
    /// MAIL.
    Mail = 2,
    /// RCPT.
    Rcpt = 3,
    /// DATA, before 354.
    Data = 4,
    /// The header section is there. Asked once the content has ended: there is no reply before.
    EndOfHeaders = 5,
    /// The content is there.
    EndOfData = 6,
}

/// What the session needs next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// More input.
    NeedInput,
    /// A verdict: [`Session::answer`].
    Ask(Stage),
    /// These milliseconds, then [`Session::release`].
    Hold(u64),
    /// The message on disk: [`Session::message`], then [`Session::committed`].
    Commit,
    /// The connection closed after the output is written.
    Close,
    /// Nothing new: what was asked before is still pending; input was kept.
    Wait,
    /// A turn of the others, then [`Session::proceed`]: there is more input than one turn takes.
    Yield,
}

/// What policy says at a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Pass,
    /// At RCPT: accept the recipient now and report it as failed with this reply afterwards.
    Report(Reply),
    /// At RCPT: accept the recipient; the message goes to this address instead.
    Redirect(Address),
    /// Refuse with this reply, 4yz or 5yz.
    Refuse(Reply),
    /// At content stages: say 250 and keep nothing.
    Discard,
}

/// How far the dialogue is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The greeting refused service: nothing but QUIT.
    Refused = 0,
    /// Before HELO or EHLO.
    Fresh = 1,
    /// Between transactions.
    Ready = 2,
    /// MAIL was accepted, no recipient yet.
    Mail = 3,
    /// At least one recipient was accepted.
    Rcpt = 4,
    /// After 354.
    Content = 5,
    /// The last reply is said.
    Closed = 6,
}

/// What the peer said hello with: HELO or EHLO (RFC 5321 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Smtp,
    Esmtp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Hello,
    Mail,
    Rcpt,
    Data,
    Any,
    Quit,
}

type Row = [Option<Reply>; 5];
const DO: Option<Reply> = None;

/// Which verb is done in which phase, or the reply that refuses it: Refused, Fresh, Ready, Mail, Rcpt.
static TABLE: [(Verb, Row); 6] = [
    (Verb::Hello, [Some(reply::NO_SERVICE), DO, DO, DO, DO]),
    (
        Verb::Mail,
        [Some(reply::NO_SERVICE), Some(reply::HELLO_FIRST), DO, Some(reply::NESTED_MAIL), Some(reply::NESTED_MAIL)],
    ),
    (Verb::Rcpt, [Some(reply::NO_SERVICE), Some(reply::MAIL_FIRST), Some(reply::MAIL_FIRST), DO, DO]),
    (
        Verb::Data,
        [Some(reply::NO_SERVICE), Some(reply::MAIL_FIRST), Some(reply::MAIL_FIRST), Some(reply::NO_RECIPIENT), DO],
    ),
    (Verb::Any, [Some(reply::NO_SERVICE), DO, DO, DO, DO]),
    (Verb::Quit, [DO, DO, DO, DO, DO]),
];

fn refusal(verb: Verb, phase: Phase) -> Option<&'static Reply> {
    let (_, row) = TABLE.iter().find(|(of, _)| *of == verb)?;
    row.get(phase as usize)?.as_ref()
}

/// The line is a HELO or EHLO, however wrong.
fn is_hello(line: &[u8]) -> bool {
    let verb = line.split(|octet| *octet == b' ').next().unwrap_or_default();
    verb.eq_ignore_ascii_case(b"HELO") || verb.eq_ignore_ascii_case(b"EHLO")
}

/// A mail transaction (RFC 5321 3.3).
#[derive(Debug)]
pub struct Transaction {
    /// None is the null reverse-path.
    pub reverse_path: Option<Address>,
    /// Accepted recipients, each once, with the reply to report for those accepted only to be reported.
    pub recipients: Vec<(Address, Option<Reply>)>,
    /// Parameters of MAIL.
    pub parameters: MailParameters,
    /// Recipients refused because there are enough.
    excess: u32,
    discard: bool,
}

/// What policy is asked about.
#[derive(Debug)]
enum Question {
    Connect,
    Hello { name: Box<str>, dialect: Dialect },
    Mail(Box<Transaction>),
    Rcpt(Address),
    Data,
    EndOfHeaders,
    EndOfData,
}

impl Question {
    fn stage(&self) -> Stage {
        match self {
            Self::Connect => Stage::Connect,
            Self::Hello { .. } => Stage::Helo,
            Self::Mail(_) => Stage::Mail,
            Self::Rcpt(_) => Stage::Rcpt,
            Self::Data => Stage::Data,
            Self::EndOfHeaders => Stage::EndOfHeaders,
            Self::EndOfData => Stage::EndOfData,
        }
    }
}

/// What the caller owes the session.
#[derive(Debug)]
enum Pending {
    Nothing,
    Answer(Question),
    Release(Reply),
    Commit,
}

/// Go on with the input, or stop with a step.
enum Flow {
    Next,
    Stop(Step),
}

/// What was refused, for a line of its own in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The recipient, as rendered or, when it could not be read, as sent; empty when it was something else.
    pub recipient: String,
    /// What it was otherwise: the command as sent, `end of data` for a content, `connection`.
    pub command: String,
    /// Reverse-path of the transaction; empty without one and for the null reverse-path.
    pub mail_from: String,
    /// The reply.
    pub reply: Reply,
}

impl Refusal {
    /// Of a command line.
    fn name(&mut self, line: &[u8]) {
        let shown = String::from_utf8_lossy(line.get(..SHOWN).unwrap_or(line));
        match shown.split_once(':').filter(|(verb, _)| verb.to_ascii_uppercase().starts_with("RCPT")) {
            Some((_, path)) => {
                let path = path.trim();
                let path = path.rsplit_once('>').map_or(path, |(path, _)| path);
                path.trim_start_matches('<').clone_into(&mut self.recipient);
                self.command = String::new();
            }
            None => self.command = shown.into_owned(),
        }
    }

    /// Of what policy was asked about.
    fn ask(&mut self, question: &Question) {
        match question {
            Question::Connect => "connection".clone_into(&mut self.command),
            Question::Hello { name, dialect: Dialect::Smtp } => self.command = format!("HELO {name}"),
            Question::Hello { name, dialect: Dialect::Esmtp } => self.command = format!("EHLO {name}"),
            Question::Mail(transaction) => {
                let sender = transaction.reverse_path.as_ref().map_or_else(String::new, Address::to_string);
                self.command = format!("MAIL FROM:<{sender}>");
            }
            Question::Rcpt(address) => (self.recipient, self.command) = (address.to_string(), String::new()),
            Question::Data => "DATA".clone_into(&mut self.command),
            Question::EndOfHeaders | Question::EndOfData => {}
        }
    }
}

/// Counts for the log and the metrics.
#[derive(Debug, Default)]
pub struct Tally {
    /// Replies by the first digit of their code, from index 2.
    pub replies: [u32; 6],
    /// The last refusals, as sent.
    pub refusals: Vec<Reply>,
    /// What was refused, and is logged for the first [`LOGGED`].
    pub refused: u32,
    /// Replies held.
    pub holds: u32,
    /// Milliseconds of all holds.
    pub held: u64,
    /// Commands received.
    pub commands: u32,
    /// Transactions begun.
    pub transactions: u32,
    /// Messages accepted.
    pub messages: u32,
    /// The reply that closed the session.
    pub end: Option<Reply>,
}

/// One SMTP session.
#[derive(Debug)]
pub struct Session {
    config: Arc<Config>,
    id: Box<str>,
    peer: Box<str>,
    exempt: bool,
    phase: Phase,
    helo_name: Box<str>,
    dialect: Dialect,
    transaction: Option<Box<Transaction>>,
    decoder: Option<Box<Decoder>>,
    input: Vec<u8>,
    /// Octets of `input` that are done with.
    taken: usize,
    /// A command line over the limit is being thrown away up to its end.
    overlong: bool,
    /// A bare LF stood before what comes next: that is still the same line (RFC 5321 2.3.8) and no command.
    broken: bool,
    output: Vec<u8>,
    pending: Pending,
    /// Commands this turn may still take.
    turn: u32,
    idle: u32,
    errors: u32,
    tally: Tally,
    /// Refused since the last call of [`Session::take_refused`].
    refused: Vec<Refusal>,
    queue_id: Box<str>,
}

impl Session {
    /// A session with the peer at this address, `exempt` from the tar pit or not. Begin with [`Session::connect`].
    pub fn new(config: Arc<Config>, id: &str, peer: &str, exempt: bool) -> Self {
        Self {
            config,
            id: id.into(),
            peer: peer.into(),
            exempt,
            phase: Phase::Fresh,
            helo_name: "".into(),
            dialect: Dialect::Smtp,
            transaction: None,
            decoder: None,
            input: Vec::new(),
            taken: 0,
            overlong: false,
            broken: false,
            output: Vec::new(),
            pending: Pending::Nothing,
            turn: TURN_COMMANDS,
            idle: 0,
            errors: 0,
            tally: Tally::default(),
            refused: Vec::new(),
            queue_id: "".into(),
        }
    }

    /// The connection stands: asks policy or greets.
    pub fn connect(&mut self) -> Step {
        let flow = self.ask(Question::Connect);
        self.drive(flow)
    }

    /// Takes input and begins a turn.
    pub fn receive(&mut self, octets: &[u8]) -> Step {
        let mut octets = octets;
        self.turn = TURN_COMMANDS;
        if self.phase == Phase::Closed {
            return Step::Close;
        }
        if matches!(self.pending, Pending::Nothing) && self.input.is_empty() {
            // The bulk of a content goes to the decoder without a copy.
            if let Some(decoder) = &mut self.decoder {
                let taken = decoder.feed(&self.config.content, octets);
                octets = octets.get(taken..).unwrap_or_default();
            }
        }
        if self.taken > 0 {
            self.input.drain(..self.taken);
            self.taken = 0;
        }
        self.input.reserve_exact(octets.len());
        self.input.extend_from_slice(octets);
        if matches!(self.pending, Pending::Nothing) { self.drive(Flow::Next) } else { Step::Wait }
    }

    /// Begins a turn with the input that is there.
    pub fn proceed(&mut self) -> Step {
        self.turn = TURN_COMMANDS;
        if matches!(self.pending, Pending::Nothing) { self.drive(Flow::Next) } else { Step::Wait }
    }

    /// Policy's verdict at the stage that was asked.
    pub fn answer(&mut self, verdict: Verdict) -> Step {
        match std::mem::replace(&mut self.pending, Pending::Nothing) {
            Pending::Answer(question) => {
                let flow = self.decided(question, verdict);
                self.drive(flow)
            }
            pending => {
                self.pending = pending;
                Step::Wait
            }
        }
    }

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

    /// The message is on disk, or could not be put there and `refused` says what the peer is told: a turn begins.
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
            Reply::new(250, "2.6.0", format!("{} Queued mail for delivery", self.queue_id))
        });
        let flow = self.say(reply);
        self.drive(flow)
    }

    /// Ends the session from outside with a 421: time-out, shutdown, shedding. A held reply is dropped.
    pub fn stop(&mut self, reply: &Reply) -> Step {
        self.pending = Pending::Nothing;
        self.decoder = None;
        self.transaction = None;
        self.input = Vec::new();
        self.taken = 0;
        self.count(reply);
        reply.clone().named(&self.config.hostname).write(&mut self.output);
        self.tally.end = Some(reply.clone());
        self.phase = Phase::Closed;
        Step::Close
    }

    /// The message of the transaction, with a `Received` field on top (RFC 5321 4.4). After `Commit` only; `None` when policy
    /// chose to discard it. `arrival` is in milliseconds since the epoch, `date` the same as RFC 5322 3.3 writes it; `stamps`
    /// are whole header fields to stand above `Received`; `firewall` is for a stranger's message.
    pub fn message(
        &mut self,
        queue_id: &str,
        arrival: i64,
        date: &str,
        stamps: &[u8],
        firewall: Option<&Firewall>,
    ) -> Option<Message> {
        if !matches!(self.pending, Pending::Commit) {
            return None;
        }
        let transaction = self.transaction.take()?;
        let taken = self.decoder.take()?.finish().ok()?;
        self.queue_id = queue_id.into();
        if transaction.discard {
            return None;
        }
        let mut trace = stamps.to_vec();
        self.received(&transaction, queue_id, date, &mut trace);
        let Taken { header, content, memory } = match firewall {
            Some(firewall) => cleaned(taken, firewall),
            None => taken,
        };
        trace.extend_from_slice(&header);
        let recipients = transaction.recipients.into_iter().map(|(address, report)| Recipient {
            address: address.to_string(),
            state: if report.is_some() { State::Failed } else { State::Pending },
            reply: report.map_or_else(String::new, |reply| reply.to_string()),
        });
        Some(Message {
            queue_id: queue_id.to_owned(),
            arrival,
            due: arrival,
            attempts: 0,
            envelope: Envelope {
                reverse_path: transaction.reverse_path.map_or_else(String::new, |address| address.to_string()),
                recipients: recipients.collect(),
                smtputf8: transaction.parameters.smtputf8,
                session_id: self.id.to_string(),
                client: self.peer.to_string(),
            },
            trace,
            content,
            memory,
        })
    }

    /// At a content stage, before the answer to it: takes these recipients, as they are rendered, out of the transaction; the
    /// message goes to the rest. With nobody left it is discarded.
    pub fn drop_recipients(&mut self, dropped: &[String]) {
        let asked = matches!(self.pending, Pending::Answer(Question::EndOfHeaders | Question::EndOfData));
        let Some(transaction) = self.transaction.as_mut().filter(|_| asked) else { return };
        let dropped: HashSet<&str> = dropped.iter().map(String::as_str).collect();
        transaction.recipients.retain(|(address, _)| !dropped.contains(address.to_string().as_str()));
        transaction.discard |= transaction.recipients.is_empty();
    }

    /// Takes the replies to be written.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// Takes what was refused since the last call.
    pub fn take_refused(&mut self) -> Vec<Refusal> {
        std::mem::take(&mut self.refused)
    }

    /// Whether there is something to take.
    pub fn has_refused(&self) -> bool {
        !self.refused.is_empty()
    }

    /// Octets of input kept and not yet worked on.
    pub fn buffered(&self) -> usize {
        self.input.len() - self.taken
    }

    /// A reply is held now.
    pub fn is_held(&self) -> bool {
        matches!(self.pending, Pending::Release(_))
    }

    /// The caller owes an answer, a release or a commit.
    pub fn is_owed(&self) -> bool {
        !matches!(self.pending, Pending::Nothing)
    }

    /// The session was closed because its delays were spent.
    pub fn delays_spent(&self) -> bool {
        self.tally.end.as_ref() == Some(&reply::DELAYS_SPENT)
    }

    /// Content is being received.
    pub fn in_content(&self) -> bool {
        self.phase == Phase::Content
    }

    /// Name given with HELO or EHLO; empty before.
    pub fn helo_name(&self) -> &str {
        &self.helo_name
    }

    /// The transaction, from an accepted MAIL on.
    pub fn transaction(&self) -> Option<&Transaction> {
        match &self.pending {
            Pending::Answer(Question::Mail(transaction)) => Some(transaction),
            _ => self.transaction.as_deref(),
        }
    }

    /// The recipient policy is asked about.
    pub fn recipient(&self) -> Option<&Address> {
        match &self.pending {
            Pending::Answer(Question::Rcpt(address)) => Some(address),
            _ => None,
        }
    }

    /// The name policy is asked about at HELO.
    pub fn helo_name_asked(&self) -> Option<&str> {
        match &self.pending {
            Pending::Answer(Question::Hello { name, .. }) => Some(name),
            _ => None,
        }
    }

    /// The header section of the content, once it is there.
    pub fn header(&self) -> &[u8] {
        self.decoder.as_ref().map_or(&[], |decoder| decoder.header())
    }

    /// Counts so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// From now on no reply is held: the peer has authenticated.
    pub fn exempt(&mut self) {
        self.exempt = true;
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
            let input = std::mem::take(&mut self.input);
            let rest = input.get(self.taken..).unwrap_or_default();
            let next = if self.decoder.is_some() { self.content(rest) } else { self.line(rest) };
            if let Some(next) = next {
                self.input = input;
                flow = next;
            } else {
                // Everything is used, or the rest of a line is awaited; a used buffer is let go, for idle sessions are many.
                let mut input = input;
                input.drain(..std::mem::take(&mut self.taken));
                input.shrink_to_fit();
                self.input = input;
                return Step::NeedInput;
            }
        }
    }

    /// Feeds the decoder; at the end of data, judges the content. None: more input is needed.
    fn content(&mut self, rest: &[u8]) -> Option<Flow> {
        let decoder = self.decoder.as_mut()?;
        self.taken += decoder.feed(&self.config.content, rest);
        if !decoder.is_done() {
            return None;
        }
        self.phase = Phase::Ready;
        let hops = header::fields(decoder.header()).filter(|field| field.is("Received")).count();
        let fault = match decoder.fault() {
            Some(Fault::TooLarge) => Some(reply::TOO_LARGE),
            Some(Fault::BareNewline) => Some(reply::BARE_CONTENT),
            Some(Fault::HeaderTooLarge) => Some(reply::LARGE_HEADER),
            Some(Fault::NulInHeader) => Some(reply::NUL_IN_HEADER),
            Some(Fault::LineTooLong) => Some(reply::LONG_LINE),
            Some(Fault::EightBit) => Some(reply::EIGHT_BIT),
            Some(Fault::Storage) => Some(reply::NO_STORAGE),
            None if self.config.hops > 0 && hops >= self.config.hops => Some(reply::LOOP),
            None => None,
        };
        Some(match fault {
            Some(reply) => self.refuse_content(reply),
            None => self.ask(Question::EndOfHeaders),
        })
    }

    fn refuse_content(&mut self, reply: Reply) -> Flow {
        let flow = self.say(reply);
        self.reset();
        flow
    }

    /// Takes one command line, if the turn has room for it. None: its end is not there yet.
    fn line(&mut self, rest: &[u8]) -> Option<Flow> {
        let limit = if self.config.command_line == 0 { COMMAND_BOUND } else { self.config.command_line };
        if !self.overlong && rest.starts_with(TLS_HELLO) {
            return Some(self.close(&reply::NOT_SMTP)); // It may never send a line end.
        }
        let Some(end) = memchr::memchr(b'\n', rest) else {
            if rest.len() > limit + self.path_extra() + self.mail_extra() {
                self.overlong = true;
            }
            if self.overlong {
                // Keep the last octet: it may be the CR of the line's end.
                self.taken += rest.len() - 1;
            }
            return None;
        };
        if self.turn == 0 {
            return Some(Flow::Stop(Step::Yield));
        }
        self.turn -= 1;
        self.taken += end + 1;
        self.tally.commands += 1;
        let line = rest.get(..end).unwrap_or_default();
        let (line, bare) = line.strip_suffix(b"\r").map_or((line, true), |line| (line, false));
        let room = limit + self.extra(line);
        let refused = bare && self.config.content.bare == BareNewline::Refuse;
        let broken = std::mem::replace(&mut self.broken, refused);
        let known = self.refused.len();
        let flow = if std::mem::take(&mut self.overlong) || line.len() + 2 > room {
            self.say(reply::LONG_COMMAND)
        } else if refused || broken {
            self.say(reply::BARE_COMMAND)
        } else {
            let offers = Offers {
                extended: self.dialect == Dialect::Esmtp,
                submitter: self.config.submitter,
                eight_bit: self.config.content.eight_bit,
                smtputf8: self.config.smtputf8,
            };
            match command::parse(line, &self.config.addresses, offers) {
                Ok(command) => self.command(command),
                Err(Malformed::HttpOrTls) => self.close(&reply::NOT_SMTP),
                Err(malformed) => {
                    let (code, enhanced, text) = malformed.reply();
                    let refused = self.phase == Phase::Refused;
                    let reply = if refused { reply::NO_SERVICE } else { Reply::new(code, enhanced, text) };
                    self.say(if is_hello(line) { reply.plain() } else { reply })
                }
            }
        };
        self.refused.get_mut(known..).unwrap_or_default().iter_mut().for_each(|refusal| refusal.name(line));
        Some(flow)
    }

    /// Octets this line may have above the command limit.
    fn extra(&self, line: &[u8]) -> usize {
        match line.get(..4) {
            Some(verb) if verb.eq_ignore_ascii_case(b"MAIL") => self.path_extra() + self.mail_extra(),
            Some(verb) if verb.eq_ignore_ascii_case(b"RCPT") => self.path_extra(),
            _ => 0,
        }
    }

    /// What a path may have above that of the standard.
    fn path_extra(&self) -> usize {
        self.config.addresses.path.saturating_sub(PATH)
    }

    /// What the parameters of MAIL may add.
    fn mail_extra(&self) -> usize {
        MAIL_EXTRA + if self.config.submitter { SUBMITTER_EXTRA } else { 0 }
    }

    fn command(&mut self, command: Command<'_>) -> Flow {
        let verb = match command {
            Command::Helo(_) | Command::Ehlo(_) => Verb::Hello,
            Command::Mail { .. } => Verb::Mail,
            Command::Rcpt { .. } => Verb::Rcpt,
            Command::Data => Verb::Data,
            Command::Quit => Verb::Quit,
            _ => Verb::Any,
        };
        // A recipient brings a message nearer, or is refused and counts as an error; there may be more of them than the limit.
        if !matches!(verb, Verb::Rcpt | Verb::Quit) {
            self.idle += 1;
        }
        if self.config.idle_commands > 0 && self.idle > self.config.idle_commands {
            return self.close(&reply::NO_PROGRESS);
        }
        if let Some(refusal) = refusal(verb, self.phase) {
            return self.say(if verb == Verb::Hello { refusal.clone().plain() } else { refusal.clone() });
        }
        match command {
            Command::Helo(name) => self.ask(Question::Hello { name: name.into(), dialect: Dialect::Smtp }),
            Command::Ehlo(name) => self.ask(Question::Hello { name: name.into(), dialect: Dialect::Esmtp }),
            Command::Mail { path, parameters } => self.mail(path, parameters),
            Command::Rcpt { path, .. } => self.rcpt(path),
            Command::Data => self.ask(Question::Data),
            Command::Rset => {
                self.reset();
                self.say(reply::RESET)
            }
            Command::Noop => self.say(reply::OK),
            Command::Help => self.say(reply::HELP),
            Command::Vrfy => self.say(reply::VRFY),
            Command::Expn | Command::NotImplemented(_) => self.say(reply::NOT_IMPLEMENTED),
            Command::Quit => self.close(&reply::BYE),
        }
    }

    fn mail(&mut self, path: Path, parameters: MailParameters) -> Flow {
        let reverse_path = match path {
            Path::Null => None,
            Path::Mailbox(address) => Some(address.with_default_domain(&self.config.default_domain)),
        };
        let mut addresses = reverse_path.iter().chain(&parameters.submitter);
        if addresses.any(Address::needs_smtputf8) && !parameters.smtputf8 {
            return self.say(reply::NEEDS_SMTPUTF8);
        }
        let limit = self.config.content.size;
        if limit > 0 && parameters.size.is_some_and(|size| size > limit) {
            return self.say(reply::TOO_LARGE);
        }
        let rules = &self.config.content;
        // What fits into memory takes its room when it is committed.
        let large = parameters.size.filter(|size| *size > rules.memory as u64);
        if large.is_some_and(|size| !rules.budget.has_room(Source::of(&self.peer), size)) {
            return self.say(reply::NO_STORAGE);
        }
        let transaction = Transaction { reverse_path, recipients: Vec::new(), parameters, excess: 0, discard: false };
        self.ask(Question::Mail(Box::new(transaction)))
    }

    fn rcpt(&mut self, path: Path) -> Flow {
        let Path::Mailbox(address) = path else {
            return self.say(reply::NULL_RECIPIENT);
        };
        let address = address.with_default_domain(&self.config.default_domain);
        let (count, smtputf8) = self
            .transaction
            .as_ref()
            .map_or((0, false), |transaction| (transaction.recipients.len(), transaction.parameters.smtputf8));
        if address.needs_smtputf8() && !smtputf8 {
            return self.say(reply::NEEDS_SMTPUTF8);
        }
        if self.config.recipients > 0 && count >= self.config.recipients {
            return self.beyond_recipients();
        }
        self.ask(Question::Rcpt(address))
    }

    fn beyond_recipients(&mut self) -> Flow {
        if let Some(transaction) = &mut self.transaction {
            transaction.excess += 1;
            self.errors += u32::from(transaction.excess > RECIPIENTS_OVERSHOOT);
        }
        self.say(reply::TOO_MANY_RECIPIENTS)
    }

    fn ask(&mut self, question: Question) -> Flow {
        let stage = question.stage();
        if self.config.asked & (1 << stage as u8) == 0 {
            return self.decided(question, Verdict::Pass);
        }
        self.pending = Pending::Answer(question);
        Flow::Stop(Step::Ask(stage))
    }

    fn decided(&mut self, question: Question, verdict: Verdict) -> Flow {
        let mut redirected = None;
        let report = match verdict {
            Verdict::Refuse(reply) => return self.refused(&question, reply),
            Verdict::Report(reply) => Some(reply),
            Verdict::Redirect(address) => {
                redirected = Some(address);
                None
            }
            Verdict::Discard => {
                if let Some(transaction) = &mut self.transaction {
                    transaction.discard = true;
                }
                None
            }
            Verdict::Pass => None,
        };
        match question {
            Question::Connect => self.say(reply::greeting(&self.config.hostname)),
            Question::Hello { name, dialect } => self.greet(name, dialect),
            Question::Mail(transaction) => {
                let sender = transaction.reverse_path.as_ref().map_or_else(|| "<>".to_owned(), Address::to_string);
                self.transaction = Some(transaction);
                self.tally.transactions += 1;
                self.phase = Phase::Mail;
                self.say(Reply::new(250, "2.1.0", format!("{sender}....Sender OK")))
            }
            Question::Rcpt(address) => {
                let accepted = Reply::new(250, "2.1.5", address.to_string());
                let address = redirected.unwrap_or(address);
                if let Some(transaction) = &mut self.transaction {
                    if transaction.recipients.iter().any(|(known, _)| known.is_same_mailbox(&address)) {
                        self.idle += 1;
                    } else {
                        transaction.recipients.push((address, report));
                    }
                }
                self.phase = Phase::Rcpt;
                self.say(accepted)
            }
            Question::Data => {
                self.phase = Phase::Content;
                self.decoder = Some(Box::new(Decoder::of(Source::of(&self.peer))));
                self.say(reply::START)
            }
            Question::EndOfHeaders => self.ask(Question::EndOfData),
            Question::EndOfData => {
                self.pending = Pending::Commit;
                Flow::Stop(Step::Commit)
            }
        }
    }

    fn refused(&mut self, question: &Question, reply: Reply) -> Flow {
        let known = self.refused.len();
        let flow = match question {
            // RFC 5321 3.1: 554 leaves the connection open for QUIT; 421 closes it.
            Question::Connect if reply.class() == 5 => {
                self.phase = Phase::Refused;
                self.say(reply.plain().named(&self.config.hostname))
            }
            Question::Connect => self.close(&reply.plain()),
            Question::Hello { .. } => self.say(reply.plain()),
            Question::EndOfHeaders | Question::EndOfData => self.refuse_content(reply),
            _ => self.say(reply),
        };
        self.refused.get_mut(known..).unwrap_or_default().iter_mut().for_each(|refusal| refusal.ask(question));
        flow
    }

    fn greet(&mut self, name: Box<str>, dialect: Dialect) -> Flow {
        self.reset();
        self.helo_name = name;
        self.dialect = dialect;
        self.phase = Phase::Ready;
        let hello = format!("{} Hello [{}]", self.config.hostname, self.peer);
        if dialect == Dialect::Smtp {
            return self.say(Reply::new(250, "", hello));
        }
        self.tally.replies[2] += 1;
        self.output.extend_from_slice(format!("250-{hello}\r\n").as_bytes());
        let offered: Vec<&str> =
            EXTENSIONS.iter().filter(|(_, offered)| offered(&self.config)).map(|(keyword, _)| *keyword).collect();
        for (at, keyword) in offered.iter().enumerate() {
            let separator = if at + 1 == offered.len() { ' ' } else { '-' };
            let line = match *keyword {
                "SIZE" => format!("250{separator}SIZE {}\r\n", self.config.content.size),
                keyword => format!("250{separator}{keyword}\r\n"),
            };
            self.output.extend_from_slice(line.as_bytes());
        }
        Flow::Next
    }

    /// Ends the transaction, if there is one.
    fn reset(&mut self) {
        self.transaction = None;
        self.decoder = None;
        if matches!(self.phase, Phase::Mail | Phase::Rcpt) {
            self.phase = Phase::Ready;
        }
    }

    /// Sends a reply, through the tar pit where it belongs there.
    fn say(&mut self, reply: Reply) -> Flow {
        if reply.class() >= 4 {
            self.note(&reply);
        }
        let hold = self.config.tarpit;
        if reply.class() != 5 || self.exempt || hold == 0 {
            return self.send(&reply);
        }
        let budget = self.config.tarpit_session;
        if budget > 0 && self.tally.held + hold > budget {
            return self.close(&reply::DELAYS_SPENT);
        }
        self.tally.holds += 1;
        self.tally.held += hold;
        self.pending = Pending::Release(reply);
        Flow::Stop(Step::Hold(hold))
    }

    /// Notes a refusal for the log; what was refused is filled in by who knows it, else it is a content.
    fn note(&mut self, reply: &Reply) {
        self.tally.refused += 1;
        if self.tally.refused <= LOGGED {
            let reverse_path = self.transaction.as_ref().and_then(|transaction| transaction.reverse_path.as_ref());
            self.refused.push(Refusal {
                recipient: String::new(),
                command: "end of data".to_owned(),
                mail_from: reverse_path.map_or_else(String::new, Address::to_string),
                reply: reply.clone(),
            });
        }
    }

    fn send(&mut self, reply: &Reply) -> Flow {
        self.count(reply);
        reply.write(&mut self.output);
        self.errors += u32::from(reply.class() == 5);
        if self.config.errors > 0 && self.errors >= self.config.errors {
            return self.close(&reply::TOO_MANY_ERRORS);
        }
        Flow::Next
    }

    fn close(&mut self, reply: &Reply) -> Flow {
        self.stop(reply);
        Flow::Stop(Step::Close)
    }

    fn count(&mut self, reply: &Reply) {
        if let Some(count) = self.tally.replies.get_mut(usize::from(reply.class())) {
            *count += 1;
        }
        if reply.class() >= 4 {
            if self.tally.refusals.len() == REFUSALS {
                self.tally.refusals.remove(0);
            }
            self.tally.refusals.push(reply.clone());
        }
    }

    fn received(&self, transaction: &Transaction, queue_id: &str, date: &str, trace: &mut Vec<u8>) {
        // RFC 6531 4.3 for UTF8SMTP.
        let with = match (self.dialect, transaction.parameters.smtputf8) {
            (_, true) => "UTF8SMTP",
            (Dialect::Esmtp, false) => "ESMTP",
            (Dialect::Smtp, false) => "SMTP",
        };
        let peer = if self.peer.contains(':') { format!("IPv6:{}", self.peer) } else { self.peer.to_string() };
        let recipient = match transaction.recipients.as_slice() {
            [(only, _)] => format!("\r\n\tfor <{only}>"),
            _ => String::new(),
        };
        let field = format!(
            "Received: from {} ([{peer}])\r\n\tby {} with {with} id {queue_id}{recipient};\r\n\t{date}\r\n",
            self.helo_name, self.config.hostname
        );
        trace.extend_from_slice(field.as_bytes());
    }
}

/// What a stranger sent, without the fields that are not the sender's to set.
fn cleaned(taken: Taken, firewall: &Firewall) -> Taken {
    let Taken { header, mut content, memory } = taken;
    if let Octets::Memory(octets) = &mut content.octets {
        *octets = firewall.clean(std::mem::take(octets));
        content.eight_bit = content.eight_bit && !octets.is_ascii();
    }
    Taken { header: firewall.clean(header), content, memory }
}

#[cfg(test)]
mod tests;
