//! What the workers of a host have at each destination together: connections, who waits for one, and messages in a time.
//!
//! Each worker has a table of its own, and only it writes there; the number of a destination is the sum over all tables. So a dead worker's
//! share is given back by clearing its table. A destination is known by a keyed hash of its name. Nothing is ever moved: a place whose count
//! fell to 0 is taken by the next comer.
//!
//! A worker that wants a connection counts it first and looks at the sum then: two that do so at once both see each other, so that the
//! limit is never passed, though both may step back.

use std::hash::BuildHasher;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use super::cells::Key;
use super::gcra::{Quota, Rate};
use super::region::{OutOfRange, Shared};
use crate::machine::prefix::Prefix;

/// Destinations of a worker, a power of two. Without a place a connection is not counted: the worker's own limit holds then.
pub const PLACES: usize = 1024;
/// Words of a table: key and count of each place.
pub const CELLS: usize = 2 * PLACES;
/// How far from its first place an entry may be.
const PROBES: usize = 64;
/// Above the count: somebody waits for a connection.
const WAITS: u64 = 1 << 32;
const COUNT: u64 = WAITS - 1;
/// The class of the cells of rates, which no client has.
const CLASS: u8 = u8::MAX;
/// Length of the prefix that stands for a hash there.
const LENGTH: u8 = 64;

/// What all workers have at a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AtNextHop {
    /// Connections.
    pub connections: u64,
    /// Workers that have a connection or wait for one.
    pub workers: u64,
    /// Of these, those that wait.
    pub waiting: u64,
}

impl AtNextHop {
    /// A slot other than the one with this word waits.
    fn waits_beside(self, own: u64) -> bool {
        self.waiting > u64::from(own & WAITS != 0)
    }

    /// The slot with this word has more than an equal part, rounded up; any is more where there are fewer connections than workers.
    fn is_more_than_part(self, own: u64, most: u64) -> bool {
        let own = own & COUNT;
        own > 0 && (most < self.workers || (own - 1) * self.workers >= most)
    }
}

impl Shared {
    /// Counts a connection if all slots have fewer than `most`, and if no other slot waits while this one has its part; else notes that
    /// the slot waits for one. Only the slot's own worker may call it.
    pub fn next_hop_enter(&self, slot: usize, name: &str, most: u64) -> Result<bool, OutOfRange> {
        let key = self.next_hop_key(name);
        let Some(word) = claim(self.next_hop_table(slot)?, key) else { return Ok(true) };
        let own = word.fetch_add(1, SeqCst) + 1;
        let all = self.next_hop_sum(key);
        if all.connections > most || (own & COUNT > 1 && all.waits_beside(own) && all.is_more_than_part(own, most)) {
            word.fetch_sub(1, SeqCst);
            word.fetch_or(WAITS, SeqCst);
            return Ok(false);
        }
        word.fetch_and(!WAITS, SeqCst);
        Ok(true)
    }

    /// Takes back what `next_hop_enter` counted; an unknown destination changes nothing. Only the slot's own worker may call it.
    pub fn next_hop_leave(&self, slot: usize, name: &str) -> Result<(), OutOfRange> {
        if let Some(word) = find(self.next_hop_table(slot)?, self.next_hop_key(name)) {
            if word.load(Relaxed) & COUNT > 0 {
                word.fetch_sub(1, SeqCst);
            }
        }
        Ok(())
    }

    /// Notes that the slot waits no longer. Only the slot's own worker may call it.
    pub fn next_hop_rest(&self, slot: usize, name: &str) -> Result<(), OutOfRange> {
        if let Some(word) = find(self.next_hop_table(slot)?, self.next_hop_key(name)) {
            word.fetch_and(!WAITS, SeqCst);
        }
        Ok(())
    }

    /// Whether another slot waits for a connection, while this one has more than its part of `most`.
    pub fn next_hop_yields(&self, slot: usize, name: &str, most: u64) -> Result<bool, OutOfRange> {
        let key = self.next_hop_key(name);
        let own = find(self.next_hop_table(slot)?, key).map_or(0, |word| word.load(Relaxed));
        let all = self.next_hop_sum(key);
        Ok(all.waits_beside(own) && all.is_more_than_part(own, most))
    }

