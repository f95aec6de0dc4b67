//! Command lines: cut, measured, parsed, and done as the table of phases says.

use std::borrow::Cow;

use super::policy::Question;
use super::{Dialect, Flow, Session};
use crate::machine::message::address::{Address, Path};
use crate::machine::smtp::chunking::Chunking;
use crate::machine::smtp::command::{self, Command, Malformed};
use crate::machine::smtp::extensions::{Argument, BDAT, Offers, REQUIRETLS, kept_of_rcpt};
use crate::machine::smtp::parameters::{BAD_BODY, BadParameter, Body, MailParameters, RcptParameters};
use crate::machine::smtp::reply::{self, Reply};
use crate::machine::smtp::server::auth;
use crate::machine::smtp::server::config::Config;
use crate::machine::smtp::server::content_rules::BareNewline;
use crate::machine::smtp::server::mode::{Cut, Fault, Input, LineState, Mode};
use crate::machine::smtp::server::phase::{Phase, Verb, refusal};
use crate::machine::smtp::server::step::Step;
use crate::machine::smtp::server::tally::End;
use crate::machine::smtp::server::transaction::Transaction;

/// The path for which a command line of the usual length has room (RFC 5321 4.5.3.1.3): longer ones lengthen the line.
const PATH: usize = 256;
/// The command line bound that holds even when the limit is switched off.
const COMMAND_BOUND: usize = 65_536;
/// How a TLS connection begins: a handshake record.
const TLS_HELLO: &[u8] = &[0x16, 0x03];

impl Session {
    /// Takes one command line, if the turn has room for it. None: its end is not there yet.
    pub(super) fn line(&mut self, state: LineState, input: &mut Input) -> Option<Flow> {
        let rest = input.rest();
        if !state.overlong && rest.starts_with(TLS_HELLO) {
            return Some(self.close(&reply::NOT_SMTP, End::NotSmtp)); // It may never send a line end.
        }
        let limit = self.command_line() + self.extra(rest);
        let (length, taken, fault, after) = match state.cut(rest, limit, self.refuses_bare()) {
            Cut::Part { useless, after } => {
                let of_auth = after.overlong && if state.overlong { state.of_auth } else { is_auth(rest) };
                self.mode = Mode::Line(LineState { of_auth, ..after });
                input.take(useless);
                return None;
            }
            Cut::Line { .. } if self.turn == 0 => return Some(Flow::Stop(Step::Yield)),
            Cut::Line { length, taken, fault, after } => (length, taken, fault, after),
        };
        self.turn -= 1;
        self.tally.commands += 1;
        self.mode = Mode::Line(after);
        let line = rest.get(..length).unwrap_or_default();
        let known = self.refused.len();
        let of_auth = state.of_auth || !state.overlong && is_auth(line);
        let flow = match fault {
            Some(Fault::TooLong) => self.say(if of_auth { reply::LONG_RESPONSE } else { reply::LONG_COMMAND }),
            Some(Fault::Broken) => self.say(reply::BARE_COMMAND),
            None => self.parse(line),
        };
        self.auth.failed_last |= of_auth && fault.is_some();
        let secret = of_auth || self.auth.failed_last;
        if self.refused.len() > known {
            // Of a line over the limit only its end may be left.
            let line = if fault == Some(Fault::TooLong) && secret { &[] } else { line };
            let shown = if secret { Cow::Owned(self.shown(line, of_auth)) } else { Cow::Borrowed(line) };
            self.refused.get_mut(known..).unwrap_or_default().iter_mut().for_each(|refusal| refusal.name(&shown));
        }
        if secret {
            input.wipe(taken);
        } else {
            input.take(taken);
        }
        Some(flow)
    }

    /// Whether a line has to end in CRLF.
    pub(super) fn refuses_bare(&self) -> bool {
        self.config.content.bare_newline == BareNewline::Refuse
    }

    /// Octets that a command line may have, with its CRLF.
    fn command_line(&self) -> usize {
        if self.config.command_line == 0 { COMMAND_BOUND } else { self.config.command_line }
    }

