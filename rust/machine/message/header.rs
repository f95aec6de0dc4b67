//! The header section of a content: its fields in order, from the first octet to the end that `section` finds
//! (RFC 5322 2.1, 2.2).
//!
//! Total and linear: whatever stands there, a field is what begins with a name and a colon at the start of a line and goes on
//! over lines that begin with white space. A line that is neither ends the section, as in every content that `section` has
//! separated: what follows is body.
//!
//! The [`Firewall`] takes out what a stranger may not say.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use crate::machine::message::address::normalise_domain;
use crate::machine::message::section::Section;
use crate::machine::message::token::{Tokens, Unended, is_blank};

/// One header field as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Name without the colon.
    pub name: &'a [u8],
    /// Everything after the colon, folding included, without the last line end.
    pub value: &'a [u8],
}

impl<'a> Field<'a> {
    /// The field that a line of a header section with its folded ones is; None when it is the separator line of an mbox file.
    fn read(line: &'a [u8]) -> Option<Self> {
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
struct Lines<'a> {
    rest: &'a [u8],
}

/// A content in two: the lines of its header section, which leave its empty line as their rest, and the body.
fn split(content: &[u8]) -> (Lines<'_>, &[u8]) {
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
pub fn fields(head: &[u8]) -> impl Iterator<Item = Field<'_>> {
    split(head).0.filter_map(Field::read)
}

/// Of each `Received` field, top first, the address that the server which wrote it saw its client come from (RFC 5321 4.4
/// `TCP-info`); None where it does not say.
pub fn received_sources(head: &[u8]) -> Vec<Option<IpAddr>> {
    fields(head).filter(|field| field.is("Received")).map(|field| source(field.value).ok().flatten()).collect()
}

/// The client's address in a `Received` field: the last one that a comment of the `from` clause holds, for what stands before
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

/// What only this host and those inside may say in a header section: fields of certain names, and `Authentication-Results`
/// under this host's name or under none that can be told from it (RFC 8601 5). A value; [`Firewall::clean`] takes such fields out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firewall {
    authserv_id: String,
    prefixes: Vec<String>,
}

impl Firewall {
    /// `authserv_id` is the name in our own `Authentication-Results`; of `prefixes` each is the beginning of a field's name,
    /// whatever the case. An empty one would be the beginning of all and is left out.
    pub fn new(authserv_id: &str, prefixes: Vec<String>) -> Self {
        let prefixes = prefixes.into_iter().filter(|prefix| !prefix.is_empty()).collect();
        Self { authserv_id: canonical_id(authserv_id.as_bytes()), prefixes }
    }

    /// A content, or its header section, without the fields that are not the sender's to set; all else as it stands.
    pub fn clean(&self, octets: Vec<u8>) -> Vec<u8> {
        let (lines, body) = split(&octets);
        let removed: usize = lines.clone().filter(|line| self.stops(line)).map(<[u8]>::len).sum();
        if removed == 0 {
            return octets;
        }
        let mut kept = Vec::with_capacity(octets.len() - removed);
        let mut lines = lines;
        for line in lines.by_ref().filter(|line| !self.stops(line)) {
            kept.extend_from_slice(line);
        }
        kept.extend_from_slice(lines.rest);
        kept.extend_from_slice(body);
        kept
    }

    fn stops(&self, line: &[u8]) -> bool {
        let begins = |prefix: &String| {
            line.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
        };
        self.prefixes.iter().any(begins)
            || Field::read(line).is_some_and(|field| {
                field.is("Authentication-Results")
                    && authserv_id(field.value).is_none_or(|id| canonical_id(id) == self.authserv_id)
            })
    }
}

