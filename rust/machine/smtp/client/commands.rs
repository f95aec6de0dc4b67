//! What the client writes: commands and the content.

use std::io::Write;

use super::stuffing::{Stream, Stuffer};
use super::transaction::Fate;
use super::{Announcement, Awaited, Client, Protocol, Step};
use crate::machine::message::content::Octets;

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
        let (eight_bit, smtputf8) = (transaction.eight_bit(), self.offers.smtputf8 && transaction.wants_smtputf8());
        self.send_xforward();
        self.send_mail(eight_bit, smtputf8);
        if self.offers.pipelining {
            for slot in slots {
                self.send_rcpt(slot);
            }
            self.send(b"DATA\r\n", Awaited::Data);
        }
    }

    pub(super) fn send_mail(&mut self, eight_bit: bool, smtputf8: bool) {
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

    pub(super) fn send_rcpt(&mut self, slot: usize) {
        let Some(transaction) = &self.transaction else { return };
        let address = transaction.address(slot);
        for part in [b"RCPT TO:<".as_slice(), address.as_bytes(), b">\r\n"] {
            self.output.extend_from_slice(part);
        }
        self.awaited.push_back(Awaited::Rcpt(slot));
    }

    pub(super) fn send_reset(&mut self) {
        self.send(b"RSET\r\n", Awaited::Reset);
    }

    /// Without PIPELINING: the command after the reply just read.
    pub(super) fn send_next(&mut self) {
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

    pub(super) fn send_content(&mut self) {
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
}
