//! A TLS policy of the sending side, which all connections to the destinations under it share.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::SingleCertAndKey;

use super::certificate::Identity;
use super::clock::Clock;
use super::dane::{AssociatedServers, Association};
use super::fault::Why;
use super::named_servers::NamedServers;
use super::{Unusable, Version, provider, verifiers};

/// Octets of a handshake, the certificates of the server among them.
pub(super) const HANDSHAKE: usize = 96 * 1024;
/// Session tickets kept: of the 32 hosts last met, eight each.
const TICKETS: usize = 256;

/// What is asked of the servers under a policy.
#[derive(Debug)]
pub struct ClientRules<'a> {
    /// A server whose certificate cannot be verified, chain and name, ends the handshake.
    pub verify: bool,
    /// TLSA records by which it is verified, instead of by CAs; none: by CAs.
    pub tlsa: &'a [Association],
    /// The names, or the host, are known to be those of who gets the messages; otherwise a server that is verified for them does not count as
    /// verified: an attacker may have named it (RFC 7672 2.2.1).
    pub authentic: bool,
    /// Names of which the certificate must have one; none: the host that is asked for.
    pub names: &'a [String],
    /// PEM of the CAs; without `verify` they may be missing, and serve the record alone.
    pub ca: &'a [u8],
    /// Shown to a server that asks for a certificate.
    pub identity: Option<Arc<Identity>>,
    /// The oldest protocol version.
    pub minimum: Version,
    /// The newest.
    pub maximum: Version,
}

/// See the module.
#[derive(Debug)]
pub struct TlsClient {
    pub(super) config: Arc<ClientConfig>,
    clock: Arc<Clock>,
    verify: bool,
    authentic: bool,
    judge: Option<Arc<NamedServers>>,
}

impl TlsClient {
    /// A policy.
    pub fn new(clock: Arc<Clock>, asked: &ClientRules<'_>) -> Result<Self, Unusable> {
        let provider = provider();
        let by_tlsa = asked.verify && !asked.tlsa.is_empty();
        let judge = if !by_tlsa && (asked.verify || !asked.ca.is_empty()) {
            Some(Arc::new(NamedServers::new(asked.ca, asked.names, &provider)?))
        } else {
            None
        };
        let verifier: Arc<dyn ServerCertVerifier> = match &judge {
            Some(judge) if asked.verify => Arc::clone(judge) as _,
            _ if by_tlsa => Arc::new(AssociatedServers::new(asked.tlsa, asked.names, &provider)),
            _ => Arc::new(verifiers::AnyServer(provider.signature_verification_algorithms)),
        };
        let builder = ClientConfig::builder_with_details(provider, Arc::clone(&clock) as _)
            .with_protocol_versions(&Version::range(asked.minimum, asked.maximum))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match &asked.identity {
            Some(identity) => {
                let key = SingleCertAndKey::from(Arc::clone(identity.certified_key()));
                builder.with_client_cert_resolver(Arc::new(key))
            }
            None => builder.with_no_client_auth(),
        };
        // A resumed session is not judged again, and the records may have changed since.
        config.resumption = if by_tlsa { Resumption::disabled() } else { Resumption::in_memory_sessions(TICKETS) };
        Ok(Self { config: Arc::new(config), clock, verify: asked.verify, authentic: asked.authentic, judge })
    }

    /// The verdict on a server whose handshake is done.
    pub(super) fn verdict(&self, chain: &[CertificateDer<'_>], host: &ServerName<'_>) -> Option<Result<(), Why>> {
        let (leaf, intermediates) = chain.split_first()?;
        match &self.judge {
            _ if self.verify => Some(if self.authentic { Ok(()) } else { Err(Why::InsecureName) }),
            None => None,
            Some(judge) => {
                let judged = judge.verify_server_cert(leaf, intermediates, host, &[], self.clock.time());
                Some(judged.map(|_| ()).map_err(|error| Why::from(&error)))
            }
        }
    }
}
