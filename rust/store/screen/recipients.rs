//! Recipients of which nothing is to be said: a table has the address itself, or all of its domain.

use std::sync::Arc;

use super::{Case, Names};
use crate::machine::message::address::{Address, Normalisation};
use crate::store::snapshot::Found;

/// Where recipients are looked up, and which are refused all the same.
#[derive(Debug)]
pub struct KnownRecipients {
    /// The domains whose recipients are.
    pub local: Names,
    /// Keys of addresses that are refused, with their subaddresses.
    pub blocked: Names,
    /// Local parts that are asked about all the same.
    pub roles: Vec<String>,
    /// Which spellings are one mailbox.
    pub normalisation: Arc<Normalisation>,
}

impl KnownRecipients {
    /// Whether the recipient exists, and its client has not guessed before: what that one finds is counted.
    pub fn exists(&self, case: Case<'_>) -> bool {
        let (Some(recipient), Some(table)) = (case.session.recipient(), case.tables.recipients) else { return false };
        let key = self.normalisation.key(recipient);
        self.is_ordinary(recipient, &key)
            && match table.lookup(&key, recipient.domain()).found {
                Found::Address => true,
                Found::Domain => !recipient.may_route() && !self.has_detail(recipient),
                _ => false,
            }
            && !case.tables.shared.is_guesser(case.source(), case.second())
    }

    fn is_ordinary(&self, recipient: &Address, key: &str) -> bool {
        self.local.has(recipient.domain())
            && !self.roles.iter().any(|role| recipient.local().eq_ignore_ascii_case(role))
            && (self.blocked.is_empty() || !self.blocked.has(key) && !self.has_detail(recipient))
    }

    fn has_detail(&self, recipient: &Address) -> bool {
        has_detail(recipient, self.normalisation.delimiters(recipient.domain()))
    }
}

/// Whether it may be a subaddress.
pub fn has_detail(address: &Address, delimiters: &str) -> bool {
    address.local().contains(|letter| delimiters.contains(letter))
}