    /// Octets this line may have above that.
    fn extra(&self, line: &[u8]) -> usize {
        match line.get(..4) {
            Some(verb) if verb.eq_ignore_ascii_case(b"MAIL") => self.path_extra() + self.offers.mail_line(),
            Some(verb) if verb.eq_ignore_ascii_case(b"RCPT") => self.path_extra() + self.offers.rcpt_line(),
            // RFC 4954 4 keeps AUTH within the line of RFC 5321, but tokens are longer, and clients send them so.
            Some(verb) if verb.eq_ignore_ascii_case(b"AUTH") && self.auth.mechanisms.is_some() => {
                auth::LINE.saturating_sub(self.command_line())
            }
            _ => 0,
        }
    }

    /// What a path may have above that of the standard.
    fn path_extra(&self) -> usize {
        self.config.addresses.path.saturating_sub(PATH)
    }

    fn parse(&mut self, line: &[u8]) -> Flow {
        let offers = if self.dialect == Dialect::Esmtp { self.offers } else { Offers::NONE };
        match command::parse(line, &self.config.addresses, offers) {
            Ok(Command::Auth(_)) if self.auth.mechanisms.is_none() => self.command(Command::NotImplemented("AUTH")),
            Ok(command) => self.command(command),
            Err(Malformed::BadChunk) if self.config.chunking != Chunking::Off => self.bad_chunk(),
            Err(Malformed::BadChunk) => self.say(reply::NOT_IMPLEMENTED),
            Err(Malformed::HttpOrTls) => self.close(&reply::NOT_SMTP, End::NotSmtp),
            Err(malformed) => {
                self.auth.failed_last &= malformed == Malformed::UnknownCommand;
                let reply = match &malformed {
                    _ if self.phase == Phase::Refused => reply::NO_SERVICE,
                    Malformed::BadParameter(BadParameter::Unknown(keyword))
                        if self.standing.start_tls
                            && keyword.eq_ignore_ascii_case(REQUIRETLS)
                            && !self.standing.secured =>
                    {
                        reply::REQUIRETLS_IN_CLEAR
                    }
                    malformed => malformed.reply(),
                };
                self.say(if is_hello(line) { reply.plain() } else { reply })
            }
        }
    }

    fn command(&mut self, command: Command<'_>) -> Flow {
        if matches!(command, Command::Bdat(_)) && self.config.chunking == Chunking::Off {
            return self.command(Command::NotImplemented(BDAT));
        }
        let verb = Verb::of(&command);
        self.auth.failed_last = false;
        self.idle += u32::from(verb.may_be_idle());
        if self.config.idle_commands > 0 && self.idle > self.config.idle_commands {
            return self.close(&reply::NO_PROGRESS, End::NoProgress);
        }
        if let Some(refusal) = self.in_clear(&command) {
            return match command {
                Command::Bdat(size) => self.drop_chunk(refusal, size),
                _ => self.say(refusal),
            };
        }
        if self.phase == Phase::Ready && self.auth.is_lacking() && command.needs_authentication() {
            return self.say(self.auth.required_reply(self.standing.secured));
        }
        if let Some(refusal) = refusal(verb, self.phase) {
            if let Command::Bdat(size) = command {
                return self.drop_chunk(refusal.clone(), size);
            }
            return self.say(if verb == Verb::Hello { refusal.clone().plain() } else { refusal.clone() });
        }
        match command {
            Command::Helo(name) => {
                self.ask(Question::Hello { name: self.claimed(name).into(), dialect: Dialect::Smtp })
            }
            Command::Ehlo(name) => {
                self.ask(Question::Hello { name: self.claimed(name).into(), dialect: Dialect::Esmtp })
            }
            Command::Mail { path, parameters } => self.mail(path, parameters),
            Command::Rcpt { address, parameters } => self.rcpt(address, &parameters),
            Command::Data if self.is_binary() => self.say(reply::BINARY_BY_DATA),
            Command::Data => self.ask(Question::Data),
            Command::Auth(argument) => self.auth(argument),
            Command::StartTls => self.start_tls(),
            Command::Bdat(size) => self.bdat(size),
            Command::Rset => {
                self.reset();
                self.say(reply::RESET)
            }
            Command::Noop => self.say(reply::OK),
            Command::Help => self.say(reply::HELP),
            Command::Vrfy => self.say(reply::VRFY),
            Command::Expn | Command::NotImplemented(_) => self.say(reply::NOT_IMPLEMENTED),
            Command::Xclient(argument) => self.xclient(argument),
            Command::Xforward(argument) => self.xforward(argument),
            Command::Quit => self.close(&reply::BYE, End::Quit),
        }
    }

