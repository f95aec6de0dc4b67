//! Where the header section of a content ends (RFC 5322 2.1, 2.2), found while the content comes.
//!
//! It ends after the first empty line, or before the first line that is neither a field nor folded under one. Programs disagree on
//! what such a line means (some end the section there, some pass over it), so an empty line has to be put before it: then all of
//! them read the same, and what is put above the content stays a header section of its own. A separator line of an mbox file
//! (`From ann@example.com Thu Jan  1 ...`) at the very beginning has to become a field. Postfix does both.
//!
//! Total, linear, resumable at any octet but between the CR and the LF of a line end.

/// Ends a header section that has no empty line of its own.
const EMPTY_LINE: &[u8] = b"\r\n";
/// Makes a field of an mbox separator.
const MBOX_FIELD: &[u8] = b"X-Mailbox-Line: ";
/// How an mbox separator begins, after any number of `>`.
const MBOX: &[u8] = b"From ";
/// Octets before the colon of a field: no line is longer (RFC 5322 2.1.1). What is longer is no name, and need not be kept until
/// its colon comes.
const LONGEST_NAME: usize = 998;

/// What has to be put into a content, and before which of its octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Insertion {
    /// Octets of the content before it, others put in not counted.
    pub at: usize,
    /// A piece of a line, or an empty one.
    pub text: &'static [u8],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// At the start of a line.
    Line,
    /// After a CR at the start of a line.
    Cr,
    /// Within what may be a field's name.
    Name,
    /// In the blanks after a name: the obsolete form (RFC 5322 4.5).
    Blank,
    /// Within a line that belongs to the section.
    Value,
    /// Behind the section.
    End,
}

/// The header section, as far as it has been read.
#[derive(Debug, Clone)]
pub struct Section {
    at: At,
    octets: usize,
    /// Octets of the line at hand, while it is not known what it is.
    line: usize,
    /// Octets of [`MBOX`] that the first line begins with; None when it does not.
    mbox: Option<usize>,
    nul: bool,
}

impl Default for Section {
    fn default() -> Self {
        Self { at: At::Line, octets: 0, line: 0, mbox: Some(0), nul: false }
    }
}

impl Section {
    /// Reads on, up to the end of the section, and takes from `input` what it has read. Stops where something has to be put in.
    pub fn read(&mut self, input: &mut &[u8]) -> Option<Insertion> {
        while let (Some((&octet, rest)), false) = (input.split_first(), self.is_ended()) {
            if self.at == At::Value {
                let end = memchr::memchr(b'\n', input).map_or(input.len(), |at| at + 1);
                let (value, rest) = input.split_at_checked(end)?;
                self.nul |= memchr::memchr(0, value).is_some();
                self.octets += end;
                self.at = if value.ends_with(b"\n") { At::Line } else { At::Value };
                *input = rest;
                continue;
            }
            if self.at == At::Name && self.mbox.is_none() {
                // A run of a name in one go; what ends it is looked at below.
                let most = (LONGEST_NAME - 1).saturating_sub(self.line);
                let run = input.iter().take(most).position(|&octet| !is_name(octet)).unwrap_or(most.min(input.len()));
                if run > 0 {
                    self.line += run;
                    *input = input.get(run..).unwrap_or_default();
                    continue;
                }
            }
            *input = rest;
            if let Some(text) = self.next(octet) {
                return Some(text);
            }
        }
        None
    }

    /// Reads the end of the content: what began like a name and is no field is behind the section.
    pub fn end(&mut self) -> Option<Insertion> {
        let begun = !self.is_ended() && self.line > 0;
        begun.then(|| {
            self.at = At::End;
            Insertion { at: self.octets, text: EMPTY_LINE }
        })
    }

    /// Octets of the section so far, its empty line included: those of which it is known that they belong to it.
    pub fn octets(&self) -> usize {
        self.octets
    }

    /// Its end has been read.
    pub fn is_ended(&self) -> bool {
        self.at == At::End
    }

    /// There is a NUL in it, or in place of a name behind it.
    pub fn has_nul(&self) -> bool {
        self.nul
    }

    /// The octets of the section at the head of a content, its empty line included.
    pub fn length(mut content: &[u8]) -> usize {
        let mut section = Self::default();
        while section.read(&mut content).is_some() {}
        section.octets
    }

