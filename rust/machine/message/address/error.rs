//! Why something is not an address.

use std::fmt::{self, Display};

/// Why something is not an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressError {
    /// Nothing was given.
    Empty,
    /// Over `Limits::local_part`.
    LocalTooLong,
    /// Over `Limits::domain`, or longer than any DNS name.
    DomainTooLong,
    /// Over `Limits::path`.
    PathTooLong,
    /// Not the grammar of RFC 5321 4.1.2; a plain ASCII sentence says where.
    Syntax(&'static str),
    /// Octets above 127 that are not UTF-8.
    NotUtf8,
}

impl Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "The address is empty",
            Self::LocalTooLong => "The local part is too long",
            Self::DomainTooLong => "The domain is too long",
            Self::PathTooLong => "The address is too long",
            Self::Syntax(sentence) => sentence,
            Self::NotUtf8 => "The address is not valid UTF-8",
        })
    }
}

impl std::error::Error for AddressError {}

pub const TRAILING: AddressError = AddressError::Syntax("The address is followed by something that is not part of it");
pub const BAD_LITERAL: AddressError = AddressError::Syntax("The address literal is neither [IPv4] nor [IPv6:address]");
pub const BAD_ROUTE: AddressError = AddressError::Syntax("The source route is not well-formed");
