//! Records of sources: counted evidence, and who is blocked.
//!
//! One table for the host. The keys of a set lie in one cache line, a record in two more. Each count is one cell with its own time, so it
//! is changed whole and decays when it is read. A cell also has a tag of its source: what another source left there counts as nothing,
//! whoever died in between. In a set that is full the record with the fewest events gives way, never one that is blocked; so a flood
//! of sources forgets those of which least is known, and the table never grows. The hash is keyed: a client cannot choose its set.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::region::Shared;
use super::source::Source;
use crate::machine::prefix::Prefix;
use crate::machine::reputation::{EVENT, KINDS, Kind, TICK, decayed, level};

/// Sources that are remembered at most.
pub const RECORDS: usize = 65_536;
const WAYS: usize = 8;
/// Cells of a record beside its key: counts, the end of a block, and what `harvest.rs` keeps of guesses.
const ROW: usize = 16;
/// Cells of the table: keys, records, and a cell of its own.
pub const CELLS: usize = RECORDS * (1 + ROW) + 16;
/// The second from which on the records are to be saved.
const SAVE_AT: usize = RECORDS * (1 + ROW);

const BLOCKED: usize = KINDS;
pub(super) const HITS: usize = KINDS + 1;
pub(super) const WINDOW: usize = KINDS + 2;
pub(super) const RECENT: usize = KINDS + 3;

const PARTS_BITS: u32 = 30;
const TICK_BITS: u32 = 22;
const TAG_SHIFT: u32 = PARTS_BITS + TICK_BITS;
const MOST: u64 = (1 << PARTS_BITS) - 1;
const LATEST: u64 = (1 << TICK_BITS) - 1;
/// Octets of a source in `reputation_dump`.
const DUMPED: usize = 8 + 4 + 4 * KINDS;

/// A count in parts of an event, the tick at which it was so, and the tag of its source.
#[derive(Clone, Copy)]
pub(super) struct Counted(pub u64);

impl Counted {
    pub(super) fn new(tag: u64, tick: u64, parts: u64) -> Self {
        Self(tag << TAG_SHIFT | tick.min(LATEST) << PARTS_BITS | parts.min(MOST))
    }

    pub(super) fn is_of(self, tag: u64) -> bool {
        self.0 >> TAG_SHIFT == tag
    }

    pub(super) fn tick(self) -> u64 {
        self.0 >> PARTS_BITS & LATEST
    }

    pub(super) fn parts(self) -> u64 {
        self.0 & MOST
    }

    /// What is left of it.
    fn at(self, tag: u64, tick: u64) -> u64 {
        if self.is_of(tag) { decayed(self.parts(), tick.saturating_sub(self.tick())) } else { 0 }
    }
}

/// What is remembered of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// In parts of an event, by kind.
    pub counts: [u64; KINDS],
    /// Seconds for which it is still blocked; 0 when it is not.
    pub blocked: u64,
}

impl Record {
    /// The level that follows.
    pub fn level(&self) -> Option<u8> {
        level(&self.counts)
    }

    /// The evidence of one kind.
    pub fn of(&self, kind: Kind) -> u64 {
        self.counts.get(kind.place()).copied().unwrap_or(0)
    }
}

/// The place of one source.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    cells: &'a [AtomicU64],
    pub(super) tag: u64,
}

impl<'a> Row<'a> {
    pub(super) fn cell(self, index: usize) -> Option<&'a AtomicU64> {
        self.cells.get(index)
    }

    pub(super) fn add(self, kind: Kind, parts: u64, tick: u64) {
        let Some(cell) = self.cell(kind.place()) else { return };
        let next = |cell: u64| {
            let counted = Counted(cell);
            let tick = if counted.is_of(self.tag) { tick.max(counted.tick()) } else { tick };
            Some(Counted::new(self.tag, tick, counted.at(self.tag, tick).saturating_add(parts)).0)
        };
        let _ = cell.fetch_update(Relaxed, Relaxed, next);
    }

    pub(super) fn count(self, kind: Kind, tick: u64) -> u64 {
        self.cell(kind.place()).map_or(0, |cell| Counted(cell.load(Relaxed)).at(self.tag, tick))
    }

    pub(super) fn counts(self, tick: u64) -> [u64; KINDS] {
        let mut counts = [0; KINDS];
        for (count, cell) in counts.iter_mut().zip(self.cells) {
            *count = Counted(cell.load(Relaxed)).at(self.tag, tick);
        }
        counts
    }

    fn blocked(self, now: u64) -> u64 {
        let until = self.cell(BLOCKED).map_or(0, |cell| cell.load(Relaxed));
        if until >> TAG_SHIFT == self.tag { (until & !(u64::MAX << TAG_SHIFT)).saturating_sub(now) } else { 0 }
    }

    fn record(self, now: u64) -> Record {
        Record { counts: self.counts(now / TICK), blocked: self.blocked(now) }
    }
}

