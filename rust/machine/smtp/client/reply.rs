//! Replies of the next hop: bytes in, whole replies out, at any cut.
//!
//! Promises bounds on what a hostile peer can make us keep, and that a reply given on is well formed. RFC 5321 4.2, 4.5.3.1.5.

use memchr::memchr;

use crate::machine::ascii::is_printable;

/// Longest line taken, CRLF included. The standard says 512; some hosts write more.
const MAX_LINE: usize = 2048;
/// Most characters of a reply that are kept for logs and reports.
pub const MAX_TEXT: usize = 500;

/// One whole reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// 200 to 599.
    pub code: u16,
    lines: Vec<u8>,
}

impl Reply {
    /// First digit of the code: 2, 3, 4 or 5.
    pub fn class(&self) -> u16 {
        self.code / 100
    }

    /// The text of each line, without the code.
    pub fn texts(&self) -> impl Iterator<Item = &[u8]> {
        self.lines
            .split_inclusive(|&octet| octet == b'\n')
            .map(|line| line.trim_ascii_end().get(4..).unwrap_or_default())
    }

    /// The reply as one printable ASCII line: lines joined, the enhanced status code (RFC 3463) said once.
    pub fn text(&self) -> String {
        let mut text = self.code.to_string();
        let mut status: &[u8] = &[];
        for (number, line) in self.texts().enumerate() {
            let line = line.trim_ascii();
            let first = line.split(u8::is_ascii_whitespace).next().unwrap_or_default();
            let repeated = number > 0 && !status.is_empty() && first == status;
            if number == 0 && is_status(first) {
                status = first;
            }
            let rest = if repeated { line.get(first.len()..).unwrap_or_default().trim_ascii_start() } else { line };
            if !rest.is_empty() {
                text.push(' ');
                text.extend(rest.iter().map(|&octet| printable(octet)));
            }
            if text.len() >= MAX_TEXT {
                break;
            }
        }
        text.truncate(MAX_TEXT);
        text
    }
}

/// `word` looks like `5.1.1`.
fn is_status(word: &[u8]) -> bool {
    let is_number = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    word.split(|&octet| octet == b'.').filter(|part| is_number(part)).count() == 3
}

fn printable(octet: u8) -> char {
    match octet {
        b'\t' => ' ',
        _ if is_printable(octet) => char::from(octet),
        _ => '?',
    }
}

/// Why the input cannot be a reply.
pub type Garbage = &'static str;

/// Collects octets into replies.
#[derive(Debug, Default)]
pub struct Reader {
    input: Vec<u8>,
    /// Start of the line being read; everything before it is whole lines of the reply being read.
    line: usize,
    /// No line end is between `line` and here.
    searched: usize,
    lines: usize,
    code: Option<u16>,
}

impl Reader {
    /// Takes what the socket gave.
    pub fn push(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// Nothing is buffered, not even a part of a reply.
    pub fn is_empty(&self) -> bool {
        self.input.is_empty()
    }

    /// What is buffered, a part of a reply at least, begins a 4xx or 5xx reply.
    pub fn begins_refusal(&self) -> bool {
        matches!(self.input.first(), Some(b'4' | b'5'))
    }

    /// The next whole reply of at most `max_lines` lines, None while more input is needed.
    pub fn next(&mut self, max_lines: usize) -> Result<Option<Reply>, Garbage> {
        loop {
            let unsearched = self.input.get(self.searched..).unwrap_or_default();
            let Some(found) = memchr(b'\n', unsearched) else {
                self.searched = self.input.len();
                return if self.searched - self.line >= MAX_LINE { Err("reply line too long") } else { Ok(None) };
            };
            let end = self.searched + found + 1;
            if end - self.line > MAX_LINE {
                return Err("reply line too long");
            }
            let (code, last) = parse_line(self.input.get(self.line..end).unwrap_or_default())?;
            if self.code.is_some_and(|other| other != code) {
                return Err("reply with differing codes");
            }
            self.lines += 1;
            if last {
                return Ok(Some(self.take(code, end)));
            }
            if self.lines >= max_lines {
                return Err("reply of too many lines");
            }
            self.code = Some(code);
            self.line = end;
            self.searched = end;
        }
    }

    fn take(&mut self, code: u16, end: usize) -> Reply {
        let rest = self.input.split_off(end);
        let lines = std::mem::replace(&mut self.input, rest);
        (self.line, self.searched, self.lines, self.code) = (0, 0, 0, None);
        Reply { code, lines }
    }
}

/// Code of a line with its line end, and whether it is the last of its reply.
fn parse_line(line: &[u8]) -> Result<(u16, bool), Garbage> {
    let [first @ b'2'..=b'5', second @ b'0'..=b'9', third @ b'0'..=b'9', rest @ ..] = line else {
        return Err("not a reply");
    };
    let digit = |octet: &u8| u16::from(octet - b'0');
    let code = digit(first) * 100 + digit(second) * 10 + digit(third);
    match rest.first() {
        Some(b'-') => Ok((code, false)),
        Some(b' ' | b'\t' | b'\r' | b'\n') => Ok((code, true)),
        _ => Err("not a reply"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(input: &[u8]) -> Result<Option<Reply>, Garbage> {
        let mut reader = Reader::default();
        reader.push(input);
        reader.next(100)
    }

    fn text(input: &[u8]) -> String {
        read(input).unwrap().unwrap().text()
    }

    #[test]
    fn texts_are_one_printable_line() {
        assert_eq!(text(b"250 2.1.5 Ok\r\n"), "250 2.1.5 Ok");
        assert_eq!(text(b"550\r\n"), "550");
        assert_eq!(text(b"250 ok\n"), "250 ok");
        assert_eq!(text(b"550-5.1.1 No such\r\n550-5.1.1 user\r\n550 5.1.1  here\r\n"), "550 5.1.1 No such user here");
        assert_eq!(text(b"550-No\r\n550 No\r\n"), "550 No No");
        assert_eq!(text("550 5.1.1 Käse\tx\r\n".as_bytes()), "550 5.1.1 K??se x");
        assert_eq!(text(&[b"554-".as_slice(), &[b'a'; 900], b"\r\n554 b\r\n"].concat()).len(), MAX_TEXT);
    }

    #[test]
    fn garbage_is_named() {
        assert_eq!(read(b"HTTP/1.1 400\r\n"), Err("not a reply"));
        assert_eq!(read(b"2500 ok\r\n"), Err("not a reply"));
        assert_eq!(read(b"150 ok\r\n"), Err("not a reply"));
        assert_eq!(read(b"\r\n"), Err("not a reply"));
        assert_eq!(read(b"250-a\r\n251 b\r\n"), Err("reply with differing codes"));
        assert_eq!(read(&[b'2'; 3000]), Err("reply line too long"));
        assert_eq!(read(&b"250-x\r\n".repeat(100)), Err("reply of too many lines"));
        assert_eq!(read(b"250 waiting"), Ok(None));
    }

    #[test]
    fn long_lines_are_tolerated_up_to_the_bound() {
        let line = |length: usize| [b"250 ".as_slice(), &vec![b'a'; length - 6], b"\r\n"].concat();
        assert!(read(&line(2048)).unwrap().is_some());
        assert!(read(&line(2049)).is_err());
    }
}
