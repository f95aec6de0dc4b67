//! What a field that breaks the grammar may show as an address: the text on both sides of each `@`.
//!
//! For lists of unwanted senders alone: each reading that a program may show is given, so that a field which no grammar reads hides
//! nobody. Brackets, quotes and comments need no end, and may be anywhere. Total, linear: on each side of an `@`, [`REACH`] octets
//! are read.

use super::address::{Address, Limits};
use super::token::{Tokens, is_blank};

/// Octets on each side of an `@` that count: a domain has at most 255 (RFC 1035 2.3.4).
const REACH: usize = 512;
/// Octets of a local part that are kept, its last ones; twice the usual limit (RFC 5321 4.5.3.1.1).
const LONGEST_LOCAL: usize = 128;
const LIMITS: Limits = Limits { local_part: 0, domain: 255, path: 0 };

/// The readings, in their order; None for one that is no address.
pub fn shown_addresses(value: &[u8]) -> impl Iterator<Item = Option<Address>> + '_ {
    let signs = value.iter().enumerate().filter(|(_, octet)| **octet == b'@');
    signs.flat_map(|(at, _)| {
        let before = value.get(at.saturating_sub(REACH)..at).unwrap_or_default();
        let after = value.get(at + 1..).unwrap_or_default();
        let domains = domains(after.get(..REACH).unwrap_or(after));
        let locals = if domains.is_empty() { Vec::new() } else { locals(before) };
        let pair = move |domain: Vec<u8>| locals.clone().into_iter().map(move |local| address(&local, &domain));
        domains.into_iter().flat_map(pair)
    })
}

/// What may be the domain at the front of this: with the blanks and comments that may be around its dots, and without.
fn domains(after: &[u8]) -> Vec<Vec<u8>> {
    let (mut tokens, mut joined, mut first) = (Tokens::new(after), Vec::new(), Vec::new());
    loop {
        let next = tokens.skip_blanks();
        match next {
            Ok(Some(b'[')) if joined.is_empty() => {
                joined.extend(tokens.run(|octet| octet != b']').iter().filter(|octet| !is_blank(**octet)));
                joined.push(b']');
                return vec![joined];
            }
            Ok(Some(octet))
                if is_of_domain(octet) && (octet == b'.' || joined.is_empty() || joined.ends_with(b".")) =>
            {
                joined.extend(tokens.run(is_of_domain).iter().filter(|octet| !octet.is_ascii_control()));
            }
            // An opening quote, bracket or comment before the domain.
            Ok(Some(b'"' | b'<')) | Err(_) if joined.is_empty() => tokens.bump(),
            _ => break,
        }
        if first.is_empty() {
            first.clone_from(&joined);
        }
    }
    let mut found: Vec<Vec<u8>> = Vec::new();
    for domain in [first, joined] {
        let start = domain.iter().position(|octet| *octet != b'.').unwrap_or(domain.len());
        let end = domain.iter().rposition(|octet| *octet != b'.').map_or(start, |last| last + 1);
        let domain = domain.get(start..end).unwrap_or_default().to_vec();
        if !domain.is_empty() && !found.contains(&domain) {
            found.push(domain);
        }
    }
    found
}

/// What may be the local part at the end of this: a quoted string, what is before a comment, the nearest word, its plain end.
fn locals(before: &[u8]) -> Vec<Vec<u8>> {
    let mut found: Vec<Vec<u8>> = Vec::new();
    let trimmed = before.trim_ascii_end();
    let quoted = trimmed.strip_suffix(b"\"").and_then(|rest| rest.rsplit(|octet| *octet == b'"').next());
    let outside = trimmed.ends_with(b")").then(|| before_comment(trimmed));
    let word = last_run(before, is_of_local);
    let plain = last_run(word, |octet| octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'+' | b'-' | b'_'));
    for local in [quoted, outside.map(|outside| last_run(outside, is_of_local)), Some(word), Some(plain)] {
        let local: Vec<u8> =
            local.unwrap_or_default().iter().copied().filter(|octet| !octet.is_ascii_control()).collect();
        if !local.is_empty() && !found.contains(&local) {
            found.push(local);
        }
    }
    found
}

/// What is before the comment that this ends with; nothing when it does not begin here.
fn before_comment(text: &[u8]) -> &[u8] {
    let mut depth = 0_usize;
    for (at, octet) in text.iter().enumerate().rev() {
        match octet {
            b')' => depth += 1,
            b'(' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return text.get(..at).unwrap_or_default();
        }
    }
    &[]
}

