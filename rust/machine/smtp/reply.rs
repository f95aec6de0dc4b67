//! Replies: a code, an enhanced status code and a text (RFC 5321 4.2, RFC 2034, RFC 3463), and the fixed ones by name.

use std::borrow::Cow;
use std::fmt;

use crate::machine::ascii::is_printable;
use crate::machine::base64;
use crate::machine::message::address::{Address, AddressError};

/// The longest reply line with its CRLF (RFC 5321 4.5.3.1.5).
const LINE: usize = 512;

/// One reply of one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// 200 to 599.
    pub code: u16,
    /// Such as `5.7.1`; empty where the standard has none (greeting, EHLO, 3xx).
    pub enhanced: Cow<'static, str>,
    /// What a person reads.
    pub text: Cow<'static, str>,
}

impl Reply {
    /// A reply known when this was compiled.
    pub const fn fixed(code: u16, enhanced: &'static str, text: &'static str) -> Self {
        Self { code, enhanced: Cow::Borrowed(enhanced), text: Cow::Borrowed(text) }
    }

    /// A reply made for one peer.
    pub fn new(code: u16, enhanced: impl Into<Cow<'static, str>>, text: impl Into<Cow<'static, str>>) -> Self {
        Self { code, enhanced: enhanced.into(), text: text.into() }
    }

    /// First digit of the code.
    pub fn class(&self) -> u16 {
        self.code / 100
    }

    /// Without its enhanced status code, as the greeting and any response to HELO or EHLO are sent (RFC 2034 4).
    #[must_use]
    pub fn plain(self) -> Self {
        Self { enhanced: Cow::Borrowed(""), ..self }
    }

    /// With the server's name as the first word of its text: 421 and 221 and every greeting (RFC 5321 4.2.3, 4.3.1).
    #[must_use]
    pub fn named(self, hostname: &str) -> Self {
        Self { text: Cow::Owned(format!("{hostname} {}", self.text)), ..self }
    }

    /// Appends the reply line. Whatever the text holds, it is one line of ASCII within the standard's length: a reply may not
    /// show a mailbox in UTF-8 but to VRFY and EXPN (RFC 6531 3.7.4.2).
    pub fn write(&self, out: &mut Vec<u8>) {
        let line = self.to_string();
        out.extend(line.chars().take(LINE - 2).map(|letter| match u8::try_from(letter) {
            Ok(octet) if is_printable(octet) => octet,
            Ok(0..=0x1f | 0x7f) => b' ',
            _ => b'?',
        }));
        out.extend_from_slice(b"\r\n");
    }

    /// Appends the reply with more lines after its own (RFC 5321 4.2.1), which are ASCII.
    pub fn write_lines(&self, lines: impl Iterator<Item = String>, out: &mut Vec<u8>) {
        let mut last = self.text.to_string();
        for next in lines {
            out.extend_from_slice(format!("{}-{last}\r\n", self.code).as_bytes());
            last = next;
        }
        out.extend_from_slice(format!("{} {last}\r\n", self.code).as_bytes());
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        for part in [&self.enhanced, &self.text] {
            if !part.is_empty() {
                write!(f, " {part}")?;
            }
        }
        Ok(())
    }
}

