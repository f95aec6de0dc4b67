//! The table of cells: until when what was spent of a class by a prefix is paid for. One table for all workers of the host.
//!
//! A cell is decided on by one atomic word, its time with a tag of the keyed hash; so a decision is one compare-and-swap, whichever
//! processes make theirs at the same moment, and a process that dies has made it or not. The two words beside it say whose cell it is.
//! They are written after it was claimed, and again by the next who spends if the first died in between: until then the tag is enough.
//!
//! A cell is in one of [`WAYS`] places. A new one takes the place of one that is at rest, which has nothing to remember, else of the one
//! that is at rest soonest. So the table never fills, and a flood of prefixes only shortens the memory of others.

use std::hash::BuildHasher;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
};

use super::gcra::debt_after;
use super::region::Shared;
use crate::machine::prefix::Prefix;

/// Cells of the table, a power of two.
pub const CELLS: usize = 131_072;
/// Places a cell may have: their first words are one cache line.
pub const WAYS: usize = 8;
/// Words of a cell.
pub const WORDS: usize = 3;

const TIME_BITS: u32 = 48;
const LATEST: u64 = (1 << TIME_BITS) - 1;
const LENGTH_BITS: u32 = 48;
const CLASS_BITS: u32 = 56;
const MOST_SPENT: u64 = (1 << LENGTH_BITS) - 1;
/// A length above this is one of IPv4-mapped bits.
const IPV6_LENGTH: u8 = 64;

/// Whose cell: a class and a prefix, no longer than 64 bits where it is of IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    network: u64,
    class_and_length: u64,
}

impl Key {
    #[allow(clippy::cast_possible_truncation)] // of IPv4-mapped bits the upper half is 0
    pub fn new(class: u8, prefix: Prefix) -> Self {
        let (bits, length) = prefix.parts();
        let network = if prefix.is_ipv4() { bits as u64 } else { (bits >> 64) as u64 };
        Self { network, class_and_length: u64::from(class) << CLASS_BITS | u64::from(length) << LENGTH_BITS }
    }

    /// Of what is known by its hash alone: it has no prefix.
    pub fn of_hash(class: u8, hash: u64) -> Self {
        Self { network: hash, class_and_length: u64::from(class) << CLASS_BITS }
    }

    fn read(network: u64, about: u64) -> Self {
        Self { network, class_and_length: about & !MOST_SPENT }
    }

    /// Class and prefix.
    #[allow(clippy::cast_possible_truncation)]
    pub fn parts(self) -> (u8, Prefix) {
        let (class, length) =
            ((self.class_and_length >> CLASS_BITS) as u8, (self.class_and_length >> LENGTH_BITS) as u8);
        let bits = if length > IPV6_LENGTH { u128::from(self.network) } else { u128::from(self.network) << 64 };
        (class, Prefix::from_parts(bits, length))
    }
}

/// The places of a key, and its tag.
pub struct Places<'a> {
    key: Key,
    tag: u64,
    now: u64,
    words: &'a [AtomicU64],
    shared: &'a Shared,
}

/// A cell that is not at rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    pub class: u8,
    pub prefix: Prefix,
    /// Microseconds until it is at rest.
    pub debt: u64,
    /// Units spent since the cell was made.
    pub spent: u64,
}

impl Shared {
    /// The places of a key, as they are used at this monotonic microsecond.
    #[allow(clippy::cast_possible_truncation)] // any bits of the hash will do
    pub fn cell_places(&self, key: Key, now: u64) -> Places<'_> {
        let hash = self.hash_of(key);
        let first = hash as usize % (CELLS / WAYS) * WAYS * WORDS;
        let words = self.limit_cells().get(first..first + WAYS * WORDS).unwrap_or_default();
        Places { key, tag: tag_of(hash), now, words, shared: self }
    }

    /// The same in another table of cells.
    #[allow(clippy::cast_possible_truncation)] // any bits of the hash will do
    pub fn places_in<'a>(&'a self, table: &'a [AtomicU64], key: Key, now: u64) -> Places<'a> {
        let hash = self.hash_of(key);
        let sets = (table.len() / (WAYS * WORDS)).max(1);
        let first = hash as usize % sets * WAYS * WORDS;
        let words = table.get(first..first + WAYS * WORDS).unwrap_or_default();
        Places { key, tag: tag_of(hash), now, words, shared: self }
    }

    /// The cells that are not at rest at this microsecond.
    pub fn cells_in_debt(&self, now: u64) -> Vec<Cell> {
        let mut cells = Vec::new();
        for words in self.limit_cells().chunks_exact(WAYS * WORDS) {
            for way in 0..WAYS {
                cells.extend(self.cell_at(words, way, now));
            }
        }
        cells
    }

    /// Clears the cells whose prefix is in this one or around it; gives how many were not at rest.
    pub fn clear_cells(&self, of: Option<Prefix>, now: u64) -> usize {
        let mut cleared = 0;
        for words in self.limit_cells().chunks_exact(WAYS * WORDS) {
            for way in 0..WAYS {
                let Some(cell) = self.cell_at(words, way, now) else { continue };
                if of.is_none_or(|prefix| prefix.overlaps(cell.prefix)) {
                    words.get(way).into_iter().for_each(|word| word.store(0, Release));
                    cleared += 1;
                }
            }
        }
        cleared
    }

    /// Lowers the debt of each cell to the most that it may be; None leaves it.
    pub fn lower_debts(&self, now: u64, most: impl Fn(u8, Prefix) -> Option<u64>) {
        self.lower_debts_in(self.limit_cells(), now, most);
    }

    /// The same in another table of cells.
    pub fn lower_debts_in(&self, table: &[AtomicU64], now: u64, most: impl Fn(u8, Prefix) -> Option<u64>) {
        for words in table.chunks_exact(WAYS * WORDS) {
            for (way, word) in words.iter().take(WAYS).enumerate() {
                let tag = word.load(Acquire) >> TIME_BITS;
                let Some(cell) = self.cell_at(words, way, now) else { continue };
                let Some(most) = most(cell.class, cell.prefix) else { continue };
                let lower = |word: u64| {
                    let is_above = word >> TIME_BITS == tag && debt_of(word, now) > most;
                    is_above.then(|| tag << TIME_BITS | now.saturating_add(most).min(LATEST))
                };
                let _ = word.fetch_update(SeqCst, Relaxed, lower);
            }
        }
    }

    fn cell_at(&self, words: &[AtomicU64], way: usize, now: u64) -> Option<Cell> {
        let word = words.get(way)?.load(Acquire);
        let debt = debt_of(word, now);
        if debt == 0 {
            return None;
        }
        let (network, about) = (words.get(WAYS + way)?.load(Acquire), words.get(2 * WAYS + way)?.load(Acquire));
        let key = Key::read(network, about);
        let (class, prefix) = key.parts();
        (tag_of(self.hash_of(key)) == word >> TIME_BITS).then_some(Cell {
            class,
            prefix,
            debt,
            spent: about & MOST_SPENT,
        })
    }

    fn hash_of(&self, key: Key) -> u64 {
        self.hasher.hash_one((key.network, key.class_and_length))
    }
}

