//! Mailboxes of a header field, one after the other (RFC 5322 3.4, 4.4; RFC 6532 3; RFC 6854).
//!
//! Promises: total, linear in the field's octets and without recursion; gives a mailbox at a time, so a field of a million of
//! them costs no memory. Takes what the standard says must be taken: folding and comments between any two tokens, quoted
//! strings, groups, empty list members, source routes, phrases with dots and octets of any character set; domains go through
//! `address`, so the same mailbox is the same value as on the wire. Takes besides dots at odd places of a local part, as some
//! providers give them out, and an address repeated as its own display name: neither can be read in two ways. Everything else
//! is an error, and the last thing given: what can be read in two ways is never guessed at. [`lone_mailbox`] reads what is no
//! list and still has one reading.
//! Bad input is a [`Malformed`] value.

use crate::machine::message::address::{Address, AddressError, Limits, is_atext};
use crate::machine::message::token::{Tokens, Unended, is_blank};

/// A header may hold longer local parts than an envelope (RFC 5321 4.5.3.1.1 binds the envelope alone); still no endless ones.
const LIMITS: Limits = Limits { local_part: 255, domain: 255, path: 0 };

/// Why a field is no list of mailboxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// Not the grammar of RFC 5322 3.4.
    Syntax,
    /// A word or a phrase where a mailbox should be: it names no domain.
    NoDomain,
    /// The address inside is none.
    Address(AddressError),
}

/// The mailboxes of a field's value. After an error nothing more comes.
#[derive(Debug)]
pub struct Mailboxes<'a> {
    tokens: Tokens<'a>,
    in_group: bool,
    ended: bool,
}

impl From<Unended> for Malformed {
    fn from(_: Unended) -> Self {
        Self::Syntax
    }
}

/// The mailboxes of a field's value, folded as it is.
pub fn mailboxes(value: &[u8]) -> Mailboxes<'_> {
    Mailboxes { tokens: Tokens::new(value), in_group: false, ended: false }
}

/// The one mailbox of a value that is no list by the grammar, as programs that show messages read it: whatever is in the
/// display name without quotes (brackets, colons, odd octets), the address is the only thing in angle brackets, at the end.
/// None where another reading is possible: a comma, a semicolon, an `@` or another angle bracket outside of quotes and comments.
pub fn lone_mailbox(value: &[u8]) -> Option<Address> {
    let mut list = mailboxes(value);
    loop {
        match list.tokens.skip_blanks().ok()? {
            Some(b'<') => break,
            Some(b'"') => list.tokens.quoted(&mut Vec::new()).ok()?,
            Some(b',' | b';' | b'@' | b'>' | b')') | None => return None,
            Some(_) => list.tokens.bump(),
        }
    }
    let address = list.bracketed().ok()?;
    matches!(list.tokens.skip_blanks(), Ok(None)).then_some(address)
}

impl Iterator for Mailboxes<'_> {
    type Item = Result<Address, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let member = self.member().transpose();
        self.ended = !matches!(member, Some(Ok(_)));
        member
    }
}

