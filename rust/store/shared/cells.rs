//! The table of cells: until when what was spent of a class by a prefix is paid for. One table for all workers of the host.
//!
//! A cell is decided on by one atomic word, its time with a tag of the keyed hash; so a decision is one compare-and-swap, whichever
//! processes make theirs at the same moment, and a process that dies has made it or not. The two words beside it say whose cell it is.
//! They are written after it was claimed, and again by the next who spends if the first died in between: until then the tag is enough.
//!
//! A cell is in one of [`WAYS`] places. A new one takes the place of one that is at rest, which has nothing to remember, else of the one
//! that is at rest soonest. So the table never fills, and a flood of prefixes only shortens the memory of others.

use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release, SeqCst},
};

use super::region::Shared;
use crate::machine::prefix::Prefix;

mod places;

pub use places::Places;

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
        Places::new(self, words, key, hash, now)
    }

    /// The same in another table of cells.
    #[allow(clippy::cast_possible_truncation)] // any bits of the hash will do
    pub fn places_in<'a>(&'a self, table: &'a [AtomicU64], key: Key, now: u64) -> Places<'a> {
        let hash = self.hash_of(key);
        let sets = (table.len() / (WAYS * WORDS)).max(1);
        let first = hash as usize % sets * WAYS * WORDS;
        let words = table.get(first..first + WAYS * WORDS).unwrap_or_default();
        Places::new(self, words, key, hash, now)
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
        self.keyed.of(key.network, key.class_and_length)
    }
}

fn tag_of(hash: u64) -> u64 {
    (hash >> TIME_BITS).max(1)
}

fn debt_of(word: u64, now: u64) -> u64 {
    (word & LATEST).saturating_sub(now)
}
