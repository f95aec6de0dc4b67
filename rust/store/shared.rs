//! The memory all processes of one server share: metrics, held sessions, connections per source.
//!
//! Made before fork, inherited by every child, gone with the last of them. There is one *slot* per worker and one more, the
//! last, for the supervisor. Promises: everything is an atomic cell, so no process waits for another and none can leave a lock
//! behind when it dies; every access is checked against the bounds; a dead worker's share can be given back by whoever outlives it.
//!
//! What one slot writes another reads at any moment: a sum over slots is a snapshot that may be one off, never torn in a cell.
//!
//! Connections per source: each worker has an open-addressing table of its own and only it writes there. A source is an IPv4
//! address or an IPv6 /64. Places are found by a keyed hash (nobody outside can choose sources that collide) and linear probing
//! over at most [`PROBES`] places. Nothing is ever moved, so a reader never misses an entry: a place whose count fell to 0 is
//! taken by the next comer, and emptied once nothing lies behind it. An idle table therefore empties itself.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use memmap2::MmapMut;
use rustix::fs::{MemfdFlags, memfd_create};

/// Cells to a cache line pair: processors fetch lines in pairs, and two workers must not fight over one.
const LINE: usize = 16;
/// How far from its first place an entry may lie; at three quarters full one in a thousand would want more.
pub const PROBES: usize = 256;

// Cells every slot has beside its row of metrics.
const OLDEST_HELD: usize = 0;
const SHED_REQUESTS: usize = 1;

/// A slot or index that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfRange;

/// See the module. In each slot: its own cells, the row of metrics, the table of sources (pairs of key and count).
#[derive(Debug)]
pub struct Shared {
    memory: MmapMut,
    slots: usize,
    counters: usize,
    gauges: usize,
    sources: usize,
    hasher: RandomState,
}

impl Shared {
    /// Maps the region: rows for `workers` and the supervisor, each of `counters` and then `gauges` cells; tables for
    /// `sources` sources (rounded up to a power of two) for the workers. `io::Error` when memory is short.
    pub fn new(workers: usize, counters: usize, gauges: usize, sources: usize) -> io::Result<Self> {
        let too_large = || io::Error::from(io::ErrorKind::OutOfMemory);
        let sources = sources.max(1).checked_next_power_of_two().ok_or_else(too_large)?;
        let slots = workers.checked_add(1).ok_or_else(too_large)?;
        let metrics = counters.checked_add(gauges).ok_or_else(too_large)?;
        let octets = Self::stride(metrics, sources)
            .and_then(|cells| cells.checked_mul(slots)?.checked_mul(8))
            .ok_or_else(too_large)?;
        let file = File::from(memfd_create("mailmoat", MemfdFlags::CLOEXEC)?);
        file.set_len(octets as u64)?;
        // SAFETY: the file has no name and its only descriptor is closed below, so nobody can truncate it under the mapping.
        // Only this module touches the octets, and only as atomics.
        let memory = unsafe { MmapMut::map_mut(&file)? };
        Ok(Self { memory, slots, counters, gauges, sources, hasher: RandomState::new() })
    }

    /// Slots: the workers and, last, the supervisor.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Octets mapped. Pages nobody touched take no memory.
    pub fn size(&self) -> usize {
        self.memory.len()
    }

    /// Adds to a metric; a gauge may take a negative number.
    pub fn add(&self, slot: usize, index: usize, n: i64) -> Result<(), OutOfRange> {
        self.metric(slot, index)?.fetch_add(n.cast_unsigned(), Relaxed);
        Ok(())
    }

    /// Sets a metric.
    pub fn set(&self, slot: usize, index: usize, value: i64) -> Result<(), OutOfRange> {
        self.metric(slot, index)?.store(value.cast_unsigned(), Relaxed);
        Ok(())
    }

    /// A metric summed over the slots.
    pub fn sum(&self, index: usize) -> Result<i64, OutOfRange> {
        let add = |sum: i64, slot| Ok(sum.wrapping_add(self.metric(slot, index)?.load(Relaxed).cast_signed()));
        (0..self.slots).try_fold(0, add)
    }

    /// The metrics of a slot.
    pub fn row(&self, slot: usize) -> Result<Vec<i64>, OutOfRange> {
        Ok(self.metrics(slot)?.iter().map(|cell| cell.load(Relaxed).cast_signed()).collect())
    }

    /// Gives back what a dead worker's slot says of its present: gauges and held sessions. Counters stay.
    pub fn reset_gauges(&self, slot: usize) -> Result<(), OutOfRange> {
        self.metrics(slot)?.iter().skip(self.counters).for_each(|cell| cell.store(0, Relaxed));
        self.own(slot, OLDEST_HELD)?.store(0, Relaxed);
        self.own(slot, SHED_REQUESTS)?.store(0, Relaxed);
        Ok(())
    }

