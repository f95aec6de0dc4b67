//! Completes a draft and puts it in force.
#![forbid(unsafe_code)]

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{Draft, MOST_DEPENDENTS};
use crate::store::disk::sync_directory;
use crate::store::snapshot::Stamp;
use crate::store::snapshot::compile::place::{alone, parent_of, sweep};
use crate::store::snapshot::format::{Header, PAIR};
use crate::store::snapshot::layer::base_path;

impl Draft {
    /// Puts the whole snapshot at `target`: entries there are, the stamp of the text file, and the entries that count at local domains.
    pub fn publish(mut self, target: &Path, entries: u64, stamp: Stamp, ours: u64) -> io::Result<()> {
        let is_changeable = !self.is_full() && self.dependents.len() < MOST_DEPENDENTS && self.steps.leave_half();
        if is_changeable {
            self.several.sort_unstable();
            self.index.retain(|(hash, _)| self.several.binary_search(hash).is_ok());
            self.index.sort_unstable();
            self.dependents.sort_unstable();
        } else {
            self.index.clear();
            self.dependents.clear();
        }
        self.finish(entries, stamp, if is_changeable { ours } else { 0 }, 0)?;
        let _alone = alone(target);
        fs::rename(&self.path, target)?;
        sync_directory(parent_of(target))?;
        sweep(target, b".base");
        Ok(())
    }

    /// Puts the changes at `target`, upon the base with this mark, which is there; `NotFound` when it is not there any more.
    pub fn publish_changes(mut self, target: &Path, entries: u64, stamp: Stamp, base: u64) -> io::Result<()> {
        self.index = std::mem::take(&mut self.others);
        self.index.sort_unstable();
        self.finish(entries, stamp, 0, base)?;
        let _alone = alone(target);
        fs::metadata(base_path(target, base))?;
        fs::rename(&self.path, target)?;
        sync_directory(parent_of(target))
    }

    /// Writes what is behind the records, and the header.
    fn finish(&mut self, entries: u64, stamp: Stamp, ours: u64, base: u64) -> io::Result<()> {
        let (scope, states, slots) = (self.scope, self.states, self.table.len() as u64);
        let (others, dependents) = (self.index.len() as u64, self.dependents.len() as u64);
        for (hash, at) in self.index.iter().chain(&self.dependents) {
            self.file.write_all(&hash.to_le_bytes())?;
            self.file.write_all(&at.to_le_bytes())?;
        }
        let table = self.at + (others + dependents) * PAIR as u64;
        for slot in &self.table {
            self.file.write_all(&slot.to_le_bytes())?;
        }
        self.file.flush()?;
        let header = Header { scope, states, entries, stamp, table, slots, ours, others, dependents, base };
        self.file.get_ref().write_all_at(&header.encode(), 0)?;
        self.file.get_ref().sync_all()
    }
}