    /// What all slots have at a destination.
    pub fn at_next_hop(&self, name: &str) -> AtNextHop {
        self.next_hop_sum(self.next_hop_key(name))
    }

    /// Forgets the connections of a slot whose worker is dead.
    pub fn next_hop_clear(&self, slot: usize) -> Result<(), OutOfRange> {
        // Reading first leaves a page alone that was never written.
        self.next_hop_table(slot)?
            .iter()
            .filter(|cell| cell.load(Relaxed) != 0)
            .for_each(|cell| cell.store(0, Relaxed));
        Ok(())
    }

    /// Spends one message at a rate, or gives the microseconds until that is possible, and spends nothing. Another rate begins anew.
    pub fn next_hop_spend(&self, name: &str, rate: Rate, now: u64) -> u64 {
        let quota = Quota::new(rate, 1);
        let hash = self.hasher.hash_one((name, rate.count, rate.period, rate.burst));
        let prefix = Prefix::from_parts(u128::from(hash) << LENGTH, LENGTH);
        let places = self.cell_places(Key::new(CLASS, prefix), now);
        let cost = quota.cost(1);
        if places.charge(cost, 1, |debt| quota.wait(debt, cost) == 0) {
            return 0;
        }
        quota.wait(places.debt(), cost).max(1)
    }

    fn next_hop_sum(&self, key: u64) -> AtNextHop {
        let mut sum = AtNextHop::default();
        for table in (0..self.slots).filter_map(|slot| self.next_hop_table(slot).ok()) {
            let word = find(table, key).map_or(0, |word| word.load(SeqCst));
            sum.connections += word & COUNT;
            sum.workers += u64::from(word != 0);
            sum.waiting += u64::from(word & WAITS != 0);
        }
        sum
    }

    /// Never 0, which is an empty place.
    fn next_hop_key(&self, name: &str) -> u64 {
        self.hasher.hash_one(name).max(1)
    }
}

/// Keys and counts at the places of a key, in order.
#[allow(clippy::cast_possible_truncation)] // any bits of the hash will do
fn places(table: &[AtomicU64], key: u64) -> impl Iterator<Item = (&AtomicU64, &AtomicU64)> {
    let first = key as usize;
    let places = (0..PROBES).map(move |step| first.wrapping_add(step) % PLACES);
    places.filter_map(|place| Some((table.get(2 * place)?, table.get(2 * place + 1)?)))
}

fn find(table: &[AtomicU64], key: u64) -> Option<&AtomicU64> {
    let used = places(table, key).take_while(|(found, _)| found.load(SeqCst) != 0);
    used.filter(|(found, _)| found.load(SeqCst) == key).map(|(_, word)| word).next()
}

