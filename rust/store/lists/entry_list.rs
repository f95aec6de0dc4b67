//! One list in memory: read from text, changed, and written as text again, in the order of prefixes.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use super::Terms;
use super::line::{read_line, reason, write_line};
use crate::machine::prefix::Prefix;

/// Longest list: a lookup stays as fast, but memory is to be bounded.
const MAX_ENTRIES: usize = 4_000_000;
const MAX_PROBLEMS: usize = 20;

/// Prefixes of one list with their terms.
#[derive(Debug, Clone, Default)]
pub struct EntryList {
    entries: BTreeMap<Prefix, Terms>,
    /// What to write instead of a prefix that is hardly meant; None where it was asked about, and is taken.
    instead_of_wide: Option<&'static str>,
    problems: Vec<String>,
    wrong: usize,
    lines: usize,
}

impl EntryList {
    /// An empty list that refuses the lines of prefixes that are hardly meant (`Prefix::too_wide`): `instead` is what to do if one is.
    pub fn without_wide(instead: &'static str) -> Self {
        Self { instead_of_wide: Some(instead), ..Self::default() }
    }

    /// Takes the entries of a text, or of the next piece of one: whole lines. `since` and `until` are for those that name none. Of a
    /// prefix that comes twice the later line counts.
    pub fn read(&mut self, text: &[u8], since: u32, until: u32) {
        let text = if self.lines == 0 { text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text) } else { text };
        let ends_in_line = !text.is_empty() && !text.ends_with(b"\n");
        let lines = text.split(|octet| *octet == b'\n');
        let count = memchr::memchr_iter(b'\n', text).count() + usize::from(ends_in_line);
        for line in lines.take(count) {
            self.lines += 1;
            match read_line(line).and_then(|entry| self.narrow(entry)) {
                Ok(None) => {}
                Ok(Some((prefix, mut terms))) if self.entries.len() < MAX_ENTRIES => {
                    terms.since = if terms.since == 0 { since } else { terms.since };
                    terms.until = if terms.until == 0 { until } else { terms.until };
                    self.entries.insert(prefix, terms);
                }
                Ok(Some(_)) => self.complain(&format!("more than {MAX_ENTRIES} entries. Use shorter prefixes")),
                Err(why) => self.complain(&format!("\"{}\": {why}", printable(line))),
            }
        }
    }

    /// The entry, unless its prefix is one that this list refuses.
    fn narrow(&self, entry: Option<(Prefix, Terms)>) -> Result<Option<(Prefix, Terms)>, String> {
        match (self.instead_of_wide, entry.as_ref().and_then(|(prefix, _)| prefix.too_wide())) {
            (Some(instead), Some(widest)) => Err(format!("it is wider than /{widest}. {instead}")),
            _ => Ok(entry),
        }
    }

    fn complain(&mut self, why: &str) {
        self.wrong += 1;
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(format!("line {}: {why}", self.lines));
        }
    }

    /// What is wrong with the text so far, a sentence each; of many the first, and how many more.
    pub fn problems(&self) -> Vec<String> {
        let more = self.wrong - self.problems.len();
        let rest = (more > 0).then(|| format!("... and {more} more"));
        self.problems.iter().cloned().chain(rest).collect()
    }

    /// Adds an entry, or gives it other terms; whether it is new.
    pub fn add(&mut self, prefix: Prefix, mut terms: Terms) -> bool {
        terms.reason = reason(&terms.reason);
        self.entries.insert(prefix, terms).is_none()
    }

    /// Adds all entries of another list.
    pub fn merge(&mut self, other: &Self) {
        self.entries.extend(other.entries.iter().map(|(prefix, terms)| (*prefix, terms.clone())));
    }

    /// Removes an entry; whether it was there.
    pub fn remove(&mut self, prefix: Prefix) -> bool {
        self.entries.remove(&prefix).is_some()
    }

    /// Removes what has ended by this second; how many.
    pub fn remove_ended(&mut self, now: u32) -> usize {
        let before = self.entries.len();
        self.entries.retain(|_, terms| terms.hold_at(now));
        before - self.entries.len()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries in their order.
    pub fn iter(&self) -> impl Iterator<Item = (Prefix, &Terms)> {
        self.entries.iter().map(|(prefix, terms)| (*prefix, terms))
    }

    /// The list as text.
    pub fn text(&self) -> String {
        let mut text = String::with_capacity(self.entries.len() * 64);
        for (prefix, terms) in self.iter() {
            write_line(&mut text, prefix, terms);
        }
        text
    }
}

/// What a terminal and a log can show of a line, cut to 60 characters.
fn printable(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let mut characters = text.trim().chars();
    let mut shown: String = characters.by_ref().take(60).flat_map(char::escape_debug).collect();
    if characters.next().is_some() {
        shown.push_str("...");
    }
    shown
}
