//! What all TLS connections of a listener share: certificate chains, the choice between them, and the rules for clients.
//!
//! The first chain is the default: it serves a client that names no server or an unknown one, which is never an error (RFC 6066 3 allows
//! to go on). A name may have several chains, ECDSA beside RSA; the client gets ECDSA when it can verify that.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{CipherSuite, ServerConfig, SignatureAlgorithm};

use super::certificate::Identity;
use super::clock::Clock;
use super::fault::Why;
use super::tickets::{TicketSecret, Tickets};
use super::{Unusable, Version, provider, verifiers};

/// Octets of a handshake: no client's first message is longer in good faith. rustls reads 4 KiB at a time into a buffer whose room
/// doubles: up to here it has 16 KiB, and one octet more would double it.
const HANDSHAKE: usize = 12 * 1024;
/// The same where clients may send certificates: 32 KiB of room.
const HANDSHAKE_WITH_CERTIFICATES: usize = 28 * 1024;

/// What is done about certificates of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificates {
    /// None is asked for.
    Off,
    /// Any is taken, and judged for the record.
    Record,
    /// One that cannot be verified ends the handshake; none is allowed.
    Verify,
    /// One that can be verified is needed.
    Require,
}

impl ClientCertificates {
    /// By its name, as settings write it.
    pub fn named(name: &str) -> Result<Self, Unusable> {
        match name {
            "off" => Ok(Self::Off),
            "record" => Ok(Self::Record),
            "verify" => Ok(Self::Verify),
            "require" => Ok(Self::Require),
            other => Err(Unusable(format!("client certificates are off, record, verify or require, not {other}"))),
        }
    }
}

/// The rules of a listener.
#[derive(Debug)]
pub struct ServerRules<'a> {
    /// The oldest protocol version.
    pub minimum: Version,
    /// What is done about certificates of clients.
    pub client_certificates: ClientCertificates,
    /// PEM of the CAs for these; may be empty for `Off` and `Record`.
    pub client_ca: &'a [u8],
    /// Session tickets for each full handshake; 0: no resumption.
    pub tickets: usize,
    /// Whose keys seal them.
    pub ticket_secret: TicketSecret,
}

/// See the module.
#[derive(Debug)]
pub struct TlsServer {
    chains: Vec<Chain>,
    clock: Arc<Clock>,
    /// Judges what was taken unjudged.
    judge: Option<Arc<dyn ClientCertVerifier>>,
    client_certificates: ClientCertificates,
}

/// One certificate chain, ready to be served.
#[derive(Debug)]
pub(super) struct Chain {
    identity: Arc<Identity>,
    pub(super) config: Arc<ServerConfig>,
    pub(super) end_point: Arc<[u8]>,
}

impl TlsServer {
    /// With these chains, of which there must be one.
    pub fn new(identities: &[Arc<Identity>], clock: Arc<Clock>, rules: &ServerRules<'_>) -> Result<Self, Unusable> {
        if identities.is_empty() {
            return Err(Unusable("there is no certificate".into()));
        }
        let provider = provider();
        let judge = match rules.client_certificates {
            ClientCertificates::Record if !rules.client_ca.is_empty() => {
                Some(verifiers::of_clients(rules.client_ca, false, &provider)?)
            }
            _ => None,
        };
        let verifier: Arc<dyn ClientCertVerifier> = match rules.client_certificates {
            ClientCertificates::Off => WebPkiClientVerifier::no_client_auth(),
            ClientCertificates::Record => Arc::new(verifiers::AnyClient(provider.signature_verification_algorithms)),
            ClientCertificates::Verify => verifiers::of_clients(rules.client_ca, false, &provider)?,
            ClientCertificates::Require => verifiers::of_clients(rules.client_ca, true, &provider)?,
        };
        // A resumed session would keep an identity that is checked no more.
        let resumes = rules.tickets > 0 && rules.client_certificates == ClientCertificates::Off;
        let policy: &[u8] = if rules.minimum == Version::Tls13 { b"1.3" } else { b"1.2" };
        let tickets = resumes.then(|| Arc::new(Tickets::new(Arc::clone(&clock), &rules.ticket_secret, policy)));
        let chain = |identity: &Arc<Identity>| {
            let builder = ServerConfig::builder_with_details(Arc::clone(&provider), Arc::clone(&clock) as _)
                .with_protocol_versions(&Version::range(rules.minimum, Version::Tls13))?
                .with_client_cert_verifier(Arc::clone(&verifier));
            let key = SingleCertAndKey::from(Arc::clone(identity.certified_key()));
            let mut config = builder.with_cert_resolver(Arc::new(key));
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = if resumes { rules.tickets } else { 0 };
            if let Some(tickets) = &tickets {
                config.ticketer = Arc::clone(tickets) as _;
            }
            let end_point = Arc::from(identity.end_point());
            Ok(Chain { identity: Arc::clone(identity), config: Arc::new(config), end_point })
        };
        let chains = identities.iter().map(chain).collect::<Result<_, rustls::Error>>()?;
        Ok(Self { chains, clock, judge, client_certificates: rules.client_certificates })
    }

