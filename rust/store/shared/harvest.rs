//! Harvest attacks: sources that guess recipients, seen by all workers together.
//!
//! A guess is an unknown recipient that is none of the last eight its source tried. Guesses are counted in windows of [`WINDOW_TIME`] for three
//! scopes: the source, its net (IPv4 /24, IPv6 /48) and the domain; only those of sources that have had more recipients refused as
//! unknown than accepted, so that the mistakes of good sources are no attack. With `least` guesses of a source, twice as many of a
//! net or four times as many at a domain an attack begins, once on the host; it ends with a window that has less than a quarter. A net
//! needs several sources and a domain many, and both as many different recipients as half of their guesses: a botnet that writes to one dead address
//! guesses nothing. An attack on a domain includes those of its nets and sources. Bounded; an attack that goes on never gives way.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

mod attack;

use attack::{BEGAN, DOMAIN, GUESSES, IN_WINDOW, KEY, KIND, ROW, SINCE, SUBJECT};
pub(super) use attack::{BITMAP, different, read, set, swap};
pub use attack::{Harvest, Scope};
use attack::{are_many, count, domain_cells, ended, harvest};

use super::region::Shared;
use super::reputation::{Counted, HITS, RECENT, Row, WINDOW};
use super::source::Source;
use crate::machine::reputation::{EVENT, Kind, TICK, level};

/// Seconds.
pub const WINDOW_TIME: u64 = 600;
const SCOPES: usize = 1024;
const WAYS: usize = 8;

/// Cells of the table: the scopes, the second of the next look for attacks that are over, and how many go on.
pub const CELLS: usize = SCOPES * ROW + 16;
const NEXT_LOOK: usize = SCOPES * ROW;
const GOING_ON: usize = NEXT_LOOK + 1;

/// An unknown recipient.
#[derive(Debug, Clone, Copy)]
pub struct Guess<'a> {
    /// Who tried it.
    pub source: Source,
    /// The whole address.
    pub recipient: &'a str,
    /// Its domain.
    pub domain: &'a str,
    /// The monotonic second.
    pub now: u64,
    /// Guesses of one source that are an attack; 0: none are.
    pub least: u64,
}

/// What follows from it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Guessed {
    /// It was none of the last ones of its source, and is recorded.
    pub is_new: bool,
    /// It is part of an attack.
    pub in_attack: bool,
    /// The level of the source.
    pub level: Option<u8>,
    /// The attack that begins with it.
    pub began: Option<Harvest>,
}

impl Shared {
    /// Records an unknown recipient, for its source and as a guess.
    pub fn harvest_guess(&self, guess: Guess<'_>) -> Guessed {
        let (source, now) = (guess.source, guess.now);
        let Some(row) = self.record_made(source, now) else { return Guessed::default() };
        let hash = self.hasher.hash_one(guess.recipient);
        if was_recent(row, hash) {
            return Guessed::default();
        }
        row.add(Kind::UNKNOWN, EVENT, now / TICK);
        let of_source = in_window(row, now / TICK);
        let mut guessed = Guessed { is_new: true, ..Guessed::default() };
        if guess.least > 0 && is_guesser(row, now / TICK) {
            let found = row.cell(HITS).map_or(0, |cell| cell.swap(0, Relaxed));
            self.look_for_attack(guess, of_source, hash, found, &mut guessed);
        }
        if guessed.in_attack {
            row.add(Kind::HARVEST, EVENT, now / TICK);
        }
        guessed.level = level(&row.counts(now / TICK));
        guessed
    }

    /// Counts a recipient that exists, where its source guesses: what it found.
    pub fn harvest_hit(&self, source: Source, now: u64) {
        if let Some(row) = self.record_of(source).filter(|row| is_guesser(*row, now / TICK)) {
            row.cell(HITS).map(|cell| cell.fetch_add(1, Relaxed));
        }
    }

    /// Whether a source guesses: it had more recipients refused as unknown than accepted.
    pub fn is_guesser(&self, source: Source, now: u64) -> bool {
        self.record_of(source).is_some_and(|row| is_guesser(row, now / TICK))
    }

    /// Attacks that go on: all that began, less those that were over at the last look.
    pub fn harvests(&self) -> u64 {
        read(self.harvest_cells(), GOING_ON)
    }

    /// The attacks that are over; to the first worker that asks within a second. Counts anew those that go on.
    pub fn harvests_ended(&self, now: u64, least: u64) -> Vec<Harvest> {
        let Some(next) = self.harvest_cells().get(NEXT_LOOK) else { return Vec::new() };
        let due = next.load(Relaxed);
        if due > now || next.compare_exchange(due, now + 1, Relaxed, Relaxed).is_err() {
            return Vec::new();
        }
        let over = self.scopes().filter_map(|scope| ended(scope, now, least)).collect();
        let going_on = self.scopes().filter(|scope| read(scope, BEGAN) != 0).count();
        set(self.harvest_cells(), GOING_ON, going_on as u64);
        over
    }

