//! The snapshot that is being written.
#![forbid(unsafe_code)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::place::sweep;
use super::steps::Steps;
use super::stored::Stored;
use super::targets::{self, Targets};
use super::{MAX_ENTRIES, MAX_KEY, MAX_TARGETS};
use crate::store::snapshot::Found;
use crate::store::snapshot::format::{HEADER, OFFSET_BITS, OFFSET_MASK, RECORD, Record, hash};

mod publish;

/// Most pairs of a key and an alias that leads to it, 16 octets each: with more, every change is compiled whole.
pub(super) const MOST_DEPENDENTS: usize = 2_000_000;

/// A snapshot being written, under a name of its own; gone when it is dropped unpublished.
pub(super) struct Draft {
    path: PathBuf,
    file: BufWriter<File>,
    at: u64,
    scope: u64,
    states: u64,
    /// Hash and offset of each record of the inputs.
    index: Vec<(u64, u64)>,
    /// How many of them there were at the end of each input.
    ends: Vec<usize>,
    /// Hashes of keys that have several, or of which the table leads to one that was made of them.
    several: Vec<u64>,
    /// Hash and offset of records of changes that the table does not lead to.
    others: Vec<(u64, u64)>,
    /// Hashes of keys that were looked at for an alias, and its offset.
    pub dependents: Vec<(u64, u64)>,
    /// From alias to alias.
    pub steps: Steps,
    /// Offsets of the records that are aliases.
    pub aliases: Vec<u64>,
    /// Offsets by hash, once all records are written.
    table: Vec<u64>,
}

impl Draft {
    pub fn create(target: &Path, scope: &str, states: &str) -> io::Result<Self> {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let mut name = target.as_os_str().to_owned();
        name.push(format!(".{}-{}.tmp", std::process::id(), SERIAL.fetch_add(1, Ordering::Relaxed)));
        let path = PathBuf::from(name);
        sweep(target, b".tmp");
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o644).open(&path)?;
        let (scope_octets, state_octets) = (scope.len() as u64, states.len() as u64);
        let file = BufWriter::with_capacity(1 << 16, file);
        let mut draft = Self {
            path,
            file,
            at: 0,
            scope: scope_octets,
            states: state_octets,
            index: Vec::new(),
            ends: Vec::new(),
            several: Vec::new(),
            others: Vec::new(),
            dependents: Vec::new(),
            steps: Steps::default(),
            aliases: Vec::new(),
            table: Vec::new(),
        };
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

    /// Says that the records of an input are complete.
    pub fn end_input(&mut self) {
        self.ends.push(self.index.len());
    }

    /// Appends a record.
    pub fn add(&mut self, record: Record<'_>) -> io::Result<()> {
        self.index.push((hash(record.kind.is_domain(), record.key), self.at));
        if !record.targets.is_empty() {
            self.aliases.push(self.at);
        }
        self.append(record).map(drop)
    }

    /// Writes a record that is not in the table; gives its offset.
    pub fn append(&mut self, record: Record<'_>) -> io::Result<u64> {
        let at = self.at;
        let (head, tail) = record.head().zip(record.tail()).ok_or(io::ErrorKind::InvalidData)?;
        self.write(&head)?;
        self.write(record.key)?;
        self.write(&tail)?;
        Ok(at)
    }

    /// Appends a record of an input about whose key changes say what was made of it.
    pub fn add_other(&mut self, record: Record<'_>) -> io::Result<()> {
        let at = self.append(record)?;
        self.others.push((hash(record.kind.is_domain(), record.key), at));
        Ok(())
    }

    /// Makes the table; gives the number of different entries. `repeated` gets two records of one key, of which the first is in the table.
    /// Only likely duplicates are read back.
    pub fn build_table(&mut self, mut repeated: impl FnMut(Record<'_>, Record<'_>)) -> io::Result<u64> {
        self.file.flush()?;
        let (index, ends) = (std::mem::take(&mut self.index), std::mem::take(&mut self.ends));
        let slots = (index.len() + index.len() / 2 + 1).next_power_of_two();
        self.table = vec![0_u64; slots];
        let (mut entries, mut begin) = (0, 0);
        for end in ends {
            let mut others = Vec::new();
            for &(hash, at) in index.get(begin..end).unwrap_or_default() {
                entries += u64::from(self.enter(hash, at, &mut others, &mut repeated)?);
            }
            self.unite(others)?;
            begin = end;
        }
        self.index = index;
        Ok(entries)
    }

