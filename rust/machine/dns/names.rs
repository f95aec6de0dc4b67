//! Names in a message: labels, and pointers to labels before them (RFC 1035 4.1.4). What is followed is counted.

use std::fmt::Write;

use super::Reader;

/// Octets with the length of each label and of the root (RFC 1035 2.3.4).
const LONGEST_NAME: usize = 255;

/// Where one is in a name.
struct Place {
    at: usize,
    /// Pointers lead to before this: a chain of them ends.
    before: usize,
    length: usize,
}

impl Place {
    fn new(at: usize) -> Self {
        Self { at, before: at, length: 0 }
    }
}

impl<'a> Reader<'a> {
    /// Where the name ends that begins there, its pointer not followed.
    pub(super) fn after_name(&self, mut at: usize) -> Option<usize> {
        loop {
            match *self.octets.get(at)? {
                0 => return Some(at + 1),
                length @ 1..=63 => at += 1 + usize::from(length),
                0xC0.. => return Some(at + 2),
                _ => return None,
            }
        }
    }

    /// `start` when a name is all there is up to `end`.
    pub(super) fn whole_name(&self, start: usize, end: usize) -> Option<usize> {
        (self.after_name(start)? == end).then_some(start)
    }

    /// The next label, empty for the root. None: it is no name, or all the work is done that a message is worth.
    fn label(&mut self, place: &mut Place) -> Option<&'a [u8]> {
        loop {
            self.work = self.work.checked_sub(1)?;
            match *self.octets.get(place.at)? {
                length @ 0..=63 => {
                    let start = place.at + 1;
                    place.at = start + usize::from(length);
                    place.length += 1 + usize::from(length);
                    return self.octets.get(start..place.at).filter(|_| place.length <= LONGEST_NAME);
                }
                0xC0.. => {
                    let to = usize::from(self.u16(place.at)? & 0x3FFF);
                    if to >= place.before {
                        return None;
                    }
                    (place.at, place.before) = (to, to);
                }
                _ => return None,
            }
        }
    }

    /// Whether two names are one, in any case (RFC 4343).
    pub(super) fn same(&mut self, one: usize, other: usize) -> Option<bool> {
        let (mut one, mut other) = (Place::new(one), Place::new(other));
        while one.at != other.at {
            let (first, second) = (self.label(&mut one)?, self.label(&mut other)?);
            if !first.eq_ignore_ascii_case(second) {
                return Some(false);
            }
            if first.is_empty() {
                break;
            }
        }
        Some(true)
    }

    /// The name that is all there is up to `end`.
    pub(super) fn text(&mut self, start: usize, end: usize) -> Option<String> {
        let start = self.whole_name(start, end)?;
        self.name(start)
    }

    /// The name that begins there.
    pub(super) fn name(&mut self, start: usize) -> Option<String> {
        let mut place = Place::new(start);
        let mut text = String::new();
        loop {
            let label = self.label(&mut place)?;
            if label.is_empty() {
                return Some(text);
            }
            if !text.is_empty() {
                text.push('.');
            }
            for &octet in label {
                if octet.is_ascii_graphic() && octet != b'.' && octet != b'\\' {
                    text.push(char::from(octet.to_ascii_lowercase()));
                } else {
                    let _ = write!(text, "\\{octet:03}"); // to a String it cannot fail
                }
            }
        }
    }
}
