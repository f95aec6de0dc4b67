//! What waits for one destination, and whose turn it is.
//!
//! Promises: a group that is due is not overtaken for ever. Groups never tried (fresh) and those tried before (old) take turns, and so do
//! the groups of small and of big messages: a long backlog delays a fresh message by one other message, a big message delays
//! small ones by one. Of each kind the one that is due first is first. What was stranded is due at once when it is released.
#![forbid(unsafe_code)]

use super::entries::{Entries, Entry, Heap, Marks};

/// Kinds that take turns: small fresh, small old, big fresh, big old.
const KINDS: usize = 4;
/// Heaps of the small, and again of the big.
const HEAPS: usize = 4;
const FRESH: usize = 0;
const OLD: usize = 1;
/// One has what is stranded, the other what was released; they change their parts when that is released.
const EITHER: usize = 2;
const OTHER: usize = 3;

/// Which groups there is room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Those never tried.
    pub fresh: bool,
    /// Those tried before.
    pub old: bool,
    /// Also those of big messages.
    pub big: bool,
}

impl Room {
    /// For whatever is first.
    pub const ANY: Self = Self { fresh: true, old: true, big: true };

    fn has(self, kind: usize) -> bool {
        (if is_fresh(kind) { self.fresh } else { self.old }) && (self.big || !is_big(kind))
    }
}

/// A line before a destination.
#[derive(Debug)]
pub struct Line {
    /// Name of the destination.
    pub name: Box<str>,
    /// Other names under which the line is found.
    pub aliases: Vec<Box<str>>,
    heaps: [Heap; 2 * HEAPS],
    /// Whether `OTHER` is the stranded one, for small and big.
    changed: [bool; 2],
    /// The kind that had its turn last.
    turn: usize,
    /// Something is due; else it is among those that sleep, unless it is empty.
    pub ready: bool,
    /// When it wakes; `u64::MAX` for one that does not sleep.
    pub wakes: u64,
    /// No group came before this second; nor any without a report of its delay before the other.
    pub oldest: (u32, u32),
}

impl Line {
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            aliases: Vec::new(),
            heaps: std::array::from_fn(|_| Heap::default()),
            changed: [false; 2],
            turn: KINDS - 1,
            ready: false,
            wakes: u64::MAX,
            oldest: (u32::MAX, u32::MAX),
        }
    }

    pub fn len(&self) -> usize {
        self.heaps.iter().map(Heap::len).sum()
    }

    /// Octets of memory.
    pub fn octets(&self) -> usize {
        size_of::<Self>() + self.name.len() + self.heaps.iter().map(Heap::octets).sum::<usize>()
    }

    /// Every place, in no order.
    pub fn places(&self) -> impl Iterator<Item = u32> {
        self.heaps.iter().flat_map(|heap| heap.places().iter().copied())
    }

    /// Adds a place.
    pub fn push(&mut self, entries: &mut Entries, place: u32) {
        let Some(entry) = entries.get(place) else { return };
        let marks = entry.marks;
        let ages = entry.group().ages();
        self.oldest = (self.oldest.0.min(ages.0), self.oldest.1.min(ages.1));
        let big = usize::from(marks.has(Marks::BIG));
        let heap = match marks {
            marks if marks.has(Marks::FRESH) => FRESH,
            marks if marks.has(Marks::STRANDED) => self.stranded(big),
            _ => OLD,
        };
        self.push_to(entries, big * HEAPS + heap, place);
    }

    /// Takes a place out.
    pub fn remove(&mut self, entries: &mut Entries, place: u32) {
        let heap = entries.get(place).map(Entry::heap);
        if let Some(heap) = heap.and_then(|heap| self.heaps.get_mut(heap)) {
            heap.remove(entries, place);
        }
    }

    /// Makes a group due at once.
    pub fn hurry(&mut self, entries: &mut Entries, place: u32) {
        let Some(marks) = entries.get(place).map(|entry| entry.marks) else { return };
        self.remove(entries, place);
        if let Some(entry) = entries.entry_mut(place) {
            entry.due = 0;
        }
        let big = usize::from(marks.has(Marks::BIG));
        let heap = if marks.has(Marks::FRESH) { FRESH } else { self.released(big) };
        self.push_to(entries, big * HEAPS + heap, place);
    }

    /// Makes everything that is stranded due at once.
    pub fn release(&mut self, entries: &mut Entries) {
        for big in [0, 1] {
            let heap_of = |heap| big * HEAPS + heap;
            let (stranded, released) = (heap_of(self.stranded(big)), heap_of(self.released(big)));
            // The shorter one moves; mostly there is nothing left of an outage before.
            let [few, many] = if self.length(stranded) > self.length(released) {
                if let Some(changed) = self.changed.get_mut(big) {
                    *changed = !*changed;
                }
                [released, stranded]
            } else {
                [stranded, released]
            };
            let places = self.heaps.get_mut(few).map(std::mem::take).unwrap_or_default();
            for &place in places.places() {
                self.push_to(entries, many, place);
            }
        }
    }

    /// The place whose turn it is, of those that are due and have room.
    pub fn next(&mut self, entries: &Entries, now: u64, room: Room) -> Option<u32> {
        let kinds = (1..=KINDS).map(|step| (self.turn + step) % KINDS);
        let (kind, place) =
            kinds.filter(|&kind| room.has(kind)).find_map(|kind| Some((kind, self.due(entries, kind, now)?)))?;
        self.turn = kind;
        Some(place)
    }

    /// Whether anything is due.
    pub fn has_due(&self, entries: &Entries, now: u64) -> bool {
        (0..KINDS).any(|kind| self.due(entries, kind, now).is_some())
    }

    /// When the first group is due; `None` when none waits.
    pub fn next_due(&self, entries: &Entries) -> Option<u64> {
        self.heaps.iter().filter_map(|heap| Some(entries.get(heap.first()?)?.due)).min()
    }

    /// The first of a kind that is due.
    fn due(&self, entries: &Entries, kind: usize, now: u64) -> Option<u32> {
        let big = usize::from(is_big(kind));
        let first = |heap: usize| self.heaps.get(big * HEAPS + heap).and_then(Heap::first);
        if is_fresh(kind) {
            return first(FRESH).filter(|&place| entries.get(place).is_some_and(|entry| entry.due <= now));
        }
        first(self.released(big)).or_else(|| {
            let waiting = [first(self.stranded(big)), first(OLD)].into_iter().flatten();
            let due = waiting.filter_map(|place| Some((entries.get(place)?.due, place)));
            due.filter(|(due, _)| *due <= now).min().map(|(_, place)| place)
        })
    }

    fn push_to(&mut self, entries: &mut Entries, number: usize, place: u32) {
        if let Some(heap) = self.heaps.get_mut(number) {
            heap.push(entries, number, place);
        }
    }

    fn length(&self, heap: usize) -> usize {
        self.heaps.get(heap).map_or(0, Heap::len)
    }

    fn stranded(&self, big: usize) -> usize {
        if self.changed.get(big).is_some_and(|changed| *changed) { OTHER } else { EITHER }
    }

    fn released(&self, big: usize) -> usize {
        EITHER + OTHER - self.stranded(big)
    }
}

fn is_fresh(kind: usize) -> bool {
    kind.is_multiple_of(2)
}

fn is_big(kind: usize) -> bool {
    kind >= KINDS / 2
}
