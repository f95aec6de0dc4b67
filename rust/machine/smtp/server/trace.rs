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
    /// The server's name.
    pub hostname: &'a str,
    /// EHLO was said.
    pub extended: bool,
    /// MAIL carried SMTPUTF8.
    pub smtputf8: bool,
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
        // RFC 6531 4.3 for UTF8SMTP.
        let with = match (self.extended, self.smtputf8) {
            (_, true) => "UTF8SMTP",
            (true, false) => "ESMTP",
            (false, false) => "SMTP",
        };
        let tag = if self.peer.contains(':') { "IPv6:" } else { "" };
        let recipient = self.recipient.as_ref().map_or_else(String::new, |only| format!("\r\n\tfor <{only}>"));
        let Self { helo_name, peer, hostname, queue_id, date, .. } = self;
        let field = format!(
            "Received: from {helo_name} ([{tag}{peer}])\r\n\tby {hostname} with {with} id {queue_id}{recipient};\r\n\t{date}\r\n"
        );
        trace.extend_from_slice(field.as_bytes());
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
