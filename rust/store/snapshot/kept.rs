//! What a snapshot has of one table: it stays known while the table is lost or cannot be read.
#![forbid(unsafe_code)]

use std::collections::HashSet;

use super::format::Record;
use super::{Directory, Found, Input, Scope};

/// The records that a table had when the snapshot was made, in the order of their entries.
pub struct Kept {
    directory: Directory,
    number: u8,
    state: String,
    /// Of each: its entry, whether it is among the changes, its offset there.
    places: Vec<(u32, bool, u64)>,
}

impl Kept {
    /// Those of the table `input`; None where the snapshot was made without it, or before it was read whole.
    pub fn of(directory: Directory, input: &Input) -> Option<Self> {
        let (then, state) = directory.state_of(input)?;
        let mut places = Vec::new();
        let mut changed = HashSet::new();
        if let Some(changes) = &directory.changes {
            changes.each_of_inputs(|at, record| {
                changed.insert(record.key);
                if record.source == then && record.kind != Found::Absent {
                    places.push((record.line, true, at));
                }
            })?;
        }
        directory.base.each_of_inputs(|at, record| {
            if record.source == then && (record.kind.is_domain() || !changed.contains(record.key)) {
                places.push((record.line, false, at));
            }
        })?;
        places.sort_unstable();
        Some(Self { directory, number: input.number, state, places })
    }

    /// What `table_state` said of the table then; as of one that was read by no settings where it may have had more in this scope than is
    /// known of it, so that who is not found is unknown.
    pub fn state(&self, scope: &Scope) -> String {
        if self.directory.has_all_for(scope) {
            return self.state.clone();
        }
        let (identity, rows) = self.state.split_once(' ').unwrap_or_default();
        format!(".{} {rows}", identity.split_once('.').map_or("", |(_, mark)| mark))
    }

    /// How many records there are.
    pub fn count(&self) -> usize {
        self.places.len()
    }

    /// Those from the number `first` on.
    pub fn records(&self, first: usize) -> impl Iterator<Item = Record<'_>> {
        let places = self.places.get(first..).unwrap_or_default();
        places.iter().filter_map(|(_, is_changed, at)| {
            let changes = self.directory.changes.as_ref().filter(|_| *is_changed);
            let record = changes.unwrap_or(&self.directory.base).record(*at)?;
            Some(Record { source: self.number, ..record })
        })
    }
}

/// What a record says, in the notation of a table: the text and the targets, one a line.
pub fn row_of(record: &Record<'_>) -> (String, String) {
    let (key, targets) = (String::from_utf8_lossy(record.key), String::from_utf8_lossy(record.targets));
    let text = match record.kind {
        Found::Excluded => format!("!{key}"),
        kind if kind.is_domain() => format!("@{key}"),
        // Without quotes this would not be an address.
        _ if key.starts_with(['!', '*']) => {
            key.rsplit_once('@').map_or_else(String::new, |(local, domain)| format!("\"{local}\"@{domain}"))
        }
        _ => key.into_owned(),
    };
    (text, if record.kind == Found::AliasDomain { format!("@{targets}") } else { targets.into_owned() })
}
