//! The content of a message: the decoder that takes it from DATA, and the octets as they are kept, in memory while small, in
//! a file of their own when large (RFC 5321 4.1.1.4, 4.5.2, 2.3.8).
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

mod incoming;

use incoming::IncomingFile;

use crate::machine::message::section::{Insertion, Section};
use crate::store::budget::{ALWAYS, Budget, Memory};
use crate::store::shared::Source;

/// Octets by which a buffer that is no longer small grows, so that little of it is unused.
const STEP: usize = 16 * 1024;

/// Where the octets of a content are. Lines end in CRLF and dots are not stuffed: this is what was meant, not what was sent.
#[derive(Debug)]
pub enum Octets {
    /// Small content, whole.
    Memory(Vec<u8>),
    /// Large content, in a file that this value may own.
    File(ContentFile),
}

/// A content file. An *incoming* one is removed when the value is dropped; the spool links it to its lasting name
/// before that. A *kept* one stays.
#[derive(Debug)]
pub struct ContentFile {
    path: PathBuf,
    size: u64,
    incoming: bool,
}

impl ContentFile {
    /// A file still being received: removed when dropped.
    pub fn incoming(path: PathBuf, size: u64) -> Self {
        Self { path, size, incoming: true }
    }

    /// A committed file, owned by the spool.
    pub fn kept(path: PathBuf, size: u64) -> Self {
        Self { path, size, incoming: false }
    }

