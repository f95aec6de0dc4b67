//! An envelope: who sent a message, to whom, how it came here, and what is known of its authenticity.

use super::parameters::Parameters;
use super::recipient::Recipient;

const SMTPUTF8: &str = "SMTPUTF8";
const BODY: &str = "BODY";
const BINARY: &str = "BINARYMIME";
const REQUIRETLS: &str = "REQUIRETLS";
const TLS_OPTIONAL: &str = "TLS-OPTIONAL";
const SESSION: &str = "SESSION";
const CLIENT: &str = "CLIENT";
const NAME: &str = "NAME";
const HELO: &str = "HELO";
const PROTO: &str = "PROTO";

/// Facts about the session that brought a message; each is empty where it is not known.
#[derive(Debug, Clone, Copy, Default)]
pub struct Origin<'a> {
    /// Its id, for the logs.
    pub session_id: &'a str,
    /// Address of the client.
    pub client: &'a str,
    /// Name that this address has, and that has the address.
    pub client_name: &'a str,
    /// Name given with HELO or EHLO.
    pub helo_name: &'a str,
    /// `SMTP` or `ESMTP`.
    pub protocol: &'static str,
    /// The message has `TLS-Required: No` in its header section, and MAIL had no REQUIRETLS (RFC 8689 4.1).
    pub tls_optional: bool,
}

/// Who sent it, to whom, and how it came here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Envelope {
    /// Reverse-path without angle brackets; empty for the null reverse-path.
    pub reverse_path: String,
    /// Parameters of MAIL that go with the message.
    pub parameters: Parameters,
    /// Recipients in the order of their RCPT commands.
    pub recipients: Vec<Recipient>,
    /// Facts about the session that brought it, such as its client; empty for a report made here.
    pub origin: Parameters,
    /// Authentication results in a form that policy alone reads; empty when nothing was checked.
    pub results: String,
}

impl Envelope {
    /// Facts about a session, as an envelope keeps them; what the notation cannot hold counts as not known.
    pub fn origin(facts: &Origin<'_>) -> Parameters {
        let mut origin = Parameters::default();
        let tls_optional = facts.tls_optional;
        let facts = [
            (SESSION, facts.session_id),
            (CLIENT, facts.client),
            (NAME, facts.client_name),
            (HELO, facts.helo_name),
            (PROTO, facts.protocol),
        ];
        for (keyword, value) in facts {
            origin.push(keyword, Some(value));
        }
        if tls_optional {
            origin.push(TLS_OPTIONAL, None);
        }
        origin
    }

    /// Whether MAIL carried SMTPUTF8 (RFC 6531).
    pub fn smtputf8(&self) -> bool {
        self.parameters.has(SMTPUTF8)
    }

    /// Whether the content is not lines, but any octets below its header section (RFC 3030 3).
    pub fn is_binary(&self) -> bool {
        self.parameters.value(BODY).is_some_and(|body| body.eq_ignore_ascii_case(BINARY))
    }

    /// Whether it may be sent over verified TLS alone (RFC 8689 4.2.1).
    pub fn requires_tls(&self) -> bool {
        self.parameters.has(REQUIRETLS)
    }

    /// Whether policy about TLS does not apply to it (RFC 8689 4.2.2).
    pub fn is_tls_optional(&self) -> bool {
        self.origin.has(TLS_OPTIONAL)
    }

    /// Session that brought it; empty for a report made here.
    pub fn session_id(&self) -> &str {
        self.origin.value(SESSION).unwrap_or_default()
    }

    /// Address of the client; empty for a report made here.
    pub fn client(&self) -> &str {
        self.origin.value(CLIENT).unwrap_or_default()
    }

    /// Name of the client that its address has, and that has the address; empty when none is known.
    pub fn client_name(&self) -> &str {
        self.origin.value(NAME).unwrap_or_default()
    }

    /// Name that the client gave with HELO or EHLO; empty when none is known.
    pub fn helo_name(&self) -> &str {
        self.origin.value(HELO).unwrap_or_default()
    }

    /// `SMTP` or `ESMTP`; empty when it is not known.
    pub fn protocol(&self) -> &str {
        self.origin.value(PROTO).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_origin_has_what_is_known_of_the_session() {
        let facts = Origin {
            session_id: "s1",
            client: "2001:db8::1",
            client_name: "c.example",
            helo_name: "[192.0.2.1]",
            protocol: "ESMTP",
            tls_optional: true,
        };
        let brought = Envelope { origin: Envelope::origin(&facts), ..Envelope::default() };
        assert_eq!((brought.session_id(), brought.client(), brought.client_name()), ("s1", "2001:db8::1", "c.example"));
        assert_eq!((brought.helo_name(), brought.protocol()), ("[192.0.2.1]", "ESMTP"));
        assert_eq!(
            brought.origin.as_str(),
            "SESSION=s1 CLIENT=2001:db8::1 NAME=c.example HELO=[192.0.2.1] PROTO=ESMTP TLS-OPTIONAL"
        );
        assert!(brought.is_tls_optional() && !brought.requires_tls());
        let bare = Envelope::origin(&Origin { session_id: "s1", helo_name: "a=b", ..Origin::default() });
        assert_eq!(bare.as_str(), "SESSION=s1");
        let made = Envelope::default();
        assert_eq!((made.session_id(), made.client(), made.smtputf8()), ("", "", false));
    }
}
