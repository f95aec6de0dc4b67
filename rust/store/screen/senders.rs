//! Senders to whom nobody objects: neither they nor a domain they are below is in a table or a set.

use super::recipients::has_detail;
use super::{Case, Names};
use crate::machine::message::address::Address;
use crate::machine::message::author::authors;
use crate::store::snapshot::Found;

/// Who is objected to, beside the table of blocked senders.
#[derive(Debug)]
pub struct CleanSenders {
    /// Keys of addresses, domains, and domains behind a dot, which stand for those below.
    pub blocked: Names,
    /// Characters that begin the detail of a subaddress.
    pub delimiters: String,
    /// Domains that are objected to with all below them, as is any without a dot; none: this is not looked at.
    pub reserved: Names,
    /// Whether the null reverse-path is fine.
    pub takes_null: bool,
}

impl CleanSenders {
    /// Whether the reverse-path is fine.
    pub fn sender(&self, case: Case<'_>) -> bool {
        case.reverse_path().map_or(self.takes_null, |sender| {
            (self.reserved.is_empty() || self.is_public(sender.domain())) && self.is_unlisted(sender, case)
        })
    }

    /// Whether all mailboxes of From are; one that is the reverse-path as well is looked up with that.
    pub fn authors(&self, case: Case<'_>) -> bool {
        let sender = case.reverse_path();
        authors(case.session.header())
            .iter()
            .all(|author| sender.is_some_and(|sender| sender == author) || self.is_unlisted(author, case))
    }

    fn is_unlisted(&self, sender: &Address, case: Case<'_>) -> bool {
        let (key, domain) = (sender.key(), sender.domain());
        if has_detail(sender, &self.delimiters) {
            return false;
        }
        let in_table = case.tables.senders.map_or(Found::Absent, |table| table.lookup_sender(&key, domain).found);
        in_table == Found::Absent
            && (self.blocked.is_empty()
                || !self.blocked.has(&key) && !self.blocked.has(domain) && !self.is_below(domain))
    }

    /// Whether an entry stands for all below a domain that this one is in, or is.
    fn is_below(&self, domain: &str) -> bool {
        let dotted = format!(".{domain}");
        let ends = dotted.char_indices().filter(|(_, letter)| *letter == '.').filter_map(|(dot, _)| dotted.get(dot..));
        ends.into_iter().any(|end| self.blocked.has(end))
    }

    fn is_public(&self, domain: &str) -> bool {
        let dots =
            domain.char_indices().filter(|(_, letter)| *letter == '.').filter_map(|(dot, _)| domain.get(dot + 1..));
        domain.contains('.') && !std::iter::once(domain).chain(dots).any(|end| self.reserved.has(end))
    }
}
