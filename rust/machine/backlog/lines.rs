//! The lines of a backlog, by number and by the names of their destinations.
//!
//! Promises: making, finding and giving up a line cost the logarithm of how many names there are. The number of a line that was given up
//! is used again.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use super::line::Line;

#[derive(Debug, Default)]
pub struct Lines {
    places: Vec<Option<Line>>,
    free: Vec<u32>,
    /// A line has the name of its destination, and perhaps others.
    names: BTreeMap<Box<str>, u32>,
}

impl Lines {
    /// The number of the line with this name.
    pub fn find(&self, name: &str) -> Option<u32> {
        self.names.get(name).copied()
    }

    /// Makes a line for a name that no line has; returns its number.
    pub fn make(&mut self, name: &str) -> u32 {
        let number = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX)
        });
        if let Some(place) = self.places.get_mut(number as usize) {
            *place = Some(Line::new(name));
        }
        self.names.insert(name.into(), number);
        number
    }

    /// Gives a line another name, which is taken from the line that had it.
    pub fn alias(&mut self, name: &str, number: u32) {
        let Some(line) = self.places.get_mut(number as usize).and_then(Option::as_mut) else { return };
        if self.names.insert(name.into(), number) != Some(number) {
            line.aliases.push(name.into());
        }
    }

    /// Gives up a line and its names.
    pub fn close(&mut self, number: u32) {
        let Some(line) = self.places.get_mut(number as usize).and_then(Option::take) else { return };
        for name in line.aliases.iter().chain([&line.name]) {
            if self.names.get(name) == Some(&number) {
                self.names.remove(name);
            }
        }
        self.free.push(number);
    }

    pub fn get(&self, number: u32) -> Option<&Line> {
        self.places.get(number as usize)?.as_ref()
    }

    pub fn get_mut(&mut self, number: u32) -> Option<&mut Line> {
        self.places.get_mut(number as usize)?.as_mut()
    }

    /// Octets of memory, roughly.
    pub fn octets(&self) -> usize {
        self.places.iter().flatten().map(Line::octets).sum()
    }
}
