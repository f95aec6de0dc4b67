//! How the certificates of servers are judged where that is asked for: chain, time and name.
//!
//! A certificate that is itself in the file of CAs is good for its names as long as its time lasts, also where it says that it is a CA's:
//! most programs make self-signed certificates so.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

use super::certificate::CertificateFacts;
use super::{Unusable, verifiers};

/// The servers that are taken for one of their names.
#[derive(Debug)]
pub struct NamedServers {
    judge: Arc<WebPkiServerVerifier>,
    /// The certificates of the file, which need no chain.
    listed: Vec<CertificateDer<'static>>,
    /// Without any, the host that is asked for.
    names: Vec<ServerName<'static>>,
}

impl NamedServers {
    /// Of the certificates in a file of CAs, and of those that they have signed.
    pub fn new(pem: &[u8], names: &[String], provider: &Arc<CryptoProvider>) -> Result<Self, Unusable> {
        let builder = WebPkiServerVerifier::builder_with_provider(verifiers::roots(pem)?, Arc::clone(provider));
        let judge = builder.build().map_err(|error| Unusable(format!("the CA cannot be used: {error}")))?;
        let read = |name: &String| ServerName::try_from(name.clone());
        let names: Result<Vec<_>, _> = names.iter().map(read).collect();
        let names = names.map_err(|_| Unusable("what is no host name cannot be verified".into()))?;
        let listed = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).collect();
        Ok(Self { judge, listed, names })
    }

    /// Time and name of a certificate that is in the file.
    fn judge_listed(
        leaf: &CertificateDer<'_>,
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let facts = CertificateFacts::read(leaf).ok_or(CertificateError::BadEncoding)?;
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if now < facts.not_before {
            return Err(CertificateError::NotValidYet.into());
        }
        if now > facts.not_after {
            return Err(CertificateError::Expired.into());
        }
        verify_server_name(&ParsedCertificate::try_from(leaf)?, name)?;
        Ok(ServerCertVerified::assertion())
    }
}

impl ServerCertVerifier for NamedServers {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let is_listed = self.listed.contains(leaf);
        let judge = |name: &ServerName<'_>| {
            if is_listed {
                return Self::judge_listed(leaf, name, now);
            }
            self.judge.verify_server_cert(leaf, intermediates, name, ocsp, now)
        };
        let Some((first, others)) = self.names.split_first() else { return judge(host) };
        others.iter().fold(judge(first), |judged, name| judged.or_else(|_| judge(name)))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.judge.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.judge.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.judge.supported_verify_schemes()
    }
}