impl Mailboxes<'_> {
    /// The next mailbox of the list, past empty members and group names; None at the end.
    fn member(&mut self) -> Result<Option<Address>, Malformed> {
        loop {
            match self.tokens.skip_blanks()? {
                None if self.in_group => return Err(Malformed::Syntax),
                None => return Ok(None),
                Some(b',') => self.tokens.bump(),
                Some(b';') if self.in_group => {
                    self.tokens.bump();
                    self.in_group = false;
                    self.separator()?;
                }
                Some(_) => {
                    let words = self.words()?;
                    if self.tokens.peek() == Some(b':') && !self.in_group && words.any {
                        self.tokens.bump();
                        self.in_group = true;
                        continue;
                    }
                    let address = self.mailbox(&words)?;
                    self.separator()?;
                    return Ok(Some(address));
                }
            }
        }
    }

    /// RFC 5322 3.4 `mailbox`, its first words read.
    fn mailbox(&mut self, words: &Words) -> Result<Address, Malformed> {
        match self.tokens.peek() {
            Some(b'@') => {
                let address = self.address(words)?;
                match self.tokens.skip_blanks()? {
                    Some(b'<') if self.bracketed()? != address => Err(Malformed::Syntax),
                    _ => Ok(address),
                }
            }
            Some(b'<') => self.bracketed(),
            None | Some(b',' | b';') if words.any => Err(Malformed::NoDomain),
            _ => Err(Malformed::Syntax),
        }
    }

    /// A member is followed by a comma, or by the end of its list.
    fn separator(&mut self) -> Result<(), Malformed> {
        match self.tokens.skip_blanks()? {
            None | Some(b',') => Ok(()),
            Some(b';') if self.in_group => Ok(()),
            Some(_) => Err(Malformed::Syntax),
        }
    }

    fn words(&mut self) -> Result<Words, Malformed> {
        let mut words = Words::default();
        let mut after_word = false;
        loop {
            let is_word = match self.tokens.skip_blanks()? {
                Some(b'.') => {
                    words.octets.push(b'.');
                    self.tokens.bump();
                    false
                }
                Some(b'"') => {
                    self.tokens.quoted(&mut words.octets)?;
                    true
                }
                Some(octet) if is_atext(octet) => {
                    words.octets.extend_from_slice(self.tokens.run(is_atext));
                    true
                }
                _ => return Ok(words),
            };
            words.any |= is_word;
            words.apart |= is_word && after_word;
            after_word = is_word;
        }
    }

    /// `<address>`, a source route before it passed over (RFC 5322 4.4).
    fn bracketed(&mut self) -> Result<Address, Malformed> {
        self.tokens.bump();
        if matches!(self.tokens.skip_blanks()?, Some(b'@' | b',')) {
            self.skip_route()?;
        }
        let words = self.words()?;
        let address = self.address(&words)?;
        match self.tokens.skip_blanks()? {
            Some(b'>') => self.tokens.bump(),
            _ => return Err(Malformed::Syntax),
        }
        Ok(address)
    }

    fn skip_route(&mut self) -> Result<(), Malformed> {
        loop {
            match self.tokens.skip_blanks()? {
                Some(b',') => self.tokens.bump(),
                Some(b'@') => {
                    self.tokens.bump();
                    self.domain()?;
                }
                Some(b':') => {
                    self.tokens.bump();
                    return Ok(());
                }
                _ => return Err(Malformed::Syntax),
            }
        }
    }

    /// The address whose local part these words are and whose domain follows.
    fn address(&mut self, words: &Words) -> Result<Address, Malformed> {
        match self.tokens.skip_blanks()? {
            _ if words.apart || !words.any => return Err(Malformed::Syntax),
            Some(b'@') => self.tokens.bump(),
            Some(b'>') => return Err(Malformed::NoDomain),
            _ => return Err(Malformed::Syntax),
        }
        let domain = self.domain()?;
        // Always in quotes: `Address` drops them where they are not needed.
        let mut text = vec![b'"'];
        for &octet in &words.octets {
            if matches!(octet, b'"' | b'\\') {
                text.push(b'\\');
            }
            text.push(octet);
        }
        text.extend_from_slice(b"\"@");
        text.extend_from_slice(&domain);
        Address::parse(&text, &LIMITS).map_err(Malformed::Address)
    }

    /// A domain or a literal without the blanks and comments that may be inside (RFC 5322 3.4.1, 4.4).
    fn domain(&mut self) -> Result<Vec<u8>, Malformed> {
        let mut domain = Vec::new();
        if self.tokens.skip_blanks()? == Some(b'[') {
            domain.extend(self.tokens.run(|octet| octet != b']').iter().filter(|octet| !is_blank(**octet)));
            if self.tokens.peek().is_none() {
                return Err(Malformed::Syntax);
            }
            domain.push(b']');
            self.tokens.bump();
            return Ok(domain);
        }
        let mut after_atom = false;
        loop {
            match self.tokens.skip_blanks()? {
                Some(b'.') => {
                    domain.push(b'.');
                    self.tokens.bump();
                    after_atom = false;
                }
                Some(octet) if is_atext(octet) && !after_atom => {
                    domain.extend_from_slice(self.tokens.run(is_atext));
                    after_atom = true;
                }
                _ if domain.is_empty() => return Err(Malformed::NoDomain),
                _ => return Ok(domain),
            }
        }
    }
}

