//! What the contents that one worker receives at the same time may take together: memory, descriptors, disk.
//!
//! Promises: the octets of all contents in memory stay within the budget, but for the first [`ALWAYS`] of each; of the content
//! files being written at most [`OPEN_FILES`] are open between two writes; unfinished content leaves the disk twice its reserve,
//! and one source gets at most a share of the rest. Never waits, reads no clock; cells are atomic, because a message is dropped
//! by whichever thread lets go of it last.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use crate::machine::message::content::{AnyShare, Share};
use crate::store::buffers::Pool;
use crate::store::disk::Disk;
use crate::store::shared::Source;

/// Octets of memory each content may have whatever the others take: the header section of most mail, so that a worker whose
/// budget is spent still takes mail.
pub const ALWAYS: usize = 8 * 1024;
/// Content files kept open between two writes. The files beyond are opened for each write, which costs about 5 us.
pub const OPEN_FILES: usize = 64;
/// Octets written between two looks at the disk.
const LOOK: u64 = 1024 * 1024;

/// The budget of one worker.
#[derive(Debug, Default)]
pub struct Budget {
    /// Octets of memory; 0 = no bound.
    memory: usize,
    used: AtomicUsize,
    most: AtomicUsize,
    open: AtomicUsize,
    /// None: no bound.
    disk: Option<Disk>,
    /// One source may take this fraction of the room on the disk.
    divisor: u64,
    /// What the last look at the disk found above twice its reserve, and what was written since.
    room: AtomicU64,
    written: AtomicU64,
    sources: Mutex<HashMap<Source, u64>>,
    /// Free buffers for large contents.
    pub pool: Pool,
}

impl Budget {
    /// A budget of `memory` octets (0: no bound) and of room on `disk`, which `workers` processes share.
    pub fn new(memory: usize, disk: Option<Disk>, workers: usize) -> Self {
        // Each worker bounds a source for itself by what is free then: all together it gets a third of the room at most.
        let divisor = 2 * (workers as u64).saturating_add(1);
        Self { memory, disk, divisor, ..Self::default() }
    }

    /// Octets of content in memory now, without the first [`ALWAYS`] of each content.
    pub fn in_memory(&self) -> usize {
        self.used.load(Relaxed)
    }

    /// The most octets that were in memory since the last call; free buffers that nobody needed since then are given back.
    pub fn take_most(&self) -> usize {
        self.pool.give_back();
        self.most.swap(self.in_memory(), Relaxed)
    }

    /// Takes memory for so many octets of a large content: all large ones have half of the memory, so that small ones find room.
    pub fn take_pieces(&self, octets: usize) -> bool {
        if self.memory > 0 && self.in_memory().saturating_add(octets) > self.memory / 2 {
            return false;
        }
        let used = self.used.fetch_add(octets, Relaxed).saturating_add(octets);
        self.most.fetch_max(used, Relaxed);
        true
    }

    /// Gives back what [`Self::take_pieces`] took.
    pub fn give_back_pieces(&self, octets: usize) {
        self.used.fetch_sub(octets, Relaxed);
    }

    /// Whether unfinished content of `octets` from `source` has room on the disk now (RFC 1870 6.1).
    pub fn has_room(&self, source: Option<Source>, octets: u64) -> bool {
        let held = source.map_or(0, |source| self.sources().get(&source).copied().unwrap_or_default());
        self.fits(held, octets)
    }

    /// Takes room on the disk for `octets` of unfinished content; false when there is none.
    fn take(&self, source: Option<Source>, octets: u64) -> bool {
        let mut sources = self.sources();
        let held = source.and_then(|source| sources.get(&source).copied()).unwrap_or_default();
        if !self.fits(held, octets) {
            return false;
        }
        self.written.fetch_add(octets, Relaxed);
        if let Some(source) = source {
            sources.insert(source, held + octets);
        }
        true
    }

    /// Gives back what `source` had; finished content is no longer its share.
    fn give_back(&self, source: Option<Source>, octets: u64) {
        let Some(source) = source else { return };
        let mut sources = self.sources();
        match sources.get_mut(&source) {
            Some(held) if *held > octets => *held -= octets,
            _ => _ = sources.remove(&source),
        }
    }

    fn fits(&self, held: u64, octets: u64) -> bool {
        let Some(disk) = &self.disk else { return true };
        let fits = || {
            let room = self.room.load(Relaxed).saturating_sub(self.written.load(Relaxed));
            octets <= room && held.saturating_add(octets) <= room / self.divisor.max(1)
        };
        // The last value must not refuse anything: there may be more by now.
        if self.written.load(Relaxed).saturating_add(octets) < LOOK && fits() {
            return true;
        }
        // When the disk cannot be asked, a failed write says that it is full.
        self.room.store(disk.free().map_or(u64::MAX, |free| free.saturating_sub(2 * disk.reserve)), Relaxed);
        self.written.store(0, Relaxed);
        fits()
    }

