//! Which spellings of a local part are one mailbox, by domain (RFC 5321 2.4: only the host that owns a domain can say).
//!
//! Promises: what is looked up, compiled, kept and compared by these options has one key, the same for all spellings of a mailbox; the key of
//! a key is itself. A domain without options of its own has the keys of `Address::key`. Only keys are made here: the address that goes on is
//! the one that the client wrote. A local part that another server may read as a route keeps its dots, and so does one that would be
//! such a route, or nothing, without them. Linear in the local part, but for NFC; never fails.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use unicode_normalization::UnicodeNormalization;

use super::Address;
use super::local_part::{fold, write_local};
use super::routing::may_route;

/// What the dots of a local part mean.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Dots {
    /// They are as any other character.
    #[default]
    Keep,
    /// Nothing.
    Ignore,
}

/// What the case of its letters means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Case {
    /// Nothing.
    #[default]
    Ignore,
    /// Letters of different case are different.
    Keep,
}

/// What holds at a domain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Of dots.
    pub dots: Dots,
    /// Of letters.
    pub case: Case,
    /// Characters that begin the detail of a subaddress.
    pub delimiters: String,
}

impl Options {
    fn local<'a>(&self, local: &'a str) -> Cow<'a, str> {
        let local = match self.case {
            Case::Ignore => fold(local),
            Case::Keep => Cow::Borrowed(local),
        };
        match self.dots {
            Dots::Keep => local,
            Dots::Ignore => without_dots(&local).map_or(local, Cow::Owned),
        }
    }

    fn are_same(&self, one: &str, other: &str) -> bool {
        (!one.is_ascii() || !other.is_ascii() || letters(one).eq(letters(other)))
            && self.local(one) == self.local(other)
    }
}

/// Of plain text, what is the same in all spellings of a mailbox, whatever the options: most are told apart by it without a copy.
fn letters(local: &str) -> impl Iterator<Item = u8> {
    local.bytes().filter(|octet| *octet != b'.').map(|octet| octet.to_ascii_lowercase())
}

/// None when it keeps its dots.
fn without_dots(local: &str) -> Option<String> {
    if !local.contains('.') || may_route(local) {
        return None;
    }
    let letters = local.chars().filter(|letter| *letter != '.');
    let bare: String = if local.is_ascii() { letters.collect() } else { letters.nfc().collect() };
    (!bare.is_empty() && !may_route(&bare)).then_some(bare)
}

/// The options of all domains.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Normalisation {
    delimiters: String,
    domains: BTreeMap<Box<str>, Options>,
    /// Domains at whose addresses the detail of a subaddress is handed on.
    pub(super) ours: BTreeSet<Box<str>>,
}

impl Normalisation {
    /// `delimiters` begin the detail of a subaddress at every domain that is not among `domains`, which are normalised.
    pub fn new(delimiters: String, domains: impl IntoIterator<Item = (Box<str>, Options)>) -> Self {
        Self { delimiters, domains: domains.into_iter().collect(), ours: BTreeSet::new() }
    }

    /// The same, where these domains, normalised, are ours.
    #[must_use]
    pub fn with_ours(self, domains: impl IntoIterator<Item = Box<str>>) -> Self {
        Self { ours: domains.into_iter().collect(), ..self }
    }

    fn options(&self, domain: &str) -> Option<&Options> {
        if self.domains.is_empty() { None } else { self.domains.get(domain) }
    }

    /// The characters that begin the detail of a subaddress at a domain.
    pub fn delimiters(&self, domain: &str) -> &str {
        self.options(domain).map_or(&self.delimiters, |options| &options.delimiters)
    }

    /// The key of a mailbox in directories, the same for all its spellings.
    pub fn key(&self, address: &Address) -> String {
        self.key_at(address, address.domain())
    }

    /// The key of the same local part at `domain`, which is normalised, by the options there.
    pub fn key_at(&self, address: &Address, domain: &str) -> String {
        let mut key = String::with_capacity(address.octets());
        let local = self.options(domain).map_or_else(|| fold(&address.local), |options| options.local(&address.local));
        // Writing to a String cannot fail.
        let _ = write_local(&local, &mut key);
        if !domain.is_empty() {
            key.push('@');
            key.push_str(domain);
        }
        key
    }

    /// The address without its dots, where they mean nothing and it has some.
    pub fn without_dots(&self, address: &Address) -> Option<Address> {
        self.options(address.domain()).filter(|options| options.dots == Dots::Ignore)?;
        without_dots(&address.local).map(|bare| Address {
            local: bare.into(),
            domain: address.domain.clone(),
            odd: false,
        })
    }