/// Words and dots in a row: a display name, a group's name or a local part.
#[derive(Debug, Default)]
struct Words {
    /// The words without their quotes, and the dots.
    octets: Vec<u8>,
    any: bool,
    /// Two words stood side by side without a dot: no local part.
    apart: bool,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(value: &str) -> Result<Vec<String>, Malformed> {
        mailboxes(value.as_bytes()).map(|mailbox| mailbox.map(|address| address.to_string())).collect()
    }

    #[test]
    #[rustfmt::skip] // a table
    fn lists() {
        for (value, expected) in [
            ("a@b", &["a@b"][..]),
            (" a@B. ", &["a@b"]),
            ("Joe Q. Public <john.q@example.com>", &["john.q@example.com"]),
            ("\"Public, Joe <x@y>\" <a@b>", &["a@b"]),
            ("<a@b>", &["a@b"]),
            ("a@b, c@d", &["a@b", "c@d"]),
            (",, a@b ,(nobody), ,c@d,", &["a@b", "c@d"]),
            ("", &[]),
            (" \r\n\t", &[]),
            ("(nobody)", &[]),
            // Comments, folded and nested, between any two tokens.
            ("Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>", &["pete@silly.test"]),
            ("(a(b(c)d)\r\n e) x\r\n .(.)y @ (z) b . \t c ()", &["x.y@b.c"]),
            ("\r\n\t=?utf-8?Q?J=C3=BC?=\r\n <a@b>\r\n", &["a@b"]),
            ("\"a\r\n b\" <\"c\r\n d\"@e>", &["\"c d\"@e"]),
            // Quoted strings.
            ("\"a,b\"@c", &["\"a,b\"@c"]),
            ("\"a\\\"b\\c\"@d", &["\"a\\\"bc\"@d"]),
            ("\"a\".b.\"c\"@d", &["a.b.c@d"]),
            ("\"a@b\"@c", &["\"a@b\"@c"]),
            // Groups (RFC 5322 3.4, RFC 6854).
            ("Friends: a@b, Joe <c@d>;", &["a@b", "c@d"]),
            ("A Group(of friends): a@b;, e@f", &["a@b", "e@f"]),
            ("\"undisclosed recipients\":;", &[]),
            ("g:,, ,;", &[]),
            // Obsolete forms (RFC 5322 4.4).
            ("<@x,@y:a@b>", &["a@b"]),
            ("J <@x, (z) ,, @[192.0.2.1] : a@b>", &["a@b"]),
            ("John. . Doe <a@b>", &["a@b"]),
            // Literals, and domains that are none in ASCII.
            ("a@[192.0.2.1]", &["a@[192.0.2.1]"]),
            ("a@ [IPv6: 2001:db8::1\r\n ]", &["a@[IPv6:2001:db8::1]"]),
            ("J\u{fc}rgen <j@b\u{fc}cher.example>", &["j@xn--bcher-kva.example"]),
            ("j\u{fc}@b\u{fc}cher\u{3002}example", &["j\u{fc}@xn--bcher-kva.example"]),
            // Neither standard nor ambiguous.
            ("a..b.@docomo.example", &["\"a..b.\"@docomo.example"]),
            ("a@B.test <a@b.test>", &["a@b.test"]),
        ] {
            assert_eq!(read(value).as_deref(), Ok(&expected.iter().map(ToString::to_string).collect::<Vec<_>>()[..]), "{value:?}");
        }
        assert_eq!(mailboxes(b"J\xfcrgen \xff <a@b>").next().unwrap().unwrap().domain(), "b"); // Latin-1 in the name
    }

