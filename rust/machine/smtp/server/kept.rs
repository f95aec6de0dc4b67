//! Which parameters of MAIL go with the message into its envelope.
//!
//! SIZE does not: it is of this hop alone (RFC 1870 4). A parameter that is to be kept gets a line here and nothing else: the
//! envelope, the spool and its schema take any.

use std::fmt::Write;

use crate::machine::message::Parameters;
use crate::machine::smtp::parameters::{Body, MailParameters};

/// What goes with the message, in the notation of the command.
pub fn kept(given: &MailParameters) -> Parameters {
    let mut kept = Parameters::default();
    let body = given.body.map(|body| match body {
        Body::SevenBit => "7BIT",
        Body::EightBitMime => "8BITMIME",
    });
    if body.is_some() {
        kept.push("BODY", body);
    }
    if given.smtputf8 {
        kept.push("SMTPUTF8", None);
    }
    if let Some(address) = &given.submitter {
        kept.push("SUBMITTER", Some(&encode_xtext(&address.to_string())));
    }
    kept
}

/// A text as `xtext` (RFC 3461 4).
fn encode_xtext(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for octet in text.bytes() {
        match octet {
            b'!'..=b'~' if !matches!(octet, b'+' | b'=') => encoded.push(char::from(octet)),
            // Writing to a String cannot fail.
            _ => _ = write!(encoded, "+{octet:02X}"),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::message::address::{Address, Limits};

    #[test]
    fn all_but_the_size_is_kept() {
        let submitter = Address::parse(b"a+x=y@c.test", &Limits::default());
        let given =
            MailParameters { size: Some(7), body: Some(Body::EightBitMime), smtputf8: true, submitter: submitter.ok() };
        assert_eq!(kept(&given).as_str(), "BODY=8BITMIME SMTPUTF8 SUBMITTER=a+2Bx+3Dy@c.test");
        assert_eq!(kept(&MailParameters::default()), Parameters::default());
    }
}
