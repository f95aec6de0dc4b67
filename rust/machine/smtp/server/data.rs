//! The DATA decoder (RFC 5321 4.1.1.4, 4.5.2, 2.3.8): removes stuffed dots, finds the end of data, which is CRLF `.` CRLF and
//! nothing else, and judges what comes.
//!
//! Resumable at any octet: the result never depends on how the input was cut. What is taken goes to an [`Incoming`] content of the
//! store; after a fault the input is read to its end without being kept.

use crate::machine::message::content::{Full, Incoming, Storage, Taken};
use crate::machine::message::section::Section;

#[cfg(test)]
mod tests;

/// What to do with a CR or LF that is not part of a CRLF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BareNewline {
    /// Read the content to its end, then refuse it.
    Refuse,
    /// Make it a CRLF. It still ends no data and starts no dot-stuffed line.
    Normalise,
}

/// What to do with a NUL in the header section, where no character of that kind may be (RFC 5322 2.2, 4.1). In a body it is
/// taken as it is (RFC 5321 4.5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NulInHeader {
    /// Read the content to its end, then refuse it: some programs take the octet for the end of the field.
    Refuse,
    /// Leave it where it is.
    Accept,
}

/// Why a content cannot be taken. Of several faults the first of this list is reported, so that the answer does not depend on
/// how the input was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Over the size limit (RFC 5321 4.5.3.1.7).
    TooLarge,
    /// A CR or LF on its own (RFC 5321 2.3.8).
    BareNewline,
    /// A header section over its limit.
    HeaderTooLarge,
    /// A NUL in the header section.
    NulInHeader,
    /// A line over the limit (RFC 5321 4.5.3.1.6).
    LineTooLong,
    /// An octet above 127, which could not be delivered (RFC 6152 3).
    EightBit,
    /// The store has no room, or could not write.
    Storage,
}

/// What a content may be. Zero switches a limit off.
#[derive(Debug, Clone)]
pub struct ContentRules {
    /// Octets of a content.
    pub message_size: u64,
    /// Octets of the header section, the empty line after it counted.
    pub header_size: usize,
    /// Octets of a line with its CRLF, the stuffed dot not counted.
    pub text_line: usize,
    /// Treatment of a CR or LF on its own.
    pub bare_newline: BareNewline,
    /// Treatment of a NUL in the header section.
    pub nul_in_header: NulInHeader,
    /// Octets above 127 are taken.
    pub eight_bit: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// After a true CRLF, or at the very beginning: a dot here is special.
    LineStart,
    /// Within a line.
    Line,
    /// After a CR within a line.
    Cr,
    /// After a dot at the start of a line.
    Dot,
    /// After a dot at the start of a line and a CR.
    DotCr,
    /// After CRLF `.` CRLF.
    End,
}

/// The decoder of one content.
#[derive(Debug)]
pub struct Decoder {
    at: At,
    /// Read on when nothing is kept any more, so that a fault does not depend on the one before it.
    section: Section,
    /// What was found first among the faults, or the content so far.
    content: Result<Box<dyn Incoming>, Fault>,
    size: u64,
    line: usize,
}

impl Decoder {
    /// Of a content that comes from this client and goes to `storage`.
    pub fn new(storage: &dyn Storage, client: &str) -> Self {
        let content = Ok(storage.begin(client));
        Self { at: At::LineStart, section: Section::default(), content, size: 0, line: 0 }
    }

    /// Takes input up to the end of data and returns how many octets it took; fewer than given only at the end of data.
    pub fn feed(&mut self, rules: &ContentRules, input: &[u8]) -> usize {
        let mut at = 0;
        while let (Some(&octet), false) = (input.get(at), self.is_done()) {
            match self.at {
                At::LineStart | At::Line => {
                    at = self.text(rules, input, at);
                    continue;
                }
                At::Cr if octet == b'\n' => {
                    self.keep(rules, b"\r\n");
                    self.end_line(rules);
                    self.at = At::LineStart;
                }
                At::Dot if octet == b'\r' => self.at = At::DotCr,
                At::DotCr if octet == b'\n' => self.end(),
                // The CR stood alone, or the dot was a stuffed one: the octet belongs to the line.
                At::Cr | At::DotCr => {
                    self.bare(rules);
                    continue;
                }
                At::Dot => {
                    self.at = At::Line;
                    continue;
                }
                At::End => break,
            }
            at += 1;
        }
        at
    }

