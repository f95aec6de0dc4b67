//! The monotonic clock by which limits and records of sources reckon: the one that Python's `time.monotonic` reads.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rustix::time::{ClockId, clock_gettime};

/// The clock of the system, or a time that was set.
#[derive(Debug, Default)]
pub struct Clock {
    /// Microseconds; 0: the clock of the system is read.
    set: AtomicU64,
}

impl Clock {
    /// Microseconds; their origin has no meaning.
    pub fn now(&self) -> u64 {
        match self.set.load(Relaxed) {
            0 => {
                let now = clock_gettime(ClockId::Monotonic);
                now.tv_sec.cast_unsigned() * 1_000_000 + now.tv_nsec.cast_unsigned() / 1000
            }
            set => set,
        }
    }

    /// Stands at this time from now on, above 0: for tests.
    pub fn set(&self, microseconds: u64) {
        self.set.store(microseconds, Relaxed);
    }
}
