//! Content: fed to the decoder, and judged at the end of data.

use super::policy::Question;
use super::{Flow, Session};
use crate::machine::message::header;
use crate::machine::smtp::reply::{self, Reply};
use crate::machine::smtp::server::content_rules::Fault;
use crate::machine::smtp::server::mode::{Input, Mode};
use crate::machine::smtp::server::phase::Phase;

impl Session {
    /// Feeds the decoder; at the end of data, judges the content. None: more input is needed.
    pub(super) fn content(&mut self, input: &mut Input) -> Option<Flow> {
        let Mode::Data(decoder) = &mut self.mode else { return None };
        let taken = decoder.feed(&self.config.content, input.rest());
        self.tally.content += taken as u64;
        input.take(taken);
        decoder.is_done().then(|| self.judge_content())
    }

    /// All of the content is there.
    pub(super) fn judge_content(&mut self) -> Flow {
        self.phase = Phase::Ready;
        let (fault, header) =
            self.mode.content().map_or((None, &[][..]), |content| (content.fault(), content.header()));
        let (mut hops, mut tls) = (0, Vec::new());
        for field in header::fields(header) {
            hops += usize::from(field.is("Received"));
            if field.is("TLS-Required") {
                tls.push(field.value.trim_ascii().eq_ignore_ascii_case(b"no"));
            }
        }
        if let Some(transaction) = &mut self.transaction {
            transaction.tls_optional = tls == [true]; // one such field at most (RFC 8689 3)
        }
        let refusal = match fault {
            Some(fault) => Some(refusal(fault)),
            None => (self.config.hops > 0 && hops >= self.config.hops).then_some(reply::LOOP),
        };
        match refusal {
            Some(reply) => self.refuse_content(reply),
            None => self.ask(Question::EndOfHeaders),
        }
    }

    pub(super) fn refuse_content(&mut self, reply: Reply) -> Flow {
        let flow = self.say(reply);
        self.reset();
        flow
    }
}

/// The reply to a content with this fault.
pub(super) fn refusal(fault: Fault) -> Reply {
    match fault {
        Fault::TooLarge => reply::TOO_LARGE,
        Fault::BareNewline => reply::BARE_CONTENT,
        Fault::HeaderTooLarge => reply::LARGE_HEADER,
        Fault::NulInHeader => reply::NUL_IN_HEADER,
        Fault::LineTooLong => reply::LONG_LINE,
        Fault::EightBit => reply::EIGHT_BIT,
        Fault::Storage => reply::NO_STORAGE,
    }
}
