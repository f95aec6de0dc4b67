//! Addresses: read once, normalised, from then on compared as values.
//!
//! Promises: two spellings of one mailbox give one `Address`, whether they come from the wire or from a configuration table;
//! the domain of an `Address` is what follows the last unquoted `@` and nothing else; every value renders to text that parses
//! back to it. `%`, `!`, quoted `@`, IMCEA and the like mean nothing: they are octets of the local part, though `may_route` says
//! which of them mean something to others. Linear in the input. Never panics, never looks anything up, does not use the list of our domains.
//! Bad input is an `AddressError`.
//! RFC 5321 4.1.2, 4.1.3 and 4.5.3.1, RFC 6531 3.3, UTS 46 (non-transitional).

use std::fmt::{self, Display, Write};
use std::hash::{Hash, Hasher};

mod detail;
mod domain;
mod error;
mod limits;
mod local_part;
mod normalisation;
mod routing;

use domain::{canonical_domain, read_domain};
pub use domain::{is_helo_name, normalise_domain};
pub use error::AddressError;
use error::AddressError::Syntax;
use error::{BAD_ROUTE, TRAILING};
pub use limits::Limits;
use limits::over;
pub use local_part::is_atext;
use local_part::{fold, is_odd, local_octets, read_local, write_local};
pub use normalisation::{Case, Dots, Normalisation, Options};

/// A mailbox in its one normalised form.
#[derive(Debug, Clone)]
pub struct Address {
    local: Box<str>,
    domain: Box<str>,
    /// Its local part came without quotes although it has dots where RFC 5321 4.1.2 allows none outside them, and goes on so.
    odd: bool,
}

/// How a local part was written decides nothing: with quotes and without, it is one mailbox (RFC 5321 4.1.2).
impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        self.local == other.local && self.domain == other.domain
    }
}

impl Eq for Address {}

impl Hash for Address {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.local.hash(state);
        self.domain.hash(state);
    }
}

impl Address {
    /// Parses a mailbox as it is in a configuration table or inside angle brackets; a source route is dropped.
    pub fn parse(input: &[u8], limits: &Limits) -> Result<Self, AddressError> {
        match Self::read(input, limits)? {
            (address, []) => Ok(address),
            _ => Err(TRAILING),
        }
    }

