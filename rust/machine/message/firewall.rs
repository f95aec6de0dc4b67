//! The header firewall: takes out of a stranger's header section what a stranger may not say.
//!
//! Total and linear. Removes whole fields and nothing else; what is left is in its order, octet by octet.

use super::address::normalise_domain;
use super::header::{Field, split};
use super::token::{Tokens, is_blank};

/// What only this host and those inside may say in a header section: fields of certain names, and `Authentication-Results`
/// under this host's name or one that a reader could take for it (RFC 8601 5). A value; [`Firewall::clean`] takes such fields out.
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

    /// A content, or its header section, without the fields that are not the sender's to set; all else as it is.
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
    use proptest::prelude::*;

    use super::*;
    use crate::machine::message::header::fields;

    fn firewall() -> Firewall {
        Firewall::new("mx.Example.test", vec!["X-MS-Exchange-Organization-".into(), "X-Inside-".into(), String::new()])
    }

    fn cleaned(header: &str) -> String {
        String::from_utf8(firewall().clean(header.into())).unwrap()
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
            // What is not a plain token may be read as our name.
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
            // An unknown version (RFC 8601 5).
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
        for header in [
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
            assert_eq!(cleaned(header), header);
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
            "(",
        ] {
            firewall().clean(piece.repeat(500_000 / piece.len()).into_bytes());
        }
    }

    proptest! {
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
