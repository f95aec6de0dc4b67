//! What the next hop said in its reply to EHLO or LHLO.

use super::Client;
use super::attributes::Attributes;
use super::limits::Limits;
use super::reply::Reply;
use crate::machine::smtp::chunking::Chunking;

/// Whether it can be given what requires TLS (RFC 8689 4.2.1).
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum RequireTls {
    /// No: what it says may be somebody else's words.
    #[default]
    Unverified,
    /// No: its certificate is verified, and it does not offer REQUIRETLS.
    NotOffered,
    /// Yes.
    Offered,
}

/// The extensions that it offers.
#[allow(clippy::struct_excessive_bools)] // one for each keyword
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Offers {
    /// RFC 2920.
    pub pipelining: bool,
    /// RFC 6152.
    pub eight_bit: bool,
    /// RFC 6531.
    pub smtputf8: bool,
    /// RFC 3207.
    pub start_tls: bool,
    /// RFC 3030.
    pub chunking: Chunking,
    /// RFC 1870; the limit is 0 when none is given.
    pub size: Option<u64>,
    /// What it takes with XCLIENT.
    pub xclient: Attributes,
    /// What it takes with XFORWARD.
    pub xforward: Attributes,
    /// RFC 3461.
    pub dsn: bool,
    /// RFC 8689.
    pub require_tls: RequireTls,
    /// RFC 9422.
    pub limits: Limits,
}

impl Client {
    /// The same connection, which sends content by DATA whatever is offered: some servers break off in BDAT.
    #[must_use]
    pub fn without_chunks(self) -> Self {
        Self { chunking: Chunking::Off, ..self }
    }
}

impl Offers {
    /// Reads the keywords after the greeting line, of a host whose certificate is `verified` or not.
    pub fn read(reply: &Reply, verified: bool) -> Self {
        let (mut offers, mut binary) = (Self::default(), false);
        if verified {
            offers.require_tls = RequireTls::NotOffered;
        }
        for line in reply.texts().skip(1) {
            let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
            match words.next().unwrap_or_default().to_ascii_uppercase().as_slice() {
                b"PIPELINING" => offers.pipelining = true,
                b"8BITMIME" => offers.eight_bit = true,
                b"SMTPUTF8" => offers.smtputf8 = true,
                b"STARTTLS" => offers.start_tls = true,
                b"DSN" => offers.dsn = true,
                b"REQUIRETLS" if verified => offers.require_tls = RequireTls::Offered,
                b"LIMITS" => offers.limits = Limits::read(words),
                b"CHUNKING" => offers.chunking = Chunking::Text,
                b"BINARYMIME" => binary = true,
                b"SIZE" => {
                    let limit = words.next().and_then(|word| std::str::from_utf8(word).ok()?.parse().ok());
                    offers.size = Some(limit.unwrap_or(0));
                }
                b"XCLIENT" => offers.xclient = Attributes::read(words),
                b"XFORWARD" => offers.xforward = Attributes::read(words),
                _ => {}
            }
        }
        if binary && offers.chunking == Chunking::Text {
            offers.chunking = Chunking::Binary;
        }
        offers
    }
}