    /// Tells since when the longest-held session of a slot is held; 0 when none is.
    pub fn set_oldest_held(&self, slot: usize, since_ms: u64) -> Result<(), OutOfRange> {
        self.own(slot, OLDEST_HELD)?.store(since_ms, Relaxed);
        Ok(())
    }

    /// The slot of the host's longest-held session.
    pub fn oldest_held(&self) -> Option<usize> {
        let since = |slot| self.own(slot, OLDEST_HELD).map_or(0, |cell| cell.load(Relaxed));
        (0..self.slots).map(|slot| (since(slot), slot)).filter(|(since, _)| *since != 0).min().map(|(_, slot)| slot)
    }

    /// Asks a slot to shed its longest-held session.
    pub fn request_shed(&self, slot: usize) -> Result<(), OutOfRange> {
        self.own(slot, SHED_REQUESTS)?.fetch_add(1, Relaxed);
        Ok(())
    }

    /// How many sheddings were asked of a slot since it last took them.
    pub fn take_shed_requests(&self, slot: usize) -> Result<u64, OutOfRange> {
        Ok(self.own(slot, SHED_REQUESTS)?.swap(0, Relaxed))
    }

    /// Counts a connection from `source` and gives the number of them on all slots, this one included; 0 when the slot has no
    /// place for it, and then it must not leave. Only the slot's own worker may call it.
    pub fn source_enter(&self, slot: usize, source: Source) -> Result<u64, OutOfRange> {
        let table = self.table(slot)?;
        let mut vacant = None;
        let mut known = None;
        for place in self.places(self.first_place(source)) {
            let Some((key, count)) = cells(table, place) else { break };
            let found = key.load(Relaxed);
            if found == source.0 {
                known = Some(count);
                break;
            }
            if vacant.is_none() && (found == 0 || count.load(Relaxed) == 0) {
                vacant = Some((key, count));
            }
            if found == 0 {
                break;
            }
        }
        let count = match (known, vacant) {
            (Some(count), _) => count,
            (None, Some((key, count))) => {
                key.store(source.0, Relaxed);
                count
            }
            (None, None) => return Ok(0),
        };
        count.fetch_add(1, Relaxed);
        Ok(self.source_count(source).max(1))
    }

    /// Takes back what `source_enter` counted; an unknown source changes nothing. Only the slot's own worker may call it.
    pub fn source_leave(&self, slot: usize, source: Source) -> Result<(), OutOfRange> {
        let table = self.table(slot)?;
        let Some((place, count)) = self.find(table, source, self.first_place(source)) else { return Ok(()) };
        let left = count.load(Relaxed).saturating_sub(1);
        count.store(left, Relaxed);
        if left == 0 {
            self.trim(table, place);
        }
        Ok(())
    }

    /// Forgets every connection of a slot whose worker is dead.
    pub fn source_clear(&self, slot: usize) -> Result<(), OutOfRange> {
        // Reading first leaves a page alone that was never written.
        self.table(slot)?.iter().rev().filter(|cell| cell.load(Relaxed) != 0).for_each(|cell| cell.store(0, Relaxed));
        Ok(())
    }

    /// Connections from `source` on all slots.
    pub fn source_count(&self, source: Source) -> u64 {
        let first = self.first_place(source);
        let tables = (0..self.slots).filter_map(|slot| self.table(slot).ok());
        tables.filter_map(|table| self.find(table, source, first)).map(|(_, count)| count.load(Relaxed)).sum()
    }

    /// Empties the places at the end of a run that nobody counts on any more, from `place` backwards.
    fn trim(&self, table: &[AtomicU64], mut place: usize) {
        let mask = self.sources - 1;
        for _ in 0..self.sources {
            let Some((next, _)) = cells(table, (place + 1) & mask) else { return };
            let Some((key, count)) = cells(table, place) else { return };
            if next.load(Relaxed) != 0 || key.load(Relaxed) == 0 || count.load(Relaxed) != 0 {
                return;
            }
            key.store(0, Relaxed);
            place = place.wrapping_sub(1) & mask;
        }
    }

