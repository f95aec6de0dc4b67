//! The places that one key's cell may have: how it is found, charged and claimed.

use std::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
};

use super::{Key, LATEST, MOST_SPENT, TIME_BITS, WAYS, debt_of, tag_of};
use crate::store::shared::gcra::debt_after;
use crate::store::shared::region::Shared;

/// The places of a key, and its tag.
pub struct Places<'a> {
    key: Key,
    tag: u64,
    now: u64,
    words: &'a [AtomicU64],
    shared: &'a Shared,
}

/// A cell as it was seen: its place among the places of its key, and its first word.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    way: usize,
    word: u64,
}

impl<'a> Places<'a> {
    /// Of a key with this hash, as its places are used at this monotonic microsecond.
    pub fn new(shared: &'a Shared, words: &'a [AtomicU64], key: Key, hash: u64, now: u64) -> Self {
        Self { key, tag: tag_of(hash), now, words, shared }
    }

    /// Microseconds that are owed.
    pub fn debt(&self) -> u64 {
        self.debt_of(self.find())
    }

    /// Microseconds that are owed in the cell that was seen.
    pub fn debt_of(&self, seen: Option<Seen>) -> u64 {
        seen.map_or(0, |cell| debt_of(cell.word, self.now))
    }

    /// Adds a cost, if the debt before it passes `allow`; false when not. `units` are noted as spent.
    pub fn charge(&self, cost: u64, units: u64, allow: impl Fn(u64) -> bool) -> bool {
        self.charge_seen(self.find(), cost, units, allow)
    }

    /// The same to the cell that `find` has given, which is not searched again unless another process has changed it since.
    pub fn charge_seen(&self, seen: Option<Seen>, cost: u64, units: u64, allow: impl Fn(u64) -> bool) -> bool {
        let mut seen = seen;
        loop {
            let debt = self.debt_of(seen);
            if !allow(debt) {
                return false;
            }
            let Some(cell) = seen.or_else(|| self.soonest_at_rest()) else { return true };
            if self.swap(cell, debt_after(debt, cost)) {
                self.note_charge(cell.way, units, seen.is_none());
                return true;
            }
            seen = self.find();
        }
    }

    /// Takes a cost back.
    pub fn give_back(&self, cost: u64) {
        while let Some(cell) = self.find() {
            let debt = debt_of(cell.word, self.now);
            if debt == 0 || self.swap(cell, debt.saturating_sub(cost)) {
                return;
            }
        }
    }

    /// The key's cell.
    pub fn find(&self) -> Option<Seen> {
        let mut found = None;
        for (way, word) in self.words.iter().take(WAYS).enumerate() {
            let word = word.load(SeqCst);
            if word >> TIME_BITS == self.tag && self.is_own(way) {
                match found {
                    None => found = Some(Seen { way, word }),
                    Some(first) => return self.merge(first, Seen { way, word }),
                }
            }
        }
        found
    }

    /// Whether the cell with our tag at this place is ours: it says so, or does not say yet whose it is.
    fn is_own(&self, way: usize) -> bool {
        let (Some(network), Some(about)) = (self.words.get(WAYS + way), self.words.get(2 * WAYS + way)) else {
            return false;
        };
        let said = Key::read(network.load(Acquire), about.load(Acquire));
        if said == self.key {
            return true;
        }
        let of_other = tag_of(self.shared.hash_of(said)) == self.tag;
        if !of_other {
            self.sign(way, 0);
        }
        !of_other
    }

    /// Notes what was charged at a place. Another process may have claimed another place for the same key, or merged this one into it.
    fn note_charge(&self, way: usize, units: u64, is_new: bool) {
        if is_new {
            self.sign(way, units);
        } else {
            self.note(way, units);
        }
        if is_new || !self.has_tag(way) {
            self.move_spent(way, self.find());
        }
    }

    fn has_tag(&self, way: usize) -> bool {
        self.words.get(way).is_some_and(|word| word.load(SeqCst) >> TIME_BITS == self.tag)
    }

    /// Adds up two cells of the key, which two processes claimed at the same moment. A process that has not noted yet what it spent in the
    /// cell that ends here moves that itself.
    fn merge(&self, first: Seen, second: Seen) -> Option<Seen> {
        let (kept, given) = (self.words.get(first.way)?, self.words.get(second.way)?);
        if given.compare_exchange(second.word, 0, SeqCst, Relaxed).is_ok() {
            let both = |kept: u64| self.word(debt_after(debt_of(kept, self.now), debt_of(second.word, self.now)));
            let _ = kept.fetch_update(SeqCst, Relaxed, |kept| (kept >> TIME_BITS == self.tag).then(|| both(kept)));
            self.move_spent(second.way, Some(first));
        }
        self.find()
    }

