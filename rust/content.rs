//! The content of a message: the decoder that takes it from DATA, and the octets as they are kept, in memory while small, in
//! a file of their own when large (RFC 5321 4.1.1.4, 4.5.2, 2.3.8).
#![forbid(unsafe_code)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Where the octets of a content are. Lines end in CRLF and dots are not stuffed: this is what was meant, not what was sent.
#[derive(Debug)]
pub enum Octets {
    /// Small content, whole.
    Memory(Vec<u8>),
    /// Large content, in a file that this value may own.
    File(ContentFile),
}

/// A content file. A *loose* one (received) is removed when the value is dropped; the spool links it to its lasting name
/// before that. A *kept* one stays.
#[derive(Debug)]
pub struct ContentFile {
    path: PathBuf,
    size: u64,
    loose: bool,
}

impl ContentFile {
    /// A file still being received: removed when dropped.
    pub fn loose(path: PathBuf, size: u64) -> Self {
        Self { path, size, loose: true }
    }

    /// A committed file, owned by the spool.
    pub fn kept(path: PathBuf, size: u64) -> Self {
        Self { path, size, loose: false }
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
        if self.loose {
            // Nothing to report to: the partition clears its directory of loose files when it is opened.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Header section and body of one message, as received, without the trace fields added here.
#[derive(Debug)]
pub struct Content {
    /// The octets.
    pub octets: Octets,
    /// An octet above 127 occurs: the next hop must offer 8BITMIME (RFC 6152).
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

/// What to do with a CR or LF that stands alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BareNewline {
    /// Read the content to its end, then refuse it.
    Refuse,
    /// Make it a CRLF. It still ends no data and starts no dot-stuffed line.
    Normalise,
}

/// Why a content cannot be taken. The input is read to its end all the same, without being kept. Of several faults the first
/// of this list is told, so that the answer does not depend on how the input was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Over the size limit (RFC 5321 4.5.3.1.7).
    TooLarge,
    /// A CR or LF on its own (RFC 5321 2.3.8).
    BareNewline,
    /// A line over the limit (RFC 5321 4.5.3.1.6).
    LineTooLong,
    /// The content file could not be written.
    Storage,
}

/// What a content may be, and where it goes. Zero switches a limit off.
#[derive(Debug, Clone)]
pub struct ContentRules {
    /// Octets of a content.
    pub size: u64,
    /// Octets of a line with its CRLF, the stuffed dot not counted.
    pub line: usize,
    /// Octets kept in memory; a larger content goes to a file.
    pub memory: usize,
    /// Treatment of a CR or LF on its own.
    pub bare: BareNewline,
    /// Directory for the files of content still being received.
    pub loose_dir: PathBuf,
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
    /// Content so far; once there is a file, the first octets of it, which hold the header section.
    memory: Vec<u8>,
    file: Option<(fs::File, ContentFile)>,
    size: u64,
    line: usize,
    eight_bit: bool,
    fault: Option<Fault>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { at: At::LineStart, memory: Vec::new(), file: None, size: 0, line: 0, eight_bit: false, fault: None }
    }
}

impl Decoder {
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
                At::DotCr if octet == b'\n' => self.at = At::End,
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

    /// The first octets of the content, which hold the header section unless that is over the memory limit.
    pub fn head(&self) -> &[u8] {
        &self.memory
    }

    /// The content, or why it cannot be taken.
    pub fn finish(self) -> Result<Content, Fault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let octets = match self.file {
            None => Octets::Memory(self.memory),
            Some((_, mut file)) => {
                file.size = self.size;
                Octets::File(file)
            }
        };
        Ok(Content { octets, eight_bit: self.eight_bit })
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
        if self.fault.is_some() || octets.is_empty() {
            return;
        }
        self.eight_bit |= !octets.is_ascii();
        let mut octets = octets;
        if self.file.is_none() && rules.memory > 0 && self.memory.len() + octets.len() > rules.memory {
            // The memory is filled first: however the input is cut, the head is the same.
            let room = octets.len().min(rules.memory.saturating_sub(self.memory.len()));
            let (first, rest) = octets.split_at(room);
            self.memory.extend_from_slice(first);
            octets = rest;
            match open_loose(&rules.loose_dir, &self.memory) {
                Ok(file) => self.file = Some(file),
                Err(_) => return self.fail(Fault::Storage),
            }
        }
        match &mut self.file {
            None => self.memory.extend_from_slice(octets),
            Some((file, _)) => {
                if file.write_all(octets).is_err() {
                    self.fail(Fault::Storage);
                }
            }
        }
    }

    /// Remembers the fault and lets go of what was kept; the rest is read and thrown away.
    fn fail(&mut self, fault: Fault) {
        self.fault = Some(self.fault.map_or(fault, |known| known.min(fault)));
        self.memory = Vec::new();
        self.file = None;
    }
}

