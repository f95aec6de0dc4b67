//! Certificates: any octets in DER are read or not; any file is an identity or a sentence, and the same one every time.

use std::sync::OnceLock;

use mailmoat_native::machine::tls::certificate::{CertificateFacts, Identity};

/// Certificate and key, in PEM.
static FILE: OnceLock<Vec<u8>> = OnceLock::new();

pub fn check(input: &[u8]) {
    if let Some(facts) = CertificateFacts::read(input) {
        holds(&facts);
    }
    read(input);
    read(&changed(input));
}

fn holds(facts: &CertificateFacts) {
    assert_eq!(facts.fingerprint.len(), 64);
    assert!([28, 32, 48, 64].contains(&facts.end_point.len()));
    for text in [&facts.subject, &facts.issuer, &facts.key_kind].into_iter().chain(&facts.names) {
        assert!(text.chars().count() <= 500 && !text.chars().any(char::is_control), "{text:?}");
    }
    for name in facts.names.iter().filter(|name| !name.contains('*') && !name.ends_with('.')) {
        assert!(facts.covers(name), "{name}");
    }
    assert!(!facts.covers(""));
}

fn read(file: &[u8]) {
    let read = || Identity::from_pem(file, file).map_err(|refusal| refusal.to_string());
    match (read(), read()) {
        (Ok(one), Ok(other)) => {
            assert_eq!(one.facts(), other.facts());
            assert_eq!(one.chain().first(), Some(one.facts()));
            holds(one.facts());
        }
        (Err(one), Err(other)) => assert!(one == other && !one.is_empty()),
        _ => panic!("one file, two answers"),
    }
}

/// A good file with the changes that the input says: place and octet.
fn changed(input: &[u8]) -> Vec<u8> {
    let file = FILE.get_or_init(|| {
        let (chain, key) = Identity::self_signed(&["mx.example.test".to_owned()], 10, 1_800_000_000).unwrap();
        format!("{chain}{key}").into_bytes()
    });
    let mut changed = file.clone();
    for change in input.chunks_exact(3).take(8) {
        let place = usize::from(u16::from_be_bytes([change[0], change[1]])) % changed.len();
        changed[place] = change[2];
    }
    changed
}
