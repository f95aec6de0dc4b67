//! Limits that a next hop announces (RFC 9422), and what a session has used of them.
//!
//! A limit that is not of the standard's form is not one (RFC 9422 3). What does not fit is left to the caller: recipients to another
//! transaction, messages to another session.

use std::collections::HashSet;

use super::callout::MOST_REFUSALS;
use super::{Client, Step};
use crate::machine::message::Message;

/// What the next hop announces; None is no limit. Each is at least 1.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// RCPT commands of a transaction.
    pub recipients: Option<usize>,
    /// Transactions of a session.
    pub transactions: Option<usize>,
    /// Domains of recipients in a session.
    pub domains: Option<usize>,
}

impl Limits {
    /// Reads the words after `LIMITS`.
    pub fn read<'a>(words: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut limits = Self::default();
        for word in words {
            let Some((name, value)) = str::from_utf8(word).ok().and_then(|word| word.split_once('=')) else { continue };
            let limit = match name.to_ascii_uppercase().as_str() {
                "RCPTMAX" => &mut limits.recipients,
                "MAILMAX" => &mut limits.transactions,
                "RCPTDOMAINMAX" => &mut limits.domains,
                _ => continue,
            };
            *limit = number(value);
        }
        limits
    }
}

/// One to six digits, the first of them not 0.
fn number(value: &str) -> Option<usize> {
    let is_number = value.len() <= 6 && value.bytes().all(|octet| octet.is_ascii_digit()) && !value.starts_with('0');
    if is_number { value.parse().ok() } else { None }
}

/// What the session has used.
#[derive(Debug, Default)]
pub struct Used {
    /// Transactions begun.
    pub transactions: usize,
    /// Recipients that were refused in a session that only asks.
    pub refusals: usize,
    /// Domains of recipients, as long as they are limited.
    domains: HashSet<Box<str>>,
}

impl Client {
    /// The first of these recipients, as many as the next transaction takes; where the session takes none of them, it is left, and
    /// None.
    pub(super) fn fitting<'a>(&mut self, message: &Message, indexes: &'a [usize]) -> Option<&'a [usize]> {
        let (fitting, left) = indexes.split_at(self.count_fitting(message, indexes));
        if fitting.is_empty() && !left.is_empty() {
            self.leave();
            self.untouched = true;
            return None;
        }
        Some(fitting)
    }

    fn count_fitting(&mut self, message: &Message, indexes: &[usize]) -> usize {
        let Limits { recipients, domains, .. } = self.offers.limits;
        let most = recipients.unwrap_or(usize::MAX).min(indexes.len());
        let Some(domains) = domains else { return most };
        let known = &mut self.used.domains;
        let mut fits = |index: &usize| {
            let recipient = message.envelope.recipients.get(*index);
            let domain = recipient.map_or("", |recipient| recipient.address.rsplit('@').next().unwrap_or_default());
            known.contains(domain) || (known.len() < domains && known.insert(domain.into()))
        };
        indexes.iter().take(most).take_while(|index| fits(index)).count()
    }

    /// The session has had as many transactions as it may, or as many refusals.
    pub(super) fn is_spent(&self) -> bool {
        self.used.refusals >= MOST_REFUSALS
            || self.offers.limits.transactions.is_some_and(|most| self.used.transactions >= most)
    }

    /// Ends a session that takes no more: another one has to be opened.
    pub(super) fn leave(&mut self) {
        self.output.extend_from_slice(b"QUIT\r\n");
        self.step = Step::Closed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_have_the_form_of_the_standard_or_are_none() {
        let read = |line: &str| Limits::read(line.split(' ').map(str::as_bytes));
        let all = Limits { recipients: Some(10), transactions: Some(999_999), domains: Some(1) };
        assert_eq!(read("rcptmax=10 MAILMAX=999999 RcptDomainMax=1 OTHER=3 X"), all);
        for value in ["0", "01", "1000000", "", "-1", "+1", "x", "1x", "\u{661}"] {
            assert_eq!(read(&format!("RCPTMAX={value} MAILMAX")), Limits::default(), "{value}");
        }
    }
}
