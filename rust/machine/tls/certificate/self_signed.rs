//! A certificate that signs itself, for a server without another one: peers that do not verify can use TLS with it.

use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};
use x509_parser::time::ASN1Time;

const DAY: i64 = 86_400;
/// Seconds by which the clock of a peer may be behind ours.
const SKEW: i64 = 3600;

/// See [`super::Identity::self_signed`]; None when a name cannot be in a certificate, or a date.
pub(super) fn make(names: &[String], days: u32, now: i64) -> Option<(String, String)> {
    let mut parameters = CertificateParams::new(names).ok()?;
    parameters.distinguished_name = DistinguishedName::new();
    let subject = names.first()?;
    // A common name has at most 64 characters (RFC 5280 A.1); the names that count are the alternative ones.
    if subject.chars().count() <= 64 {
        parameters.distinguished_name.push(DnType::CommonName, subject.as_str());
    }
    parameters.not_before = ASN1Time::from_timestamp(now.checked_sub(SKEW)?).ok()?.to_datetime();
    parameters.not_after = ASN1Time::from_timestamp(now.checked_add(i64::from(days) * DAY)?).ok()?.to_datetime();
    parameters.is_ca = IsCa::ExplicitNoCa;
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate().ok()?;
    let certificate = parameters.self_signed(&key).ok()?;
    Some((certificate.pem(), key.serialize_pem()))
}