/// RSET (RFC 5321 4.1.1.5).
pub const RESET: Reply = Reply::fixed(250, "2.0.0", "Resetting");
/// NOOP (RFC 5321 4.1.1.9).
pub const OK: Reply = Reply::fixed(250, "2.0.0", "OK");
/// QUIT (RFC 5321 4.1.1.10).
pub const BYE: Reply = Reply::fixed(221, "2.0.0", "Service closing transmission channel");
/// STARTTLS: the handshake may begin (RFC 3207 4).
pub const START_TLS: Reply = Reply::fixed(220, "2.0.0", "Ready to start TLS");
/// STARTTLS for which there is no room now (RFC 3207 4).
pub const NO_TLS: Reply = Reply::fixed(454, "4.7.0", "TLS not available due to temporary reason");
/// STARTTLS within TLS.
pub const SECURED: Reply = Reply::fixed(503, "5.5.1", "TLS is on already");
/// HELP (RFC 5321 4.1.1.8).
pub const HELP: Reply = Reply::fixed(214, "2.0.0", "Commands: HELO EHLO MAIL RCPT DATA RSET NOOP QUIT VRFY HELP");
/// VRFY, the same for every address (RFC 5321 3.5.3, 7.3), whose validity it does not say (RFC 5248 3).
pub const VRFY: Reply = Reply::fixed(252, "2.5.0", "Cannot VRFY user; try RCPT to attempt delivery");
/// DATA may come (RFC 5321 4.1.1.4).
pub const START: Reply = Reply::fixed(354, "", "Start mail input; end with <CRLF>.<CRLF>");
/// A verb that is known and not offered (RFC 5321 4.2.4).
pub const NOT_IMPLEMENTED: Reply = Reply::fixed(502, "5.5.1", "Command not implemented");
/// XCLIENT or XFORWARD of a client that may not say who others are.
pub const NOT_AUTHORIZED: Reply = Reply::fixed(550, "5.7.0", "Insufficient authorization");
/// XCLIENT or XFORWARD in a transaction.
pub const IN_TRANSACTION: Reply = Reply::fixed(503, "5.5.1", "Mail transaction in progress");
/// MAIL before HELO or EHLO.
pub const HELLO_FIRST: Reply = Reply::fixed(503, "5.5.1", "Send hello first");
/// RCPT or DATA before MAIL.
pub const MAIL_FIRST: Reply = Reply::fixed(503, "5.5.1", "Need MAIL command first");
/// MAIL inside a transaction (RFC 5321 4.1.4).
pub const NESTED_MAIL: Reply = Reply::fixed(503, "5.5.1", "Sender already specified");
/// DATA without one accepted recipient (RFC 5321 3.3).
pub const NO_RECIPIENT: Reply = Reply::fixed(554, "5.5.1", "No valid recipients");
/// BDAT without one accepted recipient (RFC 3030 2).
pub const CHUNK_FOR_NOBODY: Reply = Reply::fixed(503, "5.5.1", "Need an accepted recipient first");
/// RCPT or DATA after a BDAT of the same transaction (RFC 3030 2).
pub const CHUNKS_BEGUN: Reply = Reply::fixed(503, "5.5.1", "The content has begun; send BDAT or RSET");
/// DATA for a content that was declared to be binary (RFC 3030 3).
pub const BINARY_BY_DATA: Reply = Reply::fixed(503, "5.5.1", "BINARYMIME needs BDAT");
/// BDAT without a number of octets (RFC 3030 2).
pub const BAD_CHUNK: Reply = Reply::fixed(501, "5.5.4", "BDAT needs a number of octets, then LAST or nothing");
/// After that: what follows can be octets of the chunk, or commands.
pub const LOST: Reply = Reply::fixed(421, "4.5.0", "Cannot tell the octets of a chunk from commands; closing");
/// Anything but QUIT after a refusing greeting (RFC 5321 3.1).
pub const NO_SERVICE: Reply = Reply::fixed(503, "5.5.1", "No service here; send QUIT");
/// One recipient too many (RFC 5321 4.5.3.1.10).
pub const TOO_MANY_RECIPIENTS: Reply = Reply::fixed(452, "4.5.3", "Too many recipients");
/// One recipient too many of a message with the null reverse-path: a report goes to one (RFC 5321 6.1).
pub const TOO_MANY_OF_NULL: Reply = Reply::fixed(452, "4.5.3", "Too many recipients of a bounce");
/// MAIL with an address that needs SMTPUTF8, without that parameter (RFC 6531 3.5).
pub const SENDER_NEEDS_SMTPUTF8: Reply = Reply::fixed(550, "5.6.7", "Address needs the SMTPUTF8 parameter");
/// RCPT with one, in a transaction without that parameter (RFC 6531 3.5).
pub const RECIPIENT_NEEDS_SMTPUTF8: Reply = Reply::fixed(553, "5.6.7", "Address needs the SMTPUTF8 parameter of MAIL");
/// MAIL with REQUIRETLS where TLS could be on and is not (RFC 8689 2, RFC 5248 3).
pub const REQUIRETLS_IN_CLEAR: Reply = Reply::fixed(530, "5.7.10", "REQUIRETLS needs TLS: issue STARTTLS first");
/// Not a verb of SMTP (RFC 5321 4.2.4).
pub const UNKNOWN_COMMAND: Reply = Reply::fixed(500, "5.5.1", "Unrecognized command");
/// A verb without the argument it needs.
pub const NO_ARGUMENT: Reply = Reply::fixed(501, "5.5.4", "The argument is missing");
/// HELO or EHLO with something that is neither domain nor literal.
pub const BAD_HELO: Reply = Reply::fixed(501, "5.5.4", "Invalid domain name");
/// A CR or LF on its own in a command line (RFC 5321 2.3.8).
pub const BARE_COMMAND: Reply = Reply::fixed(500, "5.5.2", "Lines end in CRLF; a bare LF was received");
/// A CR or LF on its own in the content (RFC 5321 2.3.8).
pub const BARE_CONTENT: Reply = Reply::fixed(550, "5.6.0", "Lines end in CRLF; a bare CR or LF was received");
/// Content over the size limit (RFC 1870 6).
pub const TOO_LARGE: Reply = Reply::fixed(552, "5.3.4", "Message size exceeds fixed maximum message size");
/// A header section over its limit.
pub const LARGE_HEADER: Reply = Reply::fixed(552, "5.3.4", "Header section is too large");
/// A NUL in the header section (RFC 5322 2.2, 4.1).
pub const NUL_IN_HEADER: Reply = Reply::fixed(550, "5.6.0", "The header section holds a NUL");
/// A content line over the limit (RFC 5321 4.5.3.1.6).
pub const LONG_LINE: Reply = Reply::fixed(500, "5.6.0", "A line of the message is too long");
/// A command line over the limit (RFC 5321 4.5.3.1.4).
pub const LONG_COMMAND: Reply = Reply::fixed(500, "5.5.2", "Command line too long");
/// 8-bit content where 8BITMIME is not offered (RFC 5321 2.4, RFC 3463 3.7).
pub const EIGHT_BIT: Reply = Reply::fixed(554, "5.6.3", "Message has 8-bit content, and 8BITMIME is not offered here");
/// No room for the content now (RFC 5321 4.2.4).
pub const NO_STORAGE: Reply = Reply::fixed(452, "4.3.1", "Insufficient system storage");
/// Too many Received fields (RFC 5321 6.3).
pub const LOOP: Reply = Reply::fixed(554, "5.4.6", "Too many hops: mail loop");
/// A browser or a TLS client.
pub const NOT_SMTP: Reply = Reply::fixed(421, "4.7.0", "This is an SMTP server; closing");
/// The error limit of the session is reached.
pub const TOO_MANY_ERRORS: Reply = Reply::fixed(421, "4.7.0", "Too many errors; closing");
/// The limit of commands that achieve nothing is reached.
pub const NO_PROGRESS: Reply = Reply::fixed(421, "4.7.0", "Too many commands without a message; closing");
/// The session's sum of delays is spent.
pub const DELAYS_SPENT: Reply = Reply::fixed(421, "4.7.0", "Too many refused commands; closing");

