//! Connections per source. Each worker has an open-addressing table of its own and only it writes there. A source is an IPv4
//! address or an IPv6 /64. Places are found by a keyed hash (a client cannot choose sources that collide) and linear probing
//! over at most [`PROBES`] places. Nothing is ever moved, so a reader never misses an entry: a place whose count fell to 0 is
//! taken by the next comer, and emptied once nothing is behind it. An idle table therefore empties itself.

use std::fmt;
use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::region::{OutOfRange, Shared};

/// How far from its first place an entry may be; at three quarters full, one in a thousand would need more.
pub const PROBES: usize = 256;

impl Shared {
    /// Counts a connection from `source` and gives the number of them on all slots, this one included; 0 when the slot has no
    /// place for it, and then it must not leave. Only the slot's own worker may call it.
    pub fn source_enter(&self, slot: usize, source: Source) -> Result<u64, OutOfRange> {
        let table = self.table(slot)?;
        let mut vacant = None;
        let mut known = None;
        for place in self.places(self.first_place(source)) {
            let Some((key, count)) = cells(table, place) else { break };
            let found = key.load(Relaxed);
            if found == source.0 {
                known = Some(count);
                break;
            }
            if vacant.is_none() && (found == 0 || count.load(Relaxed) == 0) {
                vacant = Some((key, count));
            }
            if found == 0 {
                break;
            }
        }
        let count = match (known, vacant) {
            (Some(count), _) => count,
            (None, Some((key, count))) => {
                key.store(source.0, Relaxed);
                count
            }
            (None, None) => return Ok(0),
        };
        count.fetch_add(1, Relaxed);
        Ok(self.source_count(source).max(1))
    }

    /// Takes back what `source_enter` counted; an unknown source changes nothing. Only the slot's own worker may call it.
    pub fn source_leave(&self, slot: usize, source: Source) -> Result<(), OutOfRange> {
        let table = self.table(slot)?;
        let Some((place, count)) = self.find(table, source, self.first_place(source)) else { return Ok(()) };
        let left = count.load(Relaxed).saturating_sub(1);
        count.store(left, Relaxed);
        if left == 0 {
            self.trim(table, place);
        }
        Ok(())
    }

    /// Forgets every connection of a slot whose worker is dead.
    pub fn source_clear(&self, slot: usize) -> Result<(), OutOfRange> {
        // Reading first leaves a page alone that was never written.
        self.table(slot)?.iter().rev().filter(|cell| cell.load(Relaxed) != 0).for_each(|cell| cell.store(0, Relaxed));
        Ok(())
    }

    /// Connections from `source` on all slots.
    pub fn source_count(&self, source: Source) -> u64 {
        let first = self.first_place(source);
        let tables = (0..self.slots).filter_map(|slot| self.table(slot).ok());
        tables.filter_map(|table| self.find(table, source, first)).map(|(_, count)| count.load(Relaxed)).sum()
    }

    /// Empties the unused places at the end of a run, from `place` backwards.
    fn trim(&self, table: &[AtomicU64], mut place: usize) {
        let mask = self.sources - 1;
        for _ in 0..self.sources {
            let Some((next, _)) = cells(table, (place + 1) & mask) else { return };
            let Some((key, count)) = cells(table, place) else { return };
            if next.load(Relaxed) != 0 || key.load(Relaxed) == 0 || count.load(Relaxed) != 0 {
                return;
            }
            key.store(0, Relaxed);
            place = place.wrapping_sub(1) & mask;
        }
    }

    fn find<'a>(&self, table: &'a [AtomicU64], source: Source, first: usize) -> Option<(usize, &'a AtomicU64)> {
        for place in self.places(first) {
            let (key, count) = cells(table, place)?;
            match key.load(Relaxed) {
                0 => return None,
                found if found == source.0 => return Some((place, count)),
                _ => {}
            }
        }
        None
    }

    #[allow(clippy::cast_possible_truncation)] // any bits of the hash will do
    fn first_place(&self, source: Source) -> usize {
        self.hasher.hash_one(source.0) as usize
    }

    /// Where an entry may lie, in order.
    fn places(&self, first: usize) -> impl Iterator<Item = usize> {
        let mask = self.sources - 1;
        (0..PROBES.min(self.sources)).map(move |step| first.wrapping_add(step) & mask)
    }
}

/// Key and count at a place of a table.
fn cells(table: &[AtomicU64], place: usize) -> Option<(&AtomicU64, &AtomicU64)> {
    Some((table.get(2 * place)?, table.get(2 * place + 1)?))
}

/// Where connections come from, as far as they are counted together; never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source(u64);

impl Source {
    /// From an address as it is written; None when it is none.
    pub fn of(address: &str) -> Option<Self> {
        match address.parse().ok()? {
            IpAddr::V4(address) => Self::from_packed(&address.octets()),
            IpAddr::V6(address) => Self::from_packed(&address.octets()),
        }
    }

    /// From a packed address of 4 or 16 octets; None for any other length. An IPv4-mapped address is the IPv4 address.
    pub fn from_packed(packed: &[u8]) -> Option<Self> {
        if let Ok(address) = <[u8; 4]>::try_from(packed) {
            return Some(Self::from_v4(address));
        }
        let address = <[u8; 16]>::try_from(packed).ok()?;
        if let [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, a, b, c, d] = address {
            return Some(Self::from_v4([a, b, c, d]));
        }
        let [prefix @ .., _, _, _, _, _, _, _, _] = address;
        // ::/64, the loopback among it, takes the place of the unassigned 0:0:0:1::/64: 0 is an empty place.
        Some(Self(u64::from_be_bytes(prefix).max(1)))
    }

    /// All of it in one number, never 0.
    pub(super) fn bits(self) -> u64 {
        self.0
    }

    /// From its `bits`; None for 0.
    pub(super) fn from_bits(bits: u64) -> Option<Self> {
        (bits != 0).then_some(Self(bits))
    }

    /// The net it is in, as a source: of an IPv4 address its /24, of an IPv6 /64 its /48.
    pub(super) fn net(self) -> Self {
        Self(if self.is_v4() { self.0 & !0xff } else { (self.0 & !0xffff).max(1) })
    }

    /// The prefix, or that of its net, as it is written.
    #[allow(clippy::cast_possible_truncation)] // the low 32 bits are the IPv4 address
    pub(super) fn written(self, net: bool) -> String {
        if self.is_v4() {
            return format!("{}/{}", Ipv4Addr::from_bits(self.0 as u32), if net { 24 } else { 32 });
        }
        let bits = if self.0 == 1 { 0 } else { u128::from(self.0) << 64 };
        format!("{}/{}", Ipv6Addr::from_bits(bits), if net { 48 } else { 64 })
    }

    fn is_v4(self) -> bool {
        self.0 >> 32 == 0xffff
    }

    /// IPv4 is in `0:ffff::/32`, which is no address of the internet.
    fn from_v4(address: [u8; 4]) -> Self {
        Self(0xffff_u64 << 32 | u64::from(u32::from_be_bytes(address)))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.written(false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_source_is_an_empty_place() {
        assert!(Source::of("::1").is_some_and(|source| source.0 != 0));
    }
}
