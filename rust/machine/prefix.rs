//! Addresses as far as they are judged together: an address cut to a length.
//!
//! An IPv4 address is inside as the IPv4-mapped IPv6 address it has (RFC 4291 2.5.5.2), so both spellings are one prefix, and is written
//! as IPv4. What one site has is nested: an IPv4 address and its /24; of an IPv6 address its /64, /56 and /48, which are what a link and
//! a site get (RFC 6177 2).

use std::cmp::Ordering;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// `::ffff:0:0/96`.
const MAPPED: u128 = 0xffff << 32;
const MAPPED_LENGTH: u8 = 96;
const BITS: u8 = 128;
const IPV4_BITS: u8 = 32;

/// The most prefixes that are nested.
pub const LEVELS: usize = 3;
const IPV4_LENGTHS: [u8; 2] = [128, 120];
const IPV6_LENGTHS: [u8; LEVELS] = [64, 56, 48];
/// Shortest lengths that a list takes without a question: nobody means to refuse or to trust more of IPv4 or IPv6.
const IPV4_WIDEST: u8 = 8;
const IPV6_WIDEST: u8 = 16;

/// An address cut to a length; its bits beyond the length are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Prefix {
    bits: u128,
    length: u8,
}

/// What is no prefix, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadPrefix {
    /// No address before the slash.
    Address,
    /// No length, or a longer one than the address has bits, which are these.
    Length(u8),
    /// The address has bits beyond the length; without them it is this.
    HostBits(Prefix),
}

impl Prefix {
    /// The address alone.
    pub fn of(address: IpAddr) -> Self {
        Self { bits: bits_of(address), length: BITS }
    }

    /// From a packed address of 4 or 16 octets, the address alone; None for any other length.
    pub fn from_packed(packed: &[u8]) -> Option<Self> {
        let bits = match <[u8; 4]>::try_from(packed) {
            Ok(octets) => MAPPED | u128::from(u32::from_be_bytes(octets)),
            Err(_) => u128::from_be_bytes(packed.try_into().ok()?),
        };
        Some(Self { bits, length: BITS })
    }

    /// Of IPv4, with a length up to 32; bits beyond the length are cut.
    pub fn ipv4(bits: u32, length: u8) -> Self {
        Self::from_parts(MAPPED | u128::from(bits), MAPPED_LENGTH + length.min(IPV4_BITS))
    }

    /// Its first address.
    #[allow(clippy::cast_possible_truncation)] // the last 32 bits are the IPv4 address
    pub fn address(self) -> IpAddr {
        if self.is_ipv4() {
            Ipv4Addr::from_bits(self.bits as u32).into()
        } else {
            Ipv6Addr::from_bits(self.bits).into()
        }
    }

    /// The prefixes that count for this address, the smallest first: IPv4 /32 and /24, IPv6 /64, /56 and /48.
    pub fn nested(self) -> impl ExactSizeIterator<Item = Self> {
        self.lengths().iter().map(move |length| self.cut(*length))
    }

    /// Which of the nested prefixes it is, the smallest 0; None for one of another length.
    pub fn level(self) -> Option<usize> {
        self.lengths().iter().position(|length| *length == self.length)
    }

    /// Whether it is one of IPv4.
    pub fn is_ipv4(self) -> bool {
        self.length >= MAPPED_LENGTH && self.bits & mask(MAPPED_LENGTH) == MAPPED
    }

    /// The length as it is written: up to 32 for IPv4, 128 for IPv6.
    pub fn length(self) -> u8 {
        if self.is_ipv4() { self.length - MAPPED_LENGTH } else { self.length }
    }

    /// The length that it is shorter than if it is hardly meant: 8 for IPv4, 16 for IPv6; None for one that may be meant.
    pub fn too_wide(self) -> Option<u8> {
        let widest = if self.is_ipv4() { IPV4_WIDEST } else { IPV6_WIDEST };
        (self.length() < widest).then_some(widest)
    }

    /// Whether the other is in it, or is it. `::/0` is all of IPv6, and nothing of IPv4.
    pub fn covers(self, other: Self) -> bool {
        self.is_ipv4() == other.is_ipv4() && self.length <= other.length && other.bits & mask(self.length) == self.bits
    }

    /// Whether an address can be in both.
    pub fn overlaps(self, other: Self) -> bool {
        self.covers(other) || other.covers(self)
    }

    /// The bits, IPv4-mapped for IPv4, and how many of them count.
    pub fn parts(self) -> (u128, u8) {
        (self.bits, self.length)
    }

    /// The prefix of these `parts`; bits beyond the length are cut.
    pub fn from_parts(bits: u128, length: u8) -> Self {
        Self { bits, length: length.min(BITS) }.cut(length)
    }

    fn lengths(self) -> &'static [u8] {
        if self.is_ipv4() { &IPV4_LENGTHS } else { &IPV6_LENGTHS }
    }

    fn cut(self, length: u8) -> Self {
        let length = length.min(self.length);
        Self { bits: self.bits & mask(length), length }
    }
}

impl FromStr for Prefix {
    type Err = BadPrefix;