/// The client is who it says (RFC 4954 6).
pub const AUTHENTICATED: Reply = Reply::fixed(235, "2.7.0", "Authentication successful");
/// AUTH after a successful one (RFC 4954 4).
pub const AUTHENTICATED_BEFORE: Reply = Reply::fixed(503, "5.5.1", "Already authenticated");
/// AUTH inside a transaction (RFC 4954 4).
pub const AUTH_IN_TRANSACTION: Reply = Reply::fixed(503, "5.5.1", "AUTH is not permitted during a mail transaction");
/// AUTH with a mechanism that is not offered (RFC 4954 4).
pub const UNKNOWN_MECHANISM: Reply = Reply::fixed(504, "5.5.4", "Authentication mechanism is not supported");
/// AUTH with a mechanism that is offered under TLS alone (RFC 4954 6).
pub const TLS_FOR_MECHANISM: Reply =
    Reply::fixed(538, "5.7.11", "Encryption required for requested authentication mechanism");
/// A response that is not base64 (RFC 4954 4).
pub const BAD_BASE64: Reply = Reply::fixed(501, "5.5.2", "The response is not base64");
/// A response over the limit (RFC 4954 4).
pub const LONG_RESPONSE: Reply = Reply::fixed(500, "5.5.6", "Authentication exchange line is too long");
/// The client does not go on with its exchange (RFC 4954 4).
pub const AUTH_CANCELLED: Reply = Reply::fixed(501, "5.7.0", "Authentication cancelled");
/// A command that needs AUTH first (RFC 4954 6).
pub const AUTH_REQUIRED: Reply = Reply::fixed(530, "5.7.0", "Authentication required");
/// The same where AUTH is possible under TLS alone (RFC 3207 4).
pub const TLS_FIRST: Reply = Reply::fixed(530, "5.7.0", "Must issue a STARTTLS command first");
/// The same to a client that has tried, and was told that TLS is not available.
pub const TLS_LATER: Reply = Reply::fixed(451, "4.7.0", "TLS is needed and not available now; try again later");
/// The limit of failed authentications is reached.
pub const TOO_MANY_FAILURES: Reply = Reply::fixed(421, "4.7.0", "Too many failed authentications; closing");