    /// The cell that is at rest soonest, or was first.
    fn soonest_at_rest(&self) -> Option<Seen> {
        let cells = self.words.iter().take(WAYS).map(|word| word.load(SeqCst)).enumerate();
        cells.map(|(way, word)| Seen { way, word }).min_by_key(|cell| cell.word & LATEST)
    }

    fn swap(&self, seen: Seen, debt: u64) -> bool {
        let cell = self.words.get(seen.way);
        cell.is_some_and(|cell| cell.compare_exchange(seen.word, self.word(debt), SeqCst, Relaxed).is_ok())
    }

    /// The first word of a cell that owes so much now.
    fn word(&self, debt: u64) -> u64 {
        self.tag << TIME_BITS | self.now.saturating_add(debt).min(LATEST)
    }

    /// Writes whose cell it is, with these units; adds them where another process that spends of the same key has done so already.
    fn sign(&self, way: usize, units: u64) {
        let (Some(network), Some(about)) = (self.words.get(WAYS + way), self.words.get(2 * WAYS + way)) else { return };
        let signed = self.key.class_and_length | units.min(MOST_SPENT);
        loop {
            let before = about.load(Acquire);
            if Key::read(network.load(Acquire), before) == self.key {
                return self.note(way, units);
            }
            // Between the two writes it is nobody's, so that what its last owner spent is not read as this one's.
            if about.compare_exchange(before, 0, AcqRel, Relaxed).is_err() {
                continue;
            }
            network.store(self.key.network, Release);
            if about.compare_exchange(0, signed, AcqRel, Relaxed).is_ok() {
                return;
            }
        }
    }

    /// Notes what was spent in a place of the key in another one of it. Each unit is taken out once, by one of the processes.
    fn move_spent(&self, from: usize, to: Option<Seen>) {
        let Some(to) = to.filter(|to| to.way != from) else { return };
        let (Some(network), Some(about)) = (self.words.get(WAYS + from), self.words.get(2 * WAYS + from)) else {
            return;
        };
        let is_own = |about| Key::read(network.load(Acquire), about) == self.key;
        let taken = about.fetch_update(AcqRel, Acquire, |about| is_own(about).then_some(about & !MOST_SPENT));
        self.note(to.way, taken.map_or(0, |about| about & MOST_SPENT));
    }

    fn note(&self, way: usize, units: u64) {
        if let Some(about) = self.words.get(2 * WAYS + way) {
            if (about.load(Relaxed) & MOST_SPENT).saturating_add(units) < MOST_SPENT >> 1 {
                about.fetch_add(units, AcqRel); // far from the end of its bits, whatever others add meanwhile
                return;
            }
            let add = |about: u64| about & !MOST_SPENT | (about & MOST_SPENT).saturating_add(units).min(MOST_SPENT);
            let _ = about.fetch_update(AcqRel, Relaxed, |about| Some(add(about)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Places, Seen, WAYS};
    use crate::store::shared::{cells::Key, region::Shared};

    const KEY: fn() -> Key = || Key::new(1, "192.0.2.0/24".parse().unwrap());
    const EMPTY: fn(usize) -> Seen = |way| Seen { way, word: 0 };

    fn spent(shared: &Shared) -> Vec<(u64, u64)> {
        shared.cells_in_debt(7).iter().map(|cell| (cell.debt, cell.spent)).collect()
    }

    fn claim(places: &Places<'_>, way: usize) {
        assert!(places.swap(EMPTY(way), 10));
    }

    #[test]
    fn two_places_of_one_key_become_one_with_all_that_was_spent() {
        let shared = Shared::new(1, 1, vec![], 1).unwrap();
        let places = shared.cell_places(KEY(), 7);
        claim(&places, 0);
        claim(&places, 1);
        places.sign(0, 3);
        places.sign(1, 4);
        assert_eq!(places.debt(), 20);
        assert_eq!(spent(&shared), [(20, 7)]);
    }

    #[test]
    fn what_is_noted_in_a_place_after_it_was_merged_is_moved() {
        for is_new in [true, false] {
            for before in 0..3 {
                let shared = Shared::new(1, 1, vec![], 1).unwrap();
                let places = shared.cell_places(KEY(), 7);
                claim(&places, 0);
                claim(&places, WAYS - 1);
                let mut late = [0, WAYS - 1];
                if before == 1 {
                    late.reverse();
                }
                if before == 2 {
                    places.find(); // by a third process, before either has noted what it spent
                }
                for (way, units) in late.into_iter().zip([3, 4]) {
                    places.note_charge(way, units, is_new || before < 2);
                }
                assert_eq!(spent(&shared), [(20, 7)], "{is_new} {before}");
            }
        }
    }
}
