//! The layout of a snapshot; integers are little-endian, all u64 unless said.
//!
//! Header (magic, version, length of the scope, length of the states, entries, mtime of the text file in ns, size, inode, ctime in ns,
//! offset of the table, slots, entries that count at local domains, pairs of `others`, pairs of `dependents`, mark of the base, checksum of
//! these) · scope · states of the tables · records (line u32, length u16, kind u8, number of the source u8, octets of the key; of an alias then
//! length u32 and octets of its targets, one a line) · others · dependents · table of slots: 0 = free, else 24 bits of the hash above a 40 bit offset.
//!
//! What only a later compile reads, each a list of pairs (hash of a key, offset of a record), sorted: `others` has all records of the inputs, in
//! their order, of each key that the table leads to another record of, or that has several; `dependents` has the aliases that lead to a key or
//! would if it was there. Without entries that count at local domains nothing can be compiled upon the file.
//!
//! A file that has a base is a file of changes: its records are those of addresses about which it says something else than the base, `Absent`
//! among them. Its entries are those of both together.
#![forbid(unsafe_code)]

use super::{Answer, Found, Stamp};

pub const MAGIC: &[u8; 8] = b"MMDIRSNP";
pub const VERSION: u64 = 4;
/// Magic, fourteen words, checksum.
pub const HEADER: usize = 128;
/// Of the checksum, in words after the magic.
const CHECKSUM: usize = 14;
/// Octets of a pair.
pub const PAIR: usize = 16;
/// Octets of a record before its key.
pub const RECORD: usize = 8;
pub const OFFSET_BITS: u32 = 40;
pub const OFFSET_MASK: u64 = (1 << OFFSET_BITS) - 1;

/// FNV-1a with a finisher, so that its low and high bits are both usable; `domain` keeps the two name spaces apart.
pub fn hash(domain: bool, key: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ u64::from(domain);
    for octet in key {
        hash = (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    hash ^ (hash >> 32)
}

pub fn word(octets: &[u8], at: usize) -> Option<u64> {
    octets.get(at..at.checked_add(8)?)?.try_into().ok().map(u64::from_le_bytes)
}

/// What a file begins with.
pub struct Header {
    /// Octets of the scope.
    pub scope: u64,
    /// Octets of the states.
    pub states: u64,
    /// Different entries.
    pub entries: u64,
    /// Of the text file; zeros without one.
    pub stamp: Stamp,
    /// Offset of the table.
    pub table: u64,
    /// Slots of the table, a power of two.
    pub slots: u64,
    /// Entries at local domains, those that do not decide among them; 0: nothing can be compiled upon this.
    pub ours: u64,
    /// Pairs of `others`.
    pub others: u64,
    /// Pairs of `dependents`.
    pub dependents: u64,
    /// The mark of the base; 0 without one.
    pub base: u64,
}

impl Header {
    pub fn encode(&self) -> Vec<u8> {
        let Stamp { mtime_ns, size, inode, ctime_ns } = self.stamp;
        let (mtime, ctime) = (mtime_ns.cast_unsigned(), ctime_ns.cast_unsigned());
        let before = [VERSION, self.scope, self.states, self.entries, mtime, size, inode, ctime];
        let words =
            before.into_iter().chain([self.table, self.slots, self.ours, self.others, self.dependents, self.base]);
        let mut octets = MAGIC.to_vec();
        octets.extend(words.flat_map(u64::to_le_bytes));
        let sum = hash(false, &octets);
        octets.extend_from_slice(&sum.to_le_bytes());
        octets
    }

    /// `Err` says what is wrong with the file.
    pub fn decode(file: &[u8]) -> Result<Self, &'static str> {
        let body = file.get(..HEADER - 8).filter(|body| body.starts_with(MAGIC)).ok_or("not a recipient snapshot")?;
        let at = |index: usize| word(file, 8 + 8 * index).ok_or("cut short");
        if at(0)? != VERSION {
            return Err("written by another version");
        }
        if at(CHECKSUM)? != hash(false, body) {
            return Err("damaged header");
        }
        let stamp =
            Stamp { mtime_ns: at(4)?.cast_signed(), size: at(5)?, inode: at(6)?, ctime_ns: at(7)?.cast_signed() };
        let (scope, states, entries) = (at(1)?, at(2)?, at(3)?);
        let (table, slots, ours, others, dependents, base) = (at(8)?, at(9)?, at(10)?, at(11)?, at(12)?, at(13)?);
        let header = Self { scope, states, entries, stamp, table, slots, ours, others, dependents, base };
        let end = slots.checked_mul(8).and_then(|octets| octets.checked_add(table));
        let is_whole = end == Some(file.len() as u64) && header.pairs().is_some();
        if !is_whole || !slots.is_power_of_two() || base == 0 && entries >= slots {
            return Err("cut short");
        }
        Ok(header)
    }

    /// The offset of the records.
    pub fn records(&self) -> Option<u64> {
        (HEADER as u64).checked_add(self.scope)?.checked_add(self.states)
    }

    /// The offset of the pairs; None when they begin before the records do.
    pub fn pairs(&self) -> Option<u64> {
        let octets = self.others.checked_add(self.dependents)?.checked_mul(PAIR as u64)?;
        let pairs = self.table.checked_sub(octets)?;
        (self.records()? <= pairs).then_some(pairs)
    }
}

/// One entry of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Address, Domain, Excluded, Alias, `AliasDomain` or `CatchAll`; of changes also Absent.
    pub kind: Found,
    /// Number of the input that has it.
    pub source: u8,
    /// Line of the text file, or number of the entry in a table.
    pub line: u32,
    /// Of the address, or the domain.
    pub key: &'a [u8],
    /// Addresses, one a line, or the other domain; empty unless it is an alias.
    pub targets: &'a [u8],
}