    fn sources(&self) -> std::sync::MutexGuard<'_, HashMap<Source, u64>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Memory that one content takes out of the budget; given back when dropped.
#[derive(Debug, Default)]
pub struct Memory {
    budget: Option<Arc<Budget>>,
    octets: usize,
}

impl Memory {
    /// Changes what is taken to that of a buffer of `octets`; false, and no change, when the budget has no more. Content that
    /// is `finished` may take the last quarter, too: it cannot go to a file any more.
    pub fn resize(&mut self, budget: &Arc<Budget>, octets: usize, finished: bool) -> bool {
        let wanted = octets.saturating_sub(ALWAYS);
        let most = if finished { budget.memory } else { budget.memory / 4 * 3 };
        if wanted > self.octets {
            let more = wanted - self.octets;
            if budget.memory > 0 && budget.used.load(Relaxed).saturating_add(more) > most {
                return false;
            }
            let used = budget.used.fetch_add(more, Relaxed).saturating_add(more);
            budget.most.fetch_max(used, Relaxed);
        } else {
            budget.used.fetch_sub(self.octets - wanted, Relaxed);
        }
        self.octets = wanted;
        self.budget.get_or_insert_with(|| Arc::clone(budget));
        true
    }
}

impl AnyShare for Memory {}

impl Memory {
    /// As the machines know it.
    pub fn into_share(self) -> Share {
        (self.octets > 0).then(|| Box::new(self) as _)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Some(budget) = &self.budget {
            budget.used.fetch_sub(self.octets, Relaxed);
        }
    }
}

/// What one content file being written takes out of the budget; given back when dropped.
#[derive(Debug)]
pub struct FileShare {
    budget: Arc<Budget>,
    source: Option<Source>,
    octets: u64,
    /// None until it is asked.
    stays_open: Option<bool>,
}

impl FileShare {
    /// Of a file that is still empty, and comes from `source` if that is known.
    pub fn new(budget: &Arc<Budget>, source: Option<Source>) -> Self {
        Self { budget: Arc::clone(budget), source, octets: 0, stays_open: None }
    }

    /// Whether the file may stay open between two writes: always or never.
    pub fn stays_open(&mut self) -> bool {
        *self.stays_open.get_or_insert_with(|| {
            let stays_open = self.budget.open.fetch_add(1, Relaxed) < OPEN_FILES;
            if !stays_open {
                self.budget.open.fetch_sub(1, Relaxed);
            }
            stays_open
        })
    }

    /// Takes room on the disk for `octets` more; false when there is none.
    pub fn take(&mut self, octets: u64) -> bool {
        let taken = self.budget.take(self.source, octets);
        self.octets += if taken { octets } else { 0 };
        taken
    }
}

impl Drop for FileShare {
    fn drop(&mut self) {
        self.budget.give_back(self.source, self.octets);
        if self.stays_open == Some(true) {
            self.budget.open.fetch_sub(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(last: u8) -> Option<Source> {
        Source::from_packed(&[192, 0, 2, last])
    }

    #[test]
    fn memory_is_bounded_and_given_back() {
        let budget = Arc::new(Budget::new(100_000, None, 1));
        let mut contents: Vec<Memory> = (0..10).map(|_| Memory::default()).collect();
        assert!(contents.iter_mut().all(|memory| memory.resize(&budget, ALWAYS, false)));
        assert_eq!(budget.in_memory(), 0);
        let taken =
            contents.iter_mut().filter_map(|memory| memory.resize(&budget, ALWAYS + 20_000, false).then_some(()));
        assert_eq!((taken.count(), budget.in_memory()), (3, 60_000));
        // The last quarter is for what is finished.
        assert!(contents.iter_mut().skip(3).any(|memory| memory.resize(&budget, ALWAYS + 40_000, true)));
        assert_eq!(budget.in_memory(), 100_000);
        assert!(contents.first_mut().is_some_and(|memory| memory.resize(&budget, ALWAYS + 1, false)));
        assert_eq!(budget.in_memory(), 80_001);
        drop(contents);
        assert_eq!(budget.in_memory(), 0);
        assert_eq!((budget.take_most(), budget.take_most()), (100_000, 0));
    }

    #[test]
    fn few_files_stay_open() {
        let budget = Arc::new(Budget::default());
        let mut files: Vec<FileShare> = (0..OPEN_FILES + 5).map(|_| FileShare::new(&budget, None)).collect();
        for _ in 0..2 {
            let stay = files.iter_mut().map(FileShare::stays_open);
            assert_eq!(stay.filter(|&stays_open| stays_open).count(), OPEN_FILES);
        }
        drop(files);
        assert!(FileShare::new(&budget, None).stays_open());
        assert_eq!(budget.open.load(Relaxed), 0);
    }

    #[test]
    fn one_source_gets_a_share_of_the_room_and_others_have_theirs() {
        let disk = Disk::of("/".into()).unwrap();
        let room = disk.free().unwrap().saturating_sub(2 * disk.reserve);
        let budget = Arc::new(Budget::new(0, Some(disk), 3));
        let mut file = FileShare::new(&budget, source(1));
        assert!(budget.has_room(source(1), room / 10));
        assert!(!budget.has_room(source(1), room / 7));
        assert!(file.take(room / 10));
        assert!(!file.take(room / 10) && !budget.has_room(source(1), room / 10));
        assert!(budget.has_room(source(2), room / 10));
        drop(file);
        assert!(budget.has_room(source(1), room / 10));
        assert!(budget.sources().is_empty());
    }

    #[test]
    fn nothing_is_written_into_the_reserve() {
        let mut disk = Disk::of("/".into()).unwrap();
        disk.reserve = disk.free().unwrap() / 2 + 1;
        let budget = Arc::new(Budget::new(0, Some(disk), 1));
        assert!(!FileShare::new(&budget, None).take(1));
    }
}