impl Shared {
    /// Records evidence at the monotonic second `now`; gives the level that follows, which is not looked for when the evidence is good.
    pub fn reputation_note(&self, kind: Kind, source: Source, count: u64, now: u64) -> Option<u8> {
        let row = self.record_made(source, now)?;
        row.add(kind, count.saturating_mul(EVENT), now / TICK);
        if kind == Kind::ACCEPTED { None } else { level(&row.counts(now / TICK)) }
    }

    /// What is remembered of a source.
    pub fn reputation_of(&self, source: Source, now: u64) -> Option<Record> {
        self.record_of(source).map(|row| row.record(now))
    }

    /// Unknown recipients of a source, in parts of an event.
    pub fn reputation_unknown(&self, source: Source, now: u64) -> u64 {
        self.record_of(source).map_or(0, |row| row.count(Kind::UNKNOWN, now / TICK))
    }

    /// Whether a source is blocked.
    pub fn reputation_blocks(&self, source: Source, now: u64) -> bool {
        self.record_of(source).is_some_and(|row| row.blocked(now) > 0)
    }

    /// Blocks a source for some seconds; whether it was not blocked before.
    pub fn reputation_block(&self, source: Source, now: u64, seconds: u64) -> bool {
        let Some(row) = self.record_of(source) else { return false };
        let Some(cell) = row.cell(BLOCKED) else { return false };
        let before = cell.load(Relaxed);
        let next = row.tag << TAG_SHIFT | now.saturating_add(seconds) & !(u64::MAX << TAG_SHIFT);
        row.blocked(now) == 0 && seconds > 0 && cell.compare_exchange(before, next, Relaxed, Relaxed).is_ok()
    }

    /// Forgets the sources in a prefix or around it, or all; the number of them. The records are to be saved at once then.
    pub fn reputation_reset(&self, of: Option<Prefix>, now: u64) -> usize {
        let forget = |source: Source| {
            let keys = self.record_keys(self.record_place(source).1);
            keys.iter().any(|key| key.compare_exchange(source.bits(), 0, Relaxed, Relaxed).is_ok())
        };
        let forgotten = self.reputation_list(of, now).into_iter().filter(|(source, _)| forget(*source)).count();
        if let Some(cell) = self.reputation_cells().get(SAVE_AT).filter(|_| forgotten > 0) {
            cell.store(1, Relaxed); // long ago, so at once
        }
        forgotten
    }

    /// The sources of which something is remembered, in a prefix or around it, or all.
    pub fn reputation_list(&self, of: Option<Prefix>, now: u64) -> Vec<(Source, Record)> {
        let sets = 0..RECORDS / WAYS;
        let known = sets.flat_map(|set| self.record_keys(set)).map(|key| key.load(Relaxed));
        let sources = known.filter_map(Source::from_bits);
        let wanted = sources.filter(|source| of.is_none_or(|of| of.overlaps(source.prefix())));
        let found = wanted.filter_map(|source| Some((source, self.reputation_of(source, now)?)));
        found.filter(|(_, record)| record.blocked > 0 || record.counts.iter().any(|count| *count > 0)).collect()
    }

    /// The same as octets for `reputation_restore`: source, seconds blocked, counts; integers little-endian.
    pub fn reputation_dump(&self, now: u64) -> Vec<u8> {
        let mut octets = Vec::new();
        for (source, record) in self.reputation_list(None, now) {
            octets.extend_from_slice(&source.bits().to_le_bytes());
            for number in std::iter::once(record.blocked).chain(record.counts) {
                octets.extend_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
            }
        }
        octets
    }

