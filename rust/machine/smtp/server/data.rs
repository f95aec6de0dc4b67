//! The DATA decoder (RFC 5321 4.1.1.4, 4.5.2, 2.3.8): removes stuffed dots and finds the end of data, which is CRLF `.` CRLF and
//! nothing else.
//!
//! Resumable at any octet: the result never depends on how the input was cut.

use super::checked_content::CheckedContent;
use super::content_rules::ContentRules;
use crate::machine::message::content::Storage;

#[cfg(test)]
mod tests;

/// What a text line begins with where a dot was stuffed or the data ends.
const DOT: Option<u8> = Some(b'.');

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Among the lines.
    Text,
    /// After a dot at the start of a line.
    Dot,
    /// After a dot at the start of a line and a CR.
    DotCr,
    /// After CRLF `.` CRLF.
    End,
}

/// The decoder of one content.
#[derive(Debug)]
pub struct Decoder {
    at: At,
    content: CheckedContent,
}

impl Decoder {
    /// Of a content that comes from this client and goes to `storage`.
    pub fn new(storage: &dyn Storage, client: &str) -> Self {
        Self { at: At::Text, content: CheckedContent::new(storage, client) }
    }

    /// Takes input up to the end of data and returns how many octets it took; fewer than given only at the end of data.
    pub fn feed(&mut self, rules: &ContentRules, input: &[u8]) -> usize {
        let mut at = 0;
        while let (Some(&octet), false) = (input.get(at), self.is_done()) {
            match self.at {
                At::Text => {
                    at += self.content.text(rules, input.get(at..).unwrap_or_default(), DOT);
                    if at == input.len() {
                        break;
                    }
                    self.at = At::Dot;
                }
                At::Dot if octet == b'\r' => self.at = At::DotCr,
                At::DotCr if octet == b'\n' => {
                    self.at = At::End;
                    self.content.end();
                }
                // The dot was a stuffed one: the octet belongs to the line, and a CR before it stood alone.
                At::Dot | At::DotCr => {
                    self.content.begin_line();
                    if self.at == At::DotCr {
                        self.content.bare(rules);
                    }
                    self.at = At::Text;
                    continue;
                }
                At::End => break,
            }
            at += 1;
        }
        at
    }

    /// CRLF `.` CRLF has been read.
    pub fn is_done(&self) -> bool {
        self.at == At::End
    }

    /// The content, as far as it has come.
    pub fn content(&self) -> &CheckedContent {
        &self.content
    }

    /// The same, to be finished.
    pub fn into_content(self) -> CheckedContent {
        self.content
    }
}