/// The `authserv-id` of an `Authentication-Results` field (RFC 8601 2.2) when it is a clean token (RFC 2045 5.1) after nothing but
/// spaces, tabs and folding, and before a semicolon, a space, a comment or the end, with no version but 1. None for whatever else a
/// lenient reader might take for our name: a quoted or encoded one, one behind a comment or strange white space, none at all.
fn authserv_id(value: &[u8]) -> Option<&[u8]> {
    let mut tokens = Tokens::new(value);
    tokens.run(is_blank);
    let id = tokens.run(|octet| octet.is_ascii_graphic() && !br#"()<>@,;:\"/[]?="#.contains(&octet));
    let ends = tokens.peek().is_none_or(|octet| is_blank(octet) || matches!(octet, b';' | b'('));
    tokens.skip_blanks().ok()?;
    let version = tokens.run(|octet| octet.is_ascii_digit());
    (ends && !id.is_empty() && matches!(version, b"" | b"1")).then_some(id)
}

/// The form in which two names of one host are equal.
fn canonical_id(id: &[u8]) -> String {
    let id = id.trim_ascii();
    normalise_domain(id).unwrap_or_else(|_| String::from_utf8_lossy(id).to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(head: &[u8]) -> Vec<String> {
        fields(head).map(|field| String::from_utf8_lossy(field.name).into_owned()).collect()
    }

    #[test]
    fn reads_fields_in_order() {
        let head = b"Received: from a\r\n\tby b\r\nSubject: x\r\n y\r\nFrom : a@b\r\n\r\nTo: body\r\n";
        assert_eq!(names(head), ["Received", "Subject", "From"]);
        assert_eq!(fields(head).next().unwrap().value, b" from a\r\n\tby b");
        assert_eq!(fields(b"A: b\nC: d\r\n").map(|field| field.value).collect::<Vec<_>>(), [b" b", b" d"]);
    }

    #[test]
    fn ends_at_the_first_empty_line() {
        for head in [&b""[..], b"\r\nSubject: x\r\n", b"\nSubject: x\r\n", b"\r\n"] {
            assert!(names(head).is_empty(), "{head:?}");
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
            let head = format!("Subject: x\r\nReceived:{}{value}\r\n", if value.is_empty() { "" } else { " " });
            let expected = expected.map(|text| text.parse::<IpAddr>().unwrap());
            assert_eq!(received_sources(head.as_bytes()), [expected], "{value:?}");
        }
        let head = b"Received: from a ([192.0.2.1]) by b\r\nX: y\r\nreceived : by c\r\nReceived: from d ([192.0.2.3]) by a\r\n\r\nReceived: x\r\n";
        let sources: Vec<String> = received_sources(head).iter().map(|source| source.map_or(String::new(), |ip| ip.to_string())).collect();
        assert_eq!(sources, ["192.0.2.1", "", "192.0.2.3"]);
    }

    fn firewall() -> Firewall {
        Firewall::new("mx.Example.test", vec!["X-MS-Exchange-Organization-".into(), "X-Inside-".into(), String::new()])
    }

    fn cleaned(head: &str) -> String {
        String::from_utf8(firewall().clean(head.into())).unwrap()
    }

    #[test]
    fn takes_out_what_a_stranger_may_not_say() {
        for field in [
            "X-MS-Exchange-Organization-SCL: -1\r\n",
            "x-ms-exchange-organization-AuthAs : Internal\r\n",
            "X-MS-Exchange-Organization-:\r\n\tfolded\r\n \r\n",
            "X-INSIDE-A: b\r\n",
            "Authentication-Results: mx.example.test; spf=pass\r\n",
            "authentication-results : MX.Example.Test; none\r\n",
            "Authentication-Results:mx.example.test\r\n",
            "Authentication-Results: mx.example.test 1; dkim=pass\r\n",
            "Authentication-Results: mx.example.test/2; dkim=pass\r\n",
            "Authentication-Results:\r\n\t(a (b) \\) ) mx.example.test (c); spf=pass\r\n",
            "Authentication-Results: \"mx.example.test\"; spf=pass\r\n",
            "Authentication-Results: \"mx.\\example.\r\n test \" 1; spf=pass\r\n".replace("\r\n test", "test").as_str(),
            "Authentication-Results: mx.example.test.; spf=pass\r\n",
            "Authentication-Results: mx.ex\u{ff41}mple.test; spf=pass\r\n",
            "Authentication-Results: mx.example.test",
            "Authentication-Results: MX.EXAMPLE.TEST(c); spf=pass\r\n",
            // What is no clean token is nobody's name, and may be read as ours.
            "Authentication-Results: (other.test) other.test; spf=pass\r\n",
            "Authentication-Results: \"other.test\"; spf=pass\r\n",
            "Authentication-Results: \u{b}mx.example.test; spf=pass\r\n",
            "Authentication-Results:\u{c}mx.example.test; spf=pass\r\n",
            "Authentication-Results: mx.example.test\u{1c}; spf=pass\r\n",
            "Authentication-Results: \u{1f}mx.example.test; spf=pass\r\n",
            "Authentication-Results: \u{85}mx.example.test; spf=pass\r\n",
            "Authentication-Results: \u{a0}mx.example.test; spf=pass\r\n",
            "Authentication-Results: \u{200b}mx.example.test; spf=pass\r\n",
            "Authentication-Results: mx.example.test\u{2003}; spf=pass\r\n",
            "Authentication-Results: \0mx.example.test; spf=pass\r\n",
            "Authentication-Results: mx.\u{7f}example.test; spf=pass\r\n",
            "Authentication-Results: =?utf-8?q?mx.example.test?=; spf=pass\r\n",
            "Authentication-Results: <mx.example.test>; spf=pass\r\n",
            "Authentication-Results: [mx.example.test]; spf=pass\r\n",
            "Authentication-Results: ; mx.example.test; spf=pass\r\n",
            "Authentication-Results: other.test,mx.example.test; spf=pass\r\n",
            "Authentication-Results: spf=pass smtp.mailfrom=mx.example.test; mx.example.test\r\n",
            // A version that nobody knows (RFC 8601 5).
            "Authentication-Results: other.test 2; spf=pass\r\n",
            "Authentication-Results: other.test (1) 10; spf=pass\r\n",
            "Authentication-Results:\r\n",
            "Authentication-Results: \r\n\t\r\n \r\n",
            "Authentication-Results: (mx.example.test\r\n",
        ] {
            for (before, after) in [
                ("", ""),
                ("A: b\r\n", "C: d\r\n\r\nX-Inside-A: body\r\n"),
                ("From x\r\n", "\r\n"),
                ("", "\r\n"),
                ("", "broken\r\nX-Inside-A: body\r\n"),
            ] {
                if field.ends_with('\n') || after.is_empty() {
                    assert_eq!(cleaned(&format!("{before}{field}{after}")), format!("{before}{after}"), "{field:?}");
                }
            }
        }
    }

    #[test]
    fn lets_all_others_through() {
        for head in [
            "",
            "\r\nX-Inside-A: body\r\n",
            "X-Insid: a\r\nY-X-Inside-A: b\r\nSubject: X-Inside-A: c\r\n X-Inside-A: d\r\n\r\n",
            "Authentication-Results: other.test; spf=pass\r\n",
            "Authentication-Results: mx.example.test.other.test; spf=pass\r\n",
            "Authentication-Results: xmx.example.test; spf=pass (mx.example.test)\r\n",
            "Authentication-Results:\r\n\t other.test\r\n\t1; spf=pass\r\n",
            "Authentication-Results: other!#$%&'*+-^_`{|}~.test(c); spf=pass\r\n",
            "Authentication-Results: other.test",
            "A: b\r\nno field\r\nX-Inside-A: body\r\nAuthentication-Results: mx.example.test; spf=pass\r\n",
            "Authentication-Results\u{b}: mx.example.test; it is body, and gets an empty line in front\r\n",
            "ARC-Authentication-Results: i=1; mx.example.test; spf=pass\r\n",
            "X-Authentication-Results: mx.example.test; spf=pass\r\n",
            "A: no line end",
        ] {
            assert_eq!(cleaned(head), head);
        }
    }

    #[test]
    fn hostile_length_costs_linear_time() {
        for piece in [
            "A: b\r\n",
            "X-Inside-A: b\r\n",
            "Authentication-Results: mx.example.test; a\r\n",
            "Authentication-Results: (\r\n",
            "A:\r\n ",
            "A",
            "Received: from x ([192.0.2.1]) by\r\n",
            "Received: from x ([",
            "[",
            "(",
            "Received: from x (\r\n ",
        ] {
            let head = piece.repeat(500_000 / piece.len());
            for start in ["", "Received: from x ("] {
                let head = [start, &head].concat().into_bytes();
                received_sources(&head);
                firewall().clean(head);
            }
        }
    }

    proptest! {
        #[test]
        fn total(head in proptest::collection::vec(any::<u8>(), 0..200)) {
            let read: usize = fields(&head).map(|field| field.name.len() + field.value.len() + 1).sum();
            prop_assert!(read <= head.len());
            received_sources(&head);
        }

        /// What is let through is what stood there, in its order, and a second firewall finds nothing.
        #[test]
        fn the_rest_is_untouched(parts in proptest::collection::vec(prop::sample::select(vec![
            "A: b\r\n", "X-Inside-A: b\r\n", " folded\r\n", "\t\r\n", "Authentication-Results: mx.example.test; x\r\n", "broken\r\n", "\r\n",
            "Authentication-Results: other.test; x\r\n", "x-inside-", ": ", "\n", "\r",
        ]), 0..12)) {
            let content = parts.concat();
            let once = cleaned(&content);
            prop_assert_eq!(cleaned(&once), once.clone());
            let mut rest = content.as_str();
            let kept: Vec<&str> = once.split_inclusive('\n').collect();
            for line in &kept {
                let at = rest.find(line);
                prop_assert!(at.is_some());
                rest = &rest[at.unwrap_or_default() + line.len()..];
            }
            let ours = |field: &Field<'_>| {
                field.name.get(..9).is_some_and(|start| start.eq_ignore_ascii_case(b"X-Inside-"))
                    || (field.is("Authentication-Results") && field.value.starts_with(b" mx."))
            };
            prop_assert!(!fields(once.as_bytes()).any(|field| ours(&field)));
            let others = |content: &str| -> Vec<Vec<u8>> {
                fields(content.as_bytes()).filter(|field| !ours(field)).map(|field| [field.name, b":", field.value].concat()).collect()
            };
            prop_assert_eq!(others(&once), others(&content));
        }

        #[test]
        fn a_header_section_without_such_fields_is_unchanged(content in proptest::collection::vec(any::<u8>(), 0..300)) {
            let harmless = !content.to_ascii_lowercase().windows(9).any(|part| part == b"x-inside-" || part == b"authentic");
            if harmless {
                prop_assert_eq!(firewall().clean(content.clone()), content);
            }
        }
    }
}
