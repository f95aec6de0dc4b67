//! What is known of a connection once its handshake is done.

use std::sync::Arc;

use rustls::{CipherSuite, CommonState, HandshakeKind, ProtocolVersion};

use super::certificate::CertificateFacts;
use super::fault::Why;

/// Octets of `tls-exporter` (RFC 9266 3).
pub const EXPORTER: usize = 32;

/// Facts of a connection.
#[derive(Debug)]
pub struct Facts {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// By its name in the registry of IANA.
    pub cipher_suite: &'static str,
    /// Of the key exchange, by its name in the registry; empty where there was none.
    pub group: &'static str,
    /// What the client asked for (SNI); empty when it did not.
    pub server_name: Box<str>,
    /// The session was resumed.
    pub resumed: bool,
    /// What the peer's certificate says.
    pub peer: Option<Box<CertificateFacts>>,
    /// The verdict on the peer's certificate; None when there is none, or nobody asked.
    pub verdict: Option<Result<(), Why>>,
    /// Channel binding `tls-exporter` (RFC 9266); None before TLS 1.3, where it is not unique (RFC 9266 4.2).
    pub exporter: Option<[u8; EXPORTER]>,
    /// Channel binding `tls-server-end-point` (RFC 5929 4.1).
    pub end_point: Arc<[u8]>,
}

impl Facts {
    /// What the two sides have agreed on.
    pub(super) fn agreed(state: &CommonState) -> Self {
        Self {
            version: match state.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
                _ => "TLSv1.2",
            },
            cipher_suite: state.negotiated_cipher_suite().map_or("", |suite| registered(suite.suite())),
            group: state.negotiated_key_exchange_group().and_then(|group| group.name().as_str()).unwrap_or_default(),
            server_name: "".into(),
            resumed: state.handshake_kind() == Some(HandshakeKind::Resumed),
            peer: None,
            verdict: None,
            exporter: None,
            end_point: Arc::from([]),
        }
    }

    /// The peer's certificate was verified.
    pub fn verified(&self) -> bool {
        self.verdict == Some(Ok(()))
    }
}

/// The name of a suite in the registry; rustls writes those of TLS 1.3 otherwise.
fn registered(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or_default(),
    }
}
