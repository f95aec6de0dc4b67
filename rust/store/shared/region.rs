//! The mapped region and where in it things are.

use std::fs::File;
use std::hash::RandomState;
use std::io;
use std::sync::atomic::AtomicU64;

use memmap2::MmapMut;
use rustix::fs::{MemfdFlags, memfd_create};

use super::keyed_hash::KeyedHash;
use super::{budgets, cells, harvest, next_hops, notes, reputation};

/// Cells to a cache line pair: processors fetch lines in pairs, and two workers must not fight over one.
const LINE: usize = 16;
// Cells of a slot beside its row of metrics.
pub(super) const OLDEST_HELD: usize = 0;
pub(super) const EVICTION_REQUESTS: usize = 1;
pub(super) const SOURCES_COUNTED: usize = 2;

/// Entries of the table of incidents, a power of two.
pub const INCIDENTS: usize = 16_384;
/// Cells of the tables of the host, which lie behind the slots in this order.
const TABLES: [usize; 6] =
    [INCIDENTS, reputation::CELLS, harvest::CELLS, cells::CELLS * cells::WORDS, budgets::CELLS, notes::CRASHED];

/// A slot or index that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfRange;

/// The shared memory. In each slot: its own cells, the row of metrics, the tables of sources and of next hops (pairs of key and count),
/// the notes of messages in memory. Behind the slots: the tables of the host.
#[derive(Debug)]
pub struct Shared {
    memory: MmapMut,
    pub(super) slots: usize,
    metrics: usize,
    pub(super) gauges: Vec<usize>,
    pub(super) sources: usize,
    /// Of texts.
    pub(super) hasher: RandomState,
    pub(super) keyed: KeyedHash,
}

impl Shared {
    /// Maps the region: rows of `metrics` cells for `workers` and the supervisor, those at the indexes `gauges` reset for a dead
    /// worker; tables for `sources` sources (rounded up to a power of two). `io::Error` when memory is short.
    pub fn new(workers: usize, metrics: usize, gauges: Vec<usize>, sources: usize) -> io::Result<Self> {
        let too_large = || io::Error::from(io::ErrorKind::OutOfMemory);
        let sources = sources.max(1).checked_next_power_of_two().ok_or_else(too_large)?;
        let slots = workers.checked_add(1).ok_or_else(too_large)?;
        let octets = Self::stride(metrics, sources)
            .and_then(|cells| cells.checked_mul(slots)?.checked_add(TABLES.iter().sum())?.checked_mul(8))
            .ok_or_else(too_large)?;
        let file = File::from(memfd_create("mailmoat", MemfdFlags::CLOEXEC)?);
        file.set_len(octets as u64)?;
        // SAFETY: the file has no name and its only descriptor is closed below, so it cannot be truncated under the mapping.
        // Only this module touches the octets, and only as atomics.
        let memory = unsafe { MmapMut::map_mut(&file)? };
        Ok(Self { memory, slots, metrics, gauges, sources, hasher: RandomState::new(), keyed: KeyedHash::new() })
    }

    /// Slots: the workers and, last, the supervisor.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Octets mapped. Untouched pages take no memory.
    pub fn size(&self) -> usize {
        self.memory.len()
    }

    /// Cells from the start of one slot to the next; None when that is more than there can be.
    fn stride(metrics: usize, sources: usize) -> Option<usize> {
        metrics
            .checked_next_multiple_of(LINE)?
            .checked_add(LINE)?
            .checked_add(sources.checked_mul(2)?.checked_next_multiple_of(LINE)?)?
            .checked_add(next_hops::CELLS)?
            .checked_add(notes::CELLS)
    }

    #[allow(clippy::cast_ptr_alignment)] // a mapping begins at a page
    fn cells(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is page-aligned and lives as long as self, its length in octets is rounded down to whole cells,
        // every bit pattern is a valid u64, and since `new` it is accessed only through these atomics, in every process.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr().cast::<AtomicU64>(), self.memory.len() / 8) }
    }

    fn slot(&self, slot: usize) -> Result<&[AtomicU64], OutOfRange> {
        if slot >= self.slots {
            return Err(OutOfRange);
        }
        let stride = Self::stride(self.metrics, self.sources).ok_or(OutOfRange)?;
        let start = slot.checked_mul(stride).ok_or(OutOfRange)?;
        self.cells().get(start..).and_then(|cells| cells.get(..stride)).ok_or(OutOfRange)
    }

    pub(super) fn incident_cells(&self) -> &[AtomicU64] {
        self.host_table(0)
    }

    pub(super) fn reputation_cells(&self) -> &[AtomicU64] {
        self.host_table(1)
    }

    pub(super) fn harvest_cells(&self) -> &[AtomicU64] {
        self.host_table(2)
    }

    pub(super) fn limit_cells(&self) -> &[AtomicU64] {
        self.host_table(3)
    }

    pub(super) fn budget_cells(&self) -> &[AtomicU64] {
        self.host_table(4)
    }

    pub(super) fn crashed_cells(&self) -> &[AtomicU64] {
        self.host_table(5)
    }

    /// The cells of a table in `TABLES`.
    fn host_table(&self, number: usize) -> &[AtomicU64] {
        let behind = TABLES.iter().skip(number).sum::<usize>();
        let cells = self.cells();
        let first = cells.len().saturating_sub(behind);
        let length = TABLES.get(number).copied().unwrap_or_default();
        cells.get(first..first + length).unwrap_or_default()
    }

    pub(super) fn own(&self, slot: usize, cell: usize) -> Result<&AtomicU64, OutOfRange> {
        self.slot(slot)?.get(cell).ok_or(OutOfRange)
    }

    pub(super) fn metrics(&self, slot: usize) -> Result<&[AtomicU64], OutOfRange> {
        self.slot(slot)?.get(LINE..LINE + self.metrics).ok_or(OutOfRange)
    }

    pub(super) fn metric(&self, slot: usize, index: usize) -> Result<&AtomicU64, OutOfRange> {
        self.metrics(slot)?.get(index).ok_or(OutOfRange)
    }

    pub(super) fn next_hop_table(&self, slot: usize) -> Result<&[AtomicU64], OutOfRange> {
        let slot = self.slot(slot)?;
        slot.len().checked_sub(next_hops::CELLS).and_then(|start| slot.get(start..)).ok_or(OutOfRange)
    }

    pub(super) fn table(&self, slot: usize) -> Result<&[AtomicU64], OutOfRange> {
        let start = LINE + self.metrics.next_multiple_of(LINE);
        self.slot(slot)?.get(start..start + 2 * self.sources).ok_or(OutOfRange)
    }

    pub(super) fn notes(&self, slot: usize) -> Result<&[AtomicU64], OutOfRange> {
        let slot = self.slot(slot)?;
        let start = slot.len().checked_sub(next_hops::CELLS + notes::CELLS);
        start.and_then(|start| slot.get(start..start + notes::CELLS)).ok_or(OutOfRange)
    }
}
