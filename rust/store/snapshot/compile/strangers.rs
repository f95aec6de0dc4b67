//! Entries at domains whose recipients are not looked up: reported once for each domain, with the first line.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};

use super::notes::{MOST, Note};
use crate::store::snapshot::Scope;

/// What was seen so far.
#[derive(Default)]
pub(super) struct Strangers {
    /// First line and number of entries, by domain; the first `MOST` domains.
    domains: BTreeMap<String, (u32, u64)>,
    /// Domains of entries of tables.
    foreign: BTreeSet<String>,
    /// Entries at domains beyond these.
    more: u64,
    /// Entries at a local domain.
    pub ours: u64,
}

impl Strangers {
    /// Counts the entry on this line.
    pub fn see(&mut self, domain: &str, line: u32, scope: &Scope) {
        if is_ours(domain, scope) {
            self.ours += 1;
        } else if scope.unfiltered_domains.contains(domain) {
            // It can be the one entry that lets an odd address through.
        } else if let Some((_, count)) = self.domains.get_mut(domain) {
            *count += 1;
        } else if self.domains.len() < MOST {
            self.domains.insert(domain.to_owned(), (line, 1));
        } else {
            self.more += 1;
        }
    }

    /// Counts an entry of a table, in which entries of other domains are no mistake.
    pub fn see_row(&mut self, domain: &str, scope: &Scope) {
        if is_ours(domain, scope) {
            self.ours += 1;
        } else if self.foreign.len() < MOST && !self.foreign.contains(domain) {
            self.foreign.insert(domain.to_owned());
        }
    }

    /// The mistake, if no entry is at a local domain.
    pub fn all(&self, scope: &Scope) -> Option<String> {
        let some =
            |names: &mut dyn Iterator<Item = &String>| names.take(3).map(String::as_str).collect::<Vec<_>>().join(", ");
        let ours = some(&mut scope.local_domains.iter());
        let theirs = some(&mut self.domains.keys().chain(&self.foreign).chain(&scope.unfiltered_domains));
        (self.ours == 0).then(|| {
            format!(
                "no entry is at a local domain, so every recipient would be refused: it lists {theirs}, and \
                 relay.local_domains is {ours}. Add what is missing to one of the two"
            )
        })
    }

    /// A warning for each domain.
    pub fn list(self) -> Vec<Note> {
        let mut sentences: Vec<Note> = self
            .domains
            .iter()
            .map(|(domain, (line, count))| {
                let times = if *count == 1 { String::new() } else { format!(" and {} more", count - 1) };
                let sentence = format!(
                    "line {line}{times}: {domain} is not in relay.local_domains, so the entry does nothing. Add the domain \
                     there, or remove the entry"
                );
                (0, sentence)
            })
            .collect();
        if self.more > 0 {
            sentences.push((0, format!("... and {} entries at other domains", self.more)));
        }
        sentences
    }
}

/// Whether an entry at this domain counts.
pub(super) fn is_ours(domain: &str, scope: &Scope) -> bool {
    scope.local_domains.is_empty() || scope.local_domains.contains(domain)
}