    fn find<'a>(&self, table: &'a [AtomicU64], source: Source, first: usize) -> Option<(usize, &'a AtomicU64)> {
        for place in self.places(first) {
            let (key, count) = cells(table, place)?;
            match key.load(Relaxed) {
                0 => return None,
                found if found == source.0 => return Some((place, count)),
                _ => {}
            }
        }
        None
    }

    #[allow(clippy::cast_possible_truncation)] // any bits of the hash will do
    fn first_place(&self, source: Source) -> usize {
        self.hasher.hash_one(source.0) as usize
    }

    /// Where an entry may lie, in order.
    fn places(&self, first: usize) -> impl Iterator<Item = usize> {
        let mask = self.sources - 1;
        (0..PROBES.min(self.sources)).map(move |step| first.wrapping_add(step) & mask)
    }

    /// Cells from the start of one slot to the next; None when that is more than there can be.
    fn stride(metrics: usize, sources: usize) -> Option<usize> {
        metrics
            .checked_next_multiple_of(LINE)?
            .checked_add(LINE)?
            .checked_add(sources.checked_mul(2)?.checked_next_multiple_of(LINE)?)
    }

    #[allow(clippy::cast_ptr_alignment)] // a mapping begins at a page
    fn cells(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is page-aligned and lives as long as self, its length in octets is rounded down to whole cells,
        // every bit pattern is a valid u64, and since `new` it is accessed only through these atomics, in every process.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr().cast::<AtomicU64>(), self.memory.len() / 8) }
    }

    fn slot(&self, slot: usize) -> Result<&[AtomicU64], OutOfRange> {
        let stride = Self::stride(self.counters + self.gauges, self.sources).ok_or(OutOfRange)?;
        let start = slot.checked_mul(stride).ok_or(OutOfRange)?;
        self.cells().get(start..).and_then(|cells| cells.get(..stride)).ok_or(OutOfRange)
    }

    fn own(&self, slot: usize, cell: usize) -> Result<&AtomicU64, OutOfRange> {
        self.slot(slot)?.get(cell).ok_or(OutOfRange)
    }

    fn metrics(&self, slot: usize) -> Result<&[AtomicU64], OutOfRange> {
        self.slot(slot)?.get(LINE..LINE + self.counters + self.gauges).ok_or(OutOfRange)
    }

    fn metric(&self, slot: usize, index: usize) -> Result<&AtomicU64, OutOfRange> {
        self.metrics(slot)?.get(index).ok_or(OutOfRange)
    }

    fn table(&self, slot: usize) -> Result<&[AtomicU64], OutOfRange> {
        let start = LINE + (self.counters + self.gauges).next_multiple_of(LINE);
        self.slot(slot)?.get(start..start + 2 * self.sources).ok_or(OutOfRange)
    }
}

/// Key and count at a place of a table.
fn cells(table: &[AtomicU64], place: usize) -> Option<(&AtomicU64, &AtomicU64)> {
    Some((table.get(2 * place)?, table.get(2 * place + 1)?))
}

/// Where connections come from, as far as they are counted together; never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source(u64);

impl Source {
    /// From an address as it is written; None when it is none.
    pub fn of(address: &str) -> Option<Self> {
        match address.parse().ok()? {
            IpAddr::V4(address) => Self::from_packed(&address.octets()),
            IpAddr::V6(address) => Self::from_packed(&address.octets()),
        }
    }

    /// From a packed address of 4 or 16 octets; None for any other length. An IPv4-mapped address is the IPv4 address.
    pub fn from_packed(packed: &[u8]) -> Option<Self> {
        if let Ok(address) = <[u8; 4]>::try_from(packed) {
            return Some(Self::from_v4(address));
        }
        let address = <[u8; 16]>::try_from(packed).ok()?;
        if let [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, a, b, c, d] = address {
            return Some(Self::from_v4([a, b, c, d]));
        }
        let [prefix @ .., _, _, _, _, _, _, _, _] = address;
        // ::/64, the loopback among it, takes the place of the unassigned 0:0:0:1::/64: 0 is an empty place.
        Some(Self(u64::from_be_bytes(prefix).max(1)))
    }

