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
                if seen.is_some() {
                    self.note(cell.way, units);
                } else {
                    self.sign(cell.way, units);
                    self.find(); // another process may have claimed another place for the same key
                }
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

    /// Adds up two cells of the key, which two processes claimed at the same moment.
    fn merge(&self, first: Seen, second: Seen) -> Option<Seen> {
        let (kept, given) = (self.words.get(first.way)?, self.words.get(second.way)?);
        if given.compare_exchange(second.word, 0, SeqCst, Relaxed).is_ok() {
            let both = |kept: u64| self.word(debt_after(debt_of(kept, self.now), debt_of(second.word, self.now)));
            let _ = kept.fetch_update(SeqCst, Relaxed, |kept| (kept >> TIME_BITS == self.tag).then(|| both(kept)));
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
            network.store(self.key.network, Release);
            if about.compare_exchange(before, signed, AcqRel, Relaxed).is_ok() {
                return;
            }
        }
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
