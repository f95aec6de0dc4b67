//! What the sessions of one listener have in common, as one value.

use std::sync::Arc;

use super::content_rules::ContentRules;
use crate::machine::message::address::{Limits, Normalisation};
use crate::machine::message::content::Storage;
use crate::machine::smtp::chunking::Chunking;

/// The configuration of a listener. Zero switches a limit off. Limits have the names of their settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// The server's name.
    pub hostname: String,
    /// Domain given to an address that has none; may be empty.
    pub default_domain: String,
    /// Which spellings of recipients are one mailbox.
    pub normalisation: Arc<Normalisation>,
    /// Limits of addresses.
    pub addresses: Limits,
    /// Rules for content.
    pub content: ContentRules,
    /// Where contents go.
    pub storage: Arc<dyn Storage>,
    /// Octets of a command line with its CRLF.
    pub command_line: usize,
    /// Recipients of a transaction.
    pub recipients: usize,
    /// Recipients of one with the null reverse-path.
    pub null_sender_recipients: usize,
    /// `Received` fields of a content.
    pub hops: usize,
    /// Errors before the session is closed: 5xx replies, and recipients far beyond the limit.
    pub errors: u32,
    /// Commands without an accepted message before the session is closed.
    pub idle_commands: u32,
    /// Milliseconds by which each 5xx reply is delayed.
    pub tarpit_time: u64,
    /// Milliseconds all holds of one session may sum up to.
    pub tarpit_max_session: u64,
    /// Milliseconds by which a 5xx reply to a failed authentication is delayed at least.
    pub auth_time: u64,
    /// Failed authentications before the session is closed.
    pub auth_failures: u32,
    /// SUBMITTER is offered (RFC 4405).
    pub submitter: bool,
    /// SMTPUTF8 is offered (RFC 6531); 8BITMIME where [`ContentRules::eight_bit`] says so.
    pub smtputf8: bool,
    /// What is taken by BDAT.
    pub chunking: Chunking,
    /// Stages at which policy is asked: a set of [`super::step::Stage`] bits.
    pub asked: u8,
}

impl Config {
    /// BINARYMIME is offered: where text with octets above 127 is taken, too.
    pub fn offers_binary(&self) -> bool {
        self.chunking == Chunking::Binary && self.content.eight_bit
    }
}

#[cfg(test)]
impl Config {
    /// A small one that offers all but SUBMITTER and asks at RCPT and at the end of data.
    pub fn example() -> Self {
        use super::content_rules::{BareNewline, NulInHeader};
        use super::step::Stage;
        use crate::store::content::ContentStorage;

        Self {
            hostname: "mx.example.test".into(),
            default_domain: "example.test".into(),
            normalisation: Arc::default(),
            addresses: Limits::default(),
            content: ContentRules {
                message_size: 2000,
                header_size: 1000,
                text_line: 200,
                bare_newline: BareNewline::Refuse,
                nul_in_header: NulInHeader::Refuse,
                eight_bit: true,
            },
            storage: Arc::new(ContentStorage::new(0, Arc::default(), std::env::temp_dir())),
            command_line: 512,
            recipients: 3,
            null_sender_recipients: 0,
            hops: 3,
            errors: 0,
            idle_commands: 0,
            tarpit_time: 0,
            tarpit_max_session: 0,
            auth_time: 0,
            auth_failures: 0,
            submitter: false,
            smtputf8: true,
            chunking: Chunking::Binary,
            asked: 1 << Stage::Rcpt as u8 | 1 << Stage::EndOfData as u8,
        }
    }
}