impl Places<'_> {
    /// Microseconds that are owed.
    pub fn debt(&self) -> u64 {
        self.find().map_or(0, |(_, word)| debt_of(word, self.now))
    }

    /// Adds a cost, if the debt before it passes `allow`; false when not. `units` are noted as spent.
    pub fn charge(&self, cost: u64, units: u64, allow: impl Fn(u64) -> bool) -> bool {
        loop {
            if let Some((way, word)) = self.find() {
                let debt = debt_of(word, self.now);
                if !allow(debt) {
                    return false;
                }
                if self.swap(way, word, debt_after(debt, cost)) {
                    self.note(way, units);
                    return true;
                }
            } else {
                if !allow(0) {
                    return false;
                }
                let Some((way, word)) = self.soonest_at_rest() else { return true };
                if self.swap(way, word, debt_after(0, cost)) {
                    self.sign(way, units);
                    self.find(); // another process may have claimed another place for the same key
                    return true;
                }
            }
        }
    }

    /// Takes a cost back.
    pub fn give_back(&self, cost: u64) {
        while let Some((way, word)) = self.find() {
            let debt = debt_of(word, self.now);
            if debt == 0 || self.swap(way, word, debt.saturating_sub(cost)) {
                return;
            }
        }
    }

    /// The place of the key's cell, and its first word.
    fn find(&self) -> Option<(usize, u64)> {
        let mut found = None;
        for (way, word) in self.words.iter().take(WAYS).enumerate() {
            let word = word.load(SeqCst);
            if word >> TIME_BITS == self.tag && self.is_own(way) {
                match found {
                    None => found = Some((way, word)),
                    Some((first, _)) => return self.merge(first, way, word),
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
    fn merge(&self, first: usize, second: usize, word: u64) -> Option<(usize, u64)> {
        let (kept, given) = (self.words.get(first)?, self.words.get(second)?);
        if given.compare_exchange(word, 0, SeqCst, Relaxed).is_ok() {
            let both = |kept: u64| self.word(debt_after(debt_of(kept, self.now), debt_of(word, self.now)));
            let _ = kept.fetch_update(SeqCst, Relaxed, |kept| (kept >> TIME_BITS == self.tag).then(|| both(kept)));
        }
        self.find()
    }

    /// The place of the cell that is at rest soonest, or was first.
    fn soonest_at_rest(&self) -> Option<(usize, u64)> {
        let words = self.words.iter().take(WAYS).map(|word| word.load(SeqCst)).enumerate();
        words.min_by_key(|(_, word)| word & LATEST)
    }

    fn swap(&self, way: usize, word: u64, debt: u64) -> bool {
        self.words.get(way).is_some_and(|cell| cell.compare_exchange(word, self.word(debt), SeqCst, Relaxed).is_ok())
    }

    /// The first word of a cell that owes so much now.
    fn word(&self, debt: u64) -> u64 {
        self.tag << TIME_BITS | self.now.saturating_add(debt).min(LATEST)
    }

    /// Writes whose cell it is.
    fn sign(&self, way: usize, units: u64) {
        if let (Some(network), Some(about)) = (self.words.get(WAYS + way), self.words.get(2 * WAYS + way)) {
            network.store(self.key.network, Release);
            about.store(self.key.class_and_length | units.min(MOST_SPENT), Release);
        }
    }

    fn note(&self, way: usize, units: u64) {
        if let Some(about) = self.words.get(2 * WAYS + way) {
            let add = |about: u64| about & !MOST_SPENT | (about & MOST_SPENT).saturating_add(units).min(MOST_SPENT);
            let _ = about.fetch_update(AcqRel, Relaxed, |about| Some(add(about)));
        }
    }
}

fn tag_of(hash: u64) -> u64 {
    (hash >> TIME_BITS).max(1)
}

fn debt_of(word: u64, now: u64) -> u64 {
    (word & LATEST).saturating_sub(now)
}