    /// One octet of a line of which it is not known yet what it is.
    fn next(&mut self, octet: u8) -> Option<Insertion> {
        self.line += 1;
        self.nul |= octet == 0;
        let first = self.octets == 0;
        let is_mbox = self.is_mbox(octet);
        self.at = match (self.at, octet) {
            (At::Line, b'\r') => At::Cr,
            (At::Line | At::Cr, b'\n') => {
                self.take();
                At::End
            }
            (At::Line, b' ' | b'\t') if !first => self.take(),
            (At::Name | At::Blank, b':') => self.take(),
            (At::Name | At::Blank, b' ' | b'\t') if self.line < LONGEST_NAME => At::Blank,
            (At::Line | At::Name, _) if is_name(octet) && self.line < LONGEST_NAME => At::Name,
            (At::Blank, _) if first && is_mbox => {
                self.take();
                self.at = if octet == b'\n' { At::Line } else { At::Value };
                return Some(Insertion { at: 0, text: MBOX_FIELD });
            }
            _ => {
                self.at = At::End;
                return Some(Insertion { at: self.octets, text: EMPTY_LINE });
            }
        };
        None
    }

    /// The line at hand belongs to the section.
    fn take(&mut self) -> At {
        self.octets += std::mem::take(&mut self.line);
        self.at = At::Value;
        At::Value
    }

    /// The octets before this one are the beginning of an mbox separator.
    fn is_mbox(&mut self, octet: u8) -> bool {
        let Some(known) = self.mbox else { return false };
        if known < MBOX.len() && !(known == 0 && octet == b'>') {
            self.mbox = (MBOX.get(known) == Some(&octet)).then_some(known + 1);
        }
        known == MBOX.len()
    }
}

