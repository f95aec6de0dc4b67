//! The tokens of a structured header field: blanks, comments, quoted strings, runs of octets (RFC 5322 3.2).
//!
//! Total, linear, without recursion. What begins and does not end is [`Unended`].

/// A comment or a quoted string has no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unended;

/// What of a field's value is still to be read.
#[derive(Debug)]
pub(crate) struct Tokens<'a> {
    rest: &'a [u8],
}

impl<'a> Tokens<'a> {
    pub(crate) fn new(value: &'a [u8]) -> Self {
        Self { rest: value }
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    pub(crate) fn bump(&mut self) {
        self.rest = self.rest.get(1..).unwrap_or_default();
    }

    /// The longest run of octets that are so.
    pub(crate) fn run(&mut self, is: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.rest.iter().position(|&octet| !is(octet)).unwrap_or(self.rest.len());
        let (run, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, &[]));
        self.rest = rest;
        run
    }

    /// Passes white space, folding and comments (RFC 5322 3.2.2), and returns what comes then.
    pub(crate) fn skip_blanks(&mut self) -> Result<Option<u8>, Unended> {
        loop {
            self.run(is_blank);
            match self.peek() {
                Some(b'(') => _ = self.comment()?,
                other => return Ok(other),
            }
        }
    }

    /// What is inside the comment that begins here, comments within it included.
    pub(crate) fn comment(&mut self) -> Result<&'a [u8], Unended> {
        let (mut depth, mut escaped) = (0_usize, false);
        for (at, octet) in self.rest.iter().enumerate() {
            match octet {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'(' => depth += 1,
                b')' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                let inside = self.rest.get(1..at).unwrap_or_default();
                self.rest = self.rest.get(at + 1..).unwrap_or_default();
                return Ok(inside);
            }
        }
        Err(Unended)
    }

    /// Adds what the quoted string that begins here means (RFC 5322 3.2.4).
    pub(crate) fn quoted(&mut self, octets: &mut Vec<u8>) -> Result<(), Unended> {
        let mut escaped = false;
        for (at, &octet) in self.rest.iter().enumerate().skip(1) {
            match octet {
                _ if escaped => {
                    octets.push(octet);
                    escaped = false;
                }
                b'\\' => escaped = true,
                b'"' => {
                    self.rest = self.rest.get(at + 1..).unwrap_or_default();
                    return Ok(());
                }
                // Of a fold only the white space after it means anything.
                b'\r' | b'\n' => {}
                _ => octets.push(octet),
            }
        }
        Err(Unended)
    }
}

/// White space, or a part of a fold.
pub(crate) const fn is_blank(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t' | b'\r' | b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_nest_and_escape() {
        for (value, inside, rest) in [
            ("(a)b", "a", "b"),
            ("(a(b)c) d", "a(b)c", " d"),
            ("(\\))(", "\\)", "("),
            ("(\\\\)x", "\\\\", "x"),
            ("()", "", ""),
        ] {
            let mut tokens = Tokens::new(value.as_bytes());
            assert_eq!(tokens.comment(), Ok(inside.as_bytes()), "{value}");
            assert_eq!(tokens.rest, rest.as_bytes(), "{value}");
        }
        for value in ["(", "(a", "(a(b)", "(a\\)", "(a\\"] {
            assert_eq!(Tokens::new(value.as_bytes()).comment(), Err(Unended), "{value}");
        }
    }

    #[test]
    fn quoted_strings_lose_quotes_escapes_and_folds() {
        for (value, meant, rest) in [("\"\"", "", ""), ("\"a\\\"b\\\\\"c", "a\"b\\", "c"), ("\"a\r\n b\"", "a b", "")] {
            let (mut tokens, mut octets) = (Tokens::new(value.as_bytes()), Vec::new());
            assert_eq!(tokens.quoted(&mut octets), Ok(()), "{value}");
            assert_eq!((octets.as_slice(), tokens.rest), (meant.as_bytes(), rest.as_bytes()), "{value}");
        }
        assert_eq!(Tokens::new(b"\"a\\\"").quoted(&mut Vec::new()), Err(Unended));
    }

    #[test]
    fn blanks_are_passed_with_comments() {
        let mut tokens = Tokens::new(b" \r\n\t(a (b)) (c)x");
        assert_eq!(tokens.skip_blanks(), Ok(Some(b'x')));
        assert_eq!(Tokens::new(b"  ").skip_blanks(), Ok(None));
        assert_eq!(Tokens::new(b" (").skip_blanks(), Err(Unended));
    }
}
