//! The groups that wait, each in a place of 32 octets, and heaps of places.
//!
//! Promises: a place is never moved while it is in use, so its number names the group; the place of a group that is gone is used
//! again. Memory comes in blocks, so that growing copies nothing, and is given back when nothing waits any more. A heap knows where in
//! it each group is: any group is taken out in the time of its depth.
#![forbid(unsafe_code)]

/// Groups in a block.
const BLOCK: usize = 4096;
/// A heap of as many gives no memory back.
const SMALL: usize = 64;
/// No place: the end of the chain of free ones.
const NIL: u32 = u32::MAX;

/// What a group of recipients of a message is, in bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks(u8);

impl Marks {
    /// It was never tried.
    pub const FRESH: Self = Self(1);
    /// Its message is a big one.
    pub const BIG: Self = Self(2);
    /// Its message has groups at other destinations, or had.
    pub const PARTED: Self = Self(4);
    /// Its delay was reported, or no such report is wanted.
    pub const DELAYED: Self = Self(8);
    /// Deferred because its next hop was away, or may have been.
    pub const STRANDED: Self = Self(16);
    /// However old its message is, it is not wanted before it is due: what is owed to the sender could not be done before.
    pub const FIRM: Self = Self(32);

    /// Those of both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These where the condition is met, else none.
    #[must_use]
    pub const fn when(self, condition: bool) -> Self {
        if condition { self } else { Self(0) }
    }

    /// Whether all of the other's are among these.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// A group of recipients of one message that goes to one destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Group {
    /// Its message in the partition.
    pub sequence: i64,
    /// The partition's number.
    pub partition: u16,
    /// What it is.
    pub marks: Marks,
    /// When its message came, seconds since the epoch.
    pub arrival: u32,
    /// When it is due, in milliseconds of the steady clock.
    pub due: u64,
}

impl Group {
    /// The arrival that counts where it is too old to wait any more, and where its delay is to be reported; `u32::MAX` for none.
    pub const fn ages(&self) -> (u32, u32) {
        if self.marks.has(Marks::FIRM) {
            (u32::MAX, u32::MAX)
        } else if self.marks.has(Marks::DELAYED) {
            (self.arrival, u32::MAX)
        } else {
            (self.arrival, self.arrival)
        }
    }
}

/// A group in its place.
#[derive(Debug, Clone, Copy, Default)]
pub struct Entry {
    pub due: u64,
    pub sequence: i64,
    pub arrival: u32,
    /// The line it waits in.
    pub line: u32,
    /// Where it is in its heap; in a free place the next free one.
    position: u32,
    pub partition: u16,
    pub marks: Marks,
    /// The heap it is in; [`FREE`] for a free place.
    heap: u8,
}

const FREE: u8 = u8::MAX;

impl Entry {
    pub fn group(&self) -> Group {
        let Self { sequence, partition, marks, arrival, due, .. } = *self;
        Group { sequence, partition, marks, arrival, due }
    }

    pub fn heap(&self) -> usize {
        usize::from(self.heap)
    }

    /// What comes out of a heap first.
    fn order(&self) -> (u64, i64) {
        (self.due, self.sequence)
    }
}

/// All groups that wait.
#[derive(Debug)]
pub struct Entries {
    blocks: Vec<Box<[Entry]>>,
    free: u32,
    length: usize,
}

impl Entries {
    pub fn new() -> Self {
        Self { blocks: Vec::new(), free: NIL, length: 0 }
    }

    pub fn len(&self) -> usize {
        self.length
    }

    /// Octets of memory.
    pub fn octets(&self) -> usize {
        self.blocks.len() * BLOCK * size_of::<Entry>()
    }

    pub fn get(&self, place: u32) -> Option<&Entry> {
        self.at(place).filter(|entry| entry.heap != FREE)
    }

    /// Puts a group into a free place of the line; `None` when there are 2^32 of them.
    pub fn insert(&mut self, line: u32, group: &Group) -> Option<u32> {
        if self.free == NIL {
            self.grow()?;
        }
        let place = self.free;
        let Group { sequence, partition, marks, arrival, due } = *group;
        let entry = self.at_mut(place)?;
        let next = entry.position;
        *entry = Entry { due, sequence, arrival, line, position: 0, partition, marks, heap: 0 };
        self.free = next;
        self.length += 1;
        Some(place)
    }

