//! How servers are judged by their TLSA records (RFC 7672 3, RFC 7671). Whether these are authentic is the caller's question.
//!
//! A certificate that matches a record of usage DANE-EE is good whatever its names and its time; one of usage DANE-TA has signed the
//! server's, perhaps through others, for one of the names. Other usages count for nothing (RFC 7672 3.1.3), and of digests of one usage and
//! selector only those of the strongest algorithm do (RFC 7671 9).

use aws_lc_rs::digest::{SHA256, SHA512, digest};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::certificate::CertificateFacts;

const TRUST_ANCHOR: u8 = 2;
const END_ENTITY: u8 = 3;
const CERTIFICATE: u8 = 0;
const PUBLIC_KEY: u8 = 1;
const FULL: u8 = 0;
const SHA_256: u8 = 1;
const SHA_512: u8 = 2;

/// A TLSA record (RFC 6698 2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Association {
    /// Certificate usage.
    pub usage: u8,
    /// Which part of a certificate is matched.
    pub selector: u8,
    /// How it is matched.
    pub matching: u8,
    /// What it has to be.
    pub octets: Vec<u8>,
}

impl From<(u8, u8, u8, Vec<u8>)> for Association {
    fn from((usage, selector, matching, octets): (u8, u8, u8, Vec<u8>)) -> Self {
        Self { usage, selector, matching, octets }
    }
}

impl Association {
    /// Whether a server can be authenticated by it.
    fn is_usable(&self) -> bool {
        let fits = match self.matching {
            FULL => !self.octets.is_empty(),
            SHA_256 => self.octets.len() == 32,
            SHA_512 => self.octets.len() == 64,
            _ => false,
        };
        fits && matches!(self.usage, TRUST_ANCHOR | END_ENTITY) && matches!(self.selector, CERTIFICATE | PUBLIC_KEY)
    }

    fn matches(&self, certificate: &[u8]) -> bool {
        let facts;
        let selected = if self.selector == CERTIFICATE {
            certificate
        } else {
            let Some(found) = CertificateFacts::read(certificate) else { return false };
            facts = found;
            &facts.public_key
        };
        match self.matching {
            SHA_256 => digest(&SHA256, selected).as_ref() == self.octets,
            SHA_512 => digest(&SHA512, selected).as_ref() == self.octets,
            _ => selected == self.octets,
        }
    }
}

/// The servers that match one of the records.
#[derive(Debug)]
pub struct AssociatedServers {
    records: Vec<Association>,
    /// Without any, the host that is asked for.
    names: Vec<String>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl AssociatedServers {
    /// By the usable ones of these records: without any, no server is taken.
    pub fn new(records: &[Association], names: &[String], provider: &CryptoProvider) -> Self {
        let usable: Vec<_> = records.iter().filter(|record| record.is_usable()).collect();
        let is_weaker = |record: &Association| {
            let stronger = |other: &&&Association| {
                (other.usage, other.selector, other.matching) == (record.usage, record.selector, SHA_512)
            };
            record.matching == SHA_256 && usable.iter().any(|other| stronger(&other))
        };
        let records = usable.iter().filter(|record| !is_weaker(record)).map(|&record| record.clone()).collect();
        Self { records, names: names.to_vec(), algorithms: provider.signature_verification_algorithms }
    }

    fn of(&self, usage: u8) -> impl Iterator<Item = &Association> {
        self.records.iter().filter(move |record| record.usage == usage)
    }

    /// The certificates of CAs that a record matches: of those the server shows, and those that records have in full.
    fn anchors<'a>(&'a self, shown: &'a [CertificateDer<'a>]) -> impl Iterator<Item = CertificateDer<'a>> {
        let matched = shown.iter().filter(|shown| self.of(TRUST_ANCHOR).any(|record| record.matches(shown)));
        let full = self.of(TRUST_ANCHOR).filter(|record| (record.selector, record.matching) == (CERTIFICATE, FULL));
        let given = full.map(|record| CertificateDer::from(record.octets.as_slice()));
        matched.map(|shown| CertificateDer::from(shown.as_ref())).chain(given)
    }

    /// Chain, time and name under one CA.
    fn judge(
        &self,
        anchor: CertificateDer<'_>,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let facts = CertificateFacts::read(&anchor).ok_or(CertificateError::BadEncoding)?;
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if seconds > facts.not_after {
            return Err(CertificateError::Expired.into());
        }
        let mut roots = RootCertStore::empty();
        roots.add(anchor)?;
        let parsed = ParsedCertificate::try_from(leaf)?;
        verify_server_cert_signed_by_trust_anchor(&parsed, &roots, intermediates, now, self.algorithms.all)?;
        let facts = CertificateFacts::read(leaf).ok_or(CertificateError::BadEncoding)?;
        let covered = match self.names.as_slice() {
            [] => facts.covers(&host.to_str()),
            names => names.iter().any(|name| facts.covers(name)),
        };
        if covered { Ok(()) } else { Err(CertificateError::NotValidForName.into()) }
    }
}

