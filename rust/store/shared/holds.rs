//! Held sessions: which slot has the host's longest-held one, and how many each slot is asked to end.

use std::sync::atomic::Ordering::Relaxed;

use super::region::{EVICTION_REQUESTS, OLDEST_HELD, OutOfRange, Shared};

impl Shared {
    /// Notes since when the longest-held session of a slot is held; 0 when none is.
    pub fn set_oldest_held(&self, slot: usize, since_ms: u64) -> Result<(), OutOfRange> {
        self.own(slot, OLDEST_HELD)?.store(since_ms, Relaxed);
        Ok(())
    }

    /// The slot of the host's longest-held session.
    pub fn oldest_held(&self) -> Option<usize> {
        let since = |slot| self.own(slot, OLDEST_HELD).map_or(0, |cell| cell.load(Relaxed));
        (0..self.slots).map(|slot| (since(slot), slot)).filter(|(since, _)| *since != 0).min().map(|(_, slot)| slot)
    }

    /// Asks a slot to evict its longest-held session.
    pub fn request_eviction(&self, slot: usize) -> Result<(), OutOfRange> {
        self.own(slot, EVICTION_REQUESTS)?.fetch_add(1, Relaxed);
        Ok(())
    }

    /// How many evictions were requested of a slot since it last took them.
    pub fn take_eviction_requests(&self, slot: usize) -> Result<u64, OutOfRange> {
        Ok(self.own(slot, EVICTION_REQUESTS)?.swap(0, Relaxed))
    }

    /// Forgets the held sessions of a slot.
    pub(super) fn reset_holds(&self, slot: usize) -> Result<(), OutOfRange> {
        self.own(slot, OLDEST_HELD)?.store(0, Relaxed);
        self.own(slot, EVICTION_REQUESTS)?.store(0, Relaxed);
        Ok(())
    }
}