    /// Where the file lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its size in octets.
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl Drop for ContentFile {
    fn drop(&mut self) {
        if self.incoming {
            // Nothing to report to: the partition clears its directory of incoming files when it is opened.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// What of one message follows its trace: header section and body as received, or of a large one the body alone.
#[derive(Debug)]
pub struct Content {
    /// The octets.
    pub octets: Octets,
    /// An octet above 127 occurs in them: the next hop must offer 8BITMIME (RFC 6152).
    pub eight_bit: bool,
}

impl Content {
    /// Size in octets.
    pub fn size(&self) -> u64 {
        match &self.octets {
            Octets::Memory(octets) => octets.len() as u64,
            Octets::File(file) => file.size(),
        }
    }
}

/// What the decoder has taken: `header` and `content` in this order are the whole.
#[derive(Debug)]
pub struct Taken {
    /// The header section with its empty line, when the content is in a file, which begins after it; else nothing.
    pub header: Vec<u8>,
    /// The rest.
    pub content: Content,
    /// What both take out of the budget; to be dropped with them.
    pub memory: Memory,
}

/// What to do with a CR or LF that stands alone.
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

/// Why a content cannot be taken. The input is read to its end all the same, without being kept. Of several faults the first
/// of this list is told, so that the answer does not depend on how the input was cut.
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
    /// An octet above 127, which nobody could pass on (RFC 6152 3).
    EightBit,
    /// The content file could not be written.
    Storage,
}

/// What a content may be, and where it goes. Zero switches a limit off.
#[derive(Debug, Clone)]
pub struct ContentRules {
    /// Octets of a content.
    pub size: u64,
    /// Octets of the header section, the empty line after it counted.
    pub header: usize,
    /// Octets of a line with its CRLF, the stuffed dot not counted.
    pub line: usize,
    /// Octets kept in memory; of a larger content the body goes to a file.
    pub memory: usize,
    /// What all contents of a worker may take together. When it is spent, what comes goes to files at once; the header section is
    /// read back at the end.
    pub budget: Arc<Budget>,
    /// Treatment of a CR or LF on its own.
    pub bare: BareNewline,
    /// Treatment of a NUL in the header section.
    pub nul: NulInHeader,
    /// Octets above 127 are taken.
    pub eight_bit: bool,
    /// Directory for the files of content still being received.
    pub incoming_dir: PathBuf,
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

/// The DATA decoder (RFC 5321 4.1.1.4, 4.5.2): removes stuffed dots, finds the end of data, which is CRLF `.` CRLF and nothing
/// else, and keeps the content. Resumable at any octet: the result never depends on how the input was cut.
#[derive(Debug)]
pub struct Decoder {
    at: At,
    /// Where it comes from, if that is known.
    source: Option<Source>,
    /// Content so far; once there is a file, the header section alone; nothing while that is in a file, too.
    memory: Vec<u8>,
    /// What `memory` takes out of the budget.
    taken: Memory,
    /// Read on when nothing is kept any more, so that a fault does not depend on the one before it.
    section: Section,
    /// Octets put into the header section that were not received.
    inserted: usize,
    /// The header section of a content that found no memory, until the content has ended, and what is to be put into it then.
    header_file: Option<IncomingFile>,
    to_insert: Vec<Insertion>,
    /// The body of a content that is too large for memory.
    file: Option<IncomingFile>,
    size: u64,
    line: usize,
    eight_bit: bool,
    fault: Option<Fault>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            at: At::LineStart,
            source: None,
            memory: Vec::new(),
            taken: Memory::default(),
            section: Section::default(),
            inserted: 0,
            header_file: None,
            to_insert: Vec::new(),
            file: None,
            size: 0,
            line: 0,
            eight_bit: false,
            fault: None,
        }
    }
}

impl Decoder {
    /// Of a content that comes from `source`.
    pub fn of(source: Option<Source>) -> Self {
        Self { source, ..Self::default() }
    }

    /// Takes input up to the end of data and says how many octets it took; fewer than given only at the end of data.
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
                At::DotCr if octet == b'\n' => {
                    self.at = At::End;
                    self.gather(rules);
                }
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
    /// content has ended; nothing after a fault.
    pub fn header(&self) -> &[u8] {
        self.memory.get(..self.header_length()).unwrap_or_default()
    }

    fn header_length(&self) -> usize {
        self.section.octets() + self.inserted
    }

    /// The content, or why it cannot be taken.
    pub fn finish(self) -> Result<Taken, Fault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let (header, octets) = match self.file {
            None => (Vec::new(), Octets::Memory(self.memory)),
            Some(file) => (self.memory, Octets::File(file.finish())),
        };
        Ok(Taken { header, content: Content { octets, eight_bit: self.eight_bit }, memory: self.taken })
    }

    /// The fault found so far.
    pub fn fault(&self) -> Option<Fault> {
        self.fault
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
        match rules.bare {
            BareNewline::Refuse => self.fail(Fault::BareNewline),
            BareNewline::Normalise => {
                self.keep(rules, b"\r\n");
                self.end_line(rules);
            }
        }
        self.at = At::Line;
    }

    fn end_line(&mut self, rules: &ContentRules) {
        if rules.line > 0 && self.line + 2 > rules.line {
            self.fail(Fault::LineTooLong);
        }
        self.line = 0;
    }

    fn keep(&mut self, rules: &ContentRules, octets: &[u8]) {
        self.size += octets.len() as u64;
        if rules.size > 0 && self.size > rules.size {
            self.fail(Fault::TooLarge);
        }
        if !rules.eight_bit && !octets.is_ascii() {
            self.fail(Fault::EightBit);
        }
        if self.fault.is_none() && self.store(rules, octets).is_err() {
            self.fail(Fault::Storage);
        }
        if !self.section.is_ended() {
            self.read_header(rules, octets);
            if self.section.is_ended() && self.part(rules).is_err() {
                self.fail(Fault::Storage);
            }
        }
        let large = rules.memory > 0 && self.memory.len() > rules.memory.max(self.header_length());
        if large && self.section.is_ended() && self.spill(rules).is_err() {
            self.fail(Fault::Storage);
        }
    }

    /// Puts octets where they belong: into the file of the body or of the header section, if there is one, else into memory.
    fn store(&mut self, rules: &ContentRules, octets: &[u8]) -> io::Result<()> {
        if octets.is_empty() {
            return Ok(());
        }
        if let Some(file) = &mut self.file {
            self.eight_bit |= !octets.is_ascii();
            return file.write(octets);
        }
        if let Some(header) = &mut self.header_file {
            return if self.section.is_ended() { self.open_body(rules, octets) } else { header.write(octets) };
        }
        if !self.grow(rules, octets.len()) {
            self.spill(rules)?;
            return self.store(rules, octets);
        }
        self.eight_bit |= !octets.is_ascii();
        self.memory.extend_from_slice(octets);
        Ok(())
    }

    /// Makes room in memory for so many octets more; false when the budget has none.
    fn grow(&mut self, rules: &ContentRules, octets: usize) -> bool {
        let (has, wants) = (self.memory.capacity(), self.memory.len() + octets);
        if wants <= has {
            return true;
        }
        let capacity = wants.max(has + has.min(STEP).max(has / 8));
        if !self.taken.resize(&rules.budget, capacity, false) {
            return false;
        }
        self.memory.reserve_exact(capacity - self.memory.len());
        true
    }

    /// Moves what is in memory to a file: the body, or a header section that has not ended.
    fn spill(&mut self, rules: &ContentRules) -> io::Result<()> {
        if self.section.is_ended() {
            let body = self.memory.split_off(self.header_length());
            self.open_body(rules, &body)?;
            self.memory.shrink_to_fit();
        } else {
            self.header_file =
                Some(IncomingFile::create(&rules.incoming_dir, &rules.budget, self.source, &self.memory)?);
            self.memory = Vec::new();
        }
        self.taken.resize(&rules.budget, self.memory.capacity(), false);
        Ok(())
    }

    /// The header section has ended in its file: what follows there is body. A short one has room in memory in any case.
    fn part(&mut self, rules: &ContentRules) -> io::Result<()> {
        let end = self.header_length() as u64;
        let Some(header) = &mut self.header_file else { return Ok(()) };
        let body = header.split_off(end)?;
        if !body.is_empty() {
            self.open_body(rules, &body)?;
        }
        if end <= ALWAYS as u64 {
            self.gather(rules);
        }
        Ok(())
    }

    fn open_body(&mut self, rules: &ContentRules, first: &[u8]) -> io::Result<()> {
        self.eight_bit = !first.is_ascii();
        self.file = Some(IncomingFile::create(&rules.incoming_dir, &rules.budget, self.source, first)?);
        Ok(())
    }

    /// Takes the header section back into memory: whoever judges the content needs the whole of it.
    fn gather(&mut self, rules: &ContentRules) {
        let Some(header) = self.header_file.take() else { return };
        let fits = self.taken.resize(&rules.budget, usize::try_from(header.size()).unwrap_or(usize::MAX), true);
        match header.read() {
            Ok(octets) if fits => {
                self.eight_bit |= self.file.is_none() && !octets.is_ascii();
                self.memory = octets;
                for insertion in std::mem::take(&mut self.to_insert) {
                    self.insert(insertion);
                }
            }
            _ => self.fail(Fault::Storage),
        }
    }

    fn insert(&mut self, insertion: Insertion) {
        let at = insertion.at + self.inserted;
        self.memory.splice(at..at, insertion.text.iter().copied());
        self.inserted += insertion.text.len();
    }

    /// Reads the header section on, and makes one of it that all programs read the same.
    fn read_header(&mut self, rules: &ContentRules, octets: &[u8]) {
        let mut rest = octets;
        while let Some(insertion) = self.section.read(&mut rest) {
            match self.fault {
                Some(_) => {}
                None if self.header_file.is_some() => self.to_insert.push(insertion),
                None => self.insert(insertion),
            }
        }
        if rules.header > 0 && self.section.octets() > rules.header {
            self.fail(Fault::HeaderTooLarge);
        }
        if rules.nul == NulInHeader::Refuse && self.section.has_nul() {
            self.fail(Fault::NulInHeader);
        }
    }

    /// Remembers the fault and lets go of what was kept; the rest is read and thrown away.
    fn fail(&mut self, fault: Fault) {
        self.fault = Some(self.fault.map_or(fault, |known| known.min(fault)));
        self.memory = Vec::new();
        self.taken = Memory::default();
        self.header_file = None;
        self.to_insert = Vec::new();
        self.file = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rules() -> ContentRules {
        ContentRules {
            size: 0,
            header: 0,
            line: 0,
            memory: 0,
            bare: BareNewline::Refuse,
            nul: NulInHeader::Refuse,
            eight_bit: true,
            budget: Arc::default(),
            incoming_dir: std::env::temp_dir(),
        }
    }

    fn decode(rules: &ContentRules, pieces: &[&[u8]]) -> (Result<Vec<u8>, Fault>, usize, bool) {
        let mut decoder = Decoder::default();
        let mut taken = 0;
        for piece in pieces {
            taken += decoder.feed(rules, piece);
        }
        let done = decoder.is_done();
        let header = decoder.header().to_vec();
        let content = decoder.finish().map(|taken| {
            let rest = match &taken.content.octets {
                Octets::Memory(octets) => octets.clone(),
                Octets::File(file) => {
                    assert_eq!(taken.header, header);
                    fs::read(file.path()).unwrap()
                }
            };
            assert_eq!((taken.content.size(), taken.content.eight_bit), (rest.len() as u64, !rest.is_ascii()));
            let all = [taken.header, rest].concat();
            assert!(!done || header == all[..Section::length(&all)]);
            all
        });
        (content, taken, done)
    }

    fn whole(rules: &ContentRules, input: &[u8]) -> (Result<Vec<u8>, Fault>, usize, bool) {
        decode(rules, &[input])
    }

    #[test]
    fn ends_at_crlf_dot_crlf_alone() {
        assert_eq!(whole(&rules(), b"a\r\n.\r\nQUIT\r\n"), (Ok(b"\r\na\r\n".to_vec()), 6, true));
        assert_eq!(whole(&rules(), b".\r\n"), (Ok(Vec::new()), 3, true));
        let not_ends: [&[u8]; 9] = [
            b"a\n.\n",
            b"a\n.\r\n",
            b"a\r\n.\n",
            b"a\r.\r",
            b"a\r\n.\r",
            b"a\r.\r\n",
            b"a\r\n.\r\r\n",
            b"a\r\n\0.\r\n",
            b"a\n\r.\r\n",
        ];
        for input in not_ends {
            for bare in [BareNewline::Refuse, BareNewline::Normalise] {
                assert!(!whole(&ContentRules { bare, ..rules() }, input).2, "{input:?}");
            }
        }
        // A doubled CR is a bare CR and then a true line end.
        assert_eq!(whole(&rules(), b"a\r\r\n.\r\n"), (Err(Fault::BareNewline), 7, true));
    }

    #[test]
    fn removes_one_leading_dot() {
        assert_eq!(whole(&rules(), b"..\r\n...a\r\n.b\r\n.\r\n").0, Ok(b"\r\n.\r\n..a\r\nb\r\n".to_vec()));
    }

    #[test]
    fn makes_bare_newlines_harmless() {
        let rules = ContentRules { bare: BareNewline::Normalise, ..rules() };
        assert_eq!(whole(&rules, b"\na\nb\rc\r\n.\r\n").0, Ok(b"\r\na\r\nb\r\nc\r\n".to_vec()));
        // The smuggled end of data stays content: the lone dot will be stuffed again on the way out.
        assert_eq!(whole(&rules, b"\na\n.\nMAIL\r\n.\r\n").0, Ok(b"\r\na\r\n.\r\nMAIL\r\n".to_vec()));
    }

    #[test]
    fn holds_its_limits() {
        let tight = ContentRules { size: 5, ..rules() };
        assert_eq!(whole(&tight, b"abc\r\n.\r\n").0, Ok(b"\r\nabc\r\n".to_vec()));
        assert_eq!(whole(&tight, b"abcd\r\n.\r\n"), (Err(Fault::TooLarge), 9, true));
        let short = ContentRules { line: 5, ..rules() };
        assert_eq!(whole(&short, b".abc\r\n.\r\n").0, Ok(b"\r\nabc\r\n".to_vec()));
        assert_eq!(whole(&short, b"abcd\r\n.\r\n").0, Err(Fault::LineTooLong));
        let nowhere = ContentRules { memory: 2, incoming_dir: "/nonexistent".into(), ..rules() };
        assert_eq!(whole(&nowhere, b"\r\nab\r\n.\r\n"), (Err(Fault::Storage), 9, true));
    }

    #[test]
    fn octets_above_127_are_refused_where_nobody_could_pass_them_on() {
        let seven = ContentRules { eight_bit: false, ..rules() };
        assert_eq!(whole(&seven, b"A: b\r\n\r\nc\r\n.\r\n").0, Ok(b"A: b\r\n\r\nc\r\n".to_vec()));
        assert_eq!(whole(&seven, b"A: b\r\n\r\n\xe4\r\n.\r\n"), (Err(Fault::EightBit), 14, true));
        assert_eq!(whole(&ContentRules { size: 5, ..seven.clone() }, b"\xe4bcd\r\n.\r\n").0, Err(Fault::TooLarge));
        let nowhere = ContentRules { memory: 2, incoming_dir: "/nonexistent".into(), ..seven };
        assert_eq!(whole(&nowhere, b"\r\nab\xe4\r\n.\r\n").0, Err(Fault::EightBit));
    }

    #[test]
    fn the_header_section_has_a_limit_of_its_own() {
        let tight = ContentRules { header: 11, ..rules() };
        for (content, fault) in [
            (&b"A: b\r\nC:\r\n"[..], None),
            (b"A: b\r\nC: d\r\n", Some(Fault::HeaderTooLarge)),
            (b"A:\r\nC:\r\n\r\na long body follows\r\n", None),
            (b"A: b\r\nC:\r\n\r\na long body follows\r\n", Some(Fault::HeaderTooLarge)),
            (b"a long body\r\n without a header section\r\n\r\n", None),
            (b"A: b\r\na long body\r\n\r\n", None),
            (b"\r\na long body follows\r\n", None),
            (b"A: 456789\r\n", None),
            (b"A: 4567890\r\n", Some(Fault::HeaderTooLarge)),
            (b"A: a long line\r\n\r\n\n\r\n", Some(Fault::BareNewline)),
            (b"A: a\n long\r\n line\r\n", Some(Fault::BareNewline)),
        ] {
            let input = [content, b".\r\n"].concat();
            let octets: Vec<&[u8]> = input.chunks(1).collect();
            assert_eq!(whole(&tight, &input).0.err(), fault, "{}", input.escape_ascii());
            assert_eq!(decode(&tight, &octets).0.err(), fault, "{}", input.escape_ascii());
        }
        let short = ContentRules { line: 10, ..tight };
        assert_eq!(whole(&short, b"A: 4567890\r\n.\r\n").0, Err(Fault::HeaderTooLarge));
    }

    #[test]
    fn a_header_line_without_end_is_not_kept() {
        let tight = ContentRules { header: 1000, size: 1 << 30, ..rules() };
        let mut decoder = Decoder::default();
        for _ in 0..10_000 {
            decoder.feed(&tight, b"x: yyyyyyy");
            assert!(decoder.memory.len() <= 1000);
        }
        assert_eq!(decoder.fault(), Some(Fault::HeaderTooLarge));
    }

    #[test]
    fn the_body_of_large_content_goes_to_a_file_that_is_removed_unless_kept() {
        let rules = ContentRules { memory: 4, ..rules() };
        let mut decoder = Decoder::default();
        decoder.feed(&rules, b"a: \xfc\r\n\r\ndef\r\n.\r\n");
        assert_eq!(decoder.header(), b"a: \xfc\r\n\r\n");
        let Taken { header, content, .. } = decoder.finish().unwrap();
        let Octets::File(file) = &content.octets else { panic!("in memory") };
        let path = file.path().to_owned();
        assert_eq!(
            (header.as_slice(), fs::read(&path).unwrap().as_slice()),
            (&b"a: \xfc\r\n\r\n"[..], &b"def\r\n"[..])
        );
        assert_eq!((content.size(), content.eight_bit), (5, false));
        drop(content);
        assert!(!path.exists());
    }

    #[test]
    fn without_memory_the_header_section_waits_in_a_file_and_is_whole_at_the_end() {
        let header = format!("{}\r\n", "X: \u{fc} a field of a long header section\r\n".repeat(400));
        for body in ["", "body\r\n", "..dots\r\n\r\n\u{fc}\r\n"] {
            for piece in [1000, 8190, 8192, 16_384, 100_000] {
                let budget = Arc::new(Budget::new(20_000, None, 1));
                let mut other = Memory::default();
                assert!(other.resize(&budget, 8192 + 15_000, false));
                let rules = ContentRules { budget: Arc::clone(&budget), ..rules() };
                let input = format!("{header}{body}.\r\n");
                let mut decoder = Decoder::default();
                let (end, rest) = input.as_bytes().split_last_chunk::<1>().map(|(rest, end)| (end, rest)).unwrap();
                rest.chunks(piece).for_each(|piece| _ = decoder.feed(&rules, piece));
                assert!(decoder.memory.capacity() <= 8192 && budget.in_memory() == 15_000, "pieces of {piece}");
                drop(other);
                assert_eq!(decoder.feed(&rules, end), 1);
                assert_eq!(decoder.header(), header.as_bytes());
                let Taken { header: kept, content, memory } = decoder.finish().unwrap();
                assert_eq!(budget.in_memory(), header.len() - 8192);
                let whole = match &content.octets {
                    Octets::Memory(octets) => octets.clone(),
                    Octets::File(file) => [kept, fs::read(file.path()).unwrap()].concat(),
                };
                assert_eq!(whole, format!("{header}{body}").replace("\n..", "\n.").into_bytes());
                let in_content = if body.is_empty() { &header } else { body };
                assert_eq!(content.eight_bit, !in_content.is_ascii());
                drop(memory);
                assert_eq!(budget.in_memory(), 0);
            }
        }
    }

    #[test]
    fn a_header_section_in_a_file_ends_where_it_ends_in_memory() {
        let fields = "X: a field of a long header section\r\n".repeat(300);
        for first in ["", "From a@b.test Thu Jan  1 00:00:00 1970\r\n", ">From x\r\n"] {
            for rest in ["text\r\nA: b\r\n\r\nC: d\r\n", "\r\ntext\r\n", "no field \u{fc}\r\n", " folded\r\n", "\r\n"] {
                let input = format!("{first}{fields}{rest}.\r\n");
                for piece in [1, 7, 1000, 8192, 10_500, 16_384, 100_000] {
                    let pieces: Vec<&[u8]> = input.as_bytes().chunks(piece).collect();
                    let budget = Arc::new(Budget::new(16_000, None, 1));
                    let mut other = Memory::default();
                    // Unfinished content finds nothing, finished content the last quarter.
                    assert!(other.resize(&budget, 8192 + 12_000, false));
                    let spent = ContentRules { budget, ..rules() };
                    assert_eq!(
                        decode(&spent, &pieces),
                        decode(&rules(), &pieces),
                        "pieces of {piece}: {first:?} {rest:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_long_header_section_that_finds_no_memory_at_the_end_is_refused_and_a_short_one_never() {
        for (octets, fault) in [(8000, None), (9000, Some(Fault::Storage))] {
            let rules = ContentRules { budget: Arc::new(Budget::new(1, None, 1)), ..rules() };
            let input = format!("{}\r\nbody\r\n.\r\n", "X: y\r\n".repeat(octets / 6));
            assert_eq!(whole(&rules, input.as_bytes()).0.err(), fault);
        }
    }

    #[test]
    fn many_large_contents_cost_no_more_than_the_budget() {
        let budget = Arc::new(Budget::new(300_000, None, 1));
        let rules = ContentRules { memory: 128 << 10, budget: Arc::clone(&budget), ..rules() };
        let mut decoders: Vec<Decoder> = (0..100).map(|_| Decoder::default()).collect();
        for _ in 0..20 {
            for (number, decoder) in decoders.iter_mut().enumerate() {
                decoder.feed(
                    &rules,
                    if number % 2 == 0 { &b"X: y\r\n"[..] } else { b"\r\nz\r\n" }.repeat(1000).as_slice(),
                );
            }
        }
        let kept: usize = decoders.iter().map(|decoder| decoder.memory.capacity()).sum();
        assert!(kept <= 300_000 + 100 * 8192, "{kept}");
        drop(decoders);
        assert_eq!(budget.in_memory(), 0);
    }

    #[test]
    fn what_is_all_header_section_stays_in_memory() {
        let rules = ContentRules { memory: 4, ..rules() };
        for input in [&b"a: b\r\nc: d\r\n.\r\n"[..], b"a: b\r\nc: d\r\n\r\n.\r\n"] {
            for size in 1..20 {
                let mut decoder = Decoder::default();
                for piece in input.chunks(size) {
                    decoder.feed(&rules, piece);
                }
                assert_eq!(decoder.header(), &input[..input.len() - 3]);
                assert!(matches!(decoder.finish().unwrap().content.octets, Octets::Memory(_)), "pieces of {size}");
            }
        }
    }

    #[test]
    fn the_head_is_the_header_section_however_it_is_cut() {
        let rules = ContentRules { memory: 7, ..rules() };
        for size in 1..20 {
            let mut decoder = Decoder::default();
            for piece in b"a: b\r\nc: d\r\n\r\ne\r\n\r\nf\r\n.\r\n".chunks(size) {
                decoder.feed(&rules, piece);
            }
            assert_eq!(decoder.header(), b"a: b\r\nc: d\r\n\r\n", "pieces of {size}");
        }
    }

    #[test]
    fn content_whose_first_line_is_no_field_gets_an_empty_line_in_front() {
        for memory in [0, 4] {
            let rules = ContentRules { memory, ..rules() };
            for (sent, kept, header) in [
                (&b" folded\r\nA: b\r\n"[..], &b"\r\n folded\r\nA: b\r\n"[..], 2),
                (b"no header\r\n\r\nhere\r\n", b"\r\nno header\r\n\r\nhere\r\n", 2),
                (b"A: b\r\n\xfc\r\nC: d\r\n\r\n", b"A: b\r\n\r\n\xfc\r\nC: d\r\n\r\n", 8),
                (b"From x\r\nA: b\r\n\r\ntext\r\n", b"X-Mailbox-Line: From x\r\nA: b\r\n\r\ntext\r\n", 32),
                (b"From x\r\ntext\r\n\r\n", b"X-Mailbox-Line: From x\r\n\r\ntext\r\n\r\n", 26),
            ] {
                for size in 1..20 {
                    let input = [sent, b".\r\n"].concat();
                    let mut decoder = Decoder::default();
                    for piece in input.chunks(size) {
                        decoder.feed(&rules, piece);
                    }
                    assert_eq!(decoder.header(), &kept[..header], "pieces of {size}");
                    let pieces: Vec<&[u8]> = input.chunks(size).collect();
                    assert_eq!(decode(&rules, &pieces).0.as_deref(), Ok(kept), "pieces of {size}");
                }
            }
        }
    }

    #[test]
    fn a_nul_in_the_header_section_is_refused_by_rule() {
        for (content, refused) in
            [(&b"A: \0\r\n"[..], true), (b"A\0: b\r\n", true), (b"A: b\r\n\r\n\0\r\n", false), (b"\r\n\0\r\n", false)]
        {
            let input = [content, b".\r\n"].concat();
            let told = refused.then_some(Fault::NulInHeader);
            assert_eq!(whole(&rules(), &input).0.err(), told, "{}", content.escape_ascii());
            let lax = ContentRules { nul: NulInHeader::Accept, ..rules() };
            assert!(whole(&lax, &input).0.is_ok_and(|kept| kept.contains(&0)));
        }
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(
            input in "([ab: F\0.\r\n\u{e9}]|\r\n|From ){0,40}", cuts in proptest::collection::vec(0usize..200, 0..6), normalise: bool, header in 0usize..20
        ) {
            let input = format!("{input}\r\n.\r\nrest");
            let input = input.as_bytes();
            let bare = if normalise { BareNewline::Normalise } else { BareNewline::Refuse };
            let rules = ContentRules { bare, line: 9, size: 30, memory: 12, header, ..rules() };
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % (input.len() + 1)).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts { pieces.push(&input[from..cut]); from = cut; }
            pieces.push(&input[from..]);
            let bytes: Vec<&[u8]> = input.chunks(1).collect();
            prop_assert_eq!(decode(&rules, &pieces), whole(&rules, input));
            prop_assert_eq!(decode(&rules, &bytes), whole(&rules, input));
        }

        #[test]
        fn stuffing_is_undone(lines in proptest::collection::vec("[a.]{0,8}", 0..8)) {
            let content = lines.iter().fold(String::new(), |all, line| all + line + "\r\n");
            let sent: String = lines.iter().map(|line| if line.starts_with('.') { format!(".{line}\r\n") } else { format!("{line}\r\n") }).collect();
            let (decoded, _, done) = whole(&rules(), format!("{sent}.\r\n").as_bytes());
            prop_assert!(done);
            let separator = if lines.iter().take(1).all(String::is_empty) { "" } else { "\r\n" };
            prop_assert_eq!(decoded, Ok([separator, &content].concat().into_bytes()));
        }
    }
}
