//! What the client writes: commands and the content.

use std::borrow::Cow;
use std::io::Write;

use super::callout::Purpose;
use super::offers::RequireTls;
use super::stream::{CHUNK, Framing, Stream};
use super::stuffing::Stuffer;
use super::transaction::Fate;
use super::{Announcement, Awaited, Client, Protocol, Step};
use crate::machine::message::Parameters;
use crate::machine::message::content::Octets;
use crate::machine::smtp::chunking::{ChunkSize, Chunking};
use crate::machine::smtp::parameters::ORCPT;
use crate::machine::smtp::xtext;

const NOT_OPENED: &str = "451 4.3.0 The stored content was not opened";

impl Client {
    pub(super) fn send(&mut self, command: &[u8], awaited: Awaited) {
        self.output.extend_from_slice(command);
        self.awaited.push_back(awaited);
    }

    pub(super) fn send_hello(&mut self, verb: &str, awaited: Awaited) {
        let command = format!("{verb} {}\r\n", self.helo_name);
        self.send(command.as_bytes(), awaited);
    }

    pub(super) fn send_extended_hello(&mut self) {
        let verb = if self.protocol == Protocol::Lmtp { "LHLO" } else { "EHLO" };
        self.send_hello(verb, Awaited::Extended);
    }

    /// Says what a transaction begins with, or ends it where nothing of it can be sent.
    pub(super) fn start(&mut self) {
        let Some(transaction) = &mut self.transaction else { return };
        if self.announcement == Announcement::Made {
            transaction.last = true;
            transaction.check(&self.offers);
        }
        let slots = transaction.slots(&Fate::Waiting);
        if slots.is_empty() {
            return self.finish();
        }
        self.send_xforward();
        self.send_mail();
        if self.offers.pipelining && self.purpose == Purpose::Delivery {
            for slot in slots {
                self.send_rcpt(slot);
            }
            if self.offers.chunking == Chunking::Off {
                self.send(b"DATA\r\n", Awaited::Data);
            }
        }
    }

    pub(super) fn send_mail(&mut self) {
        let Some(transaction) = &self.transaction else { return };
        let message = &transaction.message;
        let mut command = format!("MAIL FROM:<{}>", self.marked(&message.envelope.reverse_path)).into_bytes();
        if self.offers.size.is_some() && self.purpose == Purpose::Delivery {
            // Writing to a Vec cannot fail.
            let _ = write!(command, " SIZE={}", message.size());
        }
        if let Some(body) = transaction.body() {
            let _ = write!(command, " BODY={body}");
        }
        if transaction.smtputf8 {
            command.extend_from_slice(b" SMTPUTF8");
        }
        if self.authentication.is_some() {
            // Whoever submitted the message did not prove it to us (RFC 4954 5).
            command.extend_from_slice(b" AUTH=<>");
        }
        if self.offers.require_tls == RequireTls::Offered && message.envelope.requires_tls() {
            command.extend_from_slice(b" REQUIRETLS");
        }
        if self.offers.dsn {
            hand_on(&message.envelope.parameters, &["RET", "ENVID"], transaction.smtputf8, &mut command);
        }
        command.extend_from_slice(b"\r\n");
        self.used.transactions += 1;
        self.send(&command, Awaited::Mail);
    }

    pub(super) fn send_rcpt(&mut self, slot: usize) {
        let Some(transaction) = &self.transaction else { return };
        let address = transaction.address(slot);
        for part in [b"RCPT TO:<".as_slice(), address.as_bytes(), b">"] {
            self.output.extend_from_slice(part);
        }
        if let Some(parameters) = transaction.parameters(slot).filter(|_| self.offers.dsn) {
            hand_on(parameters, &["NOTIFY", "ORCPT"], transaction.smtputf8, &mut self.output);
        }
        self.output.extend_from_slice(b"\r\n");
        self.awaited.push_back(Awaited::Rcpt(slot));
    }

    pub(super) fn send_reset(&mut self) {
        self.send(b"RSET\r\n", Awaited::Reset);
    }

