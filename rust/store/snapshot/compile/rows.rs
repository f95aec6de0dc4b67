//! Reads the table of a directory. What cannot be an address is left out and counted: one bad entry stops no others.
#![forbid(unsafe_code)]

use super::alias_line::alias_of;
use super::draft::Draft;
use super::entry::Entry;
use super::line::read_entry;
use super::notes::{Notes, printable};
use super::strangers::Strangers;
use super::{Failure, MAX_ENTRIES};
use crate::store::snapshot::format::Record;
use crate::store::snapshot::kept::{Kept, row_of};
use crate::store::snapshot::table::{Row, Table};
use crate::store::snapshot::{Input, Scope};

/// What is wrong with rows: their number, and the first.
#[derive(Default)]
struct Faults {
    count: u64,
    first: String,
}

impl Faults {
    fn add(&mut self, row: &Row<'_>, table: &Table, reason: &str) {
        self.count += 1;
        if self.count == 1 {
            self.first =
                format!("\"{}\" of {}: {reason}", printable(row.text), printable(table.name(row.entry).as_bytes()));
        }
    }

    fn warn(self, number: u8, what: &str, warnings: &mut Notes) {
        if self.count > 0 {
            warnings.add(number, format!("{} {what}. The first is {}", self.count, self.first));
        }
    }
}

/// Reads rows of a table, and counts what is wrong with them.
pub(super) struct Reader<'a> {
    input: &'a Input,
    table: &'a Table,
    scope: &'a Scope,
    unread: Faults,
    plain: Faults,
}

impl<'a> Reader<'a> {
    pub fn new(input: &'a Input, table: &'a Table, scope: &'a Scope) -> Self {
        Self { input, table, scope, unread: Faults::default(), plain: Faults::default() }
    }

    /// What a row says; None when that is nothing.
    pub fn entry(&mut self, row: &Row<'_>) -> Option<Entry> {
        match read_entry(row.text, self.scope) {
            Ok(entry) => entry.map(|entry| {
                with_targets(entry, row, self.scope).unwrap_or_else(|(entry, reason)| {
                    self.plain.add(row, self.table, &reason);
                    entry
                })
            }),
            Err(reason) => {
                self.unread.add(row, self.table, &reason);
                None
            }
        }
    }

    /// The record of what a row says.
    pub fn record<'e>(&self, row: &Row<'_>, entry: &'e Entry) -> Record<'e> {
        let line = u32::try_from(row.entry).unwrap_or_default();
        let (key, targets) = (entry.key.as_bytes(), entry.targets.as_bytes());
        Record { kind: entry.kind, source: self.input.number, line, key, targets }
    }

    pub fn warn(self, warnings: &mut Notes) {
        let number = self.input.number;
        self.unread.warn(number, "addresses cannot be read and are left out", warnings);
        self.plain.warn(number, "addresses are delivered to themselves, as their targets cannot be used", warnings);
    }
}

/// Adds a record for each row.
pub(super) fn read(
    input: &Input,
    table: &Table,
    draft: &mut Draft,
    scope: &Scope,
    warnings: &mut Notes,
    strangers: &mut Strangers,
) -> Result<(), Failure> {
    let (mut reader, mut is_full) = (Reader::new(input, table, scope), false);
    let wrong = |error| Failure::Source(input.path.clone(), error);
    table.read(wrong, |row| {
        let Some(entry) = reader.entry(&row) else { return Ok(true) };
        is_full = draft.is_full();
        if !is_full {
            draft.add(reader.record(&row, &entry))?;
            strangers.see_row(&entry.domain, scope);
        }
        Ok(!is_full)
    })?;
    reader.warn(warnings);
    if is_full {
        warnings.add(input.number, format!("more than {MAX_ENTRIES} entries. The rest is left out"));
    }
    Ok(())
}

/// Adds the records that a table had when it was read last, by the key that their spelling has now.
pub(super) fn keep(kept: &Kept, draft: &mut Draft, scope: &Scope, strangers: &mut Strangers) -> Result<(), Failure> {
    for record in kept.records(0) {
        if draft.is_full() {
            break;
        }
        let now = read_entry(row_of(&record).0.as_bytes(), scope).ok().flatten();
        draft.add(Record { key: now.as_ref().map_or(record.key, |entry| entry.key.as_bytes()), ..record })?;
        let domain = record.key.rsplit(|octet| *octet == b'@').next().unwrap_or_default();
        strangers.see_row(&String::from_utf8_lossy(domain), scope);
    }
    Ok(())
}

/// The entry with the targets of its row; `Err` is the entry without them, and why: it exists whatever they are.
fn with_targets(entry: Entry, row: &Row<'_>, scope: &Scope) -> Result<Entry, (Entry, String)> {
    let Ok(lines) = std::str::from_utf8(row.targets) else { return Err((entry, "they are not UTF-8".to_owned())) };
    let targets: Vec<&str> = lines.lines().map(str::trim).filter(|target| !target.is_empty()).collect();
    if targets.is_empty() {
        return Ok(entry);
    }
    let Entry { kind, key, domain, .. } = &entry;
    let plain = Entry::plain(*kind, key.clone(), domain.clone());
    alias_of(entry, &targets, &scope.default_domain).map_err(|reason| (plain, reason))
}