    /// The chain for this client.
    pub(super) fn choose(&self, hello: &ClientHello<'_>) -> Option<&Chain> {
        let first = self.chains.first()?;
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let name = name.as_deref().filter(|name| self.chains.iter().any(|chain| chain.identity.covers(name)));
        let serves = |chain: &&Chain| match name {
            Some(name) => chain.identity.covers(name),
            None => std::ptr::eq(*chain, first) || chain.identity.facts().names == first.identity.facts().names,
        };
        let mut fitting = self.chains.iter().filter(serves).filter(|chain| chain.suits(hello));
        let preferred = fitting.clone().find(|chain| chain.identity.is_ecdsa());
        preferred.or_else(|| fitting.next()).or_else(|| self.chains.iter().find(serves))
    }

    /// Octets that a client may send before its handshake is done.
    pub(super) fn handshake_limit(&self) -> usize {
        if self.client_certificates == ClientCertificates::Off { HANDSHAKE } else { HANDSHAKE_WITH_CERTIFICATES }
    }

    /// The verdict on the certificate of a client whose handshake is done.
    pub(super) fn verdict(&self, chain: &[CertificateDer<'_>]) -> Option<Result<(), Why>> {
        let (leaf, intermediates) = chain.split_first()?;
        Some(match (self.client_certificates, &self.judge) {
            (ClientCertificates::Off, _) => return None,
            (ClientCertificates::Verify | ClientCertificates::Require, _) => Ok(()),
            (ClientCertificates::Record, None) => Err(Why::NoAuthority),
            (ClientCertificates::Record, Some(judge)) => {
                let judged = judge.verify_client_cert(leaf, intermediates, self.clock.time());
                judged.map(|_| ()).map_err(|error| Why::from(&error))
            }
        })
    }
}

impl Chain {
    /// The client can take this chain: it verifies such signatures, and has a suite for them.
    fn suits(&self, hello: &ClientHello<'_>) -> bool {
        let key = &self.identity.certified_key().key;
        let of_key = |suite: &&CipherSuite| match key.algorithm() {
            SignatureAlgorithm::RSA => ECDHE_RSA.contains(suite),
            _ => ECDHE_ECDSA.contains(suite),
        };
        let suites = hello.cipher_suites();
        key.choose_scheme(hello.signature_schemes()).is_some()
            && suites.iter().any(|suite| TLS13.contains(suite) || of_key(&suite))
    }
}

const TLS13: [CipherSuite; 3] = [
    CipherSuite::TLS13_AES_128_GCM_SHA256,
    CipherSuite::TLS13_AES_256_GCM_SHA384,
    CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
];
const ECDHE_ECDSA: [CipherSuite; 3] = [
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
];
const ECDHE_RSA: [CipherSuite; 3] = [
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];
