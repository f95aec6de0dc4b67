//! The header section of a content: its fields in order, from the first octet to the end that `section` finds
//! (RFC 5322 2.1, 2.2).
//!
//! Total and linear: whatever the octets, a field is what begins with a name and a colon at the start of a line and goes on
//! over lines that begin with white space. A line that is neither ends the section, as in every content that `section` has
//! separated: what follows is body.

use std::net::IpAddr;

use crate::machine::message::section::Section;
use crate::machine::message::token::{Tokens, Unended};

/// One header field as it was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Name without the colon.
    pub name: &'a [u8],
    /// Everything after the colon, folding included, without the last line end.
    pub value: &'a [u8],
}

impl<'a> Field<'a> {
    /// The field that a line of a header section with its folded ones is; None when it is the separator line of an mbox file.
    pub(super) fn read(line: &'a [u8]) -> Option<Self> {
        let colon = memchr::memchr(b':', line)?;
        // Blanks before the colon are the obsolete form (RFC 5322 4.5.8).
        let blanks = line.get(..colon)?.iter().rev().take_while(|octet| matches!(octet, b' ' | b'\t')).count();
        let name = line.get(..colon - blanks)?;
        if !name.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        match line.get(colon + 1..)? {
            [value @ .., b'\r', b'\n'] | [value @ .., b'\n'] | value => Some(Field { name, value }),
        }
    }

    /// The field has this name, whatever the case (RFC 5322 1.2.2).
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

/// The lines of a header section, top first, each with those folded under it and its line end.
#[derive(Debug, Clone)]
pub(super) struct Lines<'a> {
    pub(super) rest: &'a [u8],
}

/// A content in two: the lines of its header section, which leave its empty line as their rest, and the body.
pub(super) fn split(content: &[u8]) -> (Lines<'_>, &[u8]) {
    let (section, body) = content.split_at_checked(Section::length(content)).unwrap_or((content, &[]));
    (Lines { rest: section }, body)
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let first = first_line(self.rest);
        if matches!(first, [] | [b'\n'] | [b'\r', b'\n']) {
            return None;
        }
        let mut end = first.len();
        while let Some(rest @ [b' ' | b'\t', ..]) = self.rest.get(end..) {
            end += first_line(rest).len();
        }
        let (line, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        Some(line)
    }
}

/// With its line end.
fn first_line(octets: &[u8]) -> &[u8] {
    memchr::memchr(b'\n', octets).and_then(|at| octets.get(..=at)).unwrap_or(octets)
}

/// The fields at the head of a content.
pub fn fields(header: &[u8]) -> impl Iterator<Item = Field<'_>> {
    split(header).0.filter_map(Field::read)
}

/// Of each `Received` field, top first, the address that the server which wrote it saw its client come from (RFC 5321 4.4
/// `TCP-info`); None where it does not say.
pub fn received_sources(header: &[u8]) -> Vec<Option<IpAddr>> {
    fields(header).filter(|field| field.is("Received")).map(|field| source(field.value).ok().flatten()).collect()
}

/// The client's address in a `Received` field: the last one that a comment of the `from` clause holds, for what is before
/// it the client may have chosen; without such a comment, the name of the client if that is a literal.
fn source(value: &[u8]) -> Result<Option<IpAddr>, Unended> {
    let mut tokens = Tokens::new(value);
    tokens.skip_blanks()?;
    if !tokens.run(|octet| octet.is_ascii_alphabetic()).eq_ignore_ascii_case(b"from") {
        return Ok(None);
    }
    let (mut seen, mut said) = (None, None);
    loop {
        tokens.run(|octet| octet.is_ascii_whitespace());
        match tokens.peek() {
            None | Some(b';') => break,
            Some(b'(') => seen = address_in(tokens.comment()?).or(seen),
            Some(b'"') => tokens.quoted(&mut Vec::new())?,
            Some(_) => {
                let word = tokens.run(|octet| !octet.is_ascii_whitespace() && !matches!(octet, b'(' | b';' | b'"'));
                if word.eq_ignore_ascii_case(b"by") {
                    break;
                }
                said = said.or(word.strip_prefix(b"[").and_then(|word| word.strip_suffix(b"]")).and_then(address));
            }
        }
    }
    Ok(seen.or(said))
}

