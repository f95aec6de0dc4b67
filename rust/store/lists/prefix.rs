//! A prefix: an address and how many of its bits count, in one spelling. IPv4-mapped ones (RFC 4291 2.5.5.2) are IPv4.
#![forbid(unsafe_code)]

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

const V4_BITS: u8 = 32;
const V6_BITS: u8 = 128;
/// The bits before the IPv4 address in an IPv4-mapped one.
const MAPPED_BITS: u8 = 96;

/// Addresses whose first `length` bits are those of `address`; its other bits are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Prefix {
    /// Of IPv4 addresses; length 0 to 32.
    V4(u32, u8),
    /// Of IPv6 addresses; length 0 to 128.
    V6(u128, u8),
}

/// The bits of an IPv4 address that a prefix of this length has.
pub fn mask4(length: u8) -> u32 {
    u32::MAX.checked_shl(u32::from(V4_BITS.saturating_sub(length))).unwrap_or(0)
}

/// The bits of an IPv6 address that a prefix of this length has.
pub fn mask6(length: u8) -> u128 {
    u128::MAX.checked_shl(u32::from(V6_BITS.saturating_sub(length))).unwrap_or(0)
}

impl Prefix {
    /// The prefix of this one address.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits(), V4_BITS),
            IpAddr::V6(address) => Self::V6(address.to_bits(), V6_BITS),
        }
    }

    /// The prefix of this length; `None` when the address has other bits, or the length is too great.
    pub fn new(address: IpAddr, length: u8) -> Option<Self> {
        Self::cut(address, length).filter(|prefix| prefix.address() == canonical(address, length))
    }

    /// The same, without the address's other bits.
    fn cut(address: IpAddr, length: u8) -> Option<Self> {
        match canonical(address, length) {
            IpAddr::V4(four) => {
                let length = if address.is_ipv6() { length.checked_sub(MAPPED_BITS)? } else { length };
                (length <= V4_BITS).then(|| Self::V4(four.to_bits() & mask4(length), length))
            }
            IpAddr::V6(six) => (length <= V6_BITS).then(|| Self::V6(six.to_bits() & mask6(length), length)),
        }
    }

    /// Its first address.
    pub fn address(self) -> IpAddr {
        match self {
            Self::V4(bits, _) => IpAddr::V4(Ipv4Addr::from_bits(bits)),
            Self::V6(bits, _) => IpAddr::V6(Ipv6Addr::from_bits(bits)),
        }
    }

    /// How many bits count.
    pub fn length(self) -> u8 {
        match self {
            Self::V4(_, length) | Self::V6(_, length) => length,
        }
    }

    /// Whether all of `other` is in it.
    pub fn contains(self, other: Self) -> bool {
        match (self, other) {
            (Self::V4(mine, length), Self::V4(bits, longer)) => length <= longer && bits & mask4(length) == mine,
            (Self::V6(mine, length), Self::V6(bits, longer)) => length <= longer && bits & mask6(length) == mine,
            _ => false,
        }
    }
}

/// The address, as IPv4 where the whole prefix is IPv4-mapped.
fn canonical(address: IpAddr, length: u8) -> IpAddr {
    if length >= MAPPED_BITS { address.to_canonical() } else { address }
}

impl fmt::Display for Prefix {
    /// An address alone is written without its length.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(_, V4_BITS) | Self::V6(_, V6_BITS) => write!(f, "{}", self.address()),
            _ => write!(f, "{}/{}", self.address(), self.length()),
        }
    }
}

impl FromStr for Prefix {
    type Err = String;

    /// `Err` says what is wrong and what to write.
    fn from_str(text: &str) -> Result<Self, String> {
        let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
        let Ok(address) = address.parse::<IpAddr>() else {
            return Err("not an address or a prefix. Write 192.0.2.1, 192.0.2.0/24 or 2001:db8::/32".to_owned());
        };
        let Some(length) = length else { return Ok(Self::of(address)) };
        let bits = if address.is_ipv4() { V4_BITS } else { V6_BITS };
        let digits = length.bytes().all(|octet| octet.is_ascii_digit()); // `parse` takes a sign
        let length = length.parse().ok().filter(|length| digits && *length <= bits);
        let Some(length) = length else { return Err(format!("its length is not a number from 0 to {bits}")) };
        Self::new(address, length).ok_or_else(|| match Self::cut(address, length) {
            Some(meant) => format!("it has bits behind its length. Write {meant}, or the address without a length"),
            None => format!("its length is not a number from 0 to {bits}"),
        })
    }
}