    /// Frees a place that is in no heap any more.
    pub fn remove(&mut self, place: u32) {
        let free = self.free;
        if let Some(entry) = self.at_mut(place).filter(|entry| entry.heap != FREE) {
            *entry = Entry { position: free, heap: FREE, ..Entry::default() };
            self.free = place;
            self.length -= 1;
        }
        if self.length == 0 {
            *self = Self::new();
        }
    }

    fn grow(&mut self) -> Option<()> {
        let first = u32::try_from(self.blocks.len().checked_mul(BLOCK)?).ok()?;
        let end = first.checked_add(u32::try_from(BLOCK).ok()?)?;
        let free = |place: u32| Entry { position: place + 1, heap: FREE, ..Entry::default() };
        let mut block: Box<[Entry]> = (first..end).map(free).collect();
        block.last_mut()?.position = NIL;
        self.blocks.push(block);
        self.free = first;
        Some(())
    }

    fn at(&self, place: u32) -> Option<&Entry> {
        self.blocks.get(place as usize / BLOCK)?.get(place as usize % BLOCK)
    }

    fn at_mut(&mut self, place: u32) -> Option<&mut Entry> {
        self.blocks.get_mut(place as usize / BLOCK)?.get_mut(place as usize % BLOCK)
    }

    pub fn entry_mut(&mut self, place: u32) -> Option<&mut Entry> {
        self.at_mut(place).filter(|entry| entry.heap != FREE)
    }
}

/// Places by what is due first; equal times by sequence.
#[derive(Debug, Default)]
pub struct Heap(Vec<u32>);

impl Heap {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Octets of memory.
    pub fn octets(&self) -> usize {
        self.0.capacity() * size_of::<u32>()
    }

    pub fn first(&self) -> Option<u32> {
        self.0.first().copied()
    }

    /// Every place, in no order.
    pub fn places(&self) -> &[u32] {
        &self.0
    }

    /// Adds a place; `number` is the heap's in its line.
    pub fn push(&mut self, entries: &mut Entries, number: usize, place: u32) {
        if let Some(entry) = entries.entry_mut(place) {
            entry.heap = u8::try_from(number).unwrap_or(FREE);
        }
        self.0.push(place);
        self.rise(entries, self.0.len() - 1, place);
    }

    /// Takes a place out that is in this heap.
    pub fn remove(&mut self, entries: &mut Entries, place: u32) {
        let Some(position) = entries.get(place).map(|entry| entry.position as usize) else { return };
        if self.0.get(position) != Some(&place) {
            return;
        }
        let Some(last) = self.0.pop() else { return };
        if last != place {
            self.sink(entries, position, last);
            self.rise_from(entries, last);
        }
        if self.0.capacity() > SMALL && self.0.len() < self.0.capacity() / 4 {
            self.0.shrink_to(self.0.len() * 2);
        }
    }

    fn rise_from(&mut self, entries: &mut Entries, place: u32) {
        if let Some(position) = entries.get(place).map(|entry| entry.position as usize) {
            self.rise(entries, position, place);
        }
    }

    fn rise(&mut self, entries: &mut Entries, mut position: usize, place: u32) {
        let Some(order) = entries.get(place).map(Entry::order) else { return };
        while position > 0 {
            let above = (position - 1) / 2;
            let Some(parent) = self.0.get(above).copied() else { break };
            if entries.get(parent).is_none_or(|entry| entry.order() <= order) {
                break;
            }
            self.set(entries, position, parent);
            position = above;
        }
        self.set(entries, position, place);
    }

    fn sink(&mut self, entries: &mut Entries, mut position: usize, place: u32) {
        let Some(order) = entries.get(place).map(Entry::order) else { return };
        while let Some((below, child, first)) = self.first_below(entries, position) {
            if order <= first {
                break;
            }
            self.set(entries, position, child);
            position = below;
        }
        self.set(entries, position, place);
    }

    /// Of the two places below a position, the one that is due first.
    fn first_below(&self, entries: &Entries, position: usize) -> Option<(usize, u32, (u64, i64))> {
        let child = |below: usize| {
            let place = *self.0.get(below)?;
            Some((below, place, entries.get(place)?.order()))
        };
        let left = child(2 * position + 1)?;
        let right = child(2 * position + 2);
        Some(right.filter(|right| right.2 < left.2).unwrap_or(left))
    }

    fn set(&mut self, entries: &mut Entries, position: usize, place: u32) {
        if let Some(slot) = self.0.get_mut(position) {
            *slot = place;
        }
        if let Some(entry) = entries.entry_mut(place) {
            entry.position = u32::try_from(position).unwrap_or(NIL);
        }
    }
}
