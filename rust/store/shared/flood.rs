//! Floods of reports: more than the budgets have room for, seen by all workers together, each side by itself.
//!
//! Reports that are withheld because a budget has no room are counted in windows of [`WINDOW`]. With `least` of them in one a flood
//! begins, once on the host; it is over with a window that has less than a quarter of that. Two rows, so nothing grows.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::budgets::{SIDES, flood_cells};
use super::harvest::{BITMAP, different, read, set, swap};
use super::region::Shared;

/// Seconds.
const WINDOW: u64 = 600;

const SINCE: usize = 0;
const IN_WINDOW: usize = 1;
const BEGAN: usize = 2;
const WITHHELD: usize = 3;
const DOMAINS: usize = 4;
const ROW: usize = DOMAINS + BITMAP;

/// Cells of the table: a row for each side, and the second of the next look for floods that are over.
pub const CELLS: usize = SIDES * ROW + 8;
const NEXT_LOOK: usize = SIDES * ROW;

/// A flood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flood {
    /// Which budgets it uses up, as in [`super::Report`].
    pub side: usize,
    /// Reports withheld since the window in which it began.
    pub withheld: u64,
    /// Different domains they were for, about.
    pub domains: u64,
    /// Seconds since it began.
    pub seconds: u64,
}

impl Shared {
    /// Counts a report to a domain that is withheld at this monotonic second; the flood that begins with it. `least` 0: none ever does.
    pub fn flood_count(&self, side: usize, domain: &str, now: u64, least: u64) -> Option<Flood> {
        let side = side.min(SIDES - 1);
        let row = self.flood_row(side)?;
        let since = read(row, SINCE);
        if read(row, BEGAN) == 0 && now >= since.saturating_add(WINDOW) && swap(row, SINCE, since, now) {
            [IN_WINDOW, WITHHELD].into_iter().chain(DOMAINS..ROW).for_each(|index| set(row, index, 0));
        }
        let in_window = row.get(IN_WINDOW)?.fetch_add(1, Relaxed) + 1;
        row.get(WITHHELD)?.fetch_add(1, Relaxed);
        let bit = self.text_hash(domain) % (64 * BITMAP as u64);
        let cell = usize::try_from(bit / 64).ok().and_then(|cell| row.get(DOMAINS + cell));
        cell.map(|cell| cell.fetch_or(1 << (bit % 64), Relaxed));
        let begins = least > 0 && in_window >= least && swap(row, BEGAN, 0, now.max(1));
        begins.then(|| flood(row, side, now))
    }

    /// Once a second on the host, whoever asks first: the floods that are over.
    pub fn floods_ended(&self, now: u64, least: u64) -> Vec<Flood> {
        let Some(next) = flood_cells(self).get(NEXT_LOOK) else { return Vec::new() };
        let due = next.load(Relaxed);
        if due > now || next.compare_exchange(due, now + 1, Relaxed, Relaxed).is_err() {
            return Vec::new();
        }
        (0..SIDES).filter_map(|side| ended(self.flood_row(side)?, side, now, least)).collect()
    }

    /// Whether there is a flood on this side now.
    pub fn is_flooded(&self, side: usize) -> bool {
        self.flood_row(side).is_some_and(|row| read(row, BEGAN) != 0)
    }

    /// The keyed hash of a text.
    pub(super) fn text_hash(&self, text: &str) -> u64 {
        self.hasher.hash_one(text)
    }

    fn flood_row(&self, side: usize) -> Option<&[AtomicU64]> {
        flood_cells(self).get(..NEXT_LOOK)?.chunks_exact(ROW).nth(side)
    }
}

fn flood(row: &[AtomicU64], side: usize, now: u64) -> Flood {
    let seconds = now.saturating_sub(read(row, BEGAN));
    Flood { side, withheld: read(row, WITHHELD), domains: different(row, DOMAINS), seconds }
}

/// Ends the window of a flood that had its time; the flood when it is over with it.
fn ended(row: &[AtomicU64], side: usize, now: u64, least: u64) -> Option<Flood> {
    let (began, since) = (read(row, BEGAN), read(row, SINCE));
    if began == 0 || now < since.saturating_add(WINDOW) {
        return None;
    }
    let ending = row.get(IN_WINDOW)?.swap(0, Relaxed);
    set(row, SINCE, now);
    let seen = flood(row, side, now);
    (ending * 4 < least.max(1) && swap(row, BEGAN, began, 0)).then_some(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_begins_once_and_is_over_with_a_quiet_window() {
        let shared = Shared::new(1, 1, vec![], 1).unwrap();
        let domains: Vec<String> = (0..50).map(|number| format!("victim{number}.example")).collect();
        let count = |now, number: usize| shared.flood_count(0, &domains[number % 50], now, 100);
        let began: Vec<Flood> = (0..10_000).filter_map(|number| count(1_000 + number as u64 / 100, number)).collect();
        let [first] = began.as_slice() else { panic!("{began:?}") };
        assert_eq!((first.side, first.withheld, first.seconds), (0, 100, 0));
        assert!(first.domains.abs_diff(50) <= 5, "{first:?}");
        assert!(shared.is_flooded(0) && !shared.is_flooded(1));
        assert_eq!(shared.floods_ended(1_100, 100), []);
        assert_eq!(shared.floods_ended(1_600, 100), [], "that window was full");
        assert_eq!(count(1_700, 1), None);
        assert_eq!(shared.floods_ended(2_199, 100), []);
        let over = shared.floods_ended(2_200, 100);
        assert_eq!(over.iter().map(|flood| (flood.withheld, flood.seconds)).collect::<Vec<_>>(), [(10_001, 1_200)]);
        assert!(!shared.is_flooded(0));
        assert_eq!(shared.floods_ended(9_999, 100), []);
    }

    #[test]
    fn a_few_are_no_flood() {
        let shared = Shared::new(1, 1, vec![], 1).unwrap();
        let steady = (0..1_000).filter_map(|number| shared.flood_count(2, "example.com", number * 60, 100));
        assert_eq!(steady.count(), 0);
        assert_eq!((0..1_000).filter_map(|_| shared.flood_count(2, "example.com", 100_000, 0)).count(), 0);
    }
}
