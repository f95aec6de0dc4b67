//! A certificate chain with its private key: PEM octets in, one immutable value out, or one plain sentence that says what is wrong.
//!
//! Promises: the key belongs to the first certificate, its kind can sign in TLS 1.2 and 1.3, and every certificate of the chain can
//! be read. Whether they are in time, cover a name or lead to a known CA is the caller's question; [`CertificateFacts`] has what it
//! needs for that. No octets make it panic; nothing it returns, prints or refuses with contains a part of a key.

mod facts;
mod self_signed;
#[cfg(test)]
mod tests;

pub use facts::CertificateFacts;

use std::fmt;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey};

/// Certificates of a chain, and keys of a file, that are read.
const MOST: usize = 16;

/// Why there is no identity; its text completes "FILE: ".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Nothing in the file of the chain is a certificate.
    NoCertificate,
    /// Nothing in the file of the key is a private key.
    NoKey,
    /// The key is there, with a passphrase.
    EncryptedKey,
    /// A block has no end, or is not base64.
    BrokenPem,
    /// There are more than [`MOST`] certificates or keys.
    TooMany,
    /// A certificate, counted from 1, is not one.
    UnreadableCertificate(usize),
    /// No key is of a kind that can be used.
    UnsupportedKey,
    /// The key is that of a certificate further down.
    LeafNotFirst(usize),
    /// The key is that of no certificate here.
    OtherKey,
    /// A name cannot be in a certificate.
    BadName,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCertificate => f.write_str("there is no certificate in it (a PEM block `BEGIN CERTIFICATE`)"),
            Self::NoKey => f.write_str("there is no private key in it (a PEM block `BEGIN PRIVATE KEY`)"),
            Self::EncryptedKey => f.write_str("the private key is encrypted; store it without a passphrase"),
            Self::BrokenPem => f.write_str("a PEM block is damaged or incomplete"),
            Self::TooMany => write!(f, "there are more than {MOST} certificates or keys in it"),
            Self::UnreadableCertificate(number) => write!(f, "certificate {number} in it cannot be read"),
            Self::UnsupportedKey => f.write_str(
                "the private key is of a kind that is not supported; use ECDSA (P-256, P-384) or RSA (2048 to 8192 bits)",
            ),
            Self::LeafNotFirst(number) => {
                write!(f, "the key belongs to certificate {number}; put that one first, and those of its CAs behind it")
            }
            Self::OtherKey => f.write_str("the private key does not belong to the certificate"),
            Self::BadName => f.write_str("a name cannot be in a certificate"),
        }
    }
}

/// A certificate chain with its key. The first certificate is the leaf.
pub struct Identity {
    certified: Arc<CertifiedKey>,
    chain: Vec<CertificateFacts>,
    leaf: CertificateFacts,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.leaf.fingerprint)
    }
}

impl Identity {
    /// Reads a chain, the leaf first, and the key of the leaf. Both may be the same file; what else is in it is passed over.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, Refusal> {
        Self::read(chain, key).map_err(|refusal| match refusal {
            // The older form of an encrypted key has headers, which are not base64.
            Refusal::NoKey | Refusal::BrokenPem if is_encrypted(key) => Refusal::EncryptedKey,
            other => other,
        })
    }

    fn read(chain: &[u8], key: &[u8]) -> Result<Self, Refusal> {
        let certificates = certificates(chain)?;
        let facts = certificates.iter().enumerate();
        let chain: Vec<_> = facts
            .map(|(at, der)| CertificateFacts::read(der).ok_or(Refusal::UnreadableCertificate(at + 1)))
            .collect::<Result<_, _>>()?;
        let keys = signing_keys(key)?;
        let owner = |place: usize| {
            let wanted = chain.get(place).map(|facts| facts.public_key.as_slice());
            keys.iter().find(|key| key.public_key().is_some_and(|own| Some(own.as_ref()) == wanted))
        };
        let Some(key) = owner(0) else {
            let place = (1..chain.len()).find(|&place| owner(place).is_some());
            return Err(place.map_or(Refusal::OtherKey, |place| Refusal::LeafNotFirst(place + 1)));
        };
        let leaf = chain.first().cloned().ok_or(Refusal::NoCertificate)?;
        Ok(Self { certified: Arc::new(CertifiedKey::new(certificates, Arc::clone(key))), chain, leaf })
    }

    /// What rustls serves.
    pub fn certified_key(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }

    /// What the leaf says.
    pub fn facts(&self) -> &CertificateFacts {
        &self.leaf
    }

    /// What each certificate says, the leaf first.
    pub fn chain(&self) -> &[CertificateFacts] {
        &self.chain
    }

    /// The hash of the leaf for `tls-server-end-point` (RFC 5929 4.1).
    pub fn end_point(&self) -> &[u8] {
        &self.leaf.end_point
    }

    /// Whether the key is ECDSA.
    pub fn is_ecdsa(&self) -> bool {
        self.certified.key.algorithm() == rustls::SignatureAlgorithm::ECDSA
    }

    /// Whether the leaf is for this host.
    pub fn covers(&self, name: &str) -> bool {
        self.leaf.covers(name)
    }

    /// Makes a certificate that signs itself, with a new ECDSA P-256 key: chain and key in PEM. Valid from an hour before `now`
    /// (seconds since the epoch), since clocks differ, for `days`.
    pub fn self_signed(names: &[String], days: u32, now: i64) -> Result<(String, String), Refusal> {
        self_signed::make(names, days, now).ok_or(Refusal::BadName)
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Refusal> {
    let mut found = Vec::new();
    for section in CertificateDer::pem_slice_iter(pem) {
        found.push(section.map_err(|_| Refusal::BrokenPem)?);
        if found.len() > MOST {
            return Err(Refusal::TooMany);
        }
    }
    if found.is_empty() { Err(Refusal::NoCertificate) } else { Ok(found) }
}

/// The keys of the file that can sign.
fn signing_keys(pem: &[u8]) -> Result<Vec<Arc<dyn SigningKey>>, Refusal> {
    let mut keys = Vec::new();
    let mut seen = 0;
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
        let (kind, der) = section.map_err(|_| Refusal::BrokenPem)?;
        let Some(key) = PrivateKeyDer::from_pem(kind, der) else { continue };
        seen += 1;
        if seen > MOST {
            return Err(Refusal::TooMany);
        }
        keys.extend(any_supported_type(&key));
    }
    match seen {
        0 => Err(Refusal::NoKey),
        _ if keys.is_empty() => Err(Refusal::UnsupportedKey),
        _ => Ok(keys),
    }
}

/// PKCS #8 says it in the label (RFC 7468 11), the older form of OpenSSL in a header (RFC 1421 4.6.1.1).
fn is_encrypted(pem: &[u8]) -> bool {
    [&b"BEGIN ENCRYPTED PRIVATE KEY"[..], b"Proc-Type: 4,ENCRYPTED"]
        .iter()
        .any(|mark| memchr::memmem::find(pem, mark).is_some())
}