impl ServerCertVerifier for AssociatedServers {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.of(END_ENTITY).any(|record| record.matches(leaf)) {
            return Ok(ServerCertVerified::assertion());
        }
        let unmatched = Err(CertificateError::ApplicationVerificationFailure.into());
        let judged = self
            .anchors(intermediates)
            .fold(unmatched, |judged, anchor| judged.or_else(|_| self.judge(anchor, leaf, intermediates, host, now)));
        judged.map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::certificate::Identity;
    use super::super::fault::Why;
    use super::super::provider;
    use super::super::tests::{HOST, NOW, authority};
    use super::*;

    fn chain(identity: &Identity) -> (CertificateDer<'_>, Vec<CertificateDer<'_>>) {
        let (leaf, others) = identity.certified_key().cert.split_first().unwrap();
        (leaf.clone(), others.to_vec())
    }

    fn public_key(certificate: &[u8]) -> Vec<u8> {
        CertificateFacts::read(certificate).unwrap().public_key
    }

    fn association(usage: u8, selector: u8, matching: u8, certificate: &[u8]) -> Association {
        let selected = if selector == 0 { certificate.to_vec() } else { public_key(certificate) };
        let octets = match matching {
            0 => selected,
            1 => digest(&SHA256, &selected).as_ref().to_vec(),
            _ => digest(&SHA512, &selected).as_ref().to_vec(),
        };
        Association { usage, selector, matching, octets }
    }

    /// What becomes of a server that shows this chain at this time.
    fn judged_at(
        records: &[Association],
        names: &[&str],
        identity: &Identity,
        shown: usize,
        seconds: u64,
    ) -> Result<(), Why> {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let (leaf, mut others) = chain(identity);
        others.truncate(shown);
        let judge = AssociatedServers::new(records, &names, &provider());
        let host = ServerName::try_from(HOST).unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let judged = judge.verify_server_cert(&leaf, &others, &host, &[], now);
        judged.map(|_| ()).map_err(|error| Why::from(&error))
    }

    fn judged(records: &[Association], names: &[&str], identity: &Identity) -> Result<(), Why> {
        judged_at(records, names, identity, 9, NOW)
    }

    const LATE: u64 = 1 << 40;

