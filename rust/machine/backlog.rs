//! What waits to be tried: groups of recipients by destination and due time. It never reads a clock.
//!
//! Promises: a group costs about 50 octets, at most 100, and nothing is done for it until it is due: each destination has a line, a line
//! that has nothing due sleeps until its first group is, and the lines that sleep are in one order. Adding, taking and finding a
//! group cost the logarithm of what waits in its line. A group is in one line, and a message has at most one group in each.
//!
//! Times of one kind are milliseconds of a clock that never jumps (*steady*), because a group must be tried again after a while whatever
//! becomes of the calendar; arrivals are seconds since the epoch, because ages outlive the process. Whose turn it is in a line: `line.rs`.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;

mod entries;
mod index;
mod line;
mod lines;
#[cfg(test)]
mod tests;

pub use entries::{Group, Marks};
pub use line::Room;

use entries::Entries;
use index::Index;
use line::Line;
use lines::Lines;

/// See the module.
#[derive(Debug)]
pub struct Backlog {
    entries: Entries,
    index: Index,
    lines: Lines,
    /// Lines that sleep, by when they wake.
    asleep: BTreeSet<(u64, u32)>,
}

impl Default for Backlog {
    fn default() -> Self {
        Self::new()
    }
}

impl Backlog {
    /// An empty backlog.
    pub fn new() -> Self {
        Self { entries: Entries::new(), index: Index::default(), lines: Lines::default(), asleep: BTreeSet::new() }
    }

    /// Groups that wait.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Octets of memory, roughly.
    pub fn octets(&self) -> usize {
        self.entries.octets() + self.index.octets() + self.lines.octets()
    }

    // --- lines ---

    /// The line of a destination, if there is one.
    pub fn known(&self, name: &str) -> Option<u32> {
        self.lines.find(name)
    }

    /// The line of a destination, which is made where there is none.
    pub fn line(&mut self, name: &str) -> u32 {
        self.known(name).unwrap_or_else(|| self.lines.make(name))
    }

    /// Gives a line another name: what a spool has under it waits there.
    pub fn alias(&mut self, name: &str, line: u32) {
        self.lines.alias(name, line);
    }

    /// The name of a line's destination.
    pub fn name(&self, line: u32) -> Option<&str> {
        self.lines.get(line).map(|line| line.name.as_ref())
    }

    /// Groups in a line.
    pub fn waiting(&self, line: u32) -> usize {
        self.lines.get(line).map_or(0, Line::len)
    }

    /// Gives up a line, if nothing waits in it; whether it is gone.
    pub fn close(&mut self, line: u32) -> bool {
        if self.waiting(line) > 0 {
            return false;
        }
        self.wake(line);
        self.lines.close(line);
        true
    }

    // --- groups ---

    /// Adds a group to a line; whether the line has something due now. A line that does not exist takes nothing.
    pub fn put(&mut self, line: u32, group: &Group, now: u64) -> bool {
        if self.lines.get(line).is_none() {
            return false;
        }
        let Some(place) = self.entries.insert(line, group) else { return false };
        self.index.insert(&self.entries, place);
        if let Some(line) = self.lines.get_mut(line) {
            line.push(&mut self.entries, place);
        }
        self.settle(line, now)
    }

    /// Takes the group of a line whose turn it is, of those that are due and that there is room for.
    pub fn take(&mut self, line: u32, now: u64, room: Room) -> Option<Group> {
        let place = self.lines.get_mut(line)?.next(&self.entries, now, room);
        let group = place.and_then(|place| self.remove(place));
        self.settle(line, now);
        group
    }

    /// Whether a line has something due.
    pub fn is_ready(&self, line: u32) -> bool {
        self.lines.get(line).is_some_and(|line| line.ready)
    }

    /// The lines that have something due since the last call.
    pub fn advance(&mut self, now: u64) -> Vec<u32> {
        let mut awake = Vec::new();
        while let Some(&(_, line)) = self.asleep.first().filter(|(due, _)| *due <= now) {
            self.wake(line);
            if self.settle(line, now) {
                awake.push(line);
            }
        }
        awake
    }

