//! An address is in its one normal form: written and read again it is the same, and so is its key.

use mailmoat_native::machine::message::address::{
    Address, Case, Dots, Limits, Normalisation, Options, normalise_domain,
};

pub fn check(input: &[u8]) {
    let ([choices], stream) = super::split::<1>(input);
    let limits = if choices & 2 == 0 { Limits::default() } else { Limits { local_part: 0, domain: 0, path: 0 } };
    match Address::parse(&stream, &limits) {
        Ok(address) => is_normal(&address, &limits),
        Err(error) => is_sentence(&error.to_string()),
    }
    match normalise_domain(&stream) {
        Ok(domain) => assert_eq!(normalise_domain(domain.as_bytes()).as_ref(), Ok(&domain), "{stream:?}"),
        Err(error) => is_sentence(&error.to_string()),
    }
}

/// Also used for the addresses that the other targets find.
pub fn is_normal(address: &Address, limits: &Limits) {
    let text = address.to_string();
    assert!(!text.chars().any(char::is_control), "{text:?}");
    let domain = address.domain().strip_prefix("[IPv6:").unwrap_or(address.domain());
    assert!(domain.is_ascii() && !domain.contains(|letter: char| letter.is_ascii_uppercase()), "{text:?}");
    assert_eq!(address.needs_smtputf8(), !text.is_ascii());
    let again = Address::parse(text.as_bytes(), limits);
    assert_eq!(again.as_ref(), Ok(address), "{text:?}");
    let key = address.key();
    // Some small letters are longer than the great ones.
    let by_key = Address::parse(key.as_bytes(), &Limits { local_part: 0, domain: 0, path: 0 })
        .unwrap_or_else(|error| panic!("{key:?}: {error}"));
    assert_eq!(by_key.key(), key);
    has_one_key(address);
    let moved = address.clone().with_default_domain("example.test");
    assert!(!moved.domain().is_empty() && moved.local() == address.local());
}

/// By the options of a domain, a key is that of the mailbox that it names.
fn has_one_key(address: &Address) {
    for (dots, case) in [(Dots::Ignore, Case::Ignore), (Dots::Ignore, Case::Keep), (Dots::Keep, Case::Keep)] {
        let options = Options { dots, case, delimiters: String::new() };
        let normalisation = Normalisation::new(String::new(), [(address.domain().into(), options)]);
        let key = normalisation.key(address);
        let by_key = Address::parse(key.as_bytes(), &Limits { local_part: 0, domain: 0, path: 0 })
            .unwrap_or_else(|error| panic!("{key:?}: {error}"));
        assert_eq!((normalisation.key(&by_key), by_key.domain()), (key, address.domain()));
        assert!(normalisation.same_as(address)(&by_key), "{address} {by_key}");
    }
}

pub fn is_sentence(text: &str) {
    assert!(!text.is_empty() && text.bytes().all(|octet| (b' '..=b'~').contains(&octet)), "{text:?}");
}
