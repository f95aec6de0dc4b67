//! A hierarchical timer wheel over (deadline, value); it never reads a clock.
//!
//! Promises: a value comes out of the first [`Wheel::advance`] whose time is at or after its deadline, never before; what
//! comes out together comes in order of deadline, equal deadlines in order of scheduling. Schedule and cancel are O(1).
//! `advance` costs what it gives back and at most three moves more per value; the length of the jump costs nothing.
//!
//! Theory. Time is a number of milliseconds written in bytes. A value is on the level of the highest byte in which its
//! deadline differs from the time now, in the slot of that byte: level 0 has one slot for each of the next milliseconds,
//! level 3 one for each of the next spans of 4.6 hours. Two things follow. Whatever is on a lower level is due before whatever
//! is on a higher one, so the next slot is the first occupied slot of the lowest occupied level. And while a slot of a
//! higher level waits, nothing can be put below it, so its values move down before any later comer and keep their order.
//! Deadlines that differ above the fourth byte are parked; values already late wait in a list of their own.

const LEVELS: usize = 4;
const SLOTS: usize = 256;
/// List of the values that are beyond the levels.
const PARKED: usize = LEVELS * SLOTS;
/// List of the values that were late when they came.
const LATE: usize = PARKED + 1;
const LISTS: usize = LATE + 1;
/// No entry: the end of a list.
const NIL: u32 = u32::MAX;

/// Name of a scheduled value, until it comes out or is cancelled; never 0 when written as `u64`, and never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    index: u32,
    generation: u32,
}

impl From<Key> for u64 {
    fn from(key: Key) -> Self {
        Self::from(key.generation) << 32 | Self::from(key.index)
    }
}

impl From<u64> for Key {
    #[allow(clippy::cast_possible_truncation)] // the two halves are intended
    fn from(packed: u64) -> Self {
        Self { index: packed as u32, generation: (packed >> 32) as u32 }
    }
}

/// A place in the slab: in a list while it has a value, else in the chain of free places.
#[derive(Debug)]
struct Entry<T> {
    deadline: u64,
    value: Option<T>,
    next: u32,
    previous: u32,
    generation: u32,
    list: u16,
}

#[derive(Debug, Clone, Copy)]
struct List {
    head: u32,
    tail: u32,
    /// No deadline in the list is before this; `u64::MAX` when it is empty. Cancelling leaves it as it is.
    earliest: u64,
}

const EMPTY: List = List { head: NIL, tail: NIL, earliest: u64::MAX };

/// See the module.
#[derive(Debug)]
pub struct Wheel<T> {
    now: u64,
    entries: Vec<Entry<T>>,
    free: u32,
    /// Above every generation of the places that were given back.
    generation: u32,
    length: usize,
    lists: Box<[List]>,
    /// A bit for every occupied slot of each level.
    occupied: [[u64; SLOTS / 64]; LEVELS],
}

impl<T> Wheel<T> {
    /// An empty wheel whose time is `now_ms`.
    pub fn new(now_ms: u64) -> Self {
        Self {
            now: now_ms,
            entries: Vec::new(),
            free: NIL,
            generation: 1,
            length: 0,
            lists: vec![EMPTY; LISTS].into_boxed_slice(),
            occupied: [[0; SLOTS / 64]; LEVELS],
        }
    }