    /// Remembers what was dumped `age` seconds ago; gives the number of sources, None when these octets are no dump.
    pub fn reputation_restore(&self, octets: &[u8], age: u64, now: u64) -> Option<usize> {
        if octets.len().checked_rem(DUMPED) != Some(0) {
            return None;
        }
        for dumped in octets.chunks_exact(DUMPED) {
            let (bits, numbers) = dumped.split_first_chunk::<8>()?;
            let Some(source) = Source::from_bits(u64::from_le_bytes(*bits)) else { continue };
            let numbers = numbers.chunks_exact(4).filter_map(|octets| octets.try_into().ok());
            let mut numbers = numbers.map(|octets| u64::from(u32::from_le_bytes(octets)));
            let blocked = numbers.next()?.saturating_sub(age);
            let Some(row) = self.record_made(source, now) else { continue };
            for (kind, parts) in numbers.enumerate() {
                row.add(Kind::numbered(kind)?, decayed(parts.min(MOST), age / TICK), now / TICK);
            }
            self.reputation_block(source, now, blocked);
        }
        Some(octets.len() / DUMPED)
    }

    /// Whether the records are to be saved now: every so many seconds, to whoever asks first.
    pub fn reputation_save_due(&self, now: u64, seconds: u64) -> bool {
        let Some(cell) = self.reputation_cells().get(SAVE_AT) else { return false };
        let due = cell.load(Relaxed);
        due <= now && cell.compare_exchange(due, now.saturating_add(seconds), Relaxed, Relaxed).is_ok() && due > 0
    }

    /// The record of a source; None when there is none.
    pub(super) fn record_of(&self, source: Source) -> Option<Row<'_>> {
        let (tag, set) = self.record_place(source);
        let way = self.record_keys(set).iter().position(|key| key.load(Relaxed) == source.bits())?;
        Some(Row { cells: self.record_cells(set, way)?, tag })
    }

    /// The record of a source, a new one if there is none; None when all it could have are blocked.
    pub(super) fn record_made(&self, source: Source, now: u64) -> Option<Row<'_>> {
        // Another process may take the same place: then one that is there now is found, or the next place is taken.
        (0..WAYS).find_map(|_| self.record_of(source).or_else(|| self.take_record(source, now)))
    }

    fn take_record(&self, source: Source, now: u64) -> Option<Row<'_>> {
        let (tag, set) = self.record_place(source);
        let weigh = |(way, key): (usize, &AtomicU64)| {
            let bits = key.load(Relaxed);
            let Some(owner) = Source::from_bits(bits) else { return Some((0, way, bits)) };
            let row = Row { cells: self.record_cells(set, way)?, tag: self.record_place(owner).0 };
            let record = row.record(now);
            (record.blocked == 0).then(|| (record.counts.iter().sum::<u64>() + 1, way, bits))
        };
        let (_, way, before) = self.record_keys(set).iter().enumerate().filter_map(weigh).min()?;
        let cells = self.record_cells(set, way)?;
        for cell in cells {
            cell.store(0, Relaxed);
        }
        let key = self.record_keys(set).get(way)?;
        key.compare_exchange(before, source.bits(), Relaxed, Relaxed).ok()?;
        Some(Row { cells, tag })
    }

    /// Tag and set.
    #[allow(clippy::cast_possible_truncation)] // any bits of the hash will do
    fn record_place(&self, source: Source) -> (u64, usize) {
        let hash = self.keyed.of(source.bits(), 0);
        ((hash >> TAG_SHIFT).max(1), hash as usize % (RECORDS / WAYS))
    }

    fn record_keys(&self, set: usize) -> &[AtomicU64] {
        self.reputation_cells().get(set * WAYS..(set + 1) * WAYS).unwrap_or_default()
    }

    fn record_cells(&self, set: usize, way: usize) -> Option<&[AtomicU64]> {
        let first = RECORDS + (set * WAYS + way) * ROW;
        self.reputation_cells().get(first..first + ROW)
    }
}