    fn mail(&mut self, path: Path, parameters: MailParameters) -> Flow {
        let reverse_path = match path {
            Path::Null => None,
            Path::Mailbox(address) => Some(address.with_default_domain(&self.config.default_domain)),
        };
        let mut addresses = reverse_path.iter().chain(&parameters.submitter);
        if addresses.any(Address::needs_smtputf8) && !parameters.smtputf8 {
            return self.say(reply::SENDER_NEEDS_SMTPUTF8);
        }
        if parameters.body == Some(Body::Binary) && !self.config.offers_binary() {
            return self.say(reply::bad_argument(BAD_BODY));
        }
        if let Some(size) = parameters.size {
            let limit = self.config.content.message_size;
            if limit > 0 && size > limit {
                return self.say(reply::TOO_LARGE);
            }
            if !self.config.storage.has_room(&self.peer, size) {
                return self.say(reply::NO_STORAGE);
            }
        }
        self.ask(Question::Mail(Box::new(Transaction::new(reverse_path, parameters))))
    }

    fn rcpt(&mut self, address: Address, parameters: &RcptParameters) -> Flow {
        let address = address.with_default_domain(&self.config.default_domain);
        let Some(transaction) = &mut self.transaction else { return self.say(reply::MAIL_FIRST) };
        if address.needs_smtputf8() && !transaction.parameters.smtputf8 {
            return self.say(reply::RECIPIENT_NEEDS_SMTPUTF8);
        }
        if let Some(refusal) = too_many(&self.config, transaction) {
            self.errors += u32::from(transaction.exceed());
            return self.say(refusal);
        }
        self.ask(Question::Rcpt { address, parameters: kept_of_rcpt(parameters) })
    }

    /// Answers HELO or EHLO.
    pub(super) fn greet(&mut self, name: Box<str>, dialect: Dialect) -> Flow {
        self.reset();
        self.helo_name = name;
        self.dialect = dialect;
        self.phase = Phase::Ready;
        let hello = reply::hello(&self.config.hostname, &self.peer);
        if dialect == Dialect::Smtp {
            return self.say(hello);
        }
        self.tally.count(&hello);
        let lines = self.offers.iter().map(|extension| match extension.argument {
            Argument::None => extension.keyword.to_owned(),
            Argument::Config(argument) => format!("{} {}", extension.keyword, argument(&self.config)),
            Argument::Mechanisms => {
                format!("{} {}", extension.keyword, self.auth.mechanisms.as_deref().unwrap_or_default())
            }
        });
        hello.write_lines(lines, &mut self.output);
        Flow::Next
    }
}

/// Why a transaction gets no further recipient.
fn too_many(config: &Config, transaction: &Transaction) -> Option<Reply> {
    let exceeds = |most: usize| most > 0 && transaction.recipients.len() >= most;
    if exceeds(config.recipients) {
        return Some(reply::TOO_MANY_RECIPIENTS);
    }
    let is_report = transaction.reverse_path.is_none();
    (is_report && exceeds(config.null_sender_recipients)).then_some(reply::TOO_MANY_OF_NULL)
}

/// The line is an AUTH, however wrong.
fn is_auth(line: &[u8]) -> bool {
    line.get(..4).is_some_and(|verb| verb.eq_ignore_ascii_case(b"AUTH"))
}

/// The line is a HELO or EHLO, however wrong.
fn is_hello(line: &[u8]) -> bool {
    let verb = line.split(|octet| *octet == b' ').next().unwrap_or_default();
    verb.eq_ignore_ascii_case(b"HELO") || verb.eq_ignore_ascii_case(b"EHLO")
}
