//! Memory for large contents: buffers of one size, cut from mappings of 2 MiB and used again.
//!
//! New memory is what a large content in memory would cost most: each page of it is cleared and mapped when it is first written to. So the
//! system is asked for pages as large as a mapping, which a direct write then takes as one piece, too; free buffers are kept for the
//! next content, and mappings that nobody needed for a while are given back.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use memmap2::{Advice, MmapMut, MmapRaw};

/// Octets of a buffer, which begins at a multiple of them.
pub const PIECE: usize = 64 * 1024;
/// Octets of a mapping that are used: a large page of most processors.
const MAPPING: usize = 2 * 1024 * 1024;
/// Buffers of a mapping.
const BUFFERS: usize = MAPPING / PIECE;

/// What buffers are cut from.
struct Mapping {
    memory: MmapRaw,
    /// Where the first buffer begins.
    start: usize,
    number: u64,
}

impl Mapping {
    fn new(number: u64) -> Option<Self> {
        // Twice as much has room for a large page wherever it begins; what is never touched takes no memory.
        let memory = MmapRaw::from(MmapMut::map_anon(2 * MAPPING).ok()?);
        let start = memory.as_ptr().align_offset(MAPPING).min(MAPPING);
        let _ = memory.advise_range(Advice::HugePage, start, MAPPING); // else small pages serve as well
        Some(Self { memory, start, number })
    }
}

/// A part of a mapping, and the only one who has it.
pub struct Buffer {
    mapping: Arc<Mapping>,
    at: usize,
}

impl Buffer {
    /// All buffers of a new mapping; none when the system has no memory.
    fn cut(number: u64) -> Vec<Self> {
        let Some(mapping) = Mapping::new(number).map(Arc::new) else { return Vec::new() };
        let starts = (0..BUFFERS).map(|buffer| mapping.start + buffer * PIECE);
        starts.map(|at| Self { mapping: Arc::clone(&mapping), at }).collect()
    }

    /// What is in it.
    pub fn octets(&self) -> &[u8] {
        // SAFETY: `cut` makes one buffer of each part of a mapping, within its 2 * MAPPING octets: nobody else writes there, and the
        // mapping is kept by the buffer. Its octets are zero or were written.
        unsafe { std::slice::from_raw_parts(self.mapping.memory.as_ptr().add(self.at), PIECE) }
    }

    /// The same, to be written.
    pub fn octets_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above; nobody else reads there.
        unsafe { std::slice::from_raw_parts_mut(self.mapping.memory.as_mut_ptr().add(self.at), PIECE) }
    }
}

/// The free buffers of a worker.
#[derive(Default)]
pub struct Pool(Mutex<Free>);

#[derive(Default)]
struct Free {
    /// By the number of their mapping. The lowest are taken first, so that the others become free as a whole.
    buffers: BTreeMap<u64, Vec<Buffer>>,
    count: usize,
    /// The fewest there were since the last look: so many nobody needed.
    spare: usize,
    mappings: u64,
}

impl Free {
    fn put(&mut self, buffer: Buffer) {
        self.buffers.entry(buffer.mapping.number).or_default().push(buffer);
        self.count += 1;
    }

    fn take(&mut self) -> Option<Buffer> {
        let mut lowest = self.buffers.first_entry()?;
        let buffer = lowest.get_mut().pop();
        if lowest.get().is_empty() {
            lowest.remove();
        }
        self.count -= 1;
        self.spare = self.spare.min(self.count);
        buffer
    }
}

impl Pool {
    /// A buffer with whatever is in it; None when the system has no memory.
    pub fn take(&self) -> Option<Buffer> {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if free.count == 0 {
            free.mappings += 1;
            let number = free.mappings;
            Buffer::cut(number).into_iter().rev().for_each(|buffer| free.put(buffer));
            free.spare = 0;
        }
        free.take()
    }

    /// Takes a buffer back.
    pub fn put(&self, buffer: Buffer) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).put(buffer);
    }

    /// Gives back to the system the mappings that nobody needed since the last call.
    pub fn give_back(&self) {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut spare = free.spare / BUFFERS;
        let unused: Vec<u64> = free
            .buffers
            .iter()
            .rev()
            .filter(|(_, buffers)| buffers.len() == BUFFERS)
            .map(|(number, _)| *number)
            .collect();
        for number in unused {
            if spare == 0 {
                break;
            }
            spare -= 1;
            free.buffers.remove(&number);
            free.count -= BUFFERS;
        }
        free.spare = free.count;
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Pool")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(pool: &Pool, count: usize) -> Vec<Buffer> {
        (0..count).map(|_| pool.take().unwrap()).collect()
    }

    fn put(pool: &Pool, buffers: Vec<Buffer>) {
        for buffer in buffers {
            pool.put(buffer);
        }
    }

    fn free(pool: &Pool) -> usize {
        let free = pool.0.lock().unwrap();
        assert_eq!(free.count, free.buffers.values().map(Vec::len).sum::<usize>());
        free.count
    }

    #[test]
    fn each_buffer_has_octets_of_its_own() {
        let pool = Pool::default();
        let mut buffers = take(&pool, 2 * BUFFERS + 1);
        for (number, buffer) in buffers.iter_mut().enumerate() {
            assert!(buffer.octets_mut().iter().all(|octet| *octet == 0));
            buffer.octets_mut().fill(u8::try_from(number).unwrap());
        }
        for (number, buffer) in buffers.iter().enumerate() {
            assert!(buffer.octets().iter().all(|octet| usize::from(*octet) == number));
            assert_eq!(buffer.octets().as_ptr().align_offset(PIECE), 0);
        }
        assert_eq!(free(&pool), BUFFERS - 1);
    }

    #[test]
    fn buffers_are_used_again() {
        let pool = Pool::default();
        let first = take(&pool, 2);
        let known: Vec<_> = first.iter().map(|buffer| buffer.octets().as_ptr()).collect();
        put(&pool, first);
        assert!(take(&pool, 2).iter().all(|buffer| known.contains(&buffer.octets().as_ptr())));
    }

    #[test]
    fn mappings_are_given_back_when_nobody_needs_them() {
        let pool = Pool::default();
        put(&pool, take(&pool, 2 * BUFFERS + 1));
        pool.give_back();
        assert_eq!(free(&pool), 3 * BUFFERS, "they were needed");
        put(&pool, take(&pool, BUFFERS + 1));
        pool.give_back();
        assert_eq!(free(&pool), 2 * BUFFERS, "two were needed");
        let kept = take(&pool, 1);
        pool.give_back();
        assert_eq!(free(&pool), BUFFERS - 1, "one is in use");
        put(&pool, kept);
        pool.give_back();
        assert_eq!(free(&pool), BUFFERS, "it was in use");
        pool.give_back();
        assert_eq!(free(&pool), 0);
    }

    #[test]
    fn the_lowest_mapping_is_used_first_so_that_the_others_become_free() {
        let pool = Pool::default();
        let mut all = take(&pool, 3 * BUFFERS);
        let one = all.swap_remove(0);
        put(&pool, all);
        let kept = take(&pool, BUFFERS - 1);
        assert!(kept.iter().all(|buffer| buffer.mapping.number == one.mapping.number));
        pool.give_back();
        pool.give_back();
        assert_eq!(free(&pool), 0);
    }
}
