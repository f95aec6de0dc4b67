//! The entries of one address family in a mapped snapshot: a sorted array of keys, below levels of some of them that stay in cache.
//!
//! The last key that is not above an address belongs to the longest prefix that contains the address, or to one inside that prefix. So the
//! entry that decides is this one or one of its parents.
#![forbid(unsafe_code)]

use super::records::{DATE, EXTENT, LINE, RECORD, Record};

/// Of so many keys one is in the level above: those of IPv4 are one cache line.
const FAN: usize = 16;

/// The address of an entry, as a number.
pub trait Key: Copy + Ord {
    /// Octets of a key.
    const OCTETS: usize;
    /// The key in the first octets.
    fn read(octets: &[u8]) -> Option<Self>;
    /// Its first bits, the others 0.
    fn cut(self, length: u8) -> Self;
}

impl Key for u32 {
    const OCTETS: usize = 4;

    fn read(octets: &[u8]) -> Option<Self> {
        octets.first_chunk().copied().map(Self::from_le_bytes)
    }

    fn cut(self, length: u8) -> Self {
        self & Self::MAX.checked_shl(Self::BITS.saturating_sub(u32::from(length))).unwrap_or(0)
    }
}

impl Key for u128 {
    const OCTETS: usize = 16;

    fn read(octets: &[u8]) -> Option<Self> {
        octets.first_chunk().copied().map(Self::from_le_bytes)
    }

    fn cut(self, length: u8) -> Self {
        self & Self::MAX.checked_shl(Self::BITS.saturating_sub(u32::from(length))).unwrap_or(0)
    }
}

/// An entry that was found.
#[derive(Debug, Clone, Copy)]
pub struct Entry<K> {
    /// Its place in the table.
    pub index: usize,
    /// The first address of its prefix.
    pub key: K,
    /// The rest.
    pub record: Record,
}

/// Where the entries of a family are.
#[derive(Debug)]
pub struct Table<K> {
    keys: usize,
    extents: usize,
    records: usize,
    dates: usize,
    count: usize,
    /// Every `FAN`th key; above it every `FAN`th of these, until there are no more than `FAN`. The topmost first.
    levels: Vec<Vec<K>>,
}

impl<K: Key> Table<K> {
    /// The table of `count` entries that begins at `keys`; `None` when the file ends before it does.
    pub fn open(file: &[u8], (keys, count): (usize, usize)) -> Option<Self> {
        let extents = count.checked_mul(K::OCTETS)?.checked_add(keys)?.checked_next_multiple_of(LINE)?;
        let records = count.checked_mul(EXTENT)?.checked_add(extents)?.checked_next_multiple_of(LINE)?;
        let dates = count.checked_mul(RECORD)?.checked_add(records)?;
        file.get(records..count.checked_mul(DATE)?.checked_add(dates)?)?;
        let octets = file.get(keys..)?.get(..count * K::OCTETS)?;
        let mut levels = vec![octets.chunks(K::OCTETS).step_by(FAN).filter_map(K::read).collect::<Vec<_>>()];
        while let Some(lowest) = levels.last().filter(|level| level.len() > FAN) {
            levels.push(lowest.iter().copied().step_by(FAN).collect());
        }
        levels.reverse();
        Some(Self { keys, extents, records, dates, count, levels })
    }

    /// How many entries.
    pub fn len(&self) -> usize {
        self.count
    }

    /// The entry at an index.
    pub fn get(&self, file: &[u8], index: usize) -> Option<Entry<K>> {
        Some(Entry { index, key: self.key(file, index)?, record: self.record(file, index)? })
    }

    /// When the entry at an index was made.
    pub fn since(&self, file: &[u8], index: usize) -> Option<u32> {
        file.get(self.dates + index * DATE..)?.first_chunk().copied().map(u32::from_le_bytes)
    }

    /// The entry that decides about an address at this second.
    pub fn find(&self, file: &[u8], address: K, now: u32) -> Option<Entry<K>> {
        let mut index = self.last_not_above(file, address)?;
        let [length, outermost] = *file.get(self.extents + index * EXTENT..self.records)?.first_chunk()?;
        if outermost != 0 && address.cut(length) != self.key(file, index)? {
            return None; // without a look at its record, which is seldom in cache
        }
        loop {
            let record = self.record(file, index)?;
            if record.until == 0 || record.until > now {
                let key = self.key(file, index)?;
                if address.cut(record.length) == key {
                    return Some(Entry { index, key, record });
                }
            }
            let parent = usize::try_from(record.parent).ok()?;
            if parent >= index {
                return None; // it has none
            }
            index = parent;
        }
    }

    fn last_not_above(&self, file: &[u8], address: K) -> Option<usize> {
        let mut at = 0;
        for level in &self.levels {
            let keys = level.get(at * FAN..)?.iter().take(FAN);
            // All are compared: no branch depends on what is found.
            at = (at * FAN + keys.filter(|key| **key <= address).count()).checked_sub(1)?;
        }
        let octets = file.get(self.keys..)?.get(..self.count * K::OCTETS)?.get(at * FAN * K::OCTETS..)?;
        let keys = octets.chunks_exact(K::OCTETS).take(FAN).filter_map(K::read);
        (at * FAN + keys.filter(|key| *key <= address).count()).checked_sub(1)
    }

    fn key(&self, file: &[u8], index: usize) -> Option<K> {
        K::read(file.get(self.keys + index * K::OCTETS..self.extents)?)
    }

    fn record(&self, file: &[u8], index: usize) -> Option<Record> {
        Record::read(file.get(self.records + index * RECORD..self.dates)?)
    }
}
