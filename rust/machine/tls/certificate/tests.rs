use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256, PKCS_RSA_SHA512, SigningKey, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::*;

const NOW: i64 = 1_800_000_000;

fn identity(chain: &str, key: &str) -> Result<Identity, Refusal> {
    Identity::from_pem(chain.as_bytes(), key.as_bytes())
}

fn made(names: &[&str]) -> (String, String) {
    let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
    Identity::self_signed(&names, 365, NOW).unwrap()
}

fn parameters(names: &[&str]) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
    let mut parameters = CertificateParams::new(names).unwrap();
    parameters.not_before = date_time_ymd(2026, 1, 1);
    parameters.not_after = date_time_ymd(2026, 4, 1);
    parameters
}

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

fn authority() -> Authority {
    let mut root = parameters(&[]);
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    root.distinguished_name.push(DnType::CommonName, "Test CA");
    let key = KeyPair::generate().unwrap();
    Authority { pem: root.self_signed(&key).unwrap().pem(), issuer: Issuer::new(root, key) }
}

fn signed(by: &Authority, names: &[&str], key: &KeyPair) -> String {
    let mut leaf = parameters(names);
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.signed_by(key, &by.issuer).unwrap().pem()
}

fn facts_of(parameters: &CertificateParams, key: &impl SigningKey) -> CertificateFacts {
    CertificateFacts::read(parameters.self_signed(key).unwrap().der()).unwrap()
}

#[test]
fn a_certificate_that_signs_itself_can_be_served() {
    let (chain, key) = made(&["mx.example.test", "192.0.2.1"]);
    let made = identity(&chain, &key).unwrap();
    let facts = made.facts();
    assert_eq!(facts.names, ["mx.example.test", "192.0.2.1"]);
    assert_eq!((facts.subject.as_str(), facts.issuer.as_str()), ("CN=mx.example.test", "CN=mx.example.test"));
    assert_eq!((facts.not_before, facts.not_after), (NOW - 3600, NOW + 365 * 86_400));
    assert_eq!(facts.key_kind, "ECDSA P-256");
    assert!(facts.self_signed && made.is_ecdsa() && made.covers("MX.Example.Test.") && made.covers("192.0.2.1"));
    let der = CertificateDer::from_pem_slice(chain.as_bytes()).unwrap();
    assert_eq!(facts.end_point, aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der).as_ref());
    assert_eq!(facts.fingerprint.len(), 64);
    assert_eq!((made.chain().len(), made.end_point()), (1, facts.end_point.as_slice()));
}

#[test]
fn two_of_them_have_different_keys() {
    let (first, second) = (made(&["a.test"]), made(&["a.test"]));
    assert_ne!(first.1, second.1);
    assert_eq!(identity(&first.0, &second.1).unwrap_err(), Refusal::OtherKey);
}

#[test]
fn a_long_name_is_no_common_name() {
    let long = format!("{}.example.test", "a".repeat(60));
    let (chain, key) = made(&[&long]);
    let made = identity(&chain, &key).unwrap();
    assert_eq!((made.facts().subject.as_str(), &made.facts().names), ("", &vec![long]));
}

#[test]
fn names_that_cannot_be_in_a_certificate_are_refused() {
    assert_eq!(Identity::self_signed(&["bücher.test".to_owned()], 1, NOW), Err(Refusal::BadName));
    assert_eq!(Identity::self_signed(&[], 1, NOW), Err(Refusal::BadName));
    assert_eq!(Identity::self_signed(&["a.test".to_owned()], 1, i64::MAX), Err(Refusal::BadName));
}

#[test]
fn chain_and_key_may_be_one_file_in_any_order() {
    let (by, key) = (authority(), KeyPair::generate().unwrap());
    let leaf = signed(&by, &["mx.test"], &key);
    for one in [format!("{leaf}{}{}", by.pem, key.serialize_pem()), format!("{}{leaf}{}", key.serialize_pem(), by.pem)]
    {
        let found = identity(&one, &one).unwrap();
        assert_eq!((found.chain().len(), found.facts().issuer.as_str()), (2, "CN=Test CA"));
        assert!(!found.facts().self_signed);
    }
}

#[test]
fn the_key_of_a_certificate_further_down_says_which() {
    let (by, key) = (authority(), KeyPair::generate().unwrap());
    let leaf = signed(&by, &["mx.test"], &key);
    let wrong = identity(&format!("{}{leaf}", by.pem), &key.serialize_pem()).unwrap_err();
    assert_eq!(wrong, Refusal::LeafNotFirst(2));
    assert!(wrong.to_string().contains("the key belongs to certificate 2; put that one first"));
    assert_eq!(identity(&by.pem, &key.serialize_pem()).unwrap_err(), Refusal::OtherKey);
}

#[test]
fn of_several_keys_the_right_one_is_taken() {
    let ((chain, key), (_, other)) = (made(&["a.test"]), made(&["b.test"]));
    assert!(identity(&chain, &format!("{other}{key}")).is_ok());
}