    #[test]
    #[rustfmt::skip] // a table
    fn what_is_no_list() {
        for value in [
            "a@b c@d", "a@b; c@d", "a@b;", "a@b <c@d>", "<a@b> <c@d>", "<a@b> x", "a b@c", "\"a\"b@c", "a@b c", "a@b@c", "<a@b", "a@b>",
            "<<a@b>>", "<>", "< >", "@b", "<@b>", "<@x:@b>", "<@x a@b>", "<@x>", "mailto:a@b", "<mailto:a@b>", "<http://a@b>", "g: h: a@b;;",
            "g: a@b", "g: a@b; c@d", ":a@b;", ";", "a@b\\", "\"a@b", "(a@b", "a@b (x", "a@b)", "a[b]@c", "a@[1.2.3.4", "a@b[1.2.3.4]",
            "a@b\0", "\0a@b", "x\u{7f} <a@b>", "ceo@bank.test:a@b;", ".", ".@b", "\u{1b}$B(J <a@b>",
        ] {
            assert!(matches!(read(value), Err(Malformed::Syntax)), "{value:?}: {:?}", read(value));
        }
        for value in ["root", "Joe Public", "<root>", "Joe <root>", "a@", "<a@>", "a@,b@c", "Public, Joe <a@b>", "g: root;", "\"a@b\""] {
            assert!(read(value).is_err_and(|error| error == Malformed::NoDomain), "{value:?}: {:?}", read(value));
        }
        for value in ["a@b..c", "a@.", "a@[x]", "a@[192.0.2.1.5]", "\"\"@b", "\"a\tb\"@c", "a@-b", "a@b%c", "a@xn--a"] {
            assert!(matches!(read(value), Err(Malformed::Address(_))), "{value:?}: {:?}", read(value));
        }
        assert_eq!(mailboxes(b"a@b\xff").next(), Some(Err(Malformed::Address(AddressError::NotUtf8))));
        assert_eq!(mailboxes(b"\xff@b").next(), Some(Err(Malformed::Address(AddressError::NotUtf8))));
    }

    #[test]
    #[rustfmt::skip] // a table
    fn a_lone_mailbox_is_read_whatever_its_display_name() {
        for (value, expected) in [
            ("[JIRA] Ann <a@b>", "a@b"), ("Ann: Sales <a@b>", "a@b"), ("Re: x <a@b>", "a@b"), ("[a] b: c\\ [d <\"x y\"@b> (note)", "\"x y\"@b"),
            (" Ann\r\n\t[1]\r\n <a@b>\r\n", "a@b"), ("\"Public, Joe <x@y>\": z <a@b>", "a@b"), ("(x@y, <z@z>) [q] <a@b>", "a@b"), ("x\u{7f}\u{1} <a@b>", "a@b"),
            ("[x] <@r,@s:a@b>", "a@b"), ("Friends: Ann <a@b>", "a@b"), ("=?utf-8?q?x?= [y] <a@b\u{fc}.test>", "a@xn--b-eha.test"), ("Ann <a@b>", "a@b"),
        ] {
            assert_eq!(lone_mailbox(value.as_bytes()).map(|address| address.to_string()).as_deref(), Some(expected), "{value:?}");
        }
        for value in [
            "", "Ann", "a@b", "[x] a@b", "a@b <c@d>", "[x] a@b <c@d>", "<a@b> <c@d>", "[x] <a@b> y", "[x] <a@b>,", "[x], y <a@b>", "x; [y] <a@b>",
            "Friends: Ann <a@b>;", "[x] <<a@b>>", "[x] <a@b", "x > <a@b>", "[x] <root>", "[x] <>", "[x] <mailto:a@b>", "[x] <a@b, c@d>", "\"x <a@b>",
            "(x <a@b>", "x) <a@b>", "[x] <a@b> (y", "[x] <a b@c>", "[x] <a@b> <", "[x] <a@b..c>", "Public, Joe <a@b>",
        ] {
            assert_eq!(lone_mailbox(value.as_bytes()), None, "{value:?}");
        }
    }

