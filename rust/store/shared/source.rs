//! Who is counted together: an IPv4 address or an IPv6 /64, as one number, so that it fits a cell.

use crate::machine::prefix::Prefix;
use std::net::IpAddr;

/// A source; never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source(u64);

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        Self::at(Prefix::of(address))
    }
}

impl Source {
    /// From an address as it is written; None when it is none.
    pub fn of(address: &str) -> Option<Self> {
        address.parse::<IpAddr>().ok().map(Self::from)
    }

    /// From a packed address of 4 or 16 octets; None for any other length.
    pub fn from_packed(packed: &[u8]) -> Option<Self> {
        Prefix::from_packed(packed).map(Self::at)
    }

    /// The first source of a prefix, or the one it is in.
    #[allow(clippy::cast_possible_truncation)] // the half that is taken
    pub(super) fn at(prefix: Prefix) -> Self {
        let (bits, _) = prefix.parts();
        // The lower half of an IPv4-mapped address is in `0:ffff::/32`, which is no address of the internet. ::/64, the loopback among
        // it, takes the place of the unassigned 0:0:0:1::/64: 0 is an empty place.
        Self(if prefix.is_ipv4() { bits as u64 } else { (bits >> 64) as u64 }.max(1))
    }

    /// All of it in one number, never 0.
    pub(super) fn bits(self) -> u64 {
        self.0
    }

    /// From its `bits`; None for 0.
    pub(super) fn from_bits(bits: u64) -> Option<Self> {
        (bits != 0).then_some(Self(bits))
    }

    /// An IPv4 address or an IPv6 /64.
    pub fn prefix(self) -> Prefix {
        let bits = match self.0 {
            1 => 0,
            bits if bits >> 32 == 0xffff => return Prefix::from_parts(0xffff_u128 << 32 | u128::from(bits), 128),
            bits => u128::from(bits) << 64,
        };
        Prefix::from_parts(bits, 64)
    }

    /// The net it is in: the largest of the nested prefixes, an IPv4 /24 or an IPv6 /48.
    pub(super) fn net(self) -> Prefix {
        self.prefix().nested().last().unwrap_or_else(|| self.prefix())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> [String; 2] {
        let source = Source::of(text).unwrap();
        assert_eq!(Source::from_bits(source.bits()), Some(source));
        assert_eq!(Source::at(source.prefix()), source);
        [source.prefix().to_string(), source.net().to_string()]
    }

    #[test]
    fn is_written_as_its_prefix() {
        assert_eq!(written("192.0.2.1"), ["192.0.2.1/32", "192.0.2.0/24"]);
        assert_eq!(written("::ffff:192.0.2.1"), ["192.0.2.1/32", "192.0.2.0/24"]);
        assert_eq!(written("2001:db8:1:2:3::4"), ["2001:db8:1:2::/64", "2001:db8:1::/48"]);
        assert_eq!(written("::1"), ["::/64", "::/48"]);
    }

    #[test]
    fn is_never_an_empty_place() {
        assert!(Source::of("::1").is_some_and(|source| source.bits() != 0));
        assert_eq!(Source::of("::"), Source::of("::1"));
        assert_eq!(Source::of("mail.example.com"), None);
        assert_eq!((Source::from_packed(b""), Source::from_packed(b"12345")), (None, None));
    }
}
