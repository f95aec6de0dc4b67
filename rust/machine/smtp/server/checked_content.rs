//! A content while it is received: judged by the rules of its listener, and kept in the store.
//!
//! What DATA and BDAT have in common: both give it octets without their framing. Resumable at any octet: the result never depends
//! on how the input was cut. After a fault the input is read on without being kept, so that the fault reported does not depend on
//! the cut either.

use super::content_rules::{BareNewline, ContentRules, Fault, NulInHeader};
use super::usual_lines;
use crate::machine::message::content::{Full, Incoming, Storage, Taken};
use crate::machine::message::section::Section;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// After a true CRLF, or at the very beginning.
    LineStart,
    /// Within a line.
    Line,
    /// After a CR within a line.
    Cr,
    /// After the end.
    End,
}

/// One content.
#[derive(Debug)]
pub struct CheckedContent {
    at: At,
    /// Read on when nothing is kept any more, so that a fault does not depend on the one before it.
    section: Section,
    /// What was found first among the faults, or the content so far.
    kept: Result<Box<dyn Incoming>, Fault>,
    size: u64,
    line: usize,
}

impl CheckedContent {
    /// Of a content that comes from this client and goes to `storage`.
    pub fn new(storage: &dyn Storage, client: &str) -> Self {
        let kept = Ok(storage.begin(client));
        Self { at: At::LineStart, section: Section::default(), kept, size: 0, line: 0 }
    }

    /// Takes text and returns how many octets it took: all, or those before a line that begins with `stop`.
    pub fn text(&mut self, rules: &ContentRules, input: &[u8], stop: Option<u8>) -> usize {
        let mut at = 0;
        while let Some(octet) = input.get(at) {
            match self.at {
                At::Cr => at += self.after_cr(rules, *octet),
                At::LineStart if stop == Some(*octet) => break,
                _ => at = self.lines(rules, input, at, stop),
            }
        }
        at
    }

    /// Takes octets that are lines up to the end of the header section, and anything behind it (RFC 3030 3).
    pub fn binary(&mut self, rules: &ContentRules, input: &[u8]) {
        let mut at = 0;
        while let (Some(octet), false) = (input.get(at), self.section.is_ended()) {
            at += if self.at == At::Cr { self.after_cr(rules, *octet) } else { self.header_line(rules, input, at) };
        }
        self.keep(rules, input.get(at..).unwrap_or_default());
    }

    /// Goes on within the line at whose start the text has stopped.
    pub fn begin_line(&mut self) {
        self.at = At::Line;
    }

    /// Ends the last line of a text, should it have no end.
    pub fn end_text(&mut self, rules: &ContentRules) {
        match self.at {
            At::Line => {
                self.keep(rules, b"\r\n");
                self.end_line(rules);
            }
            At::Cr => self.bare(rules),
            At::LineStart | At::End => {}
        }
    }

    /// Ends a binary content: a CR at the end of a header section without its empty line stood alone.
    pub fn end_binary(&mut self, rules: &ContentRules) {
        if self.at == At::Cr {
            self.bare(rules);
        }
    }

    /// A CR or LF stood alone.
    pub fn bare(&mut self, rules: &ContentRules) {
        match rules.bare_newline {
            BareNewline::Refuse => self.fail(Fault::BareNewline),
            BareNewline::Normalise => {
                self.keep(rules, b"\r\n");
                self.end_line(rules);
            }
        }
        self.at = At::Line;
    }

    /// All has come.
    pub fn end(&mut self) {
        self.at = At::End;
        if !self.section.is_ended() {
            if let (Some(insertion), Ok(kept)) = (self.section.end(), &mut self.kept) {
                kept.insert(insertion);
            }
            self.end_header();
        }
        self.store(|kept| kept.end());
    }

    /// Octets so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The header section with the empty line that ends it; without one, the whole content is header section. There once the
    /// content has ended; nothing before that and after a fault.
    pub fn header(&self) -> &[u8] {
        match &self.kept {
            Ok(kept) if self.at == At::End => kept.header(),
            _ => &[],
        }
    }

    /// The fault found so far.
    pub fn fault(&self) -> Option<Fault> {
        self.kept.as_ref().err().copied()
    }

