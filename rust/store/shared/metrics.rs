//! Metrics: a row of counters and gauges in each slot.

use std::sync::atomic::Ordering::Relaxed;

use super::region::{OutOfRange, Shared};

impl Shared {
    /// Adds to a metric; a gauge may take a negative number.
    pub fn add(&self, slot: usize, index: usize, n: i64) -> Result<(), OutOfRange> {
        self.metric(slot, index)?.fetch_add(n.cast_unsigned(), Relaxed);
        Ok(())
    }

    /// Sets a metric.
    pub fn set(&self, slot: usize, index: usize, value: i64) -> Result<(), OutOfRange> {
        self.metric(slot, index)?.store(value.cast_unsigned(), Relaxed);
        Ok(())
    }

    /// A metric summed over the slots.
    pub fn sum(&self, index: usize) -> Result<i64, OutOfRange> {
        let add = |sum: i64, slot| Ok(sum.wrapping_add(self.metric(slot, index)?.load(Relaxed).cast_signed()));
        (0..self.slots).try_fold(0, add)
    }

    /// The greatest value of a metric over the slots.
    pub fn greatest(&self, index: usize) -> Result<i64, OutOfRange> {
        let greater = |most: i64, slot| Ok(most.max(self.metric(slot, index)?.load(Relaxed).cast_signed()));
        (0..self.slots).try_fold(i64::MIN, greater)
    }

    /// The metrics of a slot.
    pub fn row(&self, slot: usize) -> Result<Vec<i64>, OutOfRange> {
        Ok(self.metrics(slot)?.iter().map(|cell| cell.load(Relaxed).cast_signed()).collect())
    }

    /// Gives back what a dead worker's slot says of its present: gauges and held sessions. Counters stay.
    pub fn reset_gauges(&self, slot: usize) -> Result<(), OutOfRange> {
        let row = self.metrics(slot)?;
        self.gauges.iter().filter_map(|index| row.get(*index)).for_each(|cell| cell.store(0, Relaxed));
        self.reset_holds(slot)
    }
}