    #[test]
    fn a_server_is_taken_by_its_own_certificate_or_key_whatever_its_name_and_time() {
        for identity in [&authority().ecdsa, &authority().rsa, &authority().stray] {
            let (leaf, _) = chain(identity);
            for (selector, matching) in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)] {
                let records = [association(3, selector, matching, &leaf)];
                assert_eq!(
                    judged_at(&records, &["elsewhere.test"], identity, 9, LATE),
                    Ok(()),
                    "{selector} {matching}"
                );
            }
        }
    }

    #[test]
    fn another_certificate_is_not_taken() {
        let (stray, _) = chain(&authority().stray);
        for (usage, selector, matching) in [(3, 0, 0), (3, 1, 1), (3, 0, 2), (2, 0, 1), (2, 1, 2), (2, 0, 0)] {
            let records = [association(usage, selector, matching, &stray)];
            let why = judged(&records, &[], &authority().ecdsa).unwrap_err();
            let full_anchor = (usage, selector, matching) == (2, 0, 0);
            assert_eq!(why, if full_anchor { Why::UnknownIssuer } else { Why::Association });
        }
    }

    #[test]
    fn a_ca_is_taken_for_one_of_the_names_while_both_certificates_last() {
        let identity = &authority().ecdsa;
        let (_, others) = chain(identity);
        for (selector, matching) in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)] {
            let records = [association(2, selector, matching, &others[0])];
            assert_eq!(judged(&records, &[], identity), Ok(()));
            assert_eq!(judged(&records, &["example.test", HOST], identity), Ok(()));
            assert_eq!(judged(&records, &["example.test"], identity), Err(Why::Name));
            assert_eq!(judged_at(&records, &[HOST], identity, 9, LATE), Err(Why::Expired));
        }
        let other = [association(2, 0, 1, &others[0])];
        assert_eq!(judged(&other, &["mx.other.test"], &authority().other), Ok(()));
        assert_eq!(judged(&other, &["a.mx.other.test"], &authority().other), Err(Why::Name));
    }

    #[test]
    fn a_ca_that_is_not_shown_is_taken_from_a_record_that_has_all_of_it() {
        let identity = &authority().ecdsa;
        let (_, others) = chain(identity);
        assert_eq!(judged_at(&[association(2, 0, 0, &others[0])], &[], identity, 0, NOW), Ok(()));
        assert_eq!(judged_at(&[association(2, 0, 1, &others[0])], &[], identity, 0, NOW), Err(Why::Association));
    }

    #[test]
    fn a_servers_own_certificate_is_no_ca() {
        let (leaf, _) = chain(&authority().ecdsa);
        assert_eq!(judged(&[association(2, 0, 1, &leaf)], &[HOST], &authority().ecdsa), Err(Why::Association));
    }

    #[test]
    fn records_that_cannot_be_used_count_for_nothing() {
        let (leaf, others) = chain(&authority().ecdsa);
        let odd = [
            association(0, 0, 1, &others[0]),
            association(1, 1, 1, &leaf),
            association(4, 0, 1, &leaf),
            association(3, 2, 1, &leaf),
            Association { matching: 3, ..association(3, 0, 1, &leaf) },
            Association { matching: 2, ..association(3, 0, 1, &leaf) },
            Association { octets: Vec::new(), ..association(3, 0, 0, &leaf) },
        ];
        assert_eq!(judged(&odd, &[HOST], &authority().ecdsa), Err(Why::Association));
        let good = [&odd[..], &[association(3, 1, 1, &leaf)]].concat();
        assert_eq!(judged(&good, &[HOST], &authority().ecdsa), Ok(()));
    }

    #[test]
    fn a_weak_digest_counts_for_nothing_beside_a_strong_one() {
        let (leaf, _) = chain(&authority().ecdsa);
        let (stray, _) = chain(&authority().stray);
        let strong = association(3, 1, 2, &stray);
        let identity = &authority().ecdsa;
        assert_eq!(judged(&[association(3, 1, 1, &leaf), strong.clone()], &[], identity), Err(Why::Association));
        assert_eq!(judged(&[association(3, 0, 1, &leaf), strong.clone()], &[], identity), Ok(()));
        assert_eq!(judged(&[association(3, 1, 0, &leaf), strong], &[], identity), Ok(()));
    }

    proptest! {
        #[test]
        fn no_octets_make_it_panic_or_match(
            records in prop::collection::vec((2_u8..4, 0_u8..2, 0_u8..3, prop::collection::vec(any::<u8>(), 0..70)), 0..5),
        ) {
            let records: Vec<_> = records.into_iter().map(Association::from).collect();
            prop_assert!(judged(&records, &[HOST], &authority().ecdsa).is_err());
        }
    }
}
