//! Finds the places of a message: a table of place numbers with open addressing.
//!
//! A place costs 4 octets at three quarters full. Keys are not stored: whoever asks compares. Several places may have one key.
#![forbid(unsafe_code)]

use super::entries::Entries;

/// Cells of the smallest table.
const SMALLEST: usize = 64;
const EMPTY: u32 = u32::MAX;

#[derive(Debug, Default)]
pub struct Index {
    cells: Vec<u32>,
    used: usize,
}

impl Index {
    /// Octets of memory.
    pub fn octets(&self) -> usize {
        self.cells.capacity() * size_of::<u32>()
    }

    /// Places of a message.
    pub fn find(&self, entries: &Entries, partition: u16, sequence: i64) -> Vec<u32> {
        let is_of = |place: &u32| {
            entries.get(*place).is_some_and(|entry| (entry.partition, entry.sequence) == (partition, sequence))
        };
        let mut found: Vec<u32> = self.run(hash(partition, sequence)).filter(is_of).collect();
        found.sort_unstable();
        found
    }

    /// Adds a place that is in use.
    pub fn insert(&mut self, entries: &Entries, place: u32) {
        if (self.used + 1) * 4 > self.cells.len() * 3 {
            self.resize(entries, (self.cells.len() * 2).max(SMALLEST));
        }
        self.put(entries, place);
        self.used += 1;
    }

    /// Takes a place out that is still in use.
    pub fn remove(&mut self, entries: &Entries, place: u32) {
        let Some(mut hole) = self.cell_of(entries, place) else { return };
        // Whoever lies behind the hole and may lie in it moves there, so that no run is broken.
        let mut cell = hole;
        loop {
            cell = self.next(cell);
            let Some(other) = self.cells.get(cell).copied().filter(|&other| other != EMPTY) else { break };
            let Some(first) = self.first_cell(entries, other) else { break };
            if self.distance(first, cell) >= self.distance(hole, cell) {
                self.set(hole, other);
                hole = cell;
            }
        }
        self.set(hole, EMPTY);
        self.used -= 1;
        if self.used == 0 {
            *self = Self::default();
        } else if self.cells.len() > SMALLEST && self.used * 8 < self.cells.len() {
            self.resize(entries, self.cells.len() / 4);
        }
    }

    fn resize(&mut self, entries: &Entries, cells: usize) {
        let cells = vec![EMPTY; cells.max(SMALLEST)];
        for place in std::mem::replace(&mut self.cells, cells).into_iter().filter(|&place| place != EMPTY) {
            self.put(entries, place);
        }
    }

    fn put(&mut self, entries: &Entries, place: u32) {
        let Some(mut cell) = self.first_cell(entries, place) else { return };
        while self.cells.get(cell).is_some_and(|&other| other != EMPTY) {
            cell = self.next(cell);
        }
        self.set(cell, place);
    }

    fn cell_of(&self, entries: &Entries, place: u32) -> Option<usize> {
        let mut cell = self.first_cell(entries, place)?;
        loop {
            match self.cells.get(cell).copied() {
                Some(found) if found == place => return Some(cell),
                None | Some(EMPTY) => return None,
                Some(_) => cell = self.next(cell),
            }
        }
    }

    /// The places in the cells from the first one for a hash to the next empty one.
    fn run(&self, hash: u64) -> impl Iterator<Item = u32> {
        let first = self.first(hash);
        let cells = (0..self.cells.len()).map(move |step| (first + step) & self.cells.len().wrapping_sub(1));
        cells.map_while(|cell| self.cells.get(cell).copied().filter(|&place| place != EMPTY))
    }

    fn first_cell(&self, entries: &Entries, place: u32) -> Option<usize> {
        let entry = entries.get(place)?;
        (!self.cells.is_empty()).then(|| self.first(hash(entry.partition, entry.sequence)))
    }

    #[allow(clippy::cast_possible_truncation)] // any bits will do
    fn first(&self, hash: u64) -> usize {
        hash as usize & self.cells.len().wrapping_sub(1)
    }

    fn next(&self, cell: usize) -> usize {
        (cell + 1) & self.cells.len().wrapping_sub(1)
    }

    /// Cells from one to another, going up.
    fn distance(&self, from: usize, to: usize) -> usize {
        to.wrapping_sub(from) & self.cells.len().wrapping_sub(1)
    }

    fn set(&mut self, cell: usize, place: u32) {
        if let Some(slot) = self.cells.get_mut(cell) {
            *slot = place;
        }
    }
}

/// Sequences follow each other: the upper bits of a product spread them. Nobody outside chooses them.
fn hash(partition: u16, sequence: i64) -> u64 {
    let key = sequence.cast_unsigned() ^ u64::from(partition) << 48;
    key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20
}