    /// The command after the reply just read, unless it was pipelined.
    pub(super) fn send_next(&mut self) {
        let Some(transaction) = &self.transaction else { return };
        let is_callout = self.purpose == Purpose::Callout;
        let is_pipelined = !self.awaited.is_empty() || (self.offers.chunking == Chunking::Off && !is_callout);
        if self.offers.pipelining && is_pipelined {
            return;
        }
        if let Some(&slot) = transaction.slots(&Fate::Waiting).first() {
            self.send_rcpt(slot);
            if is_callout && self.offers.pipelining {
                self.send_reset();
            }
        } else if transaction.has_accepted() {
            match self.offers.chunking {
                Chunking::Off => self.send(b"DATA\r\n", Awaited::Data),
                Chunking::Text | Chunking::Binary => self.send_chunks(),
            }
        } else {
            self.send_reset();
        }
    }

    /// After 354.
    pub(super) fn send_content(&mut self) {
        self.await_end();
        let Some(transaction) = &mut self.transaction else { return };
        let mut stuffer = Stuffer::default();
        stuffer.push(&transaction.message.trace, &mut self.output);
        match (&transaction.message.content.octets, transaction.file.take()) {
            (Octets::File(content), Some(file)) => {
                self.stream = Some(Stream::new(file, content.size(), Framing::Dot(stuffer)));
                self.step = Step::More;
            }
            (Octets::Memory(octets), _) => {
                stuffer.push(octets, &mut self.output);
                stuffer.finish(&mut self.output);
            }
            (Octets::File(_), None) => self.close(NOT_OPENED),
        }
    }

    /// In place of DATA: content in memory is one chunk, that of a file one or more (RFC 3030 2). Without PIPELINING each would have
    /// to wait for the reply to the one before, so there is one.
    fn send_chunks(&mut self) {
        let Some(transaction) = &mut self.transaction else { return };
        let trace = &transaction.message.trace;
        match (&transaction.message.content.octets, transaction.file.take()) {
            (Octets::File(content), Some(file)) => {
                let (size, most) = (content.size(), if self.offers.pipelining { CHUNK } else { u64::MAX });
                let octets = trace.len() as u64 + size.min(most);
                ChunkSize { octets, is_last: size <= most }.write(&mut self.output);
                self.output.extend_from_slice(trace);
                let stream = Stream::new(file, size, Framing::Chunks(most));
                self.awaited.extend((1..stream.chunks_left()).map(|_| Awaited::Chunk));
                self.stream = Some(stream);
                self.step = Step::More;
            }
            (Octets::Memory(octets), _) => {
                ChunkSize { octets: transaction.message.size(), is_last: true }.write(&mut self.output);
                self.output.reserve_exact(trace.len() + octets.len());
                self.output.extend_from_slice(trace);
                self.output.extend_from_slice(octets);
            }
            (Octets::File(_), None) => return self.close(NOT_OPENED),
        }
        self.await_end();
    }

    /// The reply to the end of the content: one, or over LMTP one for each accepted recipient (RFC 2033 4.2, 4.3).
    fn await_end(&mut self) {
        let Some(transaction) = &self.transaction else { return };
        match self.protocol {
            Protocol::Smtp => self.awaited.push_back(Awaited::Dot(None)),
            Protocol::Lmtp => {
                let slots = transaction.slots(&Fate::Accepted);
                self.awaited.extend(slots.into_iter().map(|slot| Awaited::Dot(Some(slot))));
            }
        }
    }
}

/// Appends those of the parameters that have one of these keywords, as they came (RFC 3461 5.2.1). What is beyond ASCII is encoded
/// where the transaction has no SMTPUTF8 (RFC 6533 3); a value that becomes longer than it may be is left out.
fn hand_on(parameters: &Parameters, keywords: &[&str], utf8: bool, output: &mut Vec<u8>) {
    let wanted = parameters.iter().filter(|(keyword, _)| keywords.contains(keyword));
    for (keyword, value) in wanted.filter_map(|(keyword, value)| Some((keyword, value?))) {
        let value = if utf8 || value.is_ascii() { Cow::Borrowed(value) } else { Cow::Owned(xtext::to_ascii(value)) };
        if value.len() <= ORCPT {
            // Writing to a Vec cannot fail.
            let _ = write!(output, " {keyword}={value}");
        }
    }
}