/// RFC 5322 2.2: printable US-ASCII but the colon.
fn is_name(octet: u8) -> bool {
    octet.is_ascii_graphic() && octet != b':'
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The content as every reader reads it the same way.
    fn separated(content: &[u8], size: usize) -> (Vec<u8>, Section) {
        let (mut whole, mut inserted, mut section) = (content.to_vec(), 0, Section::default());
        // A line end is never cut.
        let mut rest = content;
        while !rest.is_empty() {
            let cut = size.min(rest.len());
            let cut = if rest[..cut].ends_with(b"\r") && rest[cut..].starts_with(b"\n") { cut + 1 } else { cut };
            let mut piece = &rest[..cut];
            rest = &rest[cut..];
            while let Some(Insertion { at, text }) = section.read(&mut piece) {
                whole.splice(at + inserted..at + inserted, text.iter().copied());
                inserted += text.len();
            }
        }
        (whole, section)
    }

    #[test]
    #[rustfmt::skip] // a table
    fn a_line_that_is_no_field_is_behind_the_section() {
        for (fields, other) in [
            ("", " a blank first\r\n"), ("", "\ta tab first\r\n"), ("", " \r\nA: b\r\n"), ("", "text\r\n\r\nmore\r\n"), ("", "text\r\nA: b\r\n"),
            ("", ": no name\r\n"), ("", "two words: x\r\n"), ("", "\u{e9}: x\r\n"), ("", "A\u{a0}: x\r\n"), ("", "A\u{b}: x\r\n"),
            ("", "A\u{c}: x\r\n"), ("", "A\u{1c}: x\r\n"), ("", "A\u{85}: x\r\n"), ("", "\u{b}A: x\r\n"), ("", "A\u{7f}: x\r\n"), ("", "A\0: x\r\n"),
            ("", "Subject\r\n : folded before its colon\r\n"), ("", "Subject \r\nFrom: x\r\n"), ("", "From\tx\r\n"), ("", "from x\r\n"), ("", "Fromage x\r\n"),
            ("", "From\r\n"), ("", ".\r\n"),
            ("A: b\r\n", "text\r\nC: d\r\n\r\nE: f\r\n"), ("A: b\r\n c\r\n\t\r\n", "C d: e\r\n"), ("A: b\r\n", "From x Thu Jan 1 00:00:00 1970\r\nC: d\r\n"),
            ("X-Mailbox-Line: From x\r\n", "From y\r\n"), ("A: b\n", "text\n"),
        ] {
            for size in [1, 2, 3, 1000] {
                let (whole, section) = separated([fields, other].concat().as_bytes(), size);
                assert_eq!(String::from_utf8(whole).unwrap(), [fields, "\r\n", other].concat(), "pieces of {size}");
                assert_eq!((section.octets(), section.is_ended()), (fields.len(), true));
            }
        }
    }

    #[test]
    fn a_header_section_is_left_as_it_is() {
        for (fields, body) in [
            ("", ""),
            ("\r\n", " body\r\n"),
            ("\n", "text\n"),
            ("A: b\r\nC : d\r\n e\r\n \t\r\nF\t :\r\n\r\n", "text\r\n"),
            ("A: b\r\n", ""),
            ("From: a\r\n", ""),
            ("From : a\r\n\r\n", "\r\n"),
            (">From: a\r\n", ""),
            ("From:\r\n folded\r\n\r\n", "From x\r\n"),
            ("!#$%&'*+-/=?^_`{|}~\"(),.;<>@[\\]: any printable octet is part of a name\r\n", ""),
        ] {
            for size in [1, 2, 3, 1000] {
                let content = [fields, body].concat();
                let (whole, section) = separated(content.as_bytes(), size);
                assert_eq!((whole.as_slice(), section.octets()), (content.as_bytes(), fields.len()), "{content:?}");
            }
        }
    }

    #[test]
    fn an_mbox_separator_at_the_beginning_becomes_a_field() {
        for line in [
            "From a@b.test Thu Jan  1 00:00:00 1970\r\n",
            ">From x\r\n",
            ">>From  x\r\n",
            "From \r\n",
            "From \n",
            "From x\r\n folded\r\n",
        ] {
            for size in [1, 2, 3, 1000] {
                let content = [line, "A: b\r\n\r\ntext\r\n"].concat();
                let (whole, section) = separated(content.as_bytes(), size);
                assert_eq!(String::from_utf8(whole).unwrap(), ["X-Mailbox-Line: ", &content].concat());
                assert_eq!(section.octets(), content.len() - "text\r\n".len());
            }
        }
    }

    #[test]
    fn a_name_has_a_longest_length_however_it_is_cut() {
        for (length, is_name) in [(997, true), (998, false), (5000, false)] {
            for blanks in [0, 1, 5] {
                let line = ["x".repeat(length - blanks), " ".repeat(blanks), ": y\r\n".into()].concat();
                for size in [1, 100, 997, 998, 999, 10_000] {
                    let (whole, section) = separated(line.as_bytes(), size);
                    assert_eq!(
                        (whole == line.as_bytes(), section.octets() == line.len()),
                        (is_name, is_name),
                        "{size}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_nul_is_told_where_a_reader_of_fields_meets_it() {
        for (content, told) in [
            ("A: b\0\r\n", true),
            ("A\0: b\r\n", true),
            ("\0", true),
            ("A: b\r\n\0: c\r\n", true),
            ("A: b\r\n \0\r\n", true),
            ("From \0\r\n", true),
            ("A: b\r\n\r\n\0\r\n", false),
            ("\r\n\0", false),
            ("text \0\r\n", true),
            ("more text \0\r\n", false),
            ("A: b\r\ntext\0\r\n\r\n", true),
        ] {
            for size in [1, 3, 1000] {
                assert_eq!(separated(content.as_bytes(), size).1.has_nul(), told, "{content:?}");
            }
        }
    }

    #[test]
    fn a_line_that_ends_with_the_content_is_a_field_or_behind_the_section() {
        for (content, octets, at) in [
            ("", 0, None),
            ("A: b", 4, None),
            ("A: b\r\n c", 8, None),
            ("A: b\r\n", 6, None),
            ("A: b\r\n\r\n", 8, None),
            ("A", 0, Some(0)),
            ("From ", 0, Some(0)),
            ("A: b\r\nC ", 6, Some(6)),
            ("A: b\r\n\r", 6, Some(6)),
        ] {
            for size in [1, 2, 3, 1000] {
                let (_, mut section) = separated(content.as_bytes(), size);
                let insertion = section.end().map(|insertion| (insertion.at, insertion.text));
                assert_eq!((section.octets(), insertion), (octets, at.map(|at| (at, EMPTY_LINE))), "{content:?}");
            }
        }
    }

    proptest! {
        /// What was separated needs no second separation, its section is as long, and nothing of it is lost.
        #[test]
        fn a_second_time_changes_nothing(
            parts in proptest::collection::vec(prop::sample::select(vec![
                "A: b\r\n", "From x\r\n", ">", "From ", "A", " ", "\t", ":", "\r\n", "\n", "\r", "\0", "\u{b}", "\u{e9}", "text", ": c\r\n",
            ]), 0..10), size in 1..9_usize
        ) {
            let content = parts.concat();
            let (once, section) = separated(content.as_bytes(), size);
            prop_assert_eq!(&separated(content.as_bytes(), 1000).0, &once);
            let (twice, again) = separated(&once, size);
            prop_assert_eq!(&twice, &once);
            let inserted = once.len() - content.len();
            prop_assert_eq!(again.octets(), section.octets() + inserted);
            prop_assert!([0, 2, 16, 18].contains(&inserted) && once.ends_with(&content.as_bytes()[section.octets()..]));
        }
    }
}
