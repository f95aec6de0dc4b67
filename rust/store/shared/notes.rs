//! Which messages each worker has in memory for delivery, so that it is known after its death what it may have died of.
//!
//! A worker notes a message before it does anything with it, and takes the note back when it is done. The notes outlive the worker. When the
//! supervisor has seen how it died, it moves the notes of one that crashed to a table of the host, where whoever adopts a partition
//! finds those of that partition, and forgets the others. Promises: a note is found again or was never made (there is no room for
//! any number); whoever adopts a partition before the supervisor has seen the death is told to wait.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::region::{OutOfRange, Shared};

/// Notes of a slot, a power of two; a worker has some hundreds of messages in memory.
const NOTES: usize = 2048;
/// Cells of the notes of a slot: pairs of a partition's hash and a word.
pub const CELLS: usize = 2 * NOTES;
/// Cells of the table of the host.
pub const CRASHED: usize = 2 * 4096;
/// How far from its first place a note may be.
const PROBES: usize = 8;
/// The word has the sequence above the suspicion, which has 1 added to it there: it is never 0 where a note is.
const KIND_BITS: u32 = 2;

/// What is known of a message beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Suspicion {
    /// Nothing.
    Unsuspected = 0,
    /// A worker died with it in memory; now it is in memory with others.
    InCompany = 1,
    /// A worker died with it in memory; now it is the only one in memory.
    Alone = 2,
}

impl Suspicion {
    /// That with this number.
    pub fn numbered(number: u64) -> Option<Self> {
        [Self::Unsuspected, Self::InCompany, Self::Alone].into_iter().find(|one| *one as u64 == number)
    }
}

impl Shared {
    /// What notes call the partition `tag`.
    pub fn partition_key(&self, tag: &str) -> u64 {
        self.hasher.hash_one(tag)
    }

    /// Notes that message `sequence` of a partition is in memory. Only the slot's own worker may call it.
    pub fn note(&self, slot: usize, partition: u64, sequence: i64, suspicion: Suspicion) -> Result<(), OutOfRange> {
        let word = word(sequence, suspicion);
        let mut vacant = None;
        for (key, place) in probes(self.notes(slot)?, partition, sequence) {
            let found = place.load(Relaxed);
            if found == 0 {
                vacant = vacant.or(Some((key, place)));
            } else if key.load(Relaxed) == partition && found >> KIND_BITS == word >> KIND_BITS {
                place.store(word, Relaxed);
                return Ok(());
            }
        }
        if let Some((key, place)) = vacant {
            key.store(partition, Relaxed);
            place.store(word, Relaxed);
        }
        Ok(())
    }

    /// Takes a note back; without one nothing happens. Only the slot's own worker may call it.
    pub fn unnote(&self, slot: usize, partition: u64, sequence: i64) -> Result<(), OutOfRange> {
        let is_it = |(key, place): &(&AtomicU64, &AtomicU64)| {
            let found = place.load(Relaxed);
            found != 0 && key.load(Relaxed) == partition && found >> KIND_BITS == sequence.unsigned_abs()
        };
        if let Some((_, place)) = probes(self.notes(slot)?, partition, sequence).find(is_it) {
            place.store(0, Relaxed);
        }
        Ok(())
    }

    /// Empties the notes of a slot whose worker is dead; keeps them for whoever adopts its partitions when it crashed. Only the
    /// supervisor may call it.
    pub fn notes_settle(&self, slot: usize, crashed: bool) -> Result<(), OutOfRange> {
        let mut free = pairs(self.crashed_cells()).filter(|(_, place)| place.load(Relaxed) == 0);
        for (key, place) in pairs(self.notes(slot)?).filter(|(_, place)| place.load(Relaxed) != 0) {
            if let Some((to_key, to_place)) = crashed.then(|| free.next()).flatten() {
                to_key.store(key.load(Relaxed), Relaxed);
                to_place.store(place.load(Relaxed), Relaxed);
            }
            place.store(0, Relaxed);
        }
        Ok(())
    }