#[test]
fn what_is_missing_or_damaged_is_said() {
    let (chain, key) = made(&["a.test"]);
    assert_eq!(identity("", &key).unwrap_err(), Refusal::NoCertificate);
    assert_eq!(identity(&key, &key).unwrap_err(), Refusal::NoCertificate);
    assert_eq!(identity(&chain, "").unwrap_err(), Refusal::NoKey);
    assert_eq!(identity(&chain, &chain).unwrap_err(), Refusal::NoKey);
    assert_eq!(identity(&chain[..chain.len() / 2], &key).unwrap_err(), Refusal::BrokenPem);
    assert_eq!(identity(&chain, &key[..key.len() / 2]).unwrap_err(), Refusal::BrokenPem);
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n";
    assert_eq!(identity(&chain, encrypted).unwrap_err(), Refusal::EncryptedKey);
    let older = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nMAA=\n-----END RSA PRIVATE KEY-----\n";
    assert_eq!(identity(&chain, older).unwrap_err(), Refusal::EncryptedKey);
    let strange = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
    assert_eq!(identity(&chain, strange).unwrap_err(), Refusal::UnsupportedKey);
    let none = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    assert_eq!(identity(&format!("{chain}{none}"), &key).unwrap_err(), Refusal::UnreadableCertificate(2));
    assert_eq!(identity(&chain.repeat(17), &key).unwrap_err(), Refusal::TooMany);
    assert_eq!(identity(&chain, &key.repeat(17)).unwrap_err(), Refusal::TooMany);
}

#[test]
fn keys_of_each_kind_are_named_and_hashed_by_their_signature() {
    let lengths = [
        (KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap(), "RSA 2048", 32),
        (KeyPair::generate_for(&PKCS_RSA_SHA512).unwrap(), "RSA 2048", 64),
        (KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap(), "ECDSA P-384", 48),
        (KeyPair::generate_for(&PKCS_ED25519).unwrap(), "Ed25519", 32),
    ];
    for (key, kind, octets) in lengths {
        let chain = parameters(&["a.test"]).self_signed(&key).unwrap().pem();
        let found = identity(&chain, &key.serialize_pem()).unwrap();
        assert_eq!((found.facts().key_kind.as_str(), found.end_point().len()), (kind, octets));
        assert_eq!(found.is_ecdsa(), kind.starts_with("ECDSA"));
    }
}

#[test]
fn the_common_name_counts_where_there_is_no_other() {
    let key = KeyPair::generate().unwrap();
    for (common, names) in [("Mail.Example.Test", vec!["mail.example.test"]), ("Jane Doe", vec![])] {
        let mut only = parameters(&[]);
        only.distinguished_name.push(DnType::CommonName, common);
        assert_eq!(facts_of(&only, &key).names, names);
        let mut both = parameters(&["mx.test"]);
        both.distinguished_name.push(DnType::CommonName, common);
        assert_eq!(facts_of(&both, &key).names, ["mx.test"]);
    }
}

#[test]
fn a_wildcard_is_one_label() {
    let facts = facts_of(&parameters(&["*.example.test", "other.test"]), &KeyPair::generate().unwrap());
    for (name, covered) in [
        ("mx.example.test", true),
        ("MX.EXAMPLE.TEST.", true),
        ("other.test", true),
        ("example.test", false),
        ("a.b.example.test", false),
        (".example.test", false),
        ("*.example.test", false),
        ("mx.other.test", false),
        ("", false),
    ] {
        assert_eq!(facts.covers(name), covered, "{name}");
    }
    let facts = facts_of(&parameters(&["*.test"]), &KeyPair::generate().unwrap());
    assert!(!facts.covers("mx.test"), "a wildcard for all of a top-level domain");
}

#[test]
fn a_subject_is_one_line_whatever_is_in_it() {
    let mut odd = parameters(&["a.test"]);
    odd.distinguished_name.push(DnType::CommonName, "a\nlevel=error\u{1b}[2J");
    odd.distinguished_name.push(DnType::OrganizationName, "o".repeat(2000));
    let facts = facts_of(&odd, &KeyPair::generate().unwrap());
    assert!(facts.subject.starts_with("CN=a\u{fffd}level=error\u{fffd}[2J"));
    assert!(facts.subject.chars().count() <= 500);
}

#[test]
fn nothing_shows_the_key() {
    let (chain, key) = made(&["a.test"]);
    let found = identity(&chain, &key).unwrap();
    assert_eq!(format!("{found:?}"), format!("Identity({})", found.facts().fingerprint));
}

proptest! {
    #[test]
    fn any_octets_are_a_certificate_or_none(octets in prop::collection::vec(any::<u8>(), 0..600)) {
        CertificateFacts::read(&octets);
        let _ = Identity::from_pem(&octets, &octets);
    }

    #[test]
    fn a_damaged_certificate_is_read_or_not(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), cut in any::<prop::sample::Index>()) {
        let (chain, _) = made(&["mx.example.test", "192.0.2.1", "2001:db8::1"]);
        let der = CertificateDer::from_pem_slice(chain.as_bytes()).unwrap();
        let mut octets = der.to_vec();
        for (place, octet) in changes {
            let place = place.index(octets.len());
            octets[place] = octet;
        }
        if let Some(facts) = CertificateFacts::read(&octets) {
            facts.covers("mx.example.test");
        }
        octets.truncate(cut.index(octets.len()));
        prop_assert_eq!(CertificateFacts::read(&octets), None);
    }

    #[test]
    fn a_damaged_file_is_refused_or_the_same(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let (chain, key) = made(&["mx.example.test"]);
        let mut octets = format!("{chain}{key}").into_bytes();
        for (place, octet) in changes {
            let place = place.index(octets.len());
            octets[place] = octet;
        }
        let _ = Identity::from_pem(&octets, &octets);
    }
}