    /// How many values wait.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether no value waits.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Every value that waits, in no order.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().filter_map(|entry| entry.value.as_ref())
    }

    /// Keeps `value` until `deadline_ms`; a deadline that has passed counts at the next advance.
    pub fn schedule(&mut self, deadline_ms: u64, value: T) -> Key {
        let index = self.place(deadline_ms, value);
        self.length += 1;
        self.append(index, self.list_for(deadline_ms), deadline_ms);
        let generation = self.entry(index).map_or(0, |entry| entry.generation);
        Key { index, generation }
    }

    /// Gives the value back before its time; None when it came out already.
    pub fn cancel(&mut self, key: Key) -> Option<T> {
        let entry = self.entry_mut(key.index).filter(|entry| entry.generation == key.generation)?;
        let value = entry.value.take()?;
        let (list, next, previous) = (usize::from(entry.list), entry.next, entry.previous);
        self.unlink(list, next, previous);
        self.release(key.index);
        Some(value)
    }

    /// Sets the time and appends to `due` every value whose deadline is at or before it. A time before the last one counts as
    /// the last one.
    pub fn advance(&mut self, now_ms: u64, due: &mut Vec<T>) {
        self.take_late(due);
        while let Some((list, start)) = self.first_list() {
            if start > now_ms {
                break;
            }
            self.now = start;
            if list < SLOTS {
                self.take(list, due);
            } else {
                self.spread(list);
                // A value due at this very millisecond is late now and before all others.
                self.take_late(due);
            }
        }
        self.now = self.now.max(now_ms);
    }

    /// Gives back the places behind the last value, and fills those before it from the first one on: values that are scheduled anew move
    /// forward, and the next call gives back more. Costs a look at each place.
    pub fn fit(&mut self) {
        let used = self.entries.iter().rposition(|entry| entry.value.is_some()).map_or(0, |last| last + 1);
        let left = self.entries.drain(used..).map(|entry| entry.generation);
        self.generation = left.fold(self.generation, u32::max);
        self.entries.shrink_to_fit();
        self.free = NIL;
        for (index, entry) in self.entries.iter_mut().enumerate().rev().filter(|(_, entry)| entry.value.is_none()) {
            entry.next = std::mem::replace(&mut self.free, u32::try_from(index).unwrap_or(NIL));
        }
    }

    /// When `advance` has something to do next: at most the earliest deadline. It is earlier only where a value was
    /// cancelled; advancing then gives nothing, and the next answer is a better one.
    pub fn next_deadline(&self) -> Option<u64> {
        let list = if self.list(LATE).head == NIL { self.first_list()?.0 } else { LATE };
        Some(self.list(list).earliest)
    }

    /// The first list with work to do and when; late values aside.
    fn first_list(&self) -> Option<(usize, u64)> {
        for (level, words) in self.occupied.iter().enumerate() {
            if let Some((number, word)) = words.iter().enumerate().find(|(_, word)| **word != 0) {
                let slot = number * 64 + word.trailing_zeros() as usize;
                let shift = 8 * level;
                let above = self.now >> (shift + 8) << (shift + 8);
                return Some((level * SLOTS + slot, above | (slot as u64) << shift));
            }
        }
        let parked = self.list(PARKED);
        (parked.head != NIL).then_some((PARKED, parked.earliest >> 32 << 32))
    }

    /// The list a deadline belongs to, seen from now.
    #[allow(clippy::cast_possible_truncation)] // a byte is intended
    fn list_for(&self, deadline: u64) -> usize {
        if deadline <= self.now {
            return LATE;
        }
        let level = (63 - (deadline ^ self.now).leading_zeros() as usize) / 8;
        if level >= LEVELS { PARKED } else { level * SLOTS + usize::from((deadline >> (8 * level)) as u8) }
    }

    /// Takes every value out of a list of one deadline.
    fn take(&mut self, list: usize, due: &mut Vec<T>) {
        let mut index = self.detach(list).head;
        while let Some(entry) = self.entry_mut(index) {
            let next = entry.next;
            due.extend(entry.value.take());
            self.release(index);
            index = next;
        }
    }

    /// Takes the late values out, which alone may lie in another order than that of their deadlines.
    fn take_late(&mut self, due: &mut Vec<T>) {
        let mut index = self.detach(LATE).head;
        let mut late = Vec::new();
        while let Some(entry) = self.entry_mut(index) {
            let next = entry.next;
            late.extend(entry.value.take().map(|value| (entry.deadline, value)));
            self.release(index);
            index = next;
        }
        late.sort_by_key(|(deadline, _)| *deadline);
        due.extend(late.into_iter().map(|(_, value)| value));
    }

    /// Moves the values of a list to the lists they belong to now, in order.
    fn spread(&mut self, list: usize) {
        let mut index = self.detach(list).head;
        while let Some(entry) = self.entry(index) {
            let (next, deadline) = (entry.next, entry.deadline);
            self.append(index, self.list_for(deadline), deadline);
            index = next;
        }
    }

    /// A place in the slab for a value, not yet in a list.
    fn place(&mut self, deadline: u64, value: T) -> u32 {
        let index = self.free;
        if let Some(entry) = self.entries.get_mut(index as usize) {
            self.free = entry.next;
            entry.deadline = deadline;
            entry.value = Some(value);
            return index;
        }
        let generation = self.generation;
        let entry = Entry { deadline, value: Some(value), next: NIL, previous: NIL, generation, list: 0 };
        self.entries.push(entry);
        // 2^32 values of 32 octets do not fit in a process that also has anything else.
        u32::try_from(self.entries.len() - 1).unwrap_or(NIL)
    }

    /// Gives the place of a value that was taken to the next comer, under another key.
    fn release(&mut self, index: u32) {
        let free = self.free;
        if let Some(entry) = self.entry_mut(index) {
            entry.generation = entry.generation.wrapping_add(1).max(1);
            entry.next = free;
            self.free = index;
            self.length -= 1;
        }
    }

    fn append(&mut self, index: u32, list: usize, deadline: u64) {
        let tail = self.list(list).tail;
        if let Some(entry) = self.entry_mut(index) {
            entry.next = NIL;
            entry.previous = tail;
            entry.list = u16::try_from(list).unwrap_or(u16::MAX);
        }
        if let Some(last) = self.entry_mut(tail) {
            last.next = index;
        }
        if let Some(target) = self.lists.get_mut(list) {
            if tail == NIL {
                target.head = index;
            }
            target.tail = index;
            target.earliest = target.earliest.min(deadline);
        }
        if tail == NIL {
            self.mark(list, true);
        }
    }

    /// Takes the entry between `previous` and `next` out of its list.
    fn unlink(&mut self, list: usize, next: u32, previous: u32) {
        if let Some(entry) = self.entry_mut(next) {
            entry.previous = previous;
        }
        if let Some(entry) = self.entry_mut(previous) {
            entry.next = next;
        }
        if let Some(target) = self.lists.get_mut(list) {
            if next == NIL {
                target.tail = previous;
            }
            if previous == NIL {
                target.head = next;
            }
            if target.head == NIL {
                *target = EMPTY;
                self.mark(list, false);
            }
        }
    }

    /// Empties a list and gives what it was.
    fn detach(&mut self, list: usize) -> List {
        self.mark(list, false);
        self.lists.get_mut(list).map_or(EMPTY, |target| std::mem::replace(target, EMPTY))
    }

    /// Notes whether a slot is occupied; the parked and the late have no slot.
    fn mark(&mut self, list: usize, occupied: bool) {
        let word = self.occupied.get_mut(list / SLOTS).and_then(|words| words.get_mut(list % SLOTS / 64));
        if let Some(word) = word {
            let bit = 1 << (list % 64);
            *word = if occupied { *word | bit } else { *word & !bit };
        }
    }

    fn list(&self, list: usize) -> List {
        self.lists.get(list).copied().unwrap_or(EMPTY)
    }

    fn entry(&self, index: u32) -> Option<&Entry<T>> {
        self.entries.get(index as usize)
    }

    fn entry_mut(&mut self, index: u32) -> Option<&mut Entry<T>> {
        self.entries.get_mut(index as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn due(wheel: &mut Wheel<u32>, now: u64) -> Vec<u32> {
        let mut due = Vec::new();
        wheel.advance(now, &mut due);
        due
    }

    #[test]
    fn never_early_and_at_its_millisecond() {
        for deadline in [1, 255, 256, 257, 65_535, 65_536, 1 << 24, (1 << 32) - 1, 1 << 32, (1 << 40) + 7] {
            for start in [0, 1, 200, 65_000, (1 << 32) - 3] {
                let mut wheel = Wheel::new(start);
                wheel.schedule(start + deadline, 7);
                assert_eq!(wheel.next_deadline(), Some(start + deadline));
                assert!(due(&mut wheel, start + deadline - 1).is_empty());
                assert_eq!(due(&mut wheel, start + deadline), [7], "{start} + {deadline}");
                assert!(wheel.is_empty());
                assert_eq!(wheel.next_deadline(), None);
            }
        }
    }

    #[test]
    fn the_past_is_due_at_the_next_advance() {
        let mut wheel = Wheel::new(1000);
        wheel.schedule(900, 2);
        wheel.schedule(1000, 3);
        wheel.schedule(5, 1);
        assert_eq!(wheel.next_deadline(), Some(5));
        assert_eq!(due(&mut wheel, 0), [1, 2, 3]);
        assert_eq!(wheel.len(), 0);
    }

    #[test]
    fn a_key_dies_with_its_value() {
        let mut wheel = Wheel::new(0);
        let first = wheel.schedule(10, 1);
        assert_eq!(wheel.cancel(first), Some(1));
        assert_eq!(wheel.cancel(first), None);
        let second = wheel.schedule(10, 2);
        assert_eq!(first.index, second.index);
        assert_eq!(wheel.cancel(first), None);
        assert_eq!(Key::from(u64::from(second)), second);
        assert_eq!(due(&mut wheel, 10), [2]);
        assert_eq!(wheel.cancel(second), None);
        assert_eq!(wheel.cancel(Key::from(0)), None);
        assert_eq!(wheel.cancel(Key::from(u64::MAX)), None);
    }

    #[test]
    fn a_jump_of_centuries_is_one_step() {
        let mut wheel = Wheel::new(0);
        wheel.schedule(u64::MAX, 2);
        wheel.schedule(1 << 60, 1);
        assert_eq!(due(&mut wheel, 1 << 61), [1]);
        assert_eq!(due(&mut wheel, u64::MAX), [2]);
    }

    #[test]
    fn cancelled_values_leave_no_wakening_behind() {
        let mut wheel = Wheel::new(0);
        let early = wheel.schedule(300, 1);
        wheel.schedule(500, 2);
        wheel.cancel(early);
        assert_eq!(wheel.next_deadline(), Some(300));
        assert!(due(&mut wheel, 300).is_empty());
        assert_eq!(wheel.next_deadline(), Some(500));
    }

    #[test]
    fn places_that_many_took_are_given_back_when_few_are_left() {
        let mut wheel = Wheel::new(0);
        let keys: Vec<Key> = (0..1000).map(|number| wheel.schedule(10, number)).collect();
        let last = keys[999];
        keys[..999].iter().for_each(|key| assert!(wheel.cancel(*key).is_some()));
        wheel.fit();
        assert_eq!(wheel.entries.len(), 1000, "the last one stays where its key says");
        wheel.cancel(last);
        let moved = wheel.schedule(20, 7);
        assert_eq!(moved.index, 999);
        wheel.cancel(moved);
        wheel.fit();
        assert_eq!(wheel.entries.capacity(), 0);
        let again = wheel.schedule(20, 8);
        assert_eq!((again.index, wheel.cancel(keys[0]), wheel.cancel(again)), (0, None, Some(8)));
    }

    #[derive(Debug, Clone)]
    enum Act {
        Schedule(u64),
        Past(u64),
        Cancel(usize),
        Advance(u64),
        Jump,
        Fit,
    }

    fn span() -> impl Strategy<Value = u64> {
        // Every level, the borders between them, and beyond.
        (0_u32..36, 0_u64..4, 0_u64..1024)
            .prop_map(|(bits, around, more)| ((1 << bits) + around + more).saturating_sub(2))
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            4 => span().prop_map(Act::Schedule),
            1 => (0_u64..600).prop_map(Act::Past),
            2 => any::<usize>().prop_map(Act::Cancel),
            2 => span().prop_map(Act::Advance),
            1 => Just(Act::Jump),
            1 => Just(Act::Fit),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn equals_a_sorted_list(start in span(), acts in prop::collection::vec(act(), 1..120)) {
            let (mut now, mut wheel) = (start, Wheel::new(start));
            let mut model: Vec<(u64, u32, Key)> = Vec::new();
            let mut keys = Vec::new();
            for (number, act) in (0_u32..).zip(acts) {
                match act {
                    Act::Schedule(after) | Act::Past(after) => {
                        let deadline = if matches!(act, Act::Past(_)) { now.saturating_sub(after) } else { now + after };
                        let key = wheel.schedule(deadline, number);
                        prop_assert!(!keys.contains(&key));
                        keys.push(key);
                        model.push((deadline, number, key));
                    }
                    Act::Cancel(which) if !keys.is_empty() => {
                        let key = keys[which % keys.len()];
                        let found = model.iter().position(|(_, _, other)| *other == key).map(|at| model.remove(at).1);
                        prop_assert_eq!(wheel.cancel(key), found);
                    }
                    Act::Cancel(_) => {}
                    Act::Fit => wheel.fit(),
                    Act::Advance(_) | Act::Jump => {
                        now = match act { Act::Advance(span) => now + span, _ => wheel.next_deadline().unwrap_or(now).max(now) };
                        model.sort_by_key(|(deadline, number, _)| (*deadline, *number));
                        let late = model.partition_point(|(deadline, _, _)| *deadline <= now);
                        let expected: Vec<u32> = model.drain(..late).map(|(_, number, _)| number).collect();
                        prop_assert_eq!(due(&mut wheel, now), expected);
                    }
                }
                prop_assert_eq!(wheel.len(), model.len());
                let earliest = model.iter().map(|(deadline, _, _)| *deadline).min();
                prop_assert_eq!(wheel.next_deadline().is_some(), earliest.is_some());
                prop_assert!(wheel.next_deadline() <= earliest);
            }
            let mut left: Vec<u32> = wheel.values().copied().collect();
            left.sort_unstable();
            model.sort_by_key(|(_, number, _)| *number);
            prop_assert_eq!(left, model.iter().map(|(_, number, _)| *number).collect::<Vec<_>>());
        }
    }
}
