//! Reads the table of a directory. What cannot be an address is left out and counted: one bad entry stops no others.
#![forbid(unsafe_code)]

use super::draft::Draft;
use super::line::{Entry, read_entry};
use super::notes::{Notes, printable};
use super::strangers::Strangers;
use super::{Failure, MAX_ENTRIES};
use crate::store::snapshot::format::Record;
use crate::store::snapshot::table::{Row, Table};
use crate::store::snapshot::{Input, Scope};

/// Adds a record for each row.
pub(super) fn read(
    input: &Input,
    table: &Table,
    draft: &mut Draft,
    scope: &Scope,
    warnings: &mut Notes,
    strangers: &mut Strangers,
) -> Result<(), Failure> {
    let (mut first, mut bad, mut is_full) = (None, 0_u64, false);
    let wrong = |error| Failure::Source(input.path.clone(), error);
    table.read(wrong, |Row { entry, text }| {
        match read_entry(text, scope) {
            Ok(Some(Entry { kind, key, domain })) if !draft.is_full() => {
                let line = u32::try_from(entry).unwrap_or_default();
                draft.add(Record { kind, source: input.number, line, key: key.as_bytes() })?;
                strangers.see_row(&domain, scope);
            }
            Ok(Some(_)) => is_full = true,
            Ok(None) => {}
            Err(reason) => {
                bad += 1;
                first.get_or_insert_with(|| format!("\"{}\" of {}: {reason}", printable(text), table.name(entry)));
            }
        }
        Ok(!is_full)
    })?;
    if let Some(first) = first {
        warnings.add(input.number, format!("{bad} addresses cannot be read and are left out. The first is {first}"));
    }
    if is_full {
        warnings.add(input.number, format!("more than {MAX_ENTRIES} entries. The rest is left out"));
    }
    Ok(())
}
