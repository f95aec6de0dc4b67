//! Connections per source, and of the networks it is in. A source is an IPv4 address or an IPv6 /64; it counts in each of its nested
//! prefixes.
//!
//! Each worker has an open-addressing table of its own and only it writes there. Places are found by a keyed hash (a client cannot choose
//! sources that collide) and linear probing over at most [`PROBES`] places. Nothing is ever moved, so a reader never misses an entry: a
//! place whose count fell to 0 is taken by the next comer, and emptied once nothing is behind it. An idle table therefore empties itself.
//!
//! A slot also counts all that is in its table, and where that is 0 nobody reads the table: memory shared in a file is taken by reading, too,
//! and there are slots for more workers than there mostly are.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::region::{OutOfRange, SOURCES_COUNTED, Shared};
use super::source::Source;
use crate::machine::prefix::{LEVELS, Prefix};

/// How far from its first place an entry may be; at three quarters full, one in a thousand would need more.
pub const PROBES: usize = 256;

/// The word of a count has the level of its prefix above it.
const LEVEL_BITS: u32 = 56;
const MOST: u64 = (1 << LEVEL_BITS) - 1;

/// Connections of an address, by the level of the prefix; 0 where it has none.
pub type Counts = [u64; LEVELS];

impl Shared {
    /// What is counted in the table of a slot: at least as much as there is, whenever its worker dies.
    fn counted(&self, slot: usize) -> Result<&AtomicU64, OutOfRange> {
        self.own(slot, SOURCES_COUNTED)
    }

    /// The tables that have entries.
    pub(super) fn tables_in_use(&self) -> impl Iterator<Item = &[AtomicU64]> {
        let in_use = |slot: &usize| self.counted(*slot).is_ok_and(|counted| counted.load(Relaxed) > 0);
        (0..self.slots).filter(in_use).filter_map(|slot| self.table(slot).ok())
    }

    /// Counts a connection from an address and gives the number of them on all slots, this one included, by prefix; None when the slot
    /// has no place for it, and then it must not leave. Only the slot's own worker may call it.
    pub fn source_enter(&self, slot: usize, address: Prefix) -> Result<Option<Counts>, OutOfRange> {
        let mut counts = Counts::default();
        for (done, (network, into)) in networks(address).zip(&mut counts).enumerate() {
            *into = self.network_enter(slot, network)?;
            if *into == 0 {
                for entered in networks(address).take(done) {
                    self.network_leave(slot, entered)?;
                }
                return Ok(None);
            }
        }
        Ok(Some(counts))
    }

    /// Takes back what `source_enter` counted; an unknown source changes nothing. Only the slot's own worker may call it.
    pub fn source_leave(&self, slot: usize, address: Prefix) -> Result<(), OutOfRange> {
        for network in networks(address) {
            if !self.network_leave(slot, network)? {
                break; // the smallest comes first: where that is unknown, nothing was counted
            }
        }
        Ok(())
    }

    /// The connections of all slots by prefix, as far as they are in this one or around it.
    pub fn source_counts(&self, of: Option<Prefix>) -> BTreeMap<Prefix, u64> {
        let mut counts = BTreeMap::new();
        for table in self.tables_in_use() {
            for place in 0..self.sources {
                let Some((key, word)) = cells(table, place) else { break };
                let (key, word) = (key.load(Relaxed), word.load(Relaxed));
                let Some(prefix) = Network::read(key, word).and_then(Network::prefix) else { continue };
                if word & MOST > 0 && of.is_none_or(|of| of.overlaps(prefix)) {
                    *counts.entry(prefix).or_default() += word & MOST;
                }
            }
        }
        counts
    }