    /// Reads from the front of `input`; what follows is given back and is nothing, or begins with `>` or a space.
    fn read<'a>(input: &'a [u8], limits: &Limits) -> Result<(Self, &'a [u8]), AddressError> {
        if input.is_empty() {
            return Err(AddressError::Empty);
        }
        let mailbox = after_route(input)?;
        let (local, rest) = read_local(mailbox, limits)?;
        let odd = !mailbox.starts_with(b"\"") && is_odd(&local);
        let (domain, rest) = match rest.strip_prefix(b"@") {
            Some(rest) => read_domain(rest, limits)?,
            // A route to a mailbox of no domain would make the last hop its domain in some other server's eyes.
            None if mailbox.len() != input.len() => return Err(BAD_ROUTE),
            None => (Box::default(), rest),
        };
        if !matches!(rest, [] | [b' ' | b'>', ..]) {
            return Err(TRAILING);
        }
        let address = Self { local, domain, odd };
        let given = input.len() - rest.len();
        if over(given.max(address.octets()) + "<>".len(), limits.path) {
            return Err(AddressError::PathTooLong);
        }
        Ok((address, rest))
    }

    /// The local part, unquoted, in NFC, its case kept.
    pub fn local(&self) -> &str {
        &self.local
    }

    /// Lower-case A-labels without trailing dot, or a literal such as `[192.0.2.1]`; empty when none was given.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The same address, at `domain` (normalised) if it had no domain of its own.
    #[must_use]
    pub fn with_default_domain(self, domain: &str) -> Self {
        if self.domain.is_empty() { Self { domain: domain.into(), ..self } } else { self }
    }

    /// The same local part at `domain` (normalised).
    #[must_use]
    pub fn at_domain(&self, domain: &str) -> Self {
        Self { local: self.local.clone(), domain: domain.into(), odd: self.odd }
    }

    /// Only a next hop that offers SMTPUTF8 can take it (RFC 6531 3.3); the domain never needs that.
    pub fn needs_smtputf8(&self) -> bool {
        !self.local.is_ascii()
    }

    /// A key that is the same for all spellings of a mailbox: the local part in small letters and in quotes unless it is a dot-atom. Where a
    /// domain has options of its own, that of `Normalisation`.
    pub fn key(&self) -> String {
        let mut key = String::with_capacity(self.octets());
        // Writing to a String cannot fail.
        let _ = write_local(&fold(&self.local), &mut key);
        if !self.domain.is_empty() {
            key.push('@');
            key.push_str(&self.domain);
        }
        key
    }

    /// Whether both have one key.
    pub fn is_same_mailbox(&self, other: &Self) -> bool {
        self.domain == other.domain
            && if self.local.is_ascii() && other.local.is_ascii() {
                self.local.eq_ignore_ascii_case(&other.local)
            } else {
                fold(&self.local) == fold(&other.local)
            }
    }

    /// A server behind us may read an address elsewhere, a program or a file out of the local part.
    pub fn may_route(&self) -> bool {
        routing::may_route(&self.local)
    }

    /// The address that this one is a subaddress of: the local part up to the first of `delimiters` (RFC 5233). None when none
    /// is in it, or nothing is before it, or when the local part as a whole may mean something to another server.
    pub fn without_detail(&self, delimiters: &str) -> Option<Self> {
        let user = self.local.split(|letter| delimiters.contains(letter)).next().filter(|user| !user.is_empty())?;
        let odd = self.odd && is_odd(user);
        (user.len() < self.local.len() && !self.may_route()).then(|| Self {
            local: user.into(),
            domain: self.domain.clone(),
            odd,
        })
    }

    /// Octets of the rendered form, in quotes where the standard needs them.
    fn octets(&self) -> usize {
        local_octets(&self.local) + if self.domain.is_empty() { 0 } else { 1 + self.domain.len() }
    }
}

impl Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.odd {
            f.write_str(&self.local)?;
        } else {
            write_local(&self.local, f)?;
        }
        if self.domain.is_empty() {
            return Ok(());
        }
        f.write_char('@')?;
        f.write_str(&self.domain)
    }
}

/// What follows `MAIL FROM:` or `RCPT TO:`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Path {
    /// `<>`
    Null,
    /// Anything else; `<Postmaster>` is a mailbox without domain.
    Mailbox(Address),
}

impl Path {
    /// Reads from the front of `input`; what follows is nothing or begins with a space. Brackets may be missing, not broken.
    pub(crate) fn read<'a>(input: &'a [u8], limits: &Limits) -> Result<(Self, &'a [u8]), AddressError> {
        let (path, rest) = match input.strip_prefix(b"<") {
            Some([b'>', rest @ ..]) => (Self::Null, rest),
            Some(inside) => {
                let (address, rest) = Address::read(inside, limits)?;
                (Self::Mailbox(address), rest.strip_prefix(b">").ok_or(Syntax("The closing angle bracket is missing"))?)
            }
            None => {
                let (address, rest) = Address::read(input, limits)?;
                (Self::Mailbox(address), rest)
            }
        };
        if matches!(rest, [] | [b' ', ..]) { Ok((path, rest)) } else { Err(TRAILING) }
    }
}