    fn look_for_attack(&self, guess: Guess<'_>, of_source: u64, hash: u64, found: u64, guessed: &mut Guessed) {
        for scope in Scope::ALL {
            let subject = match scope {
                Scope::Source => guess.source.bits(),
                Scope::Net => Source::at(guess.source.net()).bits(),
                Scope::Domain => self.hasher.hash_one(guess.domain),
            };
            // Few sources guess so often that they need a place among the scopes.
            let is_rare = scope == Scope::Source && of_source < guess.least;
            let known = self.scope_of(scope, subject);
            let Some(cells) = known.or_else(|| if is_rare { None } else { self.take_scope(scope, subject, guess) })
            else {
                continue;
            };
            count(cells, self.hasher.hash_one(guess.source.bits()), hash, found, guess.now);
            if scope == Scope::Source && read(cells, BEGAN) == 0 {
                set(cells, IN_WINDOW, of_source);
                set(cells, GUESSES, of_source);
            }
            let goes_on = read(cells, BEGAN) != 0;
            let begins = !goes_on && are_many(cells, scope, guess.least);
            if begins && swap(cells, BEGAN, 0, guess.now.max(1)) {
                self.harvest_cells().get(GOING_ON).map(|cell| cell.fetch_add(1, Relaxed));
                guessed.began = Some(harvest(cells, guess.now));
            }
            if goes_on || begins {
                guessed.in_attack = true;
                return;
            }
        }
    }

    fn scopes(&self) -> impl Iterator<Item = &[AtomicU64]> {
        self.harvest_cells().get(..NEXT_LOOK).unwrap_or_default().chunks_exact(ROW)
    }

    fn scope_of(&self, scope: Scope, subject: u64) -> Option<&[AtomicU64]> {
        let (key, mut set) = self.scope_place(scope, subject);
        set.find(|cells| read(cells, KEY) == key)
    }

    /// Cells for a new scope, those of the one that is at rest for longest; None when all it could have are in use.
    fn take_scope(&self, scope: Scope, subject: u64, guess: Guess<'_>) -> Option<&[AtomicU64]> {
        let (key, places) = self.scope_place(scope, subject);
        let taken = places.filter(|cells| read(cells, BEGAN) == 0).min_by_key(|cells| read(cells, SINCE))?;
        let before = read(taken, KEY);
        (KEY + 1..ROW).for_each(|index| set(taken, index, 0));
        let numbers = [(SINCE, guess.now), (KIND, scope as u64), (SUBJECT, subject)];
        let numbers = numbers.into_iter().chain((DOMAIN..).zip(domain_cells(guess.domain)));
        numbers.for_each(|(index, number)| set(taken, index, number));
        swap(taken, KEY, before, key).then_some(taken)
    }

    /// The key of a scope, and the places it may have.
    #[allow(clippy::cast_possible_truncation)] // any bits of the hash will do
    fn scope_place(&self, scope: Scope, subject: u64) -> (u64, impl Iterator<Item = &[AtomicU64]>) {
        let key = self.hasher.hash_one((scope, subject)).max(1);
        let first = key as usize % (SCOPES / WAYS) * WAYS * ROW;
        let places = self.harvest_cells().get(first..first + WAYS * ROW).unwrap_or_default();
        (key, places.chunks_exact(ROW))
    }
}

fn is_guesser(row: Row<'_>, tick: u64) -> bool {
    let unknown = row.count(Kind::UNKNOWN, tick);
    unknown > 0 && unknown > row.count(Kind::ACCEPTED, tick)
}

/// Whether a source tried this recipient among its last eight unknown ones; if not, it is one of them now.
fn was_recent(row: Row<'_>, hash: u64) -> bool {
    let short = (hash >> 32).max(1);
    let halves = |cell: u64| [cell >> 32, cell & 0xffff_ffff];
    let cells = (RECENT..RECENT + 4).filter_map(|index| row.cell(index));
    if cells.clone().any(|cell| halves(cell.load(Relaxed)).contains(&short)) {
        return true;
    }
    // Each cell pushes its older half on to the next.
    let mut pushed = short;
    for cell in cells {
        let [newer, older] = halves(cell.load(Relaxed));
        cell.store(pushed << 32 | newer, Relaxed);
        pushed = older;
    }
    false
}

/// Counts a guess of a source; gives those in its window.
fn in_window(row: Row<'_>, tick: u64) -> u64 {
    let Some(cell) = row.cell(WINDOW) else { return 0 };
    let next = |cell: u64| {
        let counted = Counted(cell);
        let lasts = counted.is_of(row.tag) && tick.saturating_sub(counted.tick()) < WINDOW_TIME / TICK;
        let (tick, guesses) = if lasts { (counted.tick(), counted.parts()) } else { (tick, 0) };
        Counted::new(row.tag, tick, guesses + 1)
    };
    let before = cell.fetch_update(Relaxed, Relaxed, |cell| Some(next(cell).0));
    before.map_or(0, |cell| next(cell).parts())
}