    fn network_enter(&self, slot: usize, network: Network) -> Result<u64, OutOfRange> {
        let table = self.table(slot)?;
        let mut vacant = None;
        let mut known = None;
        for place in self.places(self.first_place(network)) {
            let Some((key, count)) = cells(table, place) else { break };
            let found = key.load(Relaxed);
            if network.is_at(found, count) {
                known = Some(count);
                break;
            }
            if vacant.is_none() && (found == 0 || count.load(Relaxed) & MOST == 0) {
                vacant = Some((key, count));
            }
            if found == 0 {
                break;
            }
        }
        let count = match (known, vacant) {
            (Some(count), _) => count,
            (None, Some((key, count))) => {
                count.store(network.level << LEVEL_BITS, Relaxed);
                key.store(network.source.bits(), Relaxed);
                count
            }
            (None, None) => return Ok(0),
        };
        self.counted(slot)?.fetch_add(1, Relaxed);
        count.fetch_add(1, Relaxed);
        Ok(self.count(network).max(1))
    }

    /// False for one that is not counted in this slot.
    fn network_leave(&self, slot: usize, network: Network) -> Result<bool, OutOfRange> {
        let table = self.table(slot)?;
        let Some((place, count)) = self.find(table, network, self.first_place(network)) else { return Ok(false) };
        if count.load(Relaxed) & MOST > 1 {
            count.fetch_sub(1, Relaxed);
        } else {
            count.store(0, Relaxed);
            self.trim(table, place);
        }
        self.counted(slot)?.fetch_sub(1, Relaxed);
        Ok(true)
    }

    /// Forgets every connection of a slot whose worker is dead.
    pub fn source_clear(&self, slot: usize) -> Result<(), OutOfRange> {
        let counted = self.counted(slot)?;
        if counted.load(Relaxed) > 0 {
            let written = self.table(slot)?.iter().rev().filter(|cell| cell.load(Relaxed) != 0);
            written.for_each(|cell| cell.store(0, Relaxed));
            counted.store(0, Relaxed);
        }
        Ok(())
    }

    /// Connections of a network on all slots.
    fn count(&self, network: Network) -> u64 {
        let first = self.first_place(network);
        self.tables_in_use()
            .filter_map(|table| self.find(table, network, first))
            .map(|(_, count)| count.load(Relaxed) & MOST)
            .sum()
    }

    /// Empties the unused places at the end of a run, from `place` backwards.
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

    fn find<'a>(&self, table: &'a [AtomicU64], network: Network, first: usize) -> Option<(usize, &'a AtomicU64)> {
        for place in self.places(first) {
            let (key, count) = cells(table, place)?;
            match key.load(Relaxed) {
                0 => return None,
                found if network.is_at(found, count) => return Some((place, count)),
                _ => {}
            }
        }
        None
    }

    #[allow(clippy::cast_possible_truncation)] // any bits of the hash will do
    fn first_place(&self, network: Network) -> usize {
        self.keyed.of(network.source.bits(), network.level) as usize
    }

    /// Where an entry may lie, in order.
    fn places(&self, first: usize) -> impl Iterator<Item = usize> {
        let mask = self.sources - 1;
        (0..PROBES.min(self.sources)).map(move |step| first.wrapping_add(step) & mask)
    }
}

/// Key and count at a place of a table.
fn cells(table: &[AtomicU64], place: usize) -> Option<(&AtomicU64, &AtomicU64)> {
    Some((table.get(2 * place)?, table.get(2 * place + 1)?))
}

/// A prefix in a table: its first source, and which of the nested ones it is.
#[derive(Debug, Clone, Copy)]
struct Network {
    source: Source,
    /// From 1 on, so that a count that began is never 0 in the table.
    level: u64,
}

impl Network {
    fn is_at(self, key: u64, word: &AtomicU64) -> bool {
        key == self.source.bits() && word.load(Relaxed) >> LEVEL_BITS == self.level
    }

    /// None for a place that is empty.
    fn read(key: u64, word: u64) -> Option<Self> {
        Some(Self { source: Source::from_bits(key)?, level: word >> LEVEL_BITS })
    }

    fn prefix(self) -> Option<Prefix> {
        let level = usize::try_from(self.level.checked_sub(1)?).ok()?;
        self.source.prefix().nested().nth(level)
    }
}

/// The prefixes of an address, the smallest first.
fn networks(address: Prefix) -> impl Iterator<Item = Network> {
    address.nested().zip(1..).map(|(prefix, level)| Network { source: Source::at(prefix), level })
}