    /// When `advance` has something to do next.
    pub fn next_due(&self) -> Option<u64> {
        self.asleep.first().map(|(due, _)| *due)
    }

    /// Makes everything in a line due that is stranded; whether the line has something due then.
    pub fn release(&mut self, line: u32, now: u64) -> bool {
        if let Some(line) = self.lines.get_mut(line) {
            line.release(&mut self.entries);
        }
        self.settle(line, now)
    }

    /// Takes groups of a line whose message came before the second `expired`, or before `overdue` where its delay was not reported,
    /// due or not, `most` at once, and none that is firm. Costs the length of the line, but only where there is such a group, or was one at the last call.
    pub fn take_older(&mut self, line: u32, now: u64, (expired, overdue): (u32, u32), most: usize) -> Vec<Group> {
        let Some(there) = self.lines.get(line).filter(|line| line.oldest.0 < expired || line.oldest.1 < overdue) else {
            return Vec::new();
        };
        let is_older = |(arrival, undelayed): (u32, u32)| arrival < expired || undelayed < overdue;
        let (mut found, mut oldest) = (Vec::new(), (u32::MAX, u32::MAX));
        for place in there.places() {
            let Some(group) = self.entries.get(place).map(entries::Entry::group) else { continue };
            let ages = group.ages();
            if is_older(ages) {
                if found.len() == most {
                    oldest = there.oldest;
                    break;
                }
                found.push(place);
            } else {
                oldest = (oldest.0.min(ages.0), oldest.1.min(ages.1));
            }
        }
        let taken = found.into_iter().filter_map(|place| self.remove(place)).collect();
        if let Some(line) = self.lines.get_mut(line) {
            line.oldest = oldest;
        }
        self.settle(line, now);
        taken
    }

    // --- messages ---

    /// Lines in which groups of a message wait.
    pub fn lines_of(&self, partition: u16, sequence: i64) -> Vec<u32> {
        let places = self.index.find(&self.entries, partition, sequence);
        places.into_iter().filter_map(|place| Some(self.entries.get(place)?.line)).collect()
    }

    /// Takes all groups of a message out; the lines they waited in.
    pub fn forget(&mut self, partition: u16, sequence: i64, now: u64) -> Vec<u32> {
        let lines = self.lines_of(partition, sequence);
        for place in self.index.find(&self.entries, partition, sequence) {
            self.remove(place);
        }
        for &line in &lines {
            self.settle(line, now);
        }
        lines
    }

    /// Makes all groups of a message due; the lines they wait in.
    pub fn hurry(&mut self, partition: u16, sequence: i64, now: u64) -> Vec<u32> {
        let mut lines = Vec::new();
        for place in self.index.find(&self.entries, partition, sequence) {
            let Some(number) = self.entries.get(place).map(|entry| entry.line) else { continue };
            if let Some(line) = self.lines.get_mut(number) {
                line.hurry(&mut self.entries, place);
                self.settle(number, now);
                lines.push(number);
            }
        }
        lines
    }

    fn remove(&mut self, place: u32) -> Option<Group> {
        let entry = *self.entries.get(place)?;
        if let Some(line) = self.lines.get_mut(entry.line) {
            line.remove(&mut self.entries, place);
        }
        self.index.remove(&self.entries, place);
        self.entries.remove(place);
        Some(entry.group())
    }

    /// Notes whether a line has something due, and lays it to sleep if not.
    fn settle(&mut self, number: u32, now: u64) -> bool {
        let Some(line) = self.lines.get_mut(number) else { return false };
        let ready = line.has_due(&self.entries, now);
        let wakes = line.next_due(&self.entries).filter(|_| !ready).unwrap_or(u64::MAX);
        let before = std::mem::replace(&mut line.wakes, wakes);
        line.ready = ready;
        if before != wakes {
            self.asleep.remove(&(before, number));
            if wakes != u64::MAX {
                self.asleep.insert((wakes, number));
            }
        }
        ready
    }

    fn wake(&mut self, number: u32) {
        if let Some(line) = self.lines.get_mut(number) {
            self.asleep.remove(&(std::mem::replace(&mut line.wakes, u64::MAX), number));
        }
    }
}