/// The word of a key, which takes the first vacant place if it has none.
fn claim(table: &[AtomicU64], key: u64) -> Option<&AtomicU64> {
    if let Some(word) = find(table, key) {
        return Some(word);
    }
    let (place, word) = places(table, key).find(|(_, word)| word.load(Relaxed) == 0)?;
    place.store(key, SeqCst);
    Some(word)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    const HUB: &str = "smtp://hub.test:25";

    fn shared() -> Shared {
        Shared::new(3, 1, vec![], 1).unwrap()
    }

    #[test]
    fn the_limit_is_that_of_all_workers() {
        let shared = shared();
        let entered = (0..6).filter(|turn| shared.next_hop_enter(turn % 3, HUB, 4).unwrap()).count();
        assert_eq!(entered, 4);
        assert_eq!(shared.at_next_hop(HUB), AtNextHop { connections: 4, workers: 3, waiting: 2 });
        assert_eq!(shared.next_hop_enter(0, "smtp://other.test:25", 1), Ok(true));
        shared.next_hop_leave(0, HUB).unwrap();
        assert_eq!(shared.next_hop_enter(1, HUB, 4), Ok(true));
        assert_eq!(shared.next_hop_enter(1, HUB, 4), Ok(false));
        assert_eq!(shared.next_hop_enter(9, HUB, 4), Err(OutOfRange));
    }

    #[test]
    fn one_that_has_more_than_its_part_yields_to_one_that_waits() {
        let shared = shared();
        for _ in 0..4 {
            shared.next_hop_enter(0, HUB, 4).unwrap();
        }
        assert_eq!(shared.next_hop_yields(0, HUB, 4), Ok(false));
        assert_eq!(shared.next_hop_enter(1, HUB, 4), Ok(false));
        assert_eq!(shared.next_hop_yields(0, HUB, 4), Ok(true));
        assert_eq!(shared.next_hop_yields(1, HUB, 4), Ok(false));
        shared.next_hop_leave(0, HUB).unwrap();
        assert_eq!(shared.next_hop_enter(0, HUB, 4), Ok(false), "it would have more than its part again");
        shared.next_hop_rest(0, HUB).unwrap();
        shared.next_hop_leave(0, HUB).unwrap();
        assert_eq!(shared.next_hop_yields(0, HUB, 4), Ok(false), "two of four for each of two");
        assert_eq!(shared.next_hop_yields(0, HUB, 1), Ok(true), "one for two workers goes round");
        shared.next_hop_rest(1, HUB).unwrap();
        assert_eq!(shared.at_next_hop(HUB), AtNextHop { connections: 2, workers: 1, waiting: 0 });
    }

    #[test]
    fn the_connections_of_a_dead_worker_are_given_back() {
        let shared = shared();
        for _ in 0..4 {
            shared.next_hop_enter(0, HUB, 4).unwrap();
        }
        shared.next_hop_clear(0).unwrap();
        assert_eq!(shared.at_next_hop(HUB), AtNextHop::default());
        assert_eq!(shared.next_hop_enter(1, HUB, 1), Ok(true));
    }

    #[test]
    fn a_full_table_counts_nothing_and_refuses_nothing() {
        let shared = shared();
        let names: Vec<String> = (0..4 * PLACES).map(|number| format!("mx d{number}.test")).collect();
        assert!(names.iter().all(|name| shared.next_hop_enter(0, name, 1).unwrap()));
        for name in &names {
            shared.next_hop_leave(0, name).unwrap();
        }
        assert!(names.iter().all(|name| shared.at_next_hop(name).connections == 0));
        assert_eq!(shared.next_hop_enter(0, HUB, 1), Ok(true));
        assert_eq!(shared.at_next_hop(HUB).connections, 1, "places without a count are taken again");
    }

    #[test]
    fn a_rate_is_that_of_all_workers() {
        let shared = shared();
        let rate = Rate { count: 60, period: 60_000_000, burst: 3 };
        assert_eq!((0..5).filter(|_| shared.next_hop_spend(HUB, rate, 7) == 0).count(), 3);
        assert_eq!(shared.next_hop_spend(HUB, rate, 7), 1_000_000);
        assert_eq!(shared.next_hop_spend("smtp://other.test:25", rate, 7), 0);
        assert_eq!(shared.next_hop_spend(HUB, rate, 1_000_007), 0);
        let slow = Rate { count: 1, period: 86_400_000_000, burst: 1 };
        assert_eq!(shared.next_hop_spend(HUB, slow, 7), 0, "another rate begins anew");
        assert_eq!(shared.next_hop_spend(HUB, slow, 7), 86_400_000_000);
    }

    proptest! {
        #[test]
        fn a_table_equals_a_map(steps in prop::collection::vec((0_usize..3, 0_u8..40, any::<bool>()), 0..400)) {
            let (shared, mut counts) = (shared(), HashMap::<(usize, u8), u64>::new());
            for (slot, number, enters) in steps {
                let name = format!("mx d{number}.test");
                let count = counts.entry((slot, number)).or_default();
                if enters {
                    prop_assert_eq!(shared.next_hop_enter(slot, &name, 1000), Ok(true));
                    *count += 1;
                } else {
                    shared.next_hop_leave(slot, &name).unwrap();
                    *count = count.saturating_sub(1);
                }
                let all: u64 = (0..3).map(|slot| counts.get(&(slot, number)).copied().unwrap_or(0)).sum();
                prop_assert_eq!(shared.at_next_hop(&name).connections, all);
            }
        }
    }
}
