//! TLS between a socket and a machine: ciphertext in, plaintext and ciphertext out. No socket, no clock, no policy.
//!
//! [`TlsLayer`] is one connection, of a server or of a client. [`TlsServer`] is what all connections of a listener share,
//! [`TlsClient`] a policy of the sending side; both are replaced whole, never changed. TLS 1.2 and 1.3 alone (RFC 8996), without
//! early data, renegotiation and compression (RFC 9325 3.3, 4). A connection that cannot be continued is a [`Fault`], a value; the alert for
//! the peer is in the output then. Secrets are in no error, no log and no debug output.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;

pub mod certificate;
mod client;
mod clock;
mod connection;
mod dane;
mod facts;
mod fault;
mod named_servers;
mod server;
#[cfg(test)]
pub(super) mod tests;
mod tickets;
mod verifiers;

pub use client::{ClientRules, TlsClient};
pub use clock::Clock;
pub use connection::{Progress, TlsLayer};
pub use dane::Association;
pub use facts::Facts;
pub use fault::{Fault, What, Why};
pub use server::{ClientCertificates, ServerRules, TlsServer};
pub use tickets::{TicketSecret, Tickets};

/// A protocol version that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

impl Version {
    /// By its number, as settings write it.
    pub fn numbered(number: &str) -> Result<Self, Unusable> {
        match number {
            "1.2" => Ok(Self::Tls12),
            "1.3" => Ok(Self::Tls13),
            other => Err(Unusable(format!("the TLS version is 1.2 or 1.3, not {other}"))),
        }
    }

    /// All from `minimum` to `maximum`, the preferred one first.
    fn range(minimum: Self, maximum: Self) -> Vec<&'static rustls::SupportedProtocolVersion> {
        let known = [(Self::Tls13, &rustls::version::TLS13), (Self::Tls12, &rustls::version::TLS12)];
        known.into_iter().filter(|(version, _)| (minimum..=maximum).contains(version)).map(|(_, known)| known).collect()
    }
}

/// Why a server or a client cannot be set up; a plain sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable(pub String);

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<rustls::Error> for Unusable {
    fn from(error: rustls::Error) -> Self {
        Self(format!("TLS cannot be set up: {error}"))
    }
}

/// The cryptography, always passed on: no default of the process is installed or used.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
