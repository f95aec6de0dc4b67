//! A keyed hash of two words, for the tables whose keys strangers choose.
//!
//! Two multiplications to 128 bits, folded. Nobody sees a hash, and without the keys nobody can find words that collide on purpose; it is
//! no hash for what has to stay secret. Forked processes have the same keys.

use std::hash::{BuildHasher, RandomState};

/// The keys of one shared memory.
#[derive(Debug, Clone, Copy)]
pub struct KeyedHash {
    keys: [u64; 4],
}

impl KeyedHash {
    /// With keys of its own.
    pub fn new() -> Self {
        let random = RandomState::new();
        let [first, second, third, fourth] = [0_u8, 1, 2, 3].map(|number| random.hash_one(number));
        Self { keys: [first, second, third, fourth | 1] }
    }

    /// The hash of two words.
    pub fn of(&self, first: u64, second: u64) -> u64 {
        let [of_first, of_second, between, last] = self.keys;
        folded(folded(first ^ of_first, second ^ of_second) ^ between, last)
    }
}

/// Both halves of the product, one upon the other.
#[allow(clippy::cast_possible_truncation)] // the halves are taken
fn folded(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Networks that follow each other fall on all places alike, by the low bits and by the high ones.
    #[test]
    #[allow(clippy::cast_possible_truncation)] // any bits will do
    fn neighbours_are_scattered() {
        const PLACES: usize = 256;
        let hash = KeyedHash::new();
        for shift in [0, 8, 16, 56] {
            let (mut low, mut high) = (vec![0_u32; PLACES], vec![0_u32; PLACES]);
            for number in 0..64 * PLACES as u64 {
                let found = hash.of(number << shift, 7);
                low[found as usize % PLACES] += 1;
                high[(found >> 56) as usize] += 1;
            }
            for counts in [low, high].iter().filter(|_| shift < 50) {
                assert!(counts.iter().all(|count| (20..140).contains(count)), "{shift} {counts:?}");
            }
        }
        assert_ne!(hash.of(1, 2), hash.of(2, 1));
        assert_ne!(KeyedHash::new().of(1, 2), hash.of(1, 2));
    }
}