    /// Compares addresses with this one: they are the same mailbox if they have one key.
    pub fn same_as<'a>(&'a self, address: &'a Address) -> impl Fn(&Address) -> bool + 'a {
        let options = self.options(address.domain());
        move |other| match options {
            None => address.is_same_mailbox(other),
            Some(options) => address.domain == other.domain && options.are_same(&address.local, &other.local),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::machine::message::address::Limits;

    const OFF: Limits = Limits { local_part: 0, domain: 0, path: 0 };

    fn parse(text: &str) -> Address {
        Address::parse(text.as_bytes(), &OFF).unwrap_or_else(|error| panic!("{text:?}: {error}"))
    }

    fn options(dots: Dots, case: Case) -> Options {
        Options { dots, case, delimiters: "-".to_owned() }
    }

    fn example() -> Normalisation {
        Normalisation::new(
            "+".to_owned(),
            [
                ("dots.test".into(), options(Dots::Ignore, Case::Ignore)),
                ("case.test".into(), options(Dots::Keep, Case::Keep)),
                ("both.test".into(), options(Dots::Ignore, Case::Keep)),
            ],
        )
    }

    #[test]
    #[rustfmt::skip] // a table
    fn a_mailbox_has_one_key_by_the_options_of_its_domain() {
        for (written, key) in [
            ("a.Li.ce@DOTS.test", "alice@dots.test"), ("\"a.lice\"@dots.test", "alice@dots.test"), ("a..lice.@dots.test", "alice@dots.test"),
            ("a.li.ce+x.y@dots.test", "alice+xy@dots.test"), ("\"a. b\"@dots.test", "\"a b\"@dots.test"),
            ("J.\u{d6}rg@dots.test", "j\u{f6}rg@dots.test"), ("e.\u{301}@dots.test", "\u{e9}@dots.test"),
            ("\u{39f}.\u{3a3}@dots.test", "\u{3bf}\u{3c3}@dots.test"),
            ("\".\"@dots.test", "\".\"@dots.test"), ("\"...\"@dots.test", "\"...\"@dots.test"),
            ("a.b%c.d@dots.test", "a.b%c.d@dots.test"), (".-x@dots.test", "\".-x\"@dots.test"), ("\".|sh\"@dots.test", "\".|sh\"@dots.test"),
            ("a.Lice@case.test", "a.Lice@case.test"), ("\"Bob\"@Case.test", "Bob@case.test"), ("Jo\u{308}rg@case.test", "J\u{f6}rg@case.test"),
            ("a.Li.ce@both.test", "aLice@both.test"), ("E.\u{301}@both.test", "\u{c9}@both.test"),
            ("a.Lice@other.test", "a.lice@other.test"), ("a.Lice", "a.lice"), ("A.b@[192.0.2.1]", "a.b@[192.0.2.1]"),
        ] {
            assert_eq!(example().key(&parse(written)), key, "{written:?}");
        }
    }

    #[test]
    fn details_begin_as_the_domain_says() {
        for (written, user) in [
            ("a+b-c@dots.test", Some("a+b@dots.test")),
            ("a+b-c@other.test", Some("a@other.test")),
            ("a+b@case.test", None),
            (".-x@dots.test", Some(".@dots.test")),
        ] {
            let address = parse(written);
            let found = address.without_detail(example().delimiters(address.domain())).map(|user| example().key(&user));
            assert_eq!(found, user.map(|user| user.replace(".@", "\".\"@")), "{written:?}");
        }
    }

    #[test]
    fn spellings_are_compared_as_their_keys() {
        for (one, other, same) in [
            ("a.b@dots.test", "AB@dots.test", true),
            ("a.b@dots.test", "ab@case.test", false),
            ("Bob@case.test", "bob@case.test", false),
            ("Bob@other.test", "bob@other.test", true),
            ("a.b@other.test", "ab@other.test", false),
            ("e.\u{301}@dots.test", "\u{c9}@dots.test", true),
        ] {
            let (one, other, example) = (parse(one), parse(other), example());
            assert_eq!((example.same_as(&one)(&other), example.same_as(&other)(&one)), (same, same), "{one} {other}");
        }
    }

    fn local() -> impl Strategy<Value = String> {
        prop_oneof![
            "[ -~]{1,12}",
            "[a-cA-C.+-]{1,9}",
            "[.A-Za-z%|\u{301}\u{308}\u{130}\u{3a3}\u{3c2}-]{1,9}",
            "[^\\p{Cc}]{1,9}"
        ]
    }

    proptest! {
        #[test]
        fn a_key_is_that_of_its_key(local in local(), domain in "(dots|case|both|other)\\.test") {
            let mut text = String::new();
            write_local(&local, &mut text).unwrap();
            let address = parse(&format!("{text}@{domain}"));
            let (example, key) = (example(), example().key(&address));
            let by_key = parse(&key);
            prop_assert_eq!(example.key(&by_key), key);
            prop_assert!(example.same_as(&address)(&by_key));
            prop_assert_eq!(by_key.domain(), address.domain());
            if domain == "other.test" {
                prop_assert_eq!(example.key(&address), address.key());
            }
            if let Some(bare) = example.without_dots(&address) {
                prop_assert_eq!(example.key(&bare), example.key(&address));
            }
            // What may be a route is no spelling of anything else.
            prop_assert!(by_key.may_route() == address.may_route() || domain != "dots.test" && domain != "both.test");
        }

        #[test]
        fn those_that_differ_in_dots_and_case_are_compared_as_their_keys(
            one in "[ab.+A\u{e4}\u{c4}]{1,5}", other in "[ab.+A\u{e4}\u{c4}]{1,5}", domain in "(dots|case|both|other)\\.test"
        ) {
            let read = |local: &str| parse(&format!("\"{local}\"@{domain}"));
            let (one, other, example) = (read(&one), read(&other), example());
            prop_assert_eq!(example.same_as(&one)(&other), example.key(&one) == example.key(&other));
        }
    }
}
