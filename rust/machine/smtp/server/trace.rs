//! What a server puts on top of a message, and takes out of it (RFC 5321 4.4).

use crate::machine::message::content::{Octets, Taken};
use crate::machine::message::firewall::Firewall;

/// What a `Received` field says of its message.
#[derive(Debug)]
pub struct Received<'a> {
    /// Name given with HELO or EHLO.
    pub helo_name: &'a str,
    /// IP address of the client.
    pub peer: &'a str,
    /// Name of the client that its address has, and that has the address; empty when there is none.
    pub peer_name: &'a str,
    /// The server's name.
    pub hostname: &'a str,
    /// EHLO was said.
    pub extended: bool,
    /// MAIL carried SMTPUTF8.
    pub smtputf8: bool,
    /// The client has authenticated.
    pub authenticated: bool,
    /// Cipher suite by its name in the registry; None without TLS.
    pub cipher_suite: Option<&'a str>,
    /// Queue id of the message.
    pub queue_id: &'a str,
    /// The recipient if there is only one: no recipient learns of another one.
    pub recipient: Option<String>,
    /// Date and time of RFC 5322 3.3.
    pub date: &'a str,
}

impl Received<'_> {
    /// Appends the field.
    pub fn write(&self, trace: &mut Vec<u8>) {
        let with = self.with();
        // RFC 5321 4.1.3; a server in front of us may not know the address.
        let peer = match self.peer {
            "" => "unknown".to_owned(),
            v6 if v6.contains(':') => format!("[IPv6:{v6}]"),
            v4 => format!("[{v4}]"),
        };
        let recipient = self.recipient.as_ref().map_or_else(String::new, |only| format!("\r\n\tfor <{only}>"));
        let space = if self.peer_name.is_empty() { "" } else { " " };
        // RFC 8314 4.3; RFC 5321 4.4 has such clauses behind `for`.
        let tls = self.cipher_suite.map_or_else(String::new, |suite| format!("\r\n\ttls {suite}"));
        let Self { helo_name, peer_name, hostname, queue_id, date, .. } = self;
        let field = format!(
            "Received: from {helo_name} ({peer_name}{space}{peer})\r\n\tby {hostname} with {with} id {queue_id}{recipient}{tls};\r\n\t{date}\r\n"
        );
        trace.extend_from_slice(field.as_bytes());
    }

    /// The protocol, as it is registered (RFC 3848, RFC 6531 4.3).
    fn with(&self) -> &'static str {
        match (self.extended, self.smtputf8, self.cipher_suite.is_some(), self.authenticated) {
            (false, ..) => "SMTP",
            (true, false, false, false) => "ESMTP",
            (true, false, true, false) => "ESMTPS",
            (true, false, false, true) => "ESMTPA",
            (true, false, true, true) => "ESMTPSA",
            (true, true, false, false) => "UTF8SMTP",
            (true, true, true, false) => "UTF8SMTPS",
            (true, true, false, true) => "UTF8SMTPA",
            (true, true, true, true) => "UTF8SMTPSA",
        }
    }
}

/// What a stranger sent, without the fields that are not the sender's to set.
pub fn cleaned(taken: Taken, firewall: &Firewall) -> Taken {
    let Taken { header, mut content, share } = taken;
    if let Octets::Memory(octets) = &mut content.octets {
        *octets = firewall.clean(std::mem::take(octets));
        content.eight_bit = content.eight_bit && !octets.is_ascii();
    }
    Taken { header: firewall.clean(header), content, share }
}
