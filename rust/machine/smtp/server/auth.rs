//! Authentication of the client (RFC 4954): what is offered to it, the exchange that runs, and what came of it.
//!
//! Values and rules alone: the lines are read in `session/sasl`, the mechanisms run in the caller's backend. What a client says in
//! an exchange is a [`Secret`]: it is in no text that is printed, and overwritten when it is dropped.

use std::fmt;
use std::hint::black_box;

use crate::machine::base64;
use crate::machine::smtp::reply::{self, Reply};

/// Octets of a line of an exchange with its CRLF, the AUTH command with an initial response among them (RFC 4954 4).
pub const LINE: usize = 12_288;
/// Characters of the name of a mechanism (RFC 4422 3.1).
const NAME: usize = 20;
/// Mechanisms that show a password or what is as good as one: never in clear.
const SHOW_SECRETS: [&str; 4] = ["PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2"];
/// Others that clients ask for: the log may name them.
const OTHERS: [&str; 9] = [
    "CRAM-MD5",
    "DIGEST-MD5",
    "EXTERNAL",
    "GSSAPI",
    "NTLM",
    "SCRAM-SHA-1",
    "SCRAM-SHA-1-PLUS",
    "SCRAM-SHA-256",
    "SCRAM-SHA-256-PLUS",
];

/// What a client said, decoded.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// The octets.
    pub fn octets(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.fill(0);
        black_box(&self.0); // else nobody would read the zeros, and they need not be written
    }
}

/// One SASL exchange, at a point where the client has said something.
#[derive(Debug, PartialEq, Eq)]
pub struct Exchange {
    /// In capital letters; one that was offered.
    pub mechanism: Box<str>,
    /// None: AUTH came without an initial response, or a challenge is still to be answered.
    pub response: Option<Secret>,
    /// Nothing was said before.
    pub begins: bool,
}

/// By what a client is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Known {
    /// It is a stranger.
    #[default]
    Not,
    /// By something else than AUTH, such as a certificate.
    Otherwise,
    /// By AUTH, which cannot be said again (RFC 4954 4).
    ByAuth,
}

/// What a session knows of the client's authentication.
#[derive(Debug, Default)]
pub struct Authentication {
    /// Those that EHLO lists, a space between them; None where nobody can authenticate.
    pub mechanisms: Option<Box<str>>,
    /// Nothing is accepted from a client that has not authenticated (RFC 6409 4.3).
    pub required: bool,
    /// Whether the client is known, and by what.
    pub known: Known,
    /// Failures so far.
    pub failures: u32,
    /// An AUTH came to nothing: the next lines may be the rest of what its client wanted to say.
    pub failed_last: bool,
    /// The one that runs.
    pub exchange: Option<Box<Exchange>>,
}

impl Authentication {
    /// Whether EHLO lists mechanisms.
    pub fn is_offered(&self) -> bool {
        self.mechanisms.as_deref().is_some_and(|mechanisms| !mechanisms.is_empty())
    }

    /// Forgets what the client said: TLS is on, and nothing from before counts (RFC 3207 4.2).
    pub fn forget(&mut self) {
        (self.known, self.failed_last, self.exchange) = (Known::Not, false, None);
    }

    /// Whether the client has authenticated.
    pub fn is_done(&self) -> bool {
        self.known != Known::Not
    }

    /// Whether the client has to authenticate before it may go on.
    pub fn is_lacking(&self) -> bool {
        self.required && !self.is_done()
    }

    /// The reply to a client that has to authenticate; `secured`: TLS is on.
    pub fn required_reply(&self, secured: bool) -> Reply {
        let after_tls = !secured && self.mechanisms.is_some() && !self.is_offered();
        if after_tls { reply::TLS_FIRST } else { reply::AUTH_REQUIRED }
    }

    /// The exchange that an AUTH command with this argument begins, or the reply that refuses it; `secured`: TLS is on.
    pub fn begin(&self, argument: &[u8], secured: bool) -> Result<Exchange, Reply> {
        if self.known == Known::ByAuth {
            return Err(reply::AUTHENTICATED_BEFORE);
        }
        let (name, response) = split(argument);
        if name.is_empty() {
            return Err(reply::NO_ARGUMENT);
        }
        let Some(mechanism) = self.offered(name) else { return Err(self.unknown(name, secured)) };
        let response = match response {
            None => None,
            Some(b"=") => Some(Secret(Vec::new())),
            Some(text) => Some(read(text)?),
        };
        Ok(Exchange { mechanism: mechanism.into(), response, begins: true })
    }

    /// What the log may show of the argument of AUTH: the mechanism, unless it could be something else that stands in its place.
    pub fn shown<'m>(&'m self, argument: &[u8]) -> &'m str {
        let (name, _) = split(argument);
        let known = SHOW_SECRETS.iter().chain(&OTHERS).find(|known| name.eq_ignore_ascii_case(known.as_bytes()));
        known.copied().or_else(|| self.offered(name)).unwrap_or_default()
    }

    fn offered(&self, name: &[u8]) -> Option<&str> {
        let mechanisms = self.mechanisms.as_deref().unwrap_or_default();
        mechanisms.split_ascii_whitespace().find(|offered| name.eq_ignore_ascii_case(offered.as_bytes()))
    }

    /// Without TLS one that shows a secret is refused before the secret is read; the client may have sent it all the same.
    fn unknown(&self, name: &[u8], secured: bool) -> Reply {
        let shows_secrets = SHOW_SECRETS.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()));
        if !secured && (shows_secrets || !self.is_offered()) {
            reply::TLS_FOR_MECHANISM
        } else {
            reply::UNKNOWN_MECHANISM
        }
    }
}

