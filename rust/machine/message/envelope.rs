//! An envelope: who sent a message, to whom, how it came here, and what is known of its authenticity.

use super::parameters::Parameters;
use super::recipient::Recipient;

const SMTPUTF8: &str = "SMTPUTF8";
const SESSION: &str = "SESSION";
const CLIENT: &str = "CLIENT";

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
    /// Facts about a session: its id, for the logs, and the address of its client.
    pub fn origin(session_id: &str, client: &str) -> Parameters {
        let mut origin = Parameters::default();
        for (keyword, value) in [(SESSION, session_id), (CLIENT, client)] {
            origin.push(keyword, Some(value));
        }
        origin
    }

    /// Whether MAIL carried SMTPUTF8 (RFC 6531).
    pub fn smtputf8(&self) -> bool {
        self.parameters.has(SMTPUTF8)
    }

    /// Session that brought it; empty for a report made here.
    pub fn session_id(&self) -> &str {
        self.origin.value(SESSION).unwrap_or_default()
    }

    /// Address of the client; empty for a report made here.
    pub fn client(&self) -> &str {
        self.origin.value(CLIENT).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_origin_names_session_and_client() {
        let brought = Envelope { origin: Envelope::origin("s1", "2001:db8::1"), ..Envelope::default() };
        assert_eq!((brought.session_id(), brought.client()), ("s1", "2001:db8::1"));
        assert_eq!(brought.origin.as_str(), "SESSION=s1 CLIENT=2001:db8::1");
        let made = Envelope::default();
        assert_eq!((made.session_id(), made.client(), made.smtputf8()), ("", "", false));
    }
}
