//! Why a TLS connection cannot be continued, in words that a log and a metric can have.

use std::fmt;

use rustls::{CertificateError, Error, InvalidMessage, PeerIncompatible};

/// Why a connection ended; `Display` gives the words for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// What the two sides can do has no part in common.
    NothingInCommon(What),
    /// The peer ended it with this alert (RFC 8446 6).
    PeerAlert(u8),
    /// The peer's certificate is not what was asked for.
    Unverified(Why),
    /// A message or the whole handshake is over its limit.
    TooLong,
    /// The octets are no TLS, or the peer broke the protocol.
    Garbled,
}

/// What is missing in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The protocol version.
    Version,
    /// The cipher suite. A client of TLS 1.1 or before has none in common.
    Suite,
    /// The group of the key exchange.
    Group,
    /// The signature scheme.
    Signature,
}

/// Why a certificate was not verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// There is no certificate.
    Missing,
    /// No CA is set against which it could be verified.
    NoAuthority,
    /// It does not lead to a known CA.
    UnknownIssuer,
    /// Its time is over.
    Expired,
    /// Its time has not begun.
    NotYet,
    /// It is for other names.
    Name,
    /// It matches no TLSA record.
    Association,
    /// It is good for a name that nobody vouches for.
    InsecureName,
    /// It is not for this side of a connection.
    Purpose,
    /// It was revoked.
    Revoked,
    /// A signature is wrong, or is of a kind that is not taken.
    Signature,
    /// It cannot be read.
    Unreadable,
    /// Something else.
    Other,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingInCommon(what) => write!(f, "no {what} in common"),
            Self::PeerAlert(number) => write!(f, "alert {number} {}", alert(*number)),
            Self::Unverified(why) => write!(f, "certificate not verified: {why}"),
            Self::TooLong => f.write_str("too long"),
            Self::Garbled => f.write_str("not TLS, or garbled"),
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Version => "version",
            Self::Suite => "suite",
            Self::Group => "group",
            Self::Signature => "signature scheme",
        })
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "no certificate",
            Self::NoAuthority => "no CA is set",
            Self::UnknownIssuer => "unknown issuer",
            Self::Expired => "expired",
            Self::NotYet => "not valid yet",
            Self::Name => "not for this name",
            Self::Association => "matches no TLSA record",
            Self::InsecureName => "for a name that is not authentic",
            Self::Purpose => "not for this purpose",
            Self::Revoked => "revoked",
            Self::Signature => "bad signature",
            Self::Unreadable => "unreadable",
            Self::Other => "not acceptable",
        })
    }
}

impl From<&Error> for Fault {
    fn from(error: &Error) -> Self {
        match error {
            Error::PeerIncompatible(incompatible) => Self::NothingInCommon(incompatible.into()),
            Error::AlertReceived(description) => Self::PeerAlert(u8::from(*description)),
            Error::InvalidCertificate(error) => Self::Unverified(error.into()),
            Error::NoCertificatesPresented => Self::Unverified(Why::Missing),
            Error::PeerSentOversizedRecord
            | Error::InvalidMessage(
                InvalidMessage::MessageTooLarge
                | InvalidMessage::HandshakePayloadTooLarge
                | InvalidMessage::CertificatePayloadTooLarge,
            ) => Self::TooLong,
            _ => Self::Garbled,
        }
    }
}

impl From<&PeerIncompatible> for What {
    fn from(incompatible: &PeerIncompatible) -> Self {
        match incompatible {
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled => Self::Version,
            PeerIncompatible::NoKxGroupsInCommon
            | PeerIncompatible::NoEcPointFormatsInCommon
            | PeerIncompatible::EcPointsExtensionRequired
            | PeerIncompatible::KeyShareExtensionRequired
            | PeerIncompatible::NamedGroupsExtensionRequired
            | PeerIncompatible::UncompressedEcPointsRequired => Self::Group,
            PeerIncompatible::NoSignatureSchemesInCommon
            | PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon
            | PeerIncompatible::SignatureAlgorithmsExtensionRequired => Self::Signature,
            _ => Self::Suite,
        }
    }
}

impl From<&CertificateError> for Why {
    fn from(error: &CertificateError) -> Self {
        match error {
            CertificateError::UnknownIssuer => Self::UnknownIssuer,
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYet,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Self::Name,
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => Self::Purpose,
            CertificateError::ApplicationVerificationFailure => Self::Association,
            CertificateError::Revoked => Self::Revoked,
            CertificateError::BadSignature
            | CertificateError::UnsupportedSignatureAlgorithmContext { .. }
            | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => Self::Signature,
            CertificateError::BadEncoding | CertificateError::UnhandledCriticalExtension => Self::Unreadable,
            _ => Self::Other,
        }
    }
}

impl From<&Error> for Why {
    fn from(error: &Error) -> Self {
        match error {
            Error::InvalidCertificate(error) => error.into(),
            _ => Self::Unreadable,
        }
    }
}

/// The name of an alert in the registry (RFC 8446 6); for one that is not there, `unknown`.
fn alert(number: u8) -> &'static str {
    match number {
        0 => "close_notify",
        10 => "unexpected_message",
        20 => "bad_record_mac",
        21 => "decryption_failed",
        22 => "record_overflow",
        30 => "decompression_failure",
        40 => "handshake_failure",
        41 => "no_certificate",
        42 => "bad_certificate",
        43 => "unsupported_certificate",
        44 => "certificate_revoked",
        45 => "certificate_expired",
        46 => "certificate_unknown",
        47 => "illegal_parameter",
        48 => "unknown_ca",
        49 => "access_denied",
        50 => "decode_error",
        51 => "decrypt_error",
        60 => "export_restriction",
        70 => "protocol_version",
        71 => "insufficient_security",
        80 => "internal_error",
        86 => "inappropriate_fallback",
        90 => "user_canceled",
        100 => "no_renegotiation",
        109 => "missing_extension",
        110 => "unsupported_extension",
        111 => "certificate_unobtainable",
        112 => "unrecognized_name",
        113 => "bad_certificate_status_response",
        114 => "bad_certificate_hash_value",
        115 => "unknown_psk_identity",
        116 => "certificate_required",
        120 => "no_application_protocol",
        _ => "unknown",
    }
}