/// A response as the line of an exchange has it.
pub fn read(text: &[u8]) -> Result<Secret, Reply> {
    base64::decode(text).map(Secret).ok_or(reply::BAD_BASE64)
}

/// Whether this can be listed: `sasl-mech` (RFC 4422 3.1).
pub fn is_mechanism(name: &str) -> bool {
    (1..=NAME).contains(&name.len())
        && name.bytes().all(|octet| matches!(octet, b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_'))
}

/// Mechanism and initial response.
fn split(argument: &[u8]) -> (&[u8], Option<&[u8]>) {
    let Some(space) = memchr::memchr(b' ', argument) else { return (argument, None) };
    let (name, rest) = argument.split_at(space);
    (name, Some(rest.trim_ascii_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offering(mechanisms: &str) -> Authentication {
        Authentication { mechanisms: Some(mechanisms.into()), ..Authentication::default() }
    }

    fn begun(authentication: &Authentication, argument: &[u8]) -> Result<(String, Option<Vec<u8>>), u16> {
        let exchange = authentication.begin(argument, true).map_err(|reply| reply.code)?;
        assert!(exchange.begins);
        Ok((exchange.mechanism.to_string(), exchange.response.map(|response| response.octets().to_vec())))
    }

    #[test]
    fn an_initial_response_is_absent_empty_or_base64() {
        let secured = offering("SCRAM-SHA-256 PLAIN");
        let plain = || "PLAIN".to_owned();
        assert_eq!(begun(&secured, b"PLAIN"), Ok((plain(), None)));
        assert_eq!(begun(&secured, b"plain ="), Ok((plain(), Some(vec![]))));
        assert_eq!(begun(&secured, b"Plain  AGEAYg=="), Ok((plain(), Some(b"\0a\0b".to_vec()))));
        assert_eq!(begun(&secured, b"SCRAM-SHA-256 Zg=="), Ok(("SCRAM-SHA-256".to_owned(), Some(b"f".to_vec()))));
        for bad in [&b"PLAIN =="[..], b"PLAIN *", b"PLAIN AGEAYg", b"PLAIN AGEA Yg==", b"PLAIN =AAA", b"PLAIN AAA=BBB"]
        {
            assert_eq!(secured.begin(bad, true), Err(reply::BAD_BASE64), "{}", bad.escape_ascii());
        }
        assert_eq!(secured.begin(b"", true), Err(reply::NO_ARGUMENT));
    }

    #[test]
    fn what_is_not_offered_is_unknown_or_needs_tls() {
        let secured = offering("SCRAM-SHA-256 PLAIN");
        for name in [&b"LOGIN"[..], b"SCRAM-SHA", b"SCRAM-SHA-256-PLUS", b"CRAM-MD5 x", b"\xff"] {
            assert_eq!(secured.begin(name, true), Err(reply::UNKNOWN_MECHANISM), "{}", name.escape_ascii());
        }
        let clear = offering("SCRAM-SHA-256");
        assert_eq!(clear.begin(b"LOGIN", false), Err(reply::TLS_FOR_MECHANISM));
        // Before what follows is looked at.
        assert_eq!(clear.begin(b"xoauth2 no base64", false), Err(reply::TLS_FOR_MECHANISM));
        assert_eq!(clear.begin(b"CRAM-MD5", false), Err(reply::UNKNOWN_MECHANISM));
        assert_eq!(offering("").begin(b"CRAM-MD5", false), Err(reply::TLS_FOR_MECHANISM));
        assert_eq!(offering("").begin(b"PLAIN", true), Err(reply::UNKNOWN_MECHANISM));
    }

    #[test]
    fn the_log_shows_a_mechanism_and_never_what_may_be_a_secret() {
        let secured = offering("X-OURS PLAIN");
        for (argument, shown) in [
            (&b"PLAIN AGEAYg=="[..], "PLAIN"),
            (b"x-ours AGEAYg==", "X-OURS"),
            (b"cram-md5", "CRAM-MD5"),
            (b"AGEAYg==", ""),
            (b"SECRET", ""),
            (b"", ""),
        ] {
            assert_eq!(secured.shown(argument), shown);
        }
        let exchange = secured.begin(b"PLAIN c2VjcmV0", true).unwrap();
        assert!(!format!("{exchange:?}").contains("115")); // the first letter of `secret`
    }

    #[test]
    fn who_must_authenticate_learns_what_to_do_first() {
        let required = |mechanisms: Option<&str>| Authentication {
            mechanisms: mechanisms.map(Into::into),
            required: true,
            ..Authentication::default()
        };
        assert!(!Authentication { known: Known::Otherwise, ..required(Some("PLAIN")) }.is_lacking());
        assert!(required(Some("PLAIN")).is_lacking());
        assert!(!Authentication::default().is_lacking());
        assert_eq!(required(Some("")).required_reply(false), reply::TLS_FIRST);
        for (mechanisms, secured) in [(Some(""), true), (Some("PLAIN"), false), (None, false)] {
            assert_eq!(required(mechanisms).required_reply(secured), reply::AUTH_REQUIRED);
        }
    }

    #[test]
    fn a_name_of_a_mechanism_has_a_form() {
        for (name, is_one) in [
            ("PLAIN", true),
            ("SCRAM-SHA-256-PLUS", true),
            ("A_1", true),
            ("", false),
            ("plain", false),
            ("A B", false),
        ] {
            assert_eq!(is_mechanism(name), is_one, "{name}");
        }
        assert!(!is_mechanism(&"A".repeat(21)));
    }
}