    /// Puts a record into the table if it is the first of its key, and returns whether it is. One whose targets are united with those of the
    /// first gets among `others`, with the slot of that.
    fn enter(
        &mut self,
        hash: u64,
        at: u64,
        others: &mut Vec<(usize, u64)>,
        repeated: &mut impl FnMut(Record<'_>, Record<'_>),
    ) -> io::Result<bool> {
        let mut is_united = false;
        let slot = self.slot(hash, |draft, first| {
            let (one, other) = (draft.stored(first)?, draft.stored(at)?);
            let (Some(one), Some(other)) = (one.record(), other.record()) else { return Ok(false) };
            let is_repeated = one.is_same_key(&other);
            is_united = is_repeated && targets::are_united(&one, &other);
            if is_repeated && !is_united {
                repeated(one, other);
            }
            Ok(is_repeated)
        })?;
        if is_united {
            others.push((slot, at));
        }
        match self.table.get_mut(slot) {
            Some(free) if *free == 0 => {
                *free = hash >> OFFSET_BITS << OFFSET_BITS | at;
                Ok(true)
            }
            _ => {
                self.several.push(hash);
                Ok(false)
            }
        }
    }

    /// Writes one record for those of one slot: the one that is there and these others, at their offsets.
    fn unite(&mut self, mut others: Vec<(usize, u64)>) -> io::Result<()> {
        others.sort_unstable();
        for group in others.chunk_by(|one, other| one.0 == other.0) {
            let Some(slot) = group.first().map(|(slot, _)| *slot) else { continue };
            let entry = self.table.get(slot).copied().unwrap_or_default();
            let first = self.stored(entry & OFFSET_MASK)?;
            let Some(first) = first.record() else { continue };
            let mut targets = Targets::of(&first);
            for (_, at) in group {
                if let Some(other) = self.stored(*at)?.record() {
                    targets.add(&other);
                }
            }
            let Some(targets) = targets.others() else { continue };
            let kind = if first.kind == Found::CatchAll { first.kind } else { Found::Alias };
            let at = self.append(Record { kind, targets: targets.as_bytes(), ..first })?;
            self.aliases.push(at);
            if let Some(slot) = self.table.get_mut(slot) {
                *slot = entry >> OFFSET_BITS << OFFSET_BITS | at;
            }
        }
        self.file.flush()
    }

    /// The slot of the record with this hash of which `is_it` holds, given its offset; else the free one where it would be.
    pub fn slot(&self, hash: u64, mut is_it: impl FnMut(&Self, u64) -> io::Result<bool>) -> io::Result<usize> {
        let slots = self.table.len();
        let home = usize::try_from(hash & (slots as u64).wrapping_sub(1)).unwrap_or_default();
        for step in 0..slots {
            let at = (home + step) & (slots - 1);
            let slot = self.table.get(at).copied().unwrap_or_default();
            let is_likely = slot >> OFFSET_BITS == hash >> OFFSET_BITS;
            if slot == 0 || is_likely && is_it(self, slot & OFFSET_MASK)? {
                return Ok(at);
            }
        }
        Err(io::ErrorKind::InvalidData.into()) // a third of the slots is free
    }

    /// Whether the table has the record at this offset: no earlier one decides.
    pub fn decides(&self, at: u64, record: &Record<'_>) -> io::Result<bool> {
        let slot = self.slot(hash(record.kind.is_domain(), record.key), |_, found| Ok(found == at))?;
        Ok(self.table.get(slot).is_some_and(|slot| *slot != 0))
    }

    /// Has the table lead to the record at `new` instead of the one at `old`, which is of the same key.
    pub fn replace(&mut self, old: u64, new: u64, record: &Record<'_>) -> io::Result<()> {
        let hash = hash(record.kind.is_domain(), record.key);
        self.several.push(hash);
        let slot = self.slot(hash, |_, found| Ok(found == old))?;
        if let Some(slot) = self.table.get_mut(slot) {
            *slot = *slot >> OFFSET_BITS << OFFSET_BITS | new;
        }
        Ok(())
    }

    /// Reads a record back from the draft; what was not flushed is not there yet.
    pub fn stored(&self, at: u64) -> io::Result<Stored> {
        let mut octets = vec![0; RECORD + MAX_KEY];
        loop {
            let filled = self.read_back(at, &mut octets)?;
            if filled < octets.len() || octets.len() > MAX_KEY + MAX_TARGETS || Record::read(&octets).is_some() {
                octets.truncate(filled);
                return Ok(Stored::read(octets));
            }
            octets.resize(2 * octets.len(), 0);
        }
    }

    fn read_back(&self, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest @ [_, ..]) = buffer.get_mut(filled..) {
            match self.file.get_ref().read_at(rest, at + filled as u64)? {
                0 => break,
                octets => filled += octets,
            }
        }
        Ok(filled)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path); // after `publish` there is none
    }
}