    /// CRLF `.` CRLF has been read.
    pub fn is_done(&self) -> bool {
        self.at == At::End
    }

    /// The header section with the empty line that ends it; without one, the whole content is header section. There once the
    /// content has ended; nothing before that and after a fault.
    pub fn header(&self) -> &[u8] {
        match &self.content {
            Ok(content) if self.is_done() => content.header(),
            _ => &[],
        }
    }

    /// The fault found so far.
    pub fn fault(&self) -> Option<Fault> {
        self.content.as_ref().err().copied()
    }

    /// The content, or why it cannot be taken.
    pub fn finish(self) -> Result<Taken, Fault> {
        self.content.map(Incoming::finish)
    }
    /// Takes a run of whole lines that need no change, in one piece; stops where something special begins.
    fn text(&mut self, rules: &ContentRules, input: &[u8], start: usize) -> usize {
        let piece = |from: usize, to: usize| input.get(from..to).unwrap_or_default();
        let mut at = start;
        while at < input.len() {
            if self.at == At::LineStart && input.get(at) == Some(&b'.') {
                self.keep(rules, piece(start, at));
                self.at = At::Dot;
                return at + 1;
            }
            self.at = At::Line;
            let Some(length) = memchr::memchr2(b'\r', b'\n', piece(at, input.len())) else {
                self.line += input.len() - at;
                break;
            };
            let stop = at + length;
            self.line += length;
            match (input.get(stop), input.get(stop + 1)) {
                (Some(b'\r'), Some(b'\n')) => {
                    self.end_line(rules);
                    self.at = At::LineStart;
                    at = stop + 2;
                }
                (Some(b'\r'), None) => {
                    self.keep(rules, piece(start, stop));
                    self.at = At::Cr;
                    return stop + 1;
                }
                _ => {
                    self.keep(rules, piece(start, stop));
                    self.bare(rules);
                    return stop + 1;
                }
            }
        }
        self.keep(rules, piece(start, input.len()));
        input.len()
    }

    /// A CR or LF stood alone.
    fn bare(&mut self, rules: &ContentRules) {
        match rules.bare_newline {
            BareNewline::Refuse => self.fail(Fault::BareNewline),
            BareNewline::Normalise => {
                self.keep(rules, b"\r\n");
                self.end_line(rules);
            }
        }
        self.at = At::Line;
    }

    fn end_line(&mut self, rules: &ContentRules) {
        if rules.text_line > 0 && self.line + 2 > rules.text_line {
            self.fail(Fault::LineTooLong);
        }
        self.line = 0;
    }

    fn end(&mut self) {
        self.at = At::End;
        if !self.section.is_ended() {
            self.end_header();
        }
        self.store(|content| content.end());
    }

    fn keep(&mut self, rules: &ContentRules, octets: &[u8]) {
        self.size += octets.len() as u64;
        if rules.message_size > 0 && self.size > rules.message_size {
            self.fail(Fault::TooLarge);
        }
        if !rules.eight_bit && !octets.is_ascii() {
            self.fail(Fault::EightBit);
        }
        self.store(|content| content.write(octets));
        if !self.section.is_ended() {
            self.read_header(rules, octets);
            if self.section.is_ended() {
                self.end_header();
            }
        }
    }

    /// Reads the header section on, and makes one of it that all programs read the same.
    fn read_header(&mut self, rules: &ContentRules, octets: &[u8]) {
        let mut rest = octets;
        while let Some(insertion) = self.section.read(&mut rest) {
            if let Ok(content) = &mut self.content {
                content.insert(insertion);
            }
        }
        if rules.header_size > 0 && self.section.octets() > rules.header_size {
            self.fail(Fault::HeaderTooLarge);
        }
        if rules.nul_in_header == NulInHeader::Refuse && self.section.has_nul() {
            self.fail(Fault::NulInHeader);
        }
    }

    fn end_header(&mut self) {
        let octets = self.section.octets();
        self.store(|content| content.end_header(octets));
    }

    /// Does something with the content, unless there is a fault already.
    fn store(&mut self, act: impl FnOnce(&mut dyn Incoming) -> Result<(), Full>) {
        if self.content.as_mut().is_ok_and(|content| act(content.as_mut()) == Err(Full)) {
            self.fail(Fault::Storage);
        }
    }

    /// Remembers the fault and lets go of what was kept; the rest is read and thrown away.
    fn fail(&mut self, fault: Fault) {
        self.content = Err(self.fault().map_or(fault, |known| known.min(fault)));
    }
}