/// A new content file that begins with `first`.
fn open_loose(directory: &Path, first: &[u8]) -> std::io::Result<(fs::File, ContentFile)> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let path = directory.join(name);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).open(&path)?;
    let owned = ContentFile::loose(path, 0);
    file.write_all(first)?;
    Ok((file, owned))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rules() -> ContentRules {
        ContentRules { size: 0, line: 0, memory: 0, bare: BareNewline::Refuse, loose_dir: std::env::temp_dir() }
    }

    fn decode(rules: &ContentRules, pieces: &[&[u8]]) -> (Result<Vec<u8>, Fault>, usize, bool) {
        let mut decoder = Decoder::default();
        let mut taken = 0;
        for piece in pieces {
            taken += decoder.feed(rules, piece);
        }
        let done = decoder.is_done();
        let content = decoder.finish().map(|content| match &content.octets {
            Octets::Memory(octets) => octets.clone(),
            Octets::File(file) => fs::read(file.path()).unwrap(),
        });
        (content, taken, done)
    }

    fn whole(rules: &ContentRules, input: &[u8]) -> (Result<Vec<u8>, Fault>, usize, bool) {
        decode(rules, &[input])
    }

    #[test]
    fn ends_at_crlf_dot_crlf_alone() {
        assert_eq!(whole(&rules(), b"a\r\n.\r\nQUIT\r\n"), (Ok(b"a\r\n".to_vec()), 6, true));
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
        assert_eq!(whole(&rules(), b"..\r\n...a\r\n.b\r\n.\r\n").0, Ok(b".\r\n..a\r\nb\r\n".to_vec()));
    }

    #[test]
    fn makes_bare_newlines_harmless() {
        let rules = ContentRules { bare: BareNewline::Normalise, ..rules() };
        assert_eq!(whole(&rules, b"a\nb\rc\r\n.\r\n").0, Ok(b"a\r\nb\r\nc\r\n".to_vec()));
        // The smuggled end of data stays content: the lone dot will be stuffed again on the way out.
        assert_eq!(whole(&rules, b"a\n.\nMAIL\r\n.\r\n").0, Ok(b"a\r\n.\r\nMAIL\r\n".to_vec()));
    }

    #[test]
    fn holds_its_limits() {
        let tight = ContentRules { size: 5, ..rules() };
        assert_eq!(whole(&tight, b"abc\r\n.\r\n").0, Ok(b"abc\r\n".to_vec()));
        assert_eq!(whole(&tight, b"abcd\r\n.\r\n"), (Err(Fault::TooLarge), 9, true));
        let short = ContentRules { line: 5, ..rules() };
        assert_eq!(whole(&short, b".abc\r\n.\r\n").0, Ok(b"abc\r\n".to_vec()));
        assert_eq!(whole(&short, b"abcd\r\n.\r\n").0, Err(Fault::LineTooLong));
        let nowhere = ContentRules { memory: 2, loose_dir: "/nonexistent".into(), ..rules() };
        assert_eq!(whole(&nowhere, b"abcd\r\n.\r\n"), (Err(Fault::Storage), 9, true));
    }

    #[test]
    fn large_content_goes_to_a_file_that_is_removed_unless_kept() {
        let rules = ContentRules { memory: 4, ..rules() };
        let mut decoder = Decoder::default();
        decoder.feed(&rules, b"abc\r\ndef\r\n.\r\n");
        let content = decoder.finish().unwrap();
        let Octets::File(file) = &content.octets else { panic!("in memory") };
        let path = file.path().to_owned();
        assert_eq!(fs::read(&path).unwrap(), b"abc\r\ndef\r\n");
        assert_eq!(content.size(), 10);
        drop(content);
        assert!(!path.exists());
    }

    #[test]
    fn the_head_does_not_depend_on_cuts() {
        let rules = ContentRules { memory: 7, ..rules() };
        for size in 1..20 {
            let mut decoder = Decoder::default();
            for piece in b"a: b\r\nc: d\r\n\r\ne\r\n.\r\n".chunks(size) {
                decoder.feed(&rules, piece);
            }
            assert_eq!(decoder.head(), b"a: b\r\nc", "pieces of {size}");
        }
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(input in "[ab.\r\n\u{e9}]{0,40}", cuts in proptest::collection::vec(0usize..200, 0..6), normalise: bool) {
            let input = format!("{input}\r\n.\r\nrest");
            let input = input.as_bytes();
            let bare = if normalise { BareNewline::Normalise } else { BareNewline::Refuse };
            let rules = ContentRules { bare, line: 9, size: 30, memory: 12, ..rules() };
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
            prop_assert_eq!(decoded, Ok(content.into_bytes()));
        }
    }
}
