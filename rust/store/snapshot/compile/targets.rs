//! The targets of several records of one address in one table, where a table has a row for each target.
#![forbid(unsafe_code)]

use std::collections::HashSet;

use super::MOST_TARGETS;
use crate::store::snapshot::Found;
use crate::store::snapshot::format::Record;

/// Whether the targets of two records of one key are united: in one table, for addresses, or for a whole domain whose mail goes to others.
pub(super) fn are_united(one: &Record<'_>, other: &Record<'_>) -> bool {
    let is_united = |record: &Record<'_>| matches!(record.kind, Found::Address | Found::Alias | Found::CatchAll);
    one.source != 0
        && one.source == other.source
        && is_united(one)
        && is_united(other)
        && (one.kind == Found::CatchAll) == (other.kind == Found::CatchAll)
        && one.targets != other.targets
}

/// Each once, and one more than there may be at most: what has that many is not used.
pub(super) struct Targets {
    lines: Vec<Box<str>>,
    known: HashSet<Box<str>>,
    /// How many are those of the first record; none where that is delivered to itself.
    first: usize,
}

impl Targets {
    /// Those of the first record.
    pub fn of(record: &Record<'_>) -> Self {
        let mut targets = Self { lines: Vec::new(), known: HashSet::new(), first: 0 };
        targets.add(record);
        targets.first = if record.targets.is_empty() { 0 } else { targets.lines.len() };
        targets
    }

    /// Adds those of another record. One without targets is delivered to itself.
    pub fn add(&mut self, record: &Record<'_>) {
        let octets = if record.targets.is_empty() { record.key } else { record.targets };
        for line in String::from_utf8_lossy(octets).lines() {
            if self.lines.len() <= MOST_TARGETS && self.known.insert(line.into()) {
                self.lines.push(line.into());
            }
        }
    }

    /// All of them, one a line; None where they are those of the first record.
    pub fn others(&self) -> Option<String> {
        (self.lines.len() > self.first).then(|| self.lines.join("\n"))
    }
}