/// What follows the source route, whose hops must be domains though they mean nothing any more (RFC 5321 appendix C).
fn after_route(input: &[u8]) -> Result<&[u8], AddressError> {
    if !input.starts_with(b"@") {
        return Ok(input);
    }
    let colon = memchr::memchr(b':', input).ok_or(Syntax("There is no local part before the @"))?;
    let (route, rest) = input.split_at(colon);
    for hop in route.split(|&octet| octet == b',') {
        canonical_domain(hop.strip_prefix(b"@").ok_or(BAD_ROUTE)?, 0)?;
    }
    Ok(rest.strip_prefix(b":").unwrap_or(rest))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use idna::uts46::{AsciiDenyList, Hyphens, Uts46};
    use proptest::prelude::*;
    use unicode_normalization::UnicodeNormalization;

    use super::*;

    const OFF: Limits = Limits { local_part: 0, domain: 0, path: 0 };

    fn parse(text: &str) -> Result<Address, AddressError> {
        Address::parse(text.as_bytes(), &Limits::default())
    }

    fn rendered(text: &str) -> String {
        parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}")).to_string()
    }

    #[test]
    fn a_key_is_composed_after_its_letters_are_small() {
        let key = |text: &str| parse(text).unwrap().key();
        assert_eq!(key("T\u{348}\u{308}@a.test"), key("t\u{348}\u{308}@a.test"));
    }

    #[test]
    #[rustfmt::skip] // a table
    fn spellings_of_one_mailbox_are_one_value() {
        for (canonical, spellings) in [
            ("user@example.com", &["user@EXAMPLE.com.", "\"user\"@example.com", "\"\\u\\s\\e\\r\"@eXample.com"][..]),
            ("user@example.com", &["@a.example,@b_c.:user@example.com", "@localhost:\"user\"@example.com."]),
            ("user@example.com", &["user@ｅｘａｍｐｌｅ．com", "user@example。com。", "user@exam\u{ad}ple.com"]),
            (
                "user@xn--bcher-kva.example",
                &["user@bücher.example", "user@BU\u{308}CHER.example", "user@XN--BCHER-KVA.example."],
            ),
            ("user@xn--fa-hia.de", &["user@faß.de", "user@Fa\u{1e9e}.DE"]),
            ("user@xn--bcher-kva._tcp.example", &["user@bücher._TCP.example"]),
            ("jos\u{e9}@example.com", &["jose\u{301}@example.com", "\"jose\u{301}\"@example.com"]),
            ("\"a;b\"@example.com", &["\"a\u{37e}b\"@example.com", "a\u{37e}b@example.com", "\"a\\;b\"@example.com"]),
            ("\"a@b\"@example.com", &["\"\\a\\@\\b\"@example.com."]),
            ("\"a\\\"b\\\\c d\"@example.com", &["\"a\\\"b\\\\c\\ d\"@example.com"]),
            ("\"a..b\"@example.com", &["\"a.\\.b\"@EXAMPLE.COM", "a..b@example.com"]),
            ("try..this@example.com", &["\"try..this\"@example.com", "@a.example:try..this@EXAMPLE.com."]),
            (".first@example.com", &["\".first\"@example.com"]),
            ("xxx.@example.com", &["\"xxx.\"@example.com"]),
            ("..a...b..@example.com", &["\"..a...b..\"@example.com"]),
            ("u@[192.0.2.1]", &["u@[IPv6:::ffff:192.0.2.1]", "u@[ipv6:::FFFF:c000:201]"]),
            ("u@[IPv6:2001:db8::1]", &["u@[IPV6:2001:0DB8:0:0:0:0:0:1]", "u@[IPv6:2001:db8::0.0.0.1]"]),
            ("Postmaster", &["\"Postmaster\""]),
            ("\"someone@remote.tld\"", &["\"someone\\@remote.tld\""]),
        ] {
            assert_eq!(rendered(canonical), canonical);
            for spelling in spellings {
                assert_eq!(parse(spelling), parse(canonical), "{spelling:?}");
            }
        }
    }

    /// Old ways past a relay check: none names a domain other than the last one, and most are no address at all.
    #[test]
    fn relay_tricks_stay_local_or_fail() {
        for (text, local, domain) in [
            ("someone%remote.tld", "someone%remote.tld", ""),
            ("someone%remote.tld@local.tld", "someone%remote.tld", "local.tld"),
            ("remote.tld!someone", "remote.tld!someone", ""),
            ("remote.tld!someone@local.tld", "remote.tld!someone", "local.tld"),
            ("\"someone@remote.tld\"", "someone@remote.tld", ""),
            ("\"someone@remote.tld\"@local.tld", "someone@remote.tld", "local.tld"),
            ("\"someone%remote.tld\"@local.tld", "someone%remote.tld", "local.tld"),
            ("\"a@b>\"@local.tld", "a@b>", "local.tld"),
            ("\"\\\"a@remote.tld\\\"\"@local.tld", "\"a@remote.tld\"", "local.tld"),
            ("IMCEASMTP-someone+40remote+2Etld@local.tld", "IMCEASMTP-someone+40remote+2Etld", "local.tld"),
            ("someone＠remote.tld@local.tld", "someone＠remote.tld", "local.tld"),
            ("@local.tld:someone@remote.tld", "someone", "remote.tld"),
            ("@local.tld,@local.tld:someone@remote.tld.", "someone", "remote.tld"),
            ("localuser@10.10.10.10", "localuser", "10.10.10.10"),
            ("localuser@[10.10.10.10]", "localuser", "[10.10.10.10]"),
            ("localuser@localhost.", "localuser", "localhost"),
            ("a/b=c@x400.local.tld", "a/b=c", "x400.local.tld"),
        ] {
            let address = parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
            assert_eq!((address.local(), address.domain()), (local, domain), "{text:?}");
        }
    }

    #[test]
    #[rustfmt::skip] // a table
    fn what_is_no_address_is_refused() {
        for text in [
            "user@local.tld@remote.tld", "user@[1.2.3.4]@remote.tld", "user@local.tld＠remote.tld", "a@b>c", "a@b>",
            "<a@b>", "a@b c", " a@b", "a@b ", "a@b\0", "a\0@b", "\"a\0\"@b", "\"a\r\"@b", "\"a\n\"@b", "\"a\tb\"@b",
            "a@b\r", "a@b\u{a0}c", "\"a\u{85}b\"@c", "a\u{9f}@b", "\"a\\\u{e9}\"@b", "\"a", "\"a\\\"", "\"a\"b@c",
            "a\"b\"@c", "\"a\".b@c", "\"\"@b", "\"\"", ".@b", "...@b", ".", "@b", "@", "a@", "a@.", "a@..",
            "a@b..", "a@.b", "a@b..c", "a@b.。", "a@-b", "a@b-.c", "a@b/c", "a@\u{2100}", "a@b\\c", "a(c)@b", "a,b@c",
            "a:b@c", "a;b@c", "a\\@b", "a@b:25", "a@b%c", "a@b!c", "a@*", "@a@b", "@a:", "@a:user", "@a:@b:c@d",
            "@:a@b", "@a,:b@c", "@a,b:c@d", "@a, @b:c@d", "@[1.2.3.4]x:a@b", "@a@b:c@d", "a@[1.2.3]", "a@[01.2.3.4]",
            "a@[1.2.3.4", "a@[1.2.3.4].", "a@[1.2.3.4]b", "a@[]", "a@[IPv6:]", "a@[::1]", "a@x[1.2.3.4]",
            "a@[IPv6:fe80::1%eth0]", "a@[IPv6:1::2::3]", "a@[x:y]", "a@[1.2.3.4 ]", "a@1.2.3.4]", "a@［1.2.3.4］",
            "a@xn--a", "a@xn--.b", "a@xn--foo-", "a@xn--bcher-kva-.tld", "a@xn--BU\u{308}CHER", "a@\u{202e}moc",
            "a@b\u{fffd}",
        ] {
            assert!(matches!(parse(text), Err(Syntax(_))), "{text:?}: {:?}", parse(text));
        }
        assert_eq!(parse(""), Err(AddressError::Empty));
        for octets in [&b"\xff@b"[..], b"\"\xc3\"@b", b"a@\xc3\x28", b"a@b.\xed\xa0\x80", b"\xc0\xaf@b"] {
            assert_eq!(Address::parse(octets, &OFF), Err(AddressError::NotUtf8));
        }
    }

    #[test]
    fn limits_hold_for_the_input_and_for_the_value() {
        let label = |n: usize| "d".repeat(n);
        let (d63, long) = (label(63), [label(63), label(63), label(63), label(63)].join("."));
        assert!(parse(&format!("{}@b", "a".repeat(256))).is_ok());
        assert_eq!(parse(&format!("{}@b", "a".repeat(257))), Err(AddressError::LocalTooLong));
        assert_eq!(parse(&format!("\"{}\"@b", "a".repeat(255))), Err(AddressError::LocalTooLong));
        // In quotes it would be too long, and it is the same mailbox.
        assert_eq!(parse(&format!("{}.@b", "a".repeat(254))), Err(AddressError::LocalTooLong));
        // One character of three octets becomes three of nine.
        assert_eq!(parse(&format!("{}@b", "\u{fb2c}".repeat(80))), Err(AddressError::LocalTooLong));
        assert!(normalise_domain(long.as_bytes()).is_ok_and(|domain| domain.len() == 255));
        assert!(normalise_domain(format!("{long}.").as_bytes()).is_ok());
        assert_eq!(normalise_domain(format!("{long}.d").as_bytes()), Err(AddressError::DomainTooLong));
        assert!(matches!(normalise_domain(label(64).as_bytes()), Err(Syntax(_))));
        assert_eq!(
            Address::parse(format!("a@{}", "ü.".repeat(600)).as_bytes(), &OFF),
            Err(AddressError::DomainTooLong)
        );
        let path = format!("{}@{long}", "a".repeat(256));
        assert!(parse(&path).is_ok());
        assert_eq!(parse(&format!("@a:{path}")), Err(AddressError::PathTooLong));
        let standard = Limits { local_part: 64, domain: 255, path: 256 };
        let read = |text: String| Address::parse(text.as_bytes(), &standard);
        assert_eq!(read(format!("{}@b", "a".repeat(65))), Err(AddressError::LocalTooLong));
        let path = format!("{}@{d63}.{d63}.{}", "a".repeat(64), label(61));
        assert_eq!(path.len(), 254);
        assert!(read(path.clone()).is_ok());
        assert_eq!(read(format!("{path}d")), Err(AddressError::PathTooLong));
        let huge = format!("{}@{long}.{long}", "a".repeat(100_000));
        assert!(Address::parse(huge.as_bytes(), &OFF).is_ok_and(|address| address.to_string() == huge));
    }

    #[test]
    fn hostile_length_costs_linear_time() {
        for text in [
            format!("\"{}\"@b", "\\\"".repeat(500_000)),
            format!("a{}@b", "\u{301}\u{323}".repeat(200_000)),
            format!("{}@a:b@c", "@a,".repeat(300_000)),
            format!("a@{}b", "b.".repeat(500_000)),
            format!("a@{}b", "xn--bcher-kva.".repeat(50_000)),
            format!("{}@b", "a.".repeat(500_000)),
        ] {
            let _ = Address::parse(text.as_bytes(), &OFF);
        }
    }

    #[test]
    fn a_key_is_the_same_for_every_spelling() {
        for (key, spellings) in [
            ("john.doe@example.com", &["John.DOE@Example.COM", "\"JOHN.doe\"@example.com."][..]),
            ("\"a@b\"@[IPv6:::1]", &["\"A@B\"@[IPv6:::1]"]),
            ("j\u{f6}rg@b", &["J\u{d6}RG@b", "j\u{d6}rg@b", "JO\u{308}RG@b", "\"jo\u{308}rg\"@b"]),
            ("\u{3bf}\u{3b4}\u{3cc}\u{3c3}@b", &["\u{39f}\u{394}\u{38c}\u{3a3}@b", "\u{3bf}\u{3b4}\u{3cc}\u{3c2}@b"]),
            ("\u{434}\u{430}@b", &["\u{414}\u{410}@b", "\u{434}\u{410}@b"]),
            ("stra\u{df}e@b", &["STRA\u{1e9e}E@b"]),
            ("\"try..this\"@b", &["Try..This@b", "\"try..THIS\"@b"]),
            ("postmaster", &["Postmaster"]),
        ] {
            for spelling in [&[key], spellings].concat() {
                assert_eq!(parse(spelling).unwrap().key(), key, "{spelling}");
                assert!(parse(spelling).unwrap().is_same_mailbox(&parse(key).unwrap()), "{spelling}");
            }
        }
        // The dotless i is another letter.
        for (one, other) in
            [("al\u{131}ce@b", "alice@b"), ("strasse@b", "stra\u{df}e@b"), ("a@b", "a@c"), ("a@b", "\u{e4}@b")]
        {
            assert!(!parse(one).unwrap().is_same_mailbox(&parse(other).unwrap()), "{one} {other}");
            assert_ne!(parse(one).unwrap().key(), parse(other).unwrap().key());
        }
    }

    #[test]
    fn a_subaddress_is_its_users() {
        let user =
            |text, delimiters| parse(text).unwrap().without_detail(delimiters).map(|address| address.to_string());
        assert_eq!(user("alice+tag@b", "+").as_deref(), Some("alice@b"));
        assert_eq!(user("alice+@b", "+").as_deref(), Some("alice@b"));
        assert_eq!(user("alice+a-b@b", "-+").as_deref(), Some("alice@b"));
        assert_eq!(user("\"front desk+x y\"@b", "+").as_deref(), Some("\"front desk\"@b"));
        for (text, delimiters) in
            [("alice+tag@b", ""), ("alice@b", "+"), ("+tag@b", "+"), ("alice+x%evil.test@b", "+"), ("alice-x@b", "+")]
        {
            assert_eq!(user(text, delimiters), None, "{text}");
        }
    }

    #[test]
    fn default_domain_is_for_those_without() {
        let with = |text| parse(text).unwrap().with_default_domain("local.tld").to_string();
        assert_eq!(with("\"someone@remote.tld\""), "\"someone@remote.tld\"@local.tld");
        assert_eq!(with("someone%remote.tld"), "someone%remote.tld@local.tld");
        assert_eq!(with("a@b"), "a@b");
        assert!(parse("\u{e9}@b").unwrap().needs_smtputf8() && !parse("a@\u{e9}").unwrap().needs_smtputf8());
    }

    #[test]
    fn helo_names() {
        for name in [
            "a",
            "MY_PC",
            "host.example.",
            "192.0.2.1",
            "[192.0.2.1]",
            "[IPv6:::1]",
            "xn--broken",
            "[::1]",
            "[2001:DB8::1]",
            "-",
            "-pc-",
            "PC-.example",
            "a.-b.c-",
            "_x._y_",
            "1",
        ] {
            assert!(is_helo_name(name.as_bytes(), &Limits::default()), "{name}");
        }
        for name in [
            "",
            ".",
            "a b",
            "a..b",
            "a@b",
            "[x]",
            "[192.0.2.1",
            "<a>",
            "b\u{fc}cher.example",
            "a\0",
            "[::1",
            "::1",
            "[::1]x",
            "[fe80::1%eth0]",
            "a;b",
            "a(b)",
            "a\tb",
            "a\rb",
            "[]",
        ] {
            assert!(!is_helo_name(name.as_bytes(), &Limits::default()), "{name}");
        }
    }

    /// A local part of any kind, unquoted.
    fn local() -> impl Strategy<Value = String> {
        prop_oneof!["[ -~]{1,12}", "[a-zA-Z.@%!\"\\\\ ]{1,12}", "[^\\p{Cc}]{1,12}"]
    }

    fn domain() -> impl Strategy<Value = String> {
        prop_oneof![
            4 => "[a-z0-9_]([a-z0-9_-]{0,8}[a-z0-9_])?(\\.[a-z0-9_]{1,5}){0,3}",
            1 => "[à-ÿα-ω一-龥]{1,6}\\.(tld|例え)",
            1 => any::<Ipv4Addr>().prop_map(|address| format!("[{address}]")),
            1 => any::<Ipv6Addr>().prop_map(|address| format!("[IPv6:{address}]")),
        ]
    }

    /// Octets an attacker would try.
    #[rustfmt::skip] // a table
    fn alphabet() -> impl Strategy<Value = Vec<u8>> {
        let octets = proptest::sample::select(vec![
            &b"a"[..], b"B", b"1", b"@", b".", b"\"", b"\\", b"<", b">", b":", b",", b"[", b"]", b" ", b"-", b"%", b"!", b"\0", b"xn--",
            b"IPv6:", b"\xff", b"\xcc\x81", b"\xef\xbc\xa0", b"\xe3\x80\x82", b"\xcd\xbe",
        ]);
        proptest::collection::vec(octets, 0..24).prop_map(|pieces| pieces.concat())
    }

    /// What must hold of every address, wherever it came from.
    fn assert_canonical(address: &Address) {
        let text = address.to_string();
        assert_eq!(address.octets(), text.len() + if address.odd { 2 } else { 0 });
        assert_eq!(Address::parse(text.as_bytes(), &OFF).map(|again| again.to_string()).as_ref(), Ok(&text));
        assert_eq!(Address::parse(text.as_bytes(), &OFF).as_ref(), Ok(address));
        let key = Address::parse(address.key().as_bytes(), &OFF).unwrap();
        assert_eq!((key.key(), key.domain()), (address.key(), address.domain()));
        assert!(!address.local().contains(char::is_control) && !address.local().is_empty());
        if !address.domain().is_empty() {
            assert_eq!(text.rsplit_once('@').map(|(_, domain)| domain), Some(address.domain()));
            assert_eq!(canonical_domain(address.domain().as_bytes(), 0).as_deref(), Ok(address.domain()));
        }
        let plain = |octet: u8| matches!(octet, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
        assert!(address.domain().starts_with('[') || address.domain().bytes().all(plain));
    }

    proptest! {
        #[test]
        fn renders_to_what_parses_back(local in local(), domain in domain()) {
            let mut text = String::new();
            write_local(&local, &mut text).unwrap();
            let address = Address::parse(format!("{text}@{domain}").as_bytes(), &OFF);
            prop_assume!(!matches!(address, Err(Syntax("The domain is not a valid internationalised name"))));
            let address = address.unwrap();
            prop_assert_eq!(address.local(), local.nfc().collect::<String>());
            assert_canonical(&address);
        }

        #[test]
        fn quoting_case_dot_and_route_do_not_matter(
            local in "[ -~]{1,12}", domain in "[a-z]{1,9}(\\.[a-z]{1,5}){0,2}", upper in any::<u16>(), route in "(@[a-z]{1,3},){0,2}@x:|"
        ) {
            let mut plain = String::new();
            write_local(&local, &mut plain).unwrap();
            let quoted: String = local.chars().flat_map(|character| ['\\', character]).collect();
            let shouted: String = domain.chars().enumerate()
                .map(|(i, c)| if upper >> (i % 16) & 1 == 1 { c.to_ascii_uppercase() } else { c }).collect();
            let one = Address::parse(format!("{plain}@{domain}").as_bytes(), &OFF).unwrap();
            let other = Address::parse(format!("{route}\"{quoted}\"@{shouted}.").as_bytes(), &OFF).unwrap();
            prop_assert_eq!(one, other);
        }

        #[test]
        fn forms_of_a_label_are_one_domain(name in "[a-zà-ÿα-ωא-ת一-龥ぁ-ん]{1,9}(\\.[a-z]{1,4})?") {
            if let Ok(ascii) = normalise_domain(name.as_bytes()) {
                let (unicode, _) = Uts46::new().to_unicode(ascii.as_bytes(), AsciiDenyList::EMPTY, Hyphens::Allow);
                prop_assert_eq!(normalise_domain(unicode.as_bytes()), Ok(ascii.clone()));
                prop_assert_eq!(normalise_domain(ascii.to_ascii_uppercase().as_bytes()), Ok(ascii));
            }
        }

        #[test]
        fn any_octets_are_a_canonical_address_or_an_error(octets in prop_oneof![any::<Vec<u8>>(), alphabet()]) {
            if let Ok(address) = Address::parse(&octets, &OFF) {
                assert_canonical(&address);
            }
            if let Ok((Path::Mailbox(address), rest)) = Path::read(&octets, &OFF) {
                assert_canonical(&address);
                prop_assert!(matches!(rest, [] | [b' ', ..]));
            }
            if let Ok(domain) = normalise_domain(&octets) {
                prop_assert_eq!(normalise_domain(domain.as_bytes()), Ok(domain.clone()));
            }
        }

        #[test]
        fn any_text_as_domain_is_stable(name in "[^\\p{Cc}]{1,8}|(xn--)?[a-z0-9-]{1,10}") {
            if let Ok(domain) = canonical_domain(name.as_bytes(), 0) {
                prop_assert_eq!(canonical_domain(domain.as_bytes(), 0), Ok(domain.clone()));
            }
        }
    }
}