/// What a mechanism says to the client (RFC 4954 4). It may be longer than a reply: [`Reply::write_lines`] writes it whole.
pub fn challenge(octets: &[u8]) -> Reply {
    Reply::new(334, "", base64::encode(octets))
}

/// What a connection is greeted with (RFC 5321 4.2).
pub fn greeting(hostname: &str) -> Reply {
    Reply::new(220, "", format!("{hostname} ESMTP mailmoat"))
}

/// HELO, and the first line of the reply to EHLO (RFC 5321 4.1.1.1).
pub fn hello(hostname: &str, peer: &str) -> Reply {
    let peer = if peer.is_empty() { "unknown" } else { peer };
    Reply::new(250, "", format!("{hostname} Hello [{peer}]"))
}

/// MAIL; None is the null reverse-path.
pub fn sender_accepted(reverse_path: Option<&Address>) -> Reply {
    let sender = reverse_path.map_or_else(|| "<>".to_owned(), Address::to_string);
    Reply::new(250, "2.1.0", format!("{sender}....Sender OK"))
}

/// RCPT.
pub fn recipient_accepted(recipient: &Address) -> Reply {
    Reply::new(250, "2.1.5", recipient.to_string())
}

/// The end of data: the message is on disk.
pub fn queued(queue_id: &str) -> Reply {
    Reply::new(250, "2.6.0", format!("{queue_id} Queued mail for delivery"))
}

/// BDAT: the chunk is there, others follow (RFC 3030 2).
pub fn chunk_received(octets: u64) -> Reply {
    Reply::new(250, "2.0.0", format!("{octets} octets received"))
}

/// The argument or the value of a parameter is not what the command takes; a plain sentence.
pub fn bad_argument(sentence: &'static str) -> Reply {
    Reply::fixed(501, "5.5.4", sentence)
}

/// A parameter given twice.
pub fn repeated_parameter(keyword: &str) -> Reply {
    Reply::new(501, "5.5.4", format!("Parameter {keyword} is given twice"))
}

/// A parameter of no extension that is offered (RFC 5321 4.1.1.11).
pub fn unknown_parameter(keyword: &str) -> Reply {
    Reply::new(555, "5.5.4", format!("Parameter {keyword} is not supported"))
}

/// MAIL with a path that is no address (RFC 3463 3.2).
pub fn bad_sender(error: AddressError) -> Reply {
    Reply::new(501, "5.1.7", format!("Invalid address. {error}"))
}

/// RCPT with a path that is no address (RFC 3463 3.2).
pub fn bad_recipient(error: AddressError) -> Reply {
    Reply::new(501, "5.1.3", format!("Invalid address. {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_always_one_bounded_line() {
        let mut out = Vec::new();
        Reply::new(550, "5.1.1", format!("a\r\nb{}", "ü".repeat(400))).write(&mut out);
        assert!(out.len() <= LINE && out.ends_with(b"\r\n"));
        assert_eq!(memchr::memchr(b'\n', &out), Some(out.len() - 1));
        assert!(out.is_ascii());
    }
}
