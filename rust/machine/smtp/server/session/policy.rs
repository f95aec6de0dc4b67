//! What policy is asked, and what follows from its verdict.

use super::{Dialect, Flow, Pending, Session};
use crate::machine::message::Parameters;
use crate::machine::message::address::{Address, Normalisation};
use crate::machine::smtp::chunking::ChunkSize;
use crate::machine::smtp::reply::{self, Reply};
use crate::machine::smtp::server::data::Decoder;
use crate::machine::smtp::server::mode::Mode;
use crate::machine::smtp::server::phase::Phase;
use crate::machine::smtp::server::step::{Stage, Step, Verdict};
use crate::machine::smtp::server::tally::{End, Refusal};
use crate::machine::smtp::server::transaction::{Accepted, Fate, Transaction};

/// The code of a reply that ends the session.
const CLOSING: u16 = 421;
/// The code of a reply to a recipient that is accepted.
const ACCEPTED: u16 = 250;

/// What policy is asked about.
#[derive(Debug)]
pub enum Question {
    Connect,
    Hello { name: Box<str>, dialect: Dialect },
    Mail(Box<Transaction>),
    Rcpt { address: Address, parameters: Parameters },
    Data,
    FirstChunk(ChunkSize),
    EndOfHeaders,
    EndOfData,
}

impl Question {
    fn stage(&self) -> Stage {
        match self {
            Self::Connect => Stage::Connect,
            Self::Hello { .. } => Stage::Helo,
            Self::Mail(_) => Stage::Mail,
            Self::Rcpt { .. } => Stage::Rcpt,
            Self::Data | Self::FirstChunk(_) => Stage::Data,
            Self::EndOfHeaders => Stage::EndOfHeaders,
            Self::EndOfData => Stage::EndOfData,
        }
    }

    /// Names in a refusal what was refused.
    fn name(&self, refusal: &mut Refusal) {
        match self {
            Self::Connect => "connection".clone_into(&mut refusal.command),
            Self::Hello { name, dialect: Dialect::Smtp } => refusal.command = format!("HELO {name}"),
            Self::Hello { name, dialect: Dialect::Esmtp } => refusal.command = format!("EHLO {name}"),
            Self::Mail(transaction) => refusal.command = format!("MAIL FROM:<{}>", transaction.sender()),
            Self::Rcpt { address, .. } => (refusal.recipient, refusal.command) = (address.to_string(), String::new()),
            Self::Data => "DATA".clone_into(&mut refusal.command),
            // Noted when its octets are there.
            Self::FirstChunk(_) | Self::EndOfHeaders | Self::EndOfData => {}
        }
    }
}

impl Session {
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

    pub(super) fn ask(&mut self, question: Question) -> Flow {
        let stage = question.stage();
        if self.config.asked & (1 << stage as u8) == 0 {
            return self.decided(question, Verdict::Pass);
        }
        self.pending = Pending::Answer(question);
        Flow::Stop(Step::Ask(stage))
    }

    pub(super) fn decided(&mut self, question: Question, verdict: Verdict) -> Flow {
        let verdict = if self.has_room(&verdict) { verdict } else { Verdict::Refuse(reply::TOO_MANY_RECIPIENTS) };
        if let Question::Rcpt { address, .. } = &question {
            let code = if let Verdict::Refuse(reply) = &verdict { reply.code } else { ACCEPTED };
            let sender = self.transaction.as_deref().and_then(|transaction| transaction.reverse_path.as_ref());
            self.tally.envelopes.judged(self.tally.transactions, sender, address, code);
        }
        match (verdict, question) {
            (Verdict::Refuse(reply), question) => self.refused(&question, reply),
            (Verdict::Report(reply), question) => self.passed(question, Some(reply)),
            (Verdict::Redirect(targets), Question::Rcpt { address, parameters }) => {
                let reply = reply::recipient_accepted(&address);
                self.add_recipients(reply, |transaction, normalisation| {
                    transaction.add_targets(address, parameters, targets, normalisation)
                })
            }
            (Verdict::Redirect(_) | Verdict::Pass, question) => self.passed(question, None),
            (Verdict::Discard, question) => {
                if let Some(transaction) = &mut self.transaction {
                    transaction.discard = true;
                }
                self.passed(question, None)
            }
        }
    }

    /// Whether the transaction can have the targets of a recipient. The first recipient has room for all of them: it would never
    /// have more.
    fn has_room(&self, verdict: &Verdict) -> bool {
        let most = self.config.recipients;
        let there = self.transaction.as_ref().map_or(0, |transaction| transaction.recipients.len());
        match verdict {
            Verdict::Redirect(targets) => most == 0 || there == 0 || there + targets.len() <= most,
            _ => true,
        }
    }

    /// Goes on after a question; with a reply to report later, at RCPT.
    fn passed(&mut self, question: Question, report: Option<Reply>) -> Flow {
        match question {
            Question::Connect => self.say(reply::greeting(&self.config.hostname)),
            Question::Hello { name, dialect } => self.greet(name, dialect),
            Question::Mail(transaction) => {
                let accepted = reply::sender_accepted(transaction.reverse_path.as_ref());
                self.transaction = Some(transaction);
                self.tally.transactions += 1;
                self.phase = Phase::Mail;
                self.say(accepted)
            }
            Question::Rcpt { address, parameters } => {
                let reply = reply::recipient_accepted(&address);
                let accepted = Accepted { address, parameters, fate: report.map_or(Fate::Delivery, Fate::Report) };
                self.add_recipients(reply, |transaction, normalisation| transaction.add(accepted, normalisation))
            }
            Question::Data => {
                self.phase = Phase::Content;
                self.mode = Mode::Data(Box::new(Decoder::new(&*self.config.storage, &self.peer)));
                self.say(reply::START)
            }
            Question::FirstChunk(size) => self.begin_chunks(size),
            Question::EndOfHeaders => self.ask(Question::EndOfData),
            Question::EndOfData => {
                self.pending = Pending::Commit;
                Flow::Stop(Step::Commit)
            }
        }
    }

    /// Accepts a recipient with `reply`, and keeps the one that the message goes to.
    fn add_recipients(&mut self, reply: Reply, add: impl FnOnce(&mut Transaction, &Normalisation) -> bool) -> Flow {
        if let Some(transaction) = &mut self.transaction {
            // One that is known brings no message nearer.
            self.idle += u32::from(!add(transaction, &self.config.normalisation));
        }
        self.phase = Phase::Rcpt;
        self.say(reply)
    }

    fn refused(&mut self, question: &Question, reply: Reply) -> Flow {
        let known = self.refused.len();
        let flow = match question {
            // RFC 5321 3.1: 554 leaves the connection open for QUIT; 421 closes it.
            Question::Connect if reply.class() == 5 => {
                self.phase = Phase::Refused;
                self.say(reply.plain().named(&self.config.hostname))
            }
            Question::Connect => self.close(&reply.plain(), End::Refused),
            // RFC 5321 3.8: it is said before the connection is closed.
            Question::Hello { .. } if reply.code == CLOSING => self.send_away(&reply.plain()),
            _ if reply.code == CLOSING => self.send_away(&reply),
            Question::Hello { .. } => self.say(reply.plain()),
            Question::FirstChunk(size) => self.drop_chunk(reply, *size),
            Question::EndOfHeaders | Question::EndOfData => self.refuse_content(reply),
            _ => self.say(reply),
        };
        self.refused.get_mut(known..).unwrap_or_default().iter_mut().for_each(|refusal| question.name(refusal));
        flow
    }
}