impl<'a> Record<'a> {
    /// What it says, as `found`.
    pub fn answer(&self, found: Found) -> Answer {
        Answer { found, source: self.source, line: self.line }
    }

    /// The octets of the targets with their length before them; empty unless it is an alias.
    pub fn tail(&self) -> Option<Vec<u8>> {
        if !is_alias(self.kind) {
            return Some(Vec::new());
        }
        let length = u32::try_from(self.targets.len()).ok()?.to_le_bytes();
        Some([&length, self.targets].concat())
    }

    /// The octets before the key; None when that is too long.
    pub fn head(&self) -> Option<[u8; RECORD]> {
        let ([l0, l1, l2, l3], [n0, n1]) = (self.line.to_le_bytes(), u16::try_from(self.key.len()).ok()?.to_le_bytes());
        Some([l0, l1, l2, l3, n0, n1, self.kind as u8, self.source])
    }

    /// The record that `octets` begin with; None when they are none.
    pub fn read(octets: &'a [u8]) -> Option<Self> {
        let (head, rest) = octets.split_first_chunk::<RECORD>()?;
        let [l0, l1, l2, l3, n0, n1, kind, source] = *head;
        let kind = match kind {
            0 => Found::Absent,
            1 => Found::Address,
            2 => Found::Domain,
            3 => Found::Excluded,
            5 => Found::Alias,
            6 => Found::AliasDomain,
            8 => Found::CatchAll,
            _ => return None,
        };
        let (key, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes([n0, n1])))?;
        let targets = if is_alias(kind) {
            let (length, rest) = rest.split_first_chunk()?;
            rest.get(..usize::try_from(u32::from_le_bytes(*length)).ok()?)?
        } else {
            &[]
        };
        Some(Self { kind, source, line: u32::from_le_bytes([l0, l1, l2, l3]), key, targets })
    }

    /// Whether both are about the same address, or the same domain.
    pub fn is_same_key(&self, other: &Record<'_>) -> bool {
        self.key == other.key && self.kind.is_domain() == other.kind.is_domain()
    }
}

fn is_alias(kind: Found) -> bool {
    matches!(kind, Found::Alias | Found::AliasDomain | Found::CatchAll)
}
