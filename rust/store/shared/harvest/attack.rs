//! What the guesses of a scope add up to. In shared memory: any worker may count or end an attack at any moment.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::super::source::Source;
use super::WINDOW_TIME;

// Cells of a scope. The counts of an attack are those since it began.
pub(super) const KEY: usize = 0;
pub(super) const SINCE: usize = 1;
pub(super) const IN_WINDOW: usize = 2;
pub(super) const BEGAN: usize = 3;
pub(super) const GUESSES: usize = 4;
const FOUND: usize = 5;
pub(super) const KIND: usize = 6;
pub(super) const SUBJECT: usize = 7;
pub(super) const DOMAIN: usize = 8;
const DOMAIN_CELLS: usize = 8;
const SOURCES: usize = DOMAIN + DOMAIN_CELLS;
pub(in super::super) const BITMAP: usize = 16;
const RECIPIENTS: usize = SOURCES + BITMAP;
pub(super) const ROW: usize = RECIPIENTS + BITMAP;

/// Which guesses are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Scope {
    /// Those of one source.
    Source = 0,
    /// Those of its net.
    Net = 1,
    /// Those at one domain.
    Domain = 2,
}

impl Scope {
    /// The widest first: it includes the others.
    pub(super) const ALL: [Self; 3] = [Self::Domain, Self::Net, Self::Source];

    fn least(self, of_source: u64) -> u64 {
        of_source << (self as u64)
    }

    fn least_sources(self) -> u64 {
        match self {
            Self::Source => 1,
            Self::Net => 4,
            Self::Domain => 16,
        }
    }
}

/// An attack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Harvest {
    /// What its guesses have in common.
    pub scope: Scope,
    /// Prefix of the source or net; empty for a domain.
    pub prefix: String,
    /// The domain, or that of the first guess; the first 64 octets.
    pub domain: String,
    /// Seconds since it began.
    pub seconds: u64,
    /// Unknown recipients.
    pub guesses: u64,
    /// Recipients that exist and were found by its sources.
    pub found: u64,
    /// Different sources, about.
    pub sources: u64,
}

pub(in super::super) fn read(cells: &[AtomicU64], index: usize) -> u64 {
    cells.get(index).map_or(0, |cell| cell.load(Relaxed))
}

pub(in super::super) fn set(cells: &[AtomicU64], index: usize, number: u64) {
    if let Some(cell) = cells.get(index) {
        cell.store(number, Relaxed);
    }
}

pub(in super::super) fn swap(cells: &[AtomicU64], index: usize, before: u64, next: u64) -> bool {
    cells.get(index).is_some_and(|cell| cell.compare_exchange(before, next, Relaxed, Relaxed).is_ok())
}

/// Counts a guess in its scope. The window of an attack is ended by `ended`.
pub(super) fn count(cells: &[AtomicU64], source: u64, recipient: u64, found: u64, now: u64) {
    let since = read(cells, SINCE);
    if read(cells, BEGAN) == 0 && now >= since.saturating_add(WINDOW_TIME) && swap(cells, SINCE, since, now) {
        let counts = [IN_WINDOW, GUESSES, FOUND].into_iter().chain(SOURCES..ROW);
        counts.for_each(|index| set(cells, index, 0));
    }
    for (index, number) in [(IN_WINDOW, 1), (GUESSES, 1), (FOUND, found)] {
        cells.get(index).map(|cell| cell.fetch_add(number, Relaxed));
    }
    for (bitmap, hash) in [(SOURCES, source), (RECIPIENTS, recipient)] {
        let bit = hash % (64 * BITMAP as u64);
        let cell = usize::try_from(bit / 64).ok().and_then(|cell| cells.get(bitmap + cell));
        cell.map(|cell| cell.fetch_or(1 << (bit % 64), Relaxed));
    }
}

/// Whether the guesses of a window are an attack.
pub(super) fn are_many(cells: &[AtomicU64], scope: Scope, of_source: u64) -> bool {
    let least = scope.least(of_source);
    let recipients_vary = scope == Scope::Source || different(cells, RECIPIENTS) >= least / 2;
    read(cells, IN_WINDOW) >= least && different(cells, SOURCES) >= scope.least_sources() && recipients_vary
}

/// How many different ones a bitmap has seen: linear counting, good to about 5,000.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub(in super::super) fn different(cells: &[AtomicU64], bitmap: usize) -> u64 {
    let set: u32 = (bitmap..bitmap + BITMAP).map(|index| read(cells, index).count_ones()).sum();
    let bits = 64.0 * BITMAP as f64;
    let free = (bits - f64::from(set)).max(1.0);
    (-bits * (free / bits).ln()).round() as u64
}

/// Ends the window of an attack that had its time; the attack when it is over with it.
pub(super) fn ended(cells: &[AtomicU64], now: u64, of_source: u64) -> Option<Harvest> {
    let (began, since) = (read(cells, BEGAN), read(cells, SINCE));
    if began == 0 || now < since.saturating_add(WINDOW_TIME) {
        return None;
    }
    let last = cells.get(IN_WINDOW)?.swap(0, Relaxed);
    cells.get(SINCE)?.store(now, Relaxed);
    let seen = harvest(cells, now);
    let over = last * 4 < seen.scope.least(of_source).max(1) && swap(cells, BEGAN, began, 0);
    over.then_some(seen)
}

pub(super) fn harvest(cells: &[AtomicU64], now: u64) -> Harvest {
    let scope = match read(cells, KIND) {
        0 => Scope::Source,
        1 => Scope::Net,
        _ => Scope::Domain,
    };
    let prefix = |source: Source| if scope == Scope::Net { source.net() } else { source.prefix() };
    let subject = Source::from_bits(read(cells, SUBJECT)).filter(|_| scope != Scope::Domain);
    let octets = (DOMAIN..SOURCES).flat_map(|index| read(cells, index).to_le_bytes()).take_while(|octet| *octet != 0);
    Harvest {
        scope,
        prefix: subject.map_or_else(String::new, |source| prefix(source).to_string()),
        domain: String::from_utf8_lossy(&octets.collect::<Vec<_>>()).into_owned(),
        seconds: now.saturating_sub(read(cells, BEGAN)),
        guesses: read(cells, GUESSES),
        found: read(cells, FOUND),
        sources: different(cells, SOURCES),
    }
}

pub(super) fn domain_cells(domain: &str) -> [u64; DOMAIN_CELLS] {
    let mut cells = [0; DOMAIN_CELLS];
    for (cell, octets) in cells.iter_mut().zip(domain.as_bytes().chunks(8)) {
        let mut eight = [0; 8];
        eight.iter_mut().zip(octets).for_each(|(to, from)| *to = *from);
        *cell = u64::from_le_bytes(eight);
    }
    cells
}