    /// Remembers the fault and lets go of what was kept; the rest is read and thrown away.
    pub fn fail(&mut self, fault: Fault) {
        self.kept = Err(self.fault().map_or(fault, |known| known.min(fault)));
    }

    /// The content, or why it cannot be taken.
    pub fn finish(self) -> Result<Taken, Fault> {
        self.kept.map(Incoming::finish)
    }

    /// Takes a run of whole lines that need no change, in one piece, and returns where it ends; stops where something special
    /// begins.
    fn lines(&mut self, rules: &ContentRules, input: &[u8], start: usize, stop: Option<u8>) -> usize {
        let piece = |from: usize, to: usize| input.get(from..to).unwrap_or_default();
        let fits = rules.text_line == 0 || rules.text_line >= usual_lines::LONGER;
        let mut at = start;
        while at < input.len() {
            if self.at == At::LineStart && stop.is_some() && input.get(at).copied() == stop {
                self.keep(rules, piece(start, at));
                return at;
            }
            if self.at == At::LineStart && fits {
                let run = usual_lines::run(piece(at, input.len()), stop);
                if run > 0 {
                    at += run;
                    continue;
                }
            }
            self.at = At::Line;
            let Some(length) = memchr::memchr2(b'\r', b'\n', piece(at, input.len())) else {
                self.line += input.len() - at;
                break;
            };
            let end = at + length;
            self.line += length;
            match (input.get(end), input.get(end + 1)) {
                (Some(b'\r'), Some(b'\n')) => {
                    self.end_line(rules);
                    self.at = At::LineStart;
                    at = end + 2;
                }
                (Some(b'\r'), None) => {
                    self.keep(rules, piece(start, end));
                    self.at = At::Cr;
                    return end + 1;
                }
                _ => {
                    self.keep(rules, piece(start, end));
                    self.bare(rules);
                    return end + 1;
                }
            }
        }
        self.keep(rules, piece(start, input.len()));
        input.len()
    }

    /// Takes a piece of one line of a header section, and its CR or LF unless the section has ended before; returns the octets
    /// it took. A CRLF is kept at its LF, in one piece.
    fn header_line(&mut self, rules: &ContentRules, input: &[u8], start: usize) -> usize {
        let rest = input.get(start..).unwrap_or_default();
        let length = memchr::memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
        self.line += length;
        self.at = At::Line;
        self.keep(rules, rest.get(..length).unwrap_or_default());
        match rest.get(length) {
            Some(octet) if !self.section.is_ended() => {
                if *octet == b'\r' {
                    self.at = At::Cr;
                } else {
                    self.bare(rules);
                }
                length + 1
            }
            _ => length,
        }
    }

    /// The octet after a CR: the line ends with it, or the CR stood alone. Returns how many octets that takes.
    fn after_cr(&mut self, rules: &ContentRules, octet: u8) -> usize {
        if octet != b'\n' {
            self.bare(rules);
            return 0;
        }
        self.keep(rules, b"\r\n");
        self.end_line(rules);
        self.at = At::LineStart;
        1
    }

    fn end_line(&mut self, rules: &ContentRules) {
        if rules.text_line > 0 && self.line + 2 > rules.text_line {
            self.fail(Fault::LineTooLong);
        }
        self.line = 0;
    }

    fn keep(&mut self, rules: &ContentRules, octets: &[u8]) {
        self.size += octets.len() as u64;
        if rules.message_size > 0 && self.size > rules.message_size {
            self.fail(Fault::TooLarge);
        }
        if !rules.eight_bit && !octets.is_ascii() {
            self.fail(Fault::EightBit);
        }
        self.store(|kept| kept.write(octets));
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
            if let Ok(kept) = &mut self.kept {
                kept.insert(insertion);
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
        self.store(|kept| kept.end_header(octets));
    }

    /// Does something with the content, unless there is a fault already.
    fn store(&mut self, act: impl FnOnce(&mut dyn Incoming) -> Result<(), Full>) {
        if self.kept.as_mut().is_ok_and(|kept| act(kept.as_mut()) == Err(Full)) {
            self.fail(Fault::Storage);
        }
    }
}