    #[test]
    fn an_error_ends_the_list() {
        let given: Vec<bool> = mailboxes(b"a@b, c d@e, f@g").map(|mailbox| mailbox.is_ok()).collect();
        assert_eq!(given, [true, false]);
    }

    #[test]
    fn hostile_length_costs_linear_time() {
        for piece in ["(", "(()", "\\", "\"\\\"", "a ", "a.", "<", "@a,", "g:", ",", "a@b,", "\r\n ", "[", ";"] {
            let value = piece.repeat(500_000 / piece.len());
            for prefix in ["", "a@", "<", "<@", "\"", "(", "x <a@b> ("] {
                let _ = mailboxes(format!("{prefix}{value}").as_bytes()).count();
                let _ = lone_mailbox(format!("{prefix}{value}").as_bytes());
            }
        }
    }

    proptest! {
        #[test]
        fn total(value in any::<Vec<u8>>()) {
            prop_assert!(mailboxes(&value).count() <= value.len());
            lone_mailbox(&value);
        }

        #[test]
        fn any_tokens_are_mailboxes_or_an_error(
            tokens in proptest::collection::vec(prop::sample::select(vec![
                "a", "b.c", "\"q \\\" r\"", "(c\\))", "<", ">", "@", ",", ":", ";", ".", " ", "\r\n\t", "[192.0.2.1]", "\u{e9}", "(", "\"", "\0",
            ]), 0..16)
        ) {
            let (value, lone) = (tokens.concat(), lone_mailbox(tokens.concat().as_bytes()));
            for mailbox in mailboxes(value.as_bytes()).flatten().chain(lone.clone()) {
                prop_assert!(!mailbox.domain().is_empty());
                prop_assert_eq!(Address::parse(mailbox.to_string().as_bytes(), &LIMITS), Ok(mailbox));
            }
            // Where the grammar reads one mailbox with brackets, it is the same.
            let list: Result<Vec<Address>, Malformed> = mailboxes(value.as_bytes()).collect();
            if let (Ok([only]), Some(lone)) = (list.as_deref(), lone) {
                prop_assert_eq!(only, &lone);
            }
        }

        /// What a careful sender writes is read back, whatever it puts around the tokens.
        #[test]
        fn reads_what_was_written(
            written in proptest::collection::vec(("[ -~]{1,9}", "[a-z]{1,5}(\\.[a-z]{1,3}){0,2}", 0..4_u8, "( |\\(x\\\\\\)\\)|\r\n\t){0,2}"), 0..5)
        ) {
            let (mut value, mut expected) = (String::new(), Vec::new());
            for (local, domain, form, blank) in written {
                let quoted: String = local.chars().flat_map(|letter| ['\\', letter]).collect();
                let address = format!("\"{quoted}\"{blank}@{blank}{domain}");
                expected.push(Address::parse(format!("\"{quoted}\"@{domain}").as_bytes(), &LIMITS).unwrap());
                let member = match form {
                    0 => format!("{address}{blank},"),
                    1 => format!("{blank}<{blank}{address}>,"),
                    2 => format!("{quoted:?} J. D.{blank}<@r{blank}:{address}{blank}>{blank},"),
                    _ => format!("{blank}group{blank}:{address};,"),
                };
                value.push_str(&member);
            }
            let read: Result<Vec<Address>, Malformed> = mailboxes(value.as_bytes()).collect();
            prop_assert_eq!(read, Ok(expected));
        }
    }
}