/// The last address in brackets, or the one the comment consists of. What is said to be the client's greeting is not meant.
fn address_in(comment: &[u8]) -> Option<IpAddr> {
    let comment = comment.trim_ascii();
    if comment
        .get(..5)
        .is_some_and(|start| start.eq_ignore_ascii_case(b"HELO ") || start.eq_ignore_ascii_case(b"EHLO "))
    {
        return None;
    }
    let mut found = None;
    for (before, rest) in memchr::memchr_iter(b'[', comment).filter_map(|at| comment.split_at_checked(at)) {
        let inside =
            rest.iter().take(LONGEST_LITERAL).position(|&octet| octet == b']').and_then(|end| rest.get(1..end));
        if !before.ends_with(b"=") {
            found = inside.and_then(address).or(found);
        }
    }
    found.or_else(|| address(comment))
}

/// Octets of a literal with its brackets, a zone included: what is longer is none, and is not looked through again and again.
const LONGEST_LITERAL: usize = 80;

/// An address with or without the tag of RFC 5321 4.1.3, its zone dropped; IPv4 in IPv6 clothes is IPv4.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text).ok()?.trim();
    let tagged = text.get(..5).is_some_and(|tag| tag.eq_ignore_ascii_case("IPv6:"));
    let text = if tagged { text.get(5..)? } else { text };
    let text = text.split('%').next()?;
    Some(text.parse::<IpAddr>().ok()?.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(header: &[u8]) -> Vec<String> {
        fields(header).map(|field| String::from_utf8_lossy(field.name).into_owned()).collect()
    }

    #[test]
    fn reads_fields_in_order() {
        let header = b"Received: from a\r\n\tby b\r\nSubject: x\r\n y\r\nFrom : a@b\r\n\r\nTo: body\r\n";
        assert_eq!(names(header), ["Received", "Subject", "From"]);
        assert_eq!(fields(header).next().unwrap().value, b" from a\r\n\tby b");
        assert_eq!(fields(b"A: b\nC: d\r\n").map(|field| field.value).collect::<Vec<_>>(), [b" b", b" d"]);
    }

    #[test]
    fn ends_at_the_first_empty_line() {
        for header in [&b""[..], b"\r\nSubject: x\r\n", b"\nSubject: x\r\n", b"\r\n"] {
            assert!(names(header).is_empty(), "{header:?}");
        }
        assert_eq!(names(b"Subject: cut"), ["Subject"]);
        assert!(names(b"Subject\r\n\t: folded\r\n").is_empty());
        assert_eq!(names(b"A: b\r\n \r\nC: d\r\n\r\nE: f\r\n"), ["A", "C"]);
    }

    #[test]
    fn ends_at_the_first_line_that_is_no_field() {
        for line in ["no colon here", ": empty", "a b: x", "\u{e9}: x", "\u{b}A: x", "From a Thu Jan 1 00:00:00 1970"] {
            assert_eq!(names(format!("A: b\r\n{line}\r\n more: y\r\nSubject: x\r\n").as_bytes()), ["A"], "{line}");
        }
        assert!(names(b" folded: x\r\nSubject: x\r\n").is_empty());
        assert_eq!(names(b"From a Thu Jan 1 00:00:00 1970\r\n folded\r\nSubject: x\r\n"), ["Subject"]);
    }

    #[test]
    #[rustfmt::skip] // a table
    fn sources_of_received_fields() {
        for (value, expected) in [
            ("from c.test ([192.0.2.1])\r\n\tby mx with ESMTP id q;\r\n\tdate", Some("192.0.2.1")),
            ("from c.test ([IPv6:2001:DB8:0::1]) by mx", Some("2001:db8::1")),
            ("FROM c.test (host.test [IPv6:::ffff:192.0.2.1]) by mx", Some("192.0.2.1")),
            ("from c.test (host.test [2001:db8::1%eth0]) by mx", Some("2001:db8::1")),
            ("from c.test (host.test [192.0.2.1] (may be forged)) by mx (mx [192.0.2.9])", Some("192.0.2.1")),
            // The name is the client's own word; what the server saw is in the comment.
            ("from [10.0.0.1] (host.test [192.0.2.1]) by mx", Some("192.0.2.1")),
            ("from [10.0.0.1] ([192.0.2.1]) by mx", Some("192.0.2.1")),
            ("from x (HELO [10.0.0.1]) (192.0.2.1) by mx", Some("192.0.2.1")),
            ("from x (192.0.2.1) (HELO [10.0.0.1]) by mx", Some("192.0.2.1")),
            ("from x ([10.0.0.1]) (host [192.0.2.1]) by mx", Some("192.0.2.1")),
            ("from x ([10.0.0.1]@y [192.0.2.1]) by mx", Some("192.0.2.1")),
            ("from x ([192.0.2.1] helo=[10.0.0.1]) by mx", Some("192.0.2.1")),
            ("from [192.0.2.1] (helo=[10.0.0.1]) by mx", Some("192.0.2.1")),
            ("from [192.0.2.1] by mx", Some("192.0.2.1")),
            ("from mail (192.0.2.1) by exch (10.0.0.2) with Microsoft SMTP Server", Some("192.0.2.1")),
            ("from mail (2001:db8::1) by exch (10.0.0.2)", Some("2001:db8::1")),
            ("from x (y\r\n\t[192.0.2.1])\r\n\tby mx", Some("192.0.2.1")),
            ("from x (y \\) [192.0.2.1]) by mx", Some("192.0.2.1")),
            ("(note) from x ([192.0.2.1]); date", Some("192.0.2.1")),
            ("from c.test by mx ([192.0.2.1])", None),
            ("from c.test; ([192.0.2.1])", None),
            ("from \"a by b\" by mx", None),
            ("from c.test ([192.0.2.256]) by mx", None),
            ("from c.test ([192.0.2.1) by mx", None),
            ("from c.test ([192.0.2.1] by mx", None),
            ("fromage ([192.0.2.1]) by mx", None),
            ("by mx from x ([192.0.2.1])", None),
            ("(qmail 1 invoked by uid 0); date", None),
            ("", None),
        ] {
            let header = format!("Subject: x\r\nReceived:{}{value}\r\n", if value.is_empty() { "" } else { " " });
            let expected = expected.map(|text| text.parse::<IpAddr>().unwrap());
            assert_eq!(received_sources(header.as_bytes()), [expected], "{value:?}");
        }
        let header = b"Received: from a ([192.0.2.1]) by b\r\nX: y\r\nreceived : by c\r\nReceived: from d ([192.0.2.3]) by a\r\n\r\nReceived: x\r\n";
        let sources: Vec<String> = received_sources(header).iter().map(|source| source.map_or(String::new(), |ip| ip.to_string())).collect();
        assert_eq!(sources, ["192.0.2.1", "", "192.0.2.3"]);
    }

    #[test]
    fn hostile_length_costs_linear_time() {
        for piece in [
            "A: b\r\n",
            "A:\r\n ",
            "A",
            "Received: from x ([192.0.2.1]) by\r\n",
            "Received: from x ([",
            "[",
            "(",
            "Received: from x (\r\n ",
        ] {
            let header = piece.repeat(500_000 / piece.len());
            for start in ["", "Received: from x ("] {
                received_sources([start, &header].concat().as_bytes());
            }
        }
    }

    proptest! {
        #[test]
        fn total(header in proptest::collection::vec(any::<u8>(), 0..200)) {
            let read: usize = fields(&header).map(|field| field.name.len() + field.value.len() + 1).sum();
            prop_assert!(read <= header.len());
            received_sources(&header);
        }
    }
}
