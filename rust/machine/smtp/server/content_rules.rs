//! What a content may be, and what can be wrong with one.

/// What to do with a CR or LF that is not part of a CRLF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BareNewline {
    /// Read the content to its end, then refuse it.
    Refuse,
    /// Make it a CRLF. It still ends no data and starts no dot-stuffed line.
    Normalise,
}

/// What to do with a NUL in the header section, where no character of that kind may be (RFC 5322 2.2, 4.1). In a body it is
/// taken as it is (RFC 5321 4.5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NulInHeader {
    /// Read the content to its end, then refuse it: some programs take the octet for the end of the field.
    Refuse,
    /// Leave it where it is.
    Accept,
}

/// Why a content cannot be taken. Of several faults the first of this list is reported, so that the answer does not depend on
/// how the input was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Over the size limit (RFC 5321 4.5.3.1.7).
    TooLarge,
    /// A CR or LF on its own (RFC 5321 2.3.8).
    BareNewline,
    /// A header section over its limit.
    HeaderTooLarge,
    /// A NUL in the header section.
    NulInHeader,
    /// A line over the limit (RFC 5321 4.5.3.1.6).
    LineTooLong,
    /// An octet above 127, which could not be delivered (RFC 6152 3).
    EightBit,
    /// The store has no room, or could not write.
    Storage,
}

/// What a content may be. Zero switches a limit off.
#[derive(Debug, Clone)]
pub struct ContentRules {
    /// Octets of a content.
    pub message_size: u64,
    /// Octets of the header section, the empty line after it counted.
    pub header_size: usize,
    /// Octets of a line with its CRLF, the stuffed dot not counted.
    pub text_line: usize,
    /// Treatment of a CR or LF on its own.
    pub bare_newline: BareNewline,
    /// Treatment of a NUL in the header section.
    pub nul_in_header: NulInHeader,
    /// Octets above 127 are taken.
    pub eight_bit: bool,
}
