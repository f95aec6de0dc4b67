//! The octets of a snapshot; integers are little-endian.
//!
//! Header (magic, words u64: version, length of the file, the parts below, checksum of all the rest) · sources (path length u16, path, list
//! u8, stamp of 4 words, entries u32) · reasons (length u8, octets; the first is empty) · keys, extents, records and dates of IPv4 · the
//! same of IPv6. Keys are the first addresses of prefixes in their order, u32 or u128. An extent, u16, is the length of the prefix, and
//! whether a longer search may find more; it answers for most clients that are on no list. A record says the rest of its entry, but for
//! the date when it was made, u32, which no lookup needs. Keys, extents and records begin at a multiple of `LINE`, so that none is in two
//! cache lines.
#![forbid(unsafe_code)]

use super::List;

/// Octets of a record.
pub const RECORD: usize = 16;
/// Octets of an extent.
pub const EXTENT: usize = 2;
/// In an extent: the prefix is in no other one.
pub const OUTERMOST: u16 = 1 << 8;
/// Octets of the date when an entry was made.
pub const DATE: usize = 4;
/// Octets of a cache line.
pub const LINE: usize = 64;
/// The parent of an entry that is in no other.
pub const NO_PARENT: u32 = u32::MAX;
const MAGIC: &[u8; 8] = b"MMLISTS\0";
const VERSION: u64 = 1;
/// Words behind the magic, without the checksum.
const WORDS: usize = 9;
/// Octets of the header.
pub const HEADER: usize = 8 + 8 * WORDS + 8;

/// An entry without its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// Index of the longest prefix that contains it, the entry before it when that has the same prefix.
    pub parent: u32,
    /// See `Terms`.
    pub until: u32,
    /// Where its reason is among the reasons.
    pub reason: u32,
    /// Index of its source.
    pub source: u16,
    /// Bits of its prefix.
    pub length: u8,
    /// The list it is on.
    pub list: List,
}

impl Record {
    /// The record in the first `RECORD` octets; `None` when it is none.
    pub fn read(octets: &[u8]) -> Option<Self> {
        let [p0, p1, p2, p3, u0, u1, u2, u3, r0, r1, r2, r3, n0, n1, length, list] = *octets.first_chunk::<RECORD>()?;
        Some(Self {
            parent: u32::from_le_bytes([p0, p1, p2, p3]),
            until: u32::from_le_bytes([u0, u1, u2, u3]),
            reason: u32::from_le_bytes([r0, r1, r2, r3]),
            source: u16::from_le_bytes([n0, n1]),
            length,
            list: List::of(list)?,
        })
    }

    /// Adds its octets.
    pub fn write(&self, octets: &mut Vec<u8>) {
        for number in [self.parent, self.until, self.reason] {
            octets.extend_from_slice(&number.to_le_bytes());
        }
        octets.extend_from_slice(&self.source.to_le_bytes());
        octets.extend_from_slice(&[self.length, self.list as u8]);
    }
}

/// Where the parts of a snapshot begin; the keys of a family come before its extents, records and dates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Layout {
    /// Octets of the whole file.
    pub length: usize,
    /// How many sources.
    pub sources: usize,
    /// Where the reasons begin.
    pub reasons: usize,
    /// Where the keys of IPv4 begin, and how many.
    pub four: (usize, usize),
    /// Where the keys of IPv6 begin, and how many.
    pub six: (usize, usize),
    /// Entries of the block list.
    pub blocked: usize,
}

impl Layout {
    /// Writes the header into the first octets of a complete file.
    pub fn seal(&self, file: &mut [u8]) {
        let numbers =
            [self.length, self.sources, self.reasons, self.four.0, self.four.1, self.six.0, self.six.1, self.blocked];
        let words = std::iter::once(VERSION).chain(numbers.iter().map(|number| *number as u64));
        let header: Vec<u8> = MAGIC.iter().copied().chain(words.flat_map(u64::to_le_bytes)).collect();
        if let Some(place) = file.get_mut(..header.len()) {
            place.copy_from_slice(&header);
        }
        let sum = checksum(file);
        if let Some(place) = file.get_mut(HEADER - 8..HEADER) {
            place.copy_from_slice(&sum.to_le_bytes());
        }
    }

    /// The layout of a file; `Err` says what is wrong with it.
    pub fn open(file: &[u8]) -> Result<Self, &'static str> {
        if !file.starts_with(MAGIC) {
            return Err("not a snapshot of lists");
        }
        let at =
            |index: usize| word(file, 8 + 8 * index).and_then(|word| usize::try_from(word).ok()).ok_or("cut short");
        if at(0)? as u64 != VERSION {
            return Err("written by another version");
        }
        let layout = Self {
            length: at(1)?,
            sources: at(2)?,
            reasons: at(3)?,
            four: (at(4)?, at(5)?),
            six: (at(6)?, at(7)?),
            blocked: at(8)?,
        };
        if layout.length != file.len() {
            return Err("cut short");
        }
        if word(file, HEADER - 8) != Some(checksum(file)) {
            return Err("damaged");
        }
        Ok(layout)
    }
}

/// The word at this place.
pub fn word(octets: &[u8], at: usize) -> Option<u64> {
    octets.get(at..)?.first_chunk().copied().map(u64::from_le_bytes)
}

/// Of everything but itself, eight octets at a time in four lanes: a snapshot is checked each time it is mapped.
fn checksum(file: &[u8]) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let (header, rest) = file.split_at_checked(HEADER).unwrap_or((file, &[]));
    let header = header.get(..HEADER - 8).unwrap_or(header);
    let mut lanes = [1_u64, 2, 3, 4];
    for part in [header, rest] {
        for chunk in part.chunks(32) {
            for (lane, octets) in lanes.iter_mut().zip(chunk.chunks(8)) {
                let mut word = [0; 8];
                word.iter_mut().zip(octets).for_each(|(place, octet)| *place = *octet);
                *lane = (*lane ^ u64::from_le_bytes(word)).wrapping_mul(ODD).rotate_left(29);
            }
        }
    }
    lanes.iter().fold(file.len() as u64, |sum, lane| (sum ^ lane).wrapping_mul(ODD).rotate_left(31))
}