    /// Takes the messages of a partition that its crashed owner had in memory; `None` when its death was not seen yet: ask again.
    pub fn crashed_with(&self, partition: u64) -> Option<Vec<(i64, Suspicion)>> {
        let is_of =
            |(key, place): &(&AtomicU64, &AtomicU64)| key.load(Relaxed) == partition && place.load(Relaxed) != 0;
        let slots = (0..self.slots()).filter_map(|slot| self.notes(slot).ok());
        if slots.flat_map(pairs).any(|pair| is_of(&pair)) {
            return None;
        }
        let found = pairs(self.crashed_cells()).filter(is_of).filter_map(|(_, place)| {
            let word = place.swap(0, Relaxed);
            Some(((word >> KIND_BITS).cast_signed(), Suspicion::numbered((word & ((1 << KIND_BITS) - 1)) - 1)?))
        });
        Some(found.collect())
    }
}

fn word(sequence: i64, suspicion: Suspicion) -> u64 {
    sequence.unsigned_abs() << KIND_BITS | (suspicion as u64 + 1)
}

fn pairs(cells: &[AtomicU64]) -> impl Iterator<Item = (&AtomicU64, &AtomicU64)> {
    cells.chunks_exact(2).filter_map(|pair| Some((pair.first()?, pair.get(1)?)))
}

/// Where the note of a message may be: sequences follow each other, so those of one partition and time are in places of their own;
/// each partition begins at another place.
#[allow(clippy::cast_possible_truncation)] // the lower bits are meant
fn probes(cells: &[AtomicU64], partition: u64, sequence: i64) -> impl Iterator<Item = (&AtomicU64, &AtomicU64)> {
    let first = partition.wrapping_add(sequence.unsigned_abs()) as usize % NOTES;
    let place = move |step: usize| (first + step) % NOTES;
    (0..PROBES).filter_map(move |step| Some((cells.get(2 * place(step))?, cells.get(2 * place(step) + 1)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared() -> Shared {
        Shared::new(2, 1, Vec::new(), 16).unwrap()
    }

    #[test]
    fn what_a_crashed_worker_had_in_memory_is_found_by_partition_when_its_death_was_seen() {
        let shared = shared();
        let (one, other) = (shared.partition_key("one"), shared.partition_key("other"));
        for sequence in 1..=700 {
            shared.note(0, one, sequence, Suspicion::Unsuspected).unwrap();
        }
        shared.note(0, one, 7, Suspicion::Alone).unwrap();
        for sequence in (1..=700).filter(|sequence| *sequence != 7 && *sequence != 9) {
            shared.unnote(0, one, sequence).unwrap();
        }
        shared.unnote(0, one, 1000).unwrap();
        shared.note(0, other, 5, Suspicion::Unsuspected).unwrap();
        assert_eq!(shared.crashed_with(one), None, "it may still live");
        shared.notes_settle(0, true).unwrap();
        let mut found = shared.crashed_with(one).unwrap();
        found.sort_by_key(|(sequence, _)| *sequence);
        assert_eq!(found, [(7, Suspicion::Alone), (9, Suspicion::Unsuspected)]);
        assert_eq!(shared.crashed_with(one), Some(Vec::new()), "it is said once");
        assert_eq!(shared.crashed_with(other).unwrap().len(), 1);
    }

    #[test]
    fn what_a_killed_worker_had_in_memory_is_forgotten() {
        let shared = shared();
        let one = shared.partition_key("one");
        shared.note(1, one, 7, Suspicion::InCompany).unwrap();
        shared.notes_settle(1, false).unwrap();
        assert_eq!(shared.crashed_with(one), Some(Vec::new()));
        assert!(shared.note(9, one, 7, Suspicion::Alone).is_err());
    }

    #[test]
    fn more_than_there_is_room_for_is_not_noted_and_nothing_else_is_harmed() {
        let shared = shared();
        let one = shared.partition_key("one");
        for sequence in 0..10_000 {
            shared.note(0, one, sequence, Suspicion::Unsuspected).unwrap();
        }
        for _ in 0..4 {
            shared.notes_settle(0, true).unwrap();
        }
        let found = shared.crashed_with(one).unwrap();
        assert!(found.len() > NOTES / 2 && found.len() <= NOTES);
    }
}