    /// An address, or an address and a length such as `192.0.2.0/24`.
    fn from_str(text: &str) -> Result<Self, BadPrefix> {
        let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
        let address: IpAddr = address.parse().map_err(|_| BadPrefix::Address)?;
        let whole = Self::of(address);
        let Some(length) = length else { return Ok(whole) };
        let most = if address.is_ipv4() { IPV4_BITS } else { BITS };
        let digits = !length.is_empty() && length.bytes().all(|octet| octet.is_ascii_digit());
        let length = length.parse::<u8>().ok().filter(|length| digits && *length <= most);
        let length = length.ok_or(BadPrefix::Length(most))?;
        let prefix = whole.cut(BITS - most + length);
        if prefix.bits == whole.bits { Ok(prefix) } else { Err(BadPrefix::HostBits(prefix)) }
    }
}

impl Ord for Prefix {
    /// IPv4 first, then by address; what is in a prefix comes after it.
    fn cmp(&self, other: &Self) -> Ordering {
        let order = |prefix: &Self| (!prefix.is_ipv4(), prefix.bits, prefix.length);
        order(self).cmp(&order(other))
    }
}

impl PartialOrd for Prefix {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Prefix {
    /// In the alternate form (`{:#}`), an address alone is written without its length.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.address())?;
        if out.alternate() && self.length == BITS { Ok(()) } else { write!(out, "/{}", self.length()) }
    }
}

impl fmt::Display for BadPrefix {
    /// What is wrong and what to write.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address => {
                out.write_str("not an address or a prefix. Write 192.0.2.1, 192.0.2.0/24 or 2001:db8::/32")
            }
            Self::Length(most) => write!(out, "its length is not a number from 0 to {most}"),
            Self::HostBits(meant) => {
                write!(out, "it has bits behind its length. Write {meant}, or the address without a length")
            }
        }
    }
}

fn bits_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn mask(length: u8) -> u128 {
    u128::MAX.checked_shl(u32::from(BITS - length.min(BITS))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(text: &str) -> String {
        text.parse::<Prefix>().unwrap().to_string()
    }

    #[test]
    fn is_written_as_it_is_read() {
        for text in ["192.0.2.0/24", "192.0.2.1/32", "0.0.0.0/0", "2001:db8::/48", "::/0", "::1/128", "fe80::/10"] {
            assert_eq!(written(text), text);
        }
        assert_eq!(written("192.0.2.1"), "192.0.2.1/32");
        assert_eq!(written("::ffff:192.0.2.0/120"), "192.0.2.0/24");
        assert_eq!(written("2001:DB8:0::"), "2001:db8::/128");
        let short = |text: &str| format!("{:#}", text.parse::<Prefix>().unwrap());
        assert_eq!(
            (short("192.0.2.1/32"), short("2001:db8::1/128")),
            ("192.0.2.1".to_owned(), "2001:db8::1".to_owned())
        );
        assert_eq!((short("192.0.2.0/24"), short("::/0")), ("192.0.2.0/24".to_owned(), "::/0".to_owned()));
    }

    #[test]
    fn what_is_none_says_why() {
        let bad = |text: &str| text.parse::<Prefix>().unwrap_err();
        assert_eq!(bad("mail.example.com"), BadPrefix::Address);
        assert_eq!(bad("192.0.2/24"), BadPrefix::Address);
        for text in ["", "/24", "example.com", "fe80::1%eth0"] {
            assert_eq!(bad(text), BadPrefix::Address, "{text}");
        }
        for text in ["192.0.2.0/33", "192.0.2.0/", "192.0.2.0/+8", "192.0.2.0/2 4"] {
            assert_eq!(bad(text), BadPrefix::Length(32), "{text}");
        }
        assert_eq!(bad("2001:db8::/129").to_string(), "its length is not a number from 0 to 128");
        let meant = "it has bits behind its length. Write 192.0.2.0/24, or the address without a length";
        assert_eq!(bad("192.0.2.1/24").to_string(), meant);
    }

    #[test]
    fn an_address_is_in_nested_prefixes() {
        let nested = |text: &str| {
            Prefix::of(text.parse().unwrap()).nested().map(|prefix| prefix.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(nested("192.0.2.77"), ["192.0.2.77/32", "192.0.2.0/24"]);
        let level = |text: &str| text.parse::<Prefix>().unwrap().level();
        assert_eq!((level("192.0.2.0/24"), level("2001:db8::/48"), level("192.0.2.0/25")), (Some(1), Some(2), None));
        assert_eq!(nested("::ffff:192.0.2.77"), ["192.0.2.77/32", "192.0.2.0/24"]);
        assert_eq!(nested("2001:db8:1:203::4"), ["2001:db8:1:203::/64", "2001:db8:1:200::/56", "2001:db8:1::/48"]);
    }

    #[test]
    fn packed_addresses_are_the_same() {
        assert_eq!(Prefix::from_packed(&[192, 0, 2, 1]), "192.0.2.1".parse().ok());
        assert_eq!(Prefix::from_packed(&Ipv6Addr::LOCALHOST.octets()), "::1".parse().ok());
        assert_eq!(Prefix::from_packed(b"12345"), None);
    }

    proptest! {
        #[test]
        fn covers_all_that_is_cut_from_it(bits: u128, length in 0_u8..=128, shorter in 0_u8..=128) {
            // Random bits are never IPv4-mapped: there, less than 96 bits would be another family.
            let prefix = Prefix::from_parts(bits, length);
            let outer = prefix.cut(shorter);
            prop_assert!(outer.covers(prefix));
            prop_assert_eq!(prefix.covers(outer), outer == prefix);
            prop_assert_eq!(prefix.to_string().parse(), Ok(prefix));
            let (bits, length) = prefix.parts();
            prop_assert_eq!(Prefix::from_parts(bits, length), prefix);
        }
    }
}
