//! What recently went wrong with a source, counted by all workers together.
//!
//! One table for the host. A count lives for a time from its first incident on, and then begins anew. An entry is one cell, so it is
//! replaced whole; of the places an entry may have, the one that ends first is taken for a new one. So the table never fills, and a
//! flood of sources shortens the memory of others instead of growing. The hash is keyed: a client cannot choose whom it displaces.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::region::{INCIDENTS, Shared};
use super::source::Source;

/// Places an entry may have: one cache line of them.
const WAYS: usize = 8;

const COUNT_BITS: u32 = 12;
const UNTIL_BITS: u32 = 28;
const MOST: u64 = (1 << COUNT_BITS) - 1;
const LATEST: u64 = (1 << UNTIL_BITS) - 1;

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Incident {
    /// A TLS handshake found no version or cipher suite that both sides have.
    NoCommonTls = 0,
    /// A TLS handshake came to its end: no incident, but what excuses one.
    TlsDone = 1,
    /// A client with too many failed authentications used a TLS connection for nothing.
    IdleTls = 2,
}

/// What a cell holds: a tag of the hash (never 0), the count, and the second until which it counts.
#[derive(Clone, Copy)]
struct Entry(u64);

impl Entry {
    fn new(tag: u64, count: u64, until: u64) -> Self {
        Self(tag << (COUNT_BITS + UNTIL_BITS) | count.min(MOST) << UNTIL_BITS | until.min(LATEST))
    }

    fn tag(self) -> u64 {
        self.0 >> (COUNT_BITS + UNTIL_BITS)
    }

    fn count(self) -> u64 {
        self.0 >> UNTIL_BITS & MOST
    }

    fn until(self) -> u64 {
        self.0 & LATEST
    }

    fn holds(self, tag: u64, now: u64) -> bool {
        self.tag() == tag && self.until() > now
    }
}

impl Shared {
    /// Counts an incident at the monotonic second `now`; a count that begins lasts `seconds`. Gives the count, this one included, at
    /// most 4095.
    pub fn incident_add(&self, kind: Incident, source: Source, now: u64, seconds: u64) -> u64 {
        let (tag, places) = self.places_of(kind, source);
        let load = |cell: &AtomicU64| Entry(cell.load(Relaxed));
        let known = places.iter().find(|cell| load(cell).holds(tag, now));
        let Some(cell) = known.or_else(|| places.iter().min_by_key(|cell| load(cell).until())) else { return 1 };
        let next = |cell: u64| {
            let entry = Entry(cell);
            if entry.holds(tag, now) {
                Entry::new(tag, entry.count() + 1, entry.until())
            } else {
                Entry::new(tag, 1, now.saturating_add(seconds))
            }
        };
        let before = cell.fetch_update(Relaxed, Relaxed, |cell| Some(next(cell).0)).unwrap_or_else(|cell| cell);
        next(before).count()
    }

    /// Incidents of this kind that count at the monotonic second `now`.
    pub fn incidents(&self, kind: Incident, source: Source, now: u64) -> u64 {
        let (tag, places) = self.places_of(kind, source);
        let entries = places.iter().map(|cell| Entry(cell.load(Relaxed)));
        entries.filter(|entry| entry.holds(tag, now)).map(Entry::count).sum()
    }

    #[allow(clippy::cast_possible_truncation)] // any bits of the hash will do
    fn places_of(&self, kind: Incident, source: Source) -> (u64, &[AtomicU64]) {
        let hash = self.keyed.of(source.bits(), kind as u64);
        let first = hash as usize % (INCIDENTS / WAYS) * WAYS;
        let tag = (hash >> (COUNT_BITS + UNTIL_BITS)).max(1);
        (tag, self.incident_cells().get(first..first + WAYS).unwrap_or_default())
    }
}
