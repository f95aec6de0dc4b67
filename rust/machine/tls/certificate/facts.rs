//! What a certificate says: names, dates, kind of key, hashes (RFC 5280 4.1). DER octets in, one value out; no octets make it panic.
//!
//! Texts come from whoever made the certificate: control characters are replaced, and what is long is cut.

use std::net::IpAddr;

use aws_lc_rs::digest;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::public_key::PublicKey;
use x509_parser::signature_algorithm::SignatureAlgorithm;
use x509_parser::x509::{AlgorithmIdentifier, SubjectPublicKeyInfo, X509Name};

/// Names of a certificate that are kept.
const MOST_NAMES: usize = 200;
/// Characters of a name or a subject that are kept.
const MOST_CHARACTERS: usize = 500;

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// As `CN=mx.example.com, O=Example`.
    pub subject: String,
    /// The same of who signed it.
    pub issuer: String,
    /// Host names and addresses it is for, lower case (RFC 6125 6.4.4: the common name only when there are none).
    pub names: Vec<String>,
    /// Seconds since the epoch from which it is valid.
    pub not_before: i64,
    /// Seconds since the epoch until which it is valid.
    pub not_after: i64,
    /// As `ECDSA P-256` or `RSA 2048`.
    pub key_kind: String,
    /// SHA-256 of the certificate, lower-case hexadecimal.
    pub fingerprint: String,
    /// Subject and issuer are the same.
    pub self_signed: bool,
    /// Hash for `tls-server-end-point` (RFC 5929 4.1).
    pub end_point: Vec<u8>,
    /// The `SubjectPublicKeyInfo`, in DER.
    pub public_key: Vec<u8>,
}

impl CertificateFacts {
    /// Reads one certificate in DER; None when the octets are not exactly that.
    pub fn read(der: &[u8]) -> Option<Self> {
        let (rest, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let (subject, issuer) = (certificate.subject(), certificate.issuer());
        Some(Self {
            subject: name(subject),
            issuer: name(issuer),
            names: names(&certificate),
            not_before: certificate.validity().not_before.timestamp(),
            not_after: certificate.validity().not_after.timestamp(),
            key_kind: key_kind(certificate.public_key()),
            fingerprint: hexadecimal(digest::digest(&digest::SHA256, der).as_ref()),
            self_signed: subject.as_raw() == issuer.as_raw(),
            end_point: digest::digest(end_point_digest(&certificate.signature_algorithm), der).as_ref().to_vec(),
            public_key: certificate.public_key().raw.to_vec(),
        })
    }

    /// SHA-256 of the public key, lower-case hexadecimal: what a TLSA record `3 1 1` has (RFC 6698 2.1).
    pub fn public_key_digest(&self) -> String {
        hexadecimal(digest::digest(&digest::SHA256, &self.public_key).as_ref())
    }

    /// Whether it is for this host: a name or an address as text. A wildcard is for one label (RFC 6125 6.4.3).
    pub fn covers(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let above = host.split_once('.').filter(|(label, above)| is_label(label) && above.contains('.'));
        let is_address = host.parse::<IpAddr>().is_ok();
        self.names.iter().any(|name| match name.strip_prefix("*.") {
            Some(pattern) => !is_address && above.is_some_and(|(_, above)| above == pattern),
            None => *name == host && !host.contains('*'),
        })
    }
}

/// A text of a certificate, fit to be shown in one line.
fn clean(text: &str) -> String {
    text.chars().take(MOST_CHARACTERS).map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

fn name(name: &X509Name<'_>) -> String {
    clean(&name.to_string())
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let extensions = certificate.extensions().iter();
    let alternatives = extensions.filter_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
        _ => None,
    });
    let mut names: Vec<_> = alternatives.flatten().filter_map(host).take(MOST_NAMES).collect();
    if names.is_empty() {
        let common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
        names.extend(common.filter(|name| is_host(name)).map(str::to_ascii_lowercase).take(1));
    }
    names
}

fn host(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) if is_host(name) => Some(name.to_ascii_lowercase()),
        GeneralName::IPAddress(octets) => match octets.len() {
            4 => Some(IpAddr::from(<[u8; 4]>::try_from(*octets).ok()?).to_string()),
            16 => Some(IpAddr::from(<[u8; 16]>::try_from(*octets).ok()?).to_string()),
            _ => None,
        },
        _ => None,
    }
}

/// Whether it may be the name of a host, with a wildcard or underscores in it; a person's name may not.
fn is_host(name: &str) -> bool {
    (1..=253).contains(&name.len())
        && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-._*".contains(&octet))
}

/// Whether a wildcard may stand for it.
fn is_label(label: &str) -> bool {
    !label.is_empty() && !label.contains('*')
}

fn key_kind(key: &SubjectPublicKeyInfo<'_>) -> String {
    let algorithm = key.algorithm.algorithm.to_id_string();
    match algorithm.as_str() {
        "1.2.840.113549.1.1.1" => format!("RSA {}", bits(key)),
        "1.2.840.113549.1.1.10" => format!("RSA-PSS {}", bits(key)),
        "1.2.840.10045.2.1" => format!("ECDSA {}", curve(&key.algorithm)),
        "1.3.101.112" => "Ed25519".to_owned(),
        "1.3.101.113" => "Ed448".to_owned(),
        "2.16.840.1.101.3.4.3.17" => "ML-DSA-44".to_owned(),
        "2.16.840.1.101.3.4.3.18" => "ML-DSA-65".to_owned(),
        "2.16.840.1.101.3.4.3.19" => "ML-DSA-87".to_owned(),
        _ => clean(&algorithm),
    }
}

/// The length of an RSA modulus.
fn bits(key: &SubjectPublicKeyInfo<'_>) -> usize {
    let Ok(PublicKey::RSA(key)) = key.parsed() else { return 0 };
    let mut octets = key.modulus.iter().skip_while(|&&octet| octet == 0);
    let first = octets.next().map_or(0, |octet| 8 - octet.leading_zeros() as usize);
    first + 8 * octets.count()
}

fn curve(algorithm: &AlgorithmIdentifier<'_>) -> String {
    let Some(Ok(curve)) = algorithm.parameters.as_ref().map(x509_parser::asn1_rs::Any::as_oid) else {
        return "unnamed curve".to_owned();
    };
    match curve.to_id_string().as_str() {
        "1.2.840.10045.3.1.7" => "P-256".to_owned(),
        "1.3.132.0.34" => "P-384".to_owned(),
        "1.3.132.0.35" => "P-521".to_owned(),
        other => clean(other),
    }
}

/// The digest of the signature; SHA-256 for MD5 and SHA-1 (RFC 5929 4.1) and for signatures without one, where peers do the same.
fn end_point_digest(signature: &AlgorithmIdentifier<'_>) -> &'static digest::Algorithm {
    let hash = match SignatureAlgorithm::try_from(signature) {
        Ok(SignatureAlgorithm::RSASSA_PSS(parameters)) => parameters.hash_algorithm_oid().to_id_string(),
        _ => signature.algorithm.to_id_string(),
    };
    match hash.as_str() {
        "1.2.840.113549.1.1.14" | "1.2.840.10045.4.3.1" | "2.16.840.1.101.3.4.2.4" => &digest::SHA224,
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" | "2.16.840.1.101.3.4.2.2" => &digest::SHA384,
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" | "2.16.840.1.101.3.4.2.3" => &digest::SHA512,
        _ => &digest::SHA256,
    }
}

fn hexadecimal(octets: &[u8]) -> String {
    use std::fmt::Write;
    octets.iter().fold(String::new(), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}