/// The last run of octets that are so.
fn last_run(text: &[u8], is: impl Fn(u8) -> bool) -> &[u8] {
    let end = text.iter().rposition(|octet| is(*octet)).map_or(0, |last| last + 1);
    let start = text.get(..end).and_then(|head| head.iter().rposition(|octet| !is(*octet))).map_or(0, |last| last + 1);
    text.get(start..end).unwrap_or_default()
}

fn address(local: &[u8], domain: &[u8]) -> Option<Address> {
    let local = local.get(local.len().saturating_sub(LONGEST_LOCAL)..).unwrap_or_default();
    let mut text = vec![b'"'];
    for octet in String::from_utf8_lossy(local).bytes() {
        if matches!(octet, b'"' | b'\\') {
            text.push(b'\\');
        }
        text.push(octet);
    }
    text.extend_from_slice(b"\"@");
    text.extend_from_slice(domain);
    Address::parse(&text, &LIMITS).ok()
}

/// Control characters, which are not shown, among them; no blanks.
const fn is_of_local(octet: u8) -> bool {
    !is_blank(octet)
        && !matches!(octet, b'<' | b'>' | b'(' | b')' | b'[' | b']' | b':' | b';' | b',' | b'@' | b'"' | b'\\')
}

const fn is_of_domain(octet: u8) -> bool {
    !is_blank(octet)
        && matches!(octet, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | 0x80.. | 0..=0x1f | 0x7f)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(value: &[u8]) -> String {
        shown_addresses(value).flatten().map(|address| address.to_string()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    #[rustfmt::skip] // a table
    fn both_sides_of_each_sign_are_an_address() {
        for (value, expected) in [
            ("", ""), ("a", ""), ("@", ""), ("a@", ""), ("@b", ""), ("a@.", ""), ("a@b", "a@b"), ("A@B.C.", "A@b.c"),
            ("From: <a@b.c", "a@b.c"), ("a@b.c>", "a@b.c"), ("a@b.c;", "a@b.c"), (";a@b.c", "a@b.c"), ("<<a@b.c>>", "a@b.c"),
            ("[a@b.c]", "a@b.c"), ("x <d@e.f> <a@b.c>", "d@e.f a@b.c"), ("\"x <a@b.c>", "a@b.c"), ("(x <a@b.c>", "a@b.c"),
            ("a@@b.c", "a@b.c"), ("a@b@c.d", "a@b b@c.d"), ("mailto:a@b.c", "a@b.c"), ("'a@b.c'", "'a@b.c a@b.c"), ("a@b.c!", "a@b.c"),
            ("a\r\n @\tb (x) . c (", "a@b a@b.c"), ("a@b.c. And more", "a@b.c a@b.c.and"), ("a (x (y)) @b", "a@b y@b"),
            ("\"x y\"@b <", "\"x y\"@b y@b"), ("x\"@b", "x@b"), ("a\x01@b\x02.c <", "a@b.c"), ("a@(b.c", "a@b.c"), ("a@<b.c>", "a@b.c"),
            ("a@[192.0.2.1", "a@[192.0.2.1]"), ("a@b\u{fc}.c <", "a@xn--b-eha.c"), ("a@b..c", ""), (".a.@b", ".a.@b"), ("(x)@b", "x@b"),
        ] {
            let read = read(value.as_bytes()).replace("\".a.\"", ".a.");
            assert_eq!(read, expected, "{value:?}");
        }
        assert_eq!(read(b"\xfc@b"), "\u{fffd}@b");
        let long = "x".repeat(3 * REACH);
        assert_eq!(read(format!("{long}@b {long} <").as_bytes()), format!("{}@b", "x".repeat(LONGEST_LOCAL)));
    }

    #[test]
    fn hostile_length_costs_linear_time() {
        for piece in ["@", "a@", "a@b ", "\"@", "(@", ")@", "@(", "a@a.", "\\@", "[@", ".@", " @", "a"] {
            let value = piece.repeat(300_000 / piece.len());
            assert!(shown_addresses(value.as_bytes()).count() <= 8 * value.len());
        }
    }

    proptest! {
        #[test]
        fn total(value in any::<Vec<u8>>()) {
            for address in shown_addresses(&value).flatten() {
                prop_assert!(!address.domain().is_empty());
            }
        }

        #[test]
        fn an_address_is_found_whatever_is_around_it(
            before in "[ -~]{0,9}[<>()\\[\\];:, \"]", after in "([<>()\\[\\];:, \"][ -~]{0,9})?"
        ) {
            let value = format!("{before}a@b.example{after}");
            prop_assert!(read(value.as_bytes()).split(' ').any(|address| address == "a@b.example"), "{:?}", value);
        }
    }
}
