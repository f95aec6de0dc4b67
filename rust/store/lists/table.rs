//! The entries of one address family in a mapped snapshot: a sorted array of keys, searched through a sample of it that stays in cache.
//!
//! The last key that is not above an address belongs to the longest prefix that contains the address, or to one inside that prefix. So the
//! entry that decides is this one or one of its parents.
#![forbid(unsafe_code)]

use super::prefix::{mask4, mask6};
use super::records::{RECORD, Record};

/// Every so many keys one is in the sample.
const STEP: usize = 64;

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
        self & mask4(length)
    }
}

impl Key for u128 {
    const OCTETS: usize = 16;

    fn read(octets: &[u8]) -> Option<Self> {
        octets.first_chunk().copied().map(Self::from_le_bytes)
    }

    fn cut(self, length: u8) -> Self {
        self & mask6(length)
    }
}

/// Where the entries of a family are.
#[derive(Debug)]
pub struct Table<K> {
    keys: usize,
    records: usize,
    count: usize,
    sample: Vec<K>,
}

impl<K: Key> Table<K> {
    /// The table of `count` entries that begins at `keys`; `None` when the file ends before it does.
    pub fn open(file: &[u8], (keys, count): (usize, usize)) -> Option<Self> {
        let records = count.checked_mul(K::OCTETS)?.checked_add(keys)?;
        let end = count.checked_mul(RECORD)?.checked_add(records)?;
        let octets = file.get(keys..records)?;
        file.get(records..end)?;
        let sample = octets.chunks(K::OCTETS).step_by(STEP).filter_map(K::read).collect();
        Some(Self { keys, records, count, sample })
    }

    /// How many entries.
    pub fn len(&self) -> usize {
        self.count
    }

    /// The entry at an index.
    pub fn get(&self, file: &[u8], index: usize) -> Option<(K, Record)> {
        Some((self.key(file, index)?, self.record(file, index)?))
    }

    /// The entry that decides about an address at this second.
    pub fn find(&self, file: &[u8], address: K, now: u32) -> Option<(K, Record)> {
        let mut index = self.last_not_above(file, address)?;
        loop {
            let record = self.record(file, index)?;
            if record.until == 0 || record.until > now {
                let key = self.key(file, index)?;
                if address.cut(record.length) == key {
                    return Some((key, record));
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
        let block = self.sample.partition_point(|key| *key <= address).checked_sub(1)? * STEP;
        let octets = file.get(self.keys + block * K::OCTETS..self.keys + self.count.min(block + STEP) * K::OCTETS)?;
        let (mut from, mut to) = (0, octets.len() / K::OCTETS); // the first is not above it
        while to - from > 1 {
            let middle = usize::midpoint(from, to);
            if K::read(octets.get(middle * K::OCTETS..)?)? <= address {
                from = middle;
            } else {
                to = middle;
            }
        }
        Some(block + from)
    }

    fn key(&self, file: &[u8], index: usize) -> Option<K> {
        K::read(file.get(self.keys + index * K::OCTETS..self.records)?)
    }

    fn record(&self, file: &[u8], index: usize) -> Option<Record> {
        if index >= self.count {
            return None;
        }
        Record::read(file.get(self.records + index * RECORD..)?)
    }
}
