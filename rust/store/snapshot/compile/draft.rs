//! The snapshot that is being written.
#![forbid(unsafe_code)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::{MAX_ENTRIES, MAX_KEY};
use crate::store::disk::sync_directory;
use crate::store::snapshot::format::{HEADER, Header, OFFSET_BITS, OFFSET_MASK, RECORD, Record, hash};
use crate::store::snapshot::{Found, Stamp};

/// A snapshot being written, under a name of its own; gone when it is dropped unpublished.
pub(super) struct Draft {
    path: PathBuf,
    file: BufWriter<File>,
    at: u64,
    scope: u64,
    states: u64,
    /// Hash and offset of each record.
    index: Vec<(u64, u64)>,
}

impl Draft {
    pub fn create(target: &Path, scope: &str, states: &str) -> io::Result<Self> {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let mut name = target.as_os_str().to_owned();
        name.push(format!(".{}-{}.tmp", std::process::id(), SERIAL.fetch_add(1, Ordering::Relaxed)));
        let path = PathBuf::from(name);
        sweep(target);
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o644).open(&path)?;
        let (scope_octets, state_octets) = (scope.len() as u64, states.len() as u64);
        let file = BufWriter::with_capacity(1 << 16, file);
        let mut draft = Self { path, file, at: 0, scope: scope_octets, states: state_octets, index: Vec::new() };
        draft.write(&[0; HEADER])?;
        draft.write(scope.as_bytes())?;
        draft.write(states.as_bytes())?;
        Ok(draft)
    }

    fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        self.at += octets.len() as u64;
        self.file.write_all(octets)
    }

    /// Whether no further record can be written.
    pub fn is_full(&self) -> bool {
        self.index.len() >= MAX_ENTRIES || self.at >= OFFSET_MASK
    }

    /// Appends a record.
    pub fn add(&mut self, record: Record<'_>) -> io::Result<()> {
        let head = record.head().ok_or(io::ErrorKind::InvalidData)?;
        self.index.push((hash(record.kind == Found::Domain, record.key), self.at));
        self.write(&head)?;
        self.write(record.key)
    }

    /// Gives the table and the number of different entries. `repeated` gets two records of one key, of which the first is in the table.
    pub fn build_table(&mut self, mut repeated: impl FnMut(Record<'_>, Record<'_>)) -> io::Result<(Vec<u64>, u64)> {
        self.file.flush()?;
        let slots = (self.index.len() + self.index.len() / 2 + 1).next_power_of_two();
        let mut table = vec![0_u64; slots];
        let mut entries = 0;
        for &(hash, at) in &self.index {
            let home = usize::try_from(hash & (slots as u64 - 1)).unwrap_or_default();
            for step in 0..slots {
                let Some(slot) = table.get_mut((home + step) & (slots - 1)) else { break };
                if *slot == 0 {
                    *slot = hash >> OFFSET_BITS << OFFSET_BITS | at;
                    entries += 1;
                    break;
                }
                if *slot >> OFFSET_BITS == hash >> OFFSET_BITS
                    && self.is_repeated(*slot & OFFSET_MASK, at, &mut repeated)?
                {
                    break;
                }
            }
        }
        Ok((table, entries))
    }

    /// Whether both records have the same key; read back from the draft, which only likely duplicates cost.
    fn is_repeated(
        &self,
        first: u64,
        second: u64,
        repeated: &mut impl FnMut(Record<'_>, Record<'_>),
    ) -> io::Result<bool> {
        let (mut one, mut other) = ([0; RECORD + MAX_KEY], [0; RECORD + MAX_KEY]);
        let (one, other) = (self.read_back(first, &mut one)?, self.read_back(second, &mut other)?);
        let (Some(one), Some(other)) = (Record::read(one), Record::read(other)) else { return Ok(false) };
        if one.is_same_key(&other) {
            repeated(one, other);
            return Ok(true);
        }
        Ok(false)
    }

    fn read_back<'a>(&self, at: u64, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
        let mut filled = 0;
        while let Some(rest @ [_, ..]) = buffer.get_mut(filled..) {
            match self.file.get_ref().read_at(rest, at + filled as u64)? {
                0 => break,
                octets => filled += octets,
            }
        }
        Ok(buffer.get(..filled).unwrap_or_default())
    }

    /// Puts the whole snapshot at `target`.
    pub fn publish(mut self, target: &Path, table: &[u64], entries: u64, stamp: Stamp) -> io::Result<()> {
        let (scope, states, slots) = (self.scope, self.states, table.len() as u64);
        let header = Header { scope, states, entries, stamp, table: self.at, slots };
        for slot in table {
            self.file.write_all(&slot.to_le_bytes())?;
        }
        self.file.flush()?;
        self.file.get_ref().write_all_at(&header.encode(), 0)?;
        self.file.get_ref().sync_all()?;
        fs::rename(&self.path, target)?;
        sync_directory(parent_of(target))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path); // after `publish` there is none
    }
}

fn parent_of(target: &Path) -> &Path {
    target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Removes drafts that killed processes left. A draft that still lives then fails at its rename: lost work, never a torn snapshot.
fn sweep(target: &Path) {
    let name = target.file_name().unwrap_or_default().as_encoded_bytes();
    for entry in fs::read_dir(parent_of(target)).into_iter().flatten().flatten() {
        let rest = entry.file_name().as_encoded_bytes().strip_prefix(name).map(<[u8]>::to_vec);
        if rest.is_some_and(|rest| rest.starts_with(b".") && rest.ends_with(b".tmp")) {
            let _ = fs::remove_file(entry.path());
        }
    }
}
