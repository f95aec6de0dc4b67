//! What is printable in a line of the protocol.

/// A printable character of US-ASCII, the space included: what a reply and the argument of a command may hold (RFC 5321 4.2).
pub const fn is_printable(octet: u8) -> bool {
    matches!(octet, b' '..=b'~')
}