    /// IPv4 lies in `0:ffff::/32`, which is no address of the internet.
    fn from_v4(address: [u8; 4]) -> Self {
        Self(0xffff_u64 << 32 | u64::from(u32::from_be_bytes(address)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn v4(last: u16) -> Source {
        let [high, low] = last.to_be_bytes();
        Source::from_packed(&[192, 0, high, low]).unwrap()
    }

    #[test]
    fn figures_are_summed_and_gauges_given_back() {
        let shared = Shared::new(2, 3, 2, 16).unwrap();
        assert_eq!(shared.slots(), 3);
        shared.add(0, 0, 5).unwrap();
        shared.add(2, 0, 1).unwrap();
        shared.set(1, 4, 9).unwrap();
        shared.add(1, 4, -2).unwrap();
        assert_eq!(shared.sum(0), Ok(6));
        assert_eq!(shared.row(1), Ok(vec![0, 0, 0, 0, 7]));
        shared.add(1, 2, 1).unwrap();
        shared.set_oldest_held(1, 77).unwrap();
        shared.request_shed(1).unwrap();
        shared.reset_gauges(1).unwrap();
        assert_eq!(shared.row(1), Ok(vec![0, 0, 1, 0, 0]));
        assert_eq!(shared.oldest_held(), None);
        assert_eq!(shared.take_shed_requests(1), Ok(0));
    }

    #[test]
    fn what_does_not_exist_is_an_error() {
        let shared = Shared::new(1, 1, 0, 1).unwrap();
        assert_eq!(shared.add(2, 0, 1), Err(OutOfRange));
        assert_eq!(shared.add(0, 1, 1), Err(OutOfRange));
        assert_eq!(shared.row(usize::MAX), Err(OutOfRange));
        assert_eq!(shared.sum(1), Err(OutOfRange));
        assert_eq!(shared.source_enter(9, v4(1)), Err(OutOfRange));
        assert!(Shared::new(usize::MAX, 1, 1, 1).is_err());
        assert!(Shared::new(1, 1, 1, usize::MAX).is_err());
        assert!(Shared::new(1 << 40, 1, 1, 1 << 40).is_err());
    }

    #[test]
    fn the_longest_held_is_found_and_its_shedding_asked_once() {
        let shared = Shared::new(3, 0, 0, 1).unwrap();
        assert_eq!(shared.oldest_held(), None);
        shared.set_oldest_held(0, 500).unwrap();
        shared.set_oldest_held(2, 400).unwrap();
        assert_eq!(shared.oldest_held(), Some(2));
        shared.set_oldest_held(2, 0).unwrap();
        assert_eq!(shared.oldest_held(), Some(0));
        shared.request_shed(0).unwrap();
        shared.request_shed(0).unwrap();
        assert_eq!(shared.take_shed_requests(0), Ok(2));
        assert_eq!(shared.take_shed_requests(0), Ok(0));
    }

    #[test]
    fn sources_are_aggregated() {
        let source = |text: &str| match text.parse().unwrap() {
            std::net::IpAddr::V4(address) => Source::from_packed(&address.octets()),
            std::net::IpAddr::V6(address) => Source::from_packed(&address.octets()),
        };
        assert_eq!(source("192.0.2.1"), source("::ffff:192.0.2.1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:1:1"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert!(source("::1").is_some_and(|source| source.0 != 0));
        assert_eq!(Source::from_packed(b""), None);
        assert_eq!(Source::from_packed(b"12345"), None);
    }

    #[test]
    fn a_full_table_counts_nobody_and_an_idle_one_empties_itself() {
        let shared = Shared::new(2, 0, 0, 8).unwrap();
        for number in 0..8 {
            assert_eq!(shared.source_enter(0, v4(number)), Ok(1));
        }
        assert_eq!(shared.source_enter(0, v4(8)), Ok(0));
        assert_eq!(shared.source_enter(0, v4(3)), Ok(2));
        assert_eq!(shared.source_enter(1, v4(3)), Ok(3));
        shared.source_clear(0).unwrap();
        assert_eq!(shared.source_count(v4(3)), 1);
        for round in 0..1000 {
            assert_eq!(shared.source_enter(0, v4(round)), Ok(if round == 3 { 2 } else { 1 }));
            shared.source_leave(0, v4(round)).unwrap();
        }
        assert!(shared.table(0).unwrap().iter().all(|cell| cell.load(Relaxed) == 0));
    }

    #[test]
    fn three_quarters_full_has_a_place_for_nearly_all() {
        let shared = Shared::new(1, 0, 0, 4096).unwrap();
        let refused = (0..3072).filter(|number| shared.source_enter(0, v4(*number)) == Ok(0)).count();
        assert_eq!(refused, 0);
    }

    proptest! {
        #[test]
        fn a_table_equals_a_map(acts in prop::collection::vec((any::<bool>(), 0_usize..2, 0_u16..24), 1..400)) {
            let shared = Shared::new(2, 0, 0, 64).unwrap();
            let mut model: HashMap<(usize, u16), u64> = HashMap::new();
            for (enter, slot, number) in acts {
                let total = |model: &HashMap<_, u64>| (0..2).filter_map(|slot| model.get(&(slot, number))).sum::<u64>();
                let count = model.entry((slot, number)).or_default();
                if enter {
                    *count += 1;
                    prop_assert_eq!(shared.source_enter(slot, v4(number)), Ok(total(&model)));
                } else {
                    *count = count.saturating_sub(1);
                    shared.source_leave(slot, v4(number)).unwrap();
                }
                prop_assert_eq!(shared.source_count(v4(number)), total(&model));
            }
            for ((slot, number), count) in model {
                (0..count).for_each(|_| shared.source_leave(slot, v4(number)).unwrap());
            }
            prop_assert!((0..2).all(|slot| shared.table(slot).unwrap().iter().all(|cell| cell.load(Relaxed) == 0)));
        }
    }
}
