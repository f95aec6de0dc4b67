//! The attributes of XCLIENT and XFORWARD, by their names (Postfix's `XCLIENT_README` and `XFORWARD_README`).

use Attribute::{Addr, DestAddr, DestPort, Helo, Ident, Login, Name, Port, Proto, Source};

/// Those of XCLIENT.
pub static XCLIENT: [Attribute; 8] = [Name, Addr, Port, Proto, Helo, Login, DestAddr, DestPort];
/// Those of XFORWARD.
pub static XFORWARD: [Attribute; 7] = [Name, Addr, Port, Proto, Helo, Ident, Source];

/// A fact about a client or its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribute {
    /// The verified name of the client's address.
    Name,
    /// The client's address.
    Addr,
    /// Its port.
    Port,
    /// `SMTP` or `ESMTP`.
    Proto,
    /// The name that it gave with HELO or EHLO.
    Helo,
    /// The account that it has authenticated as.
    Login,
    /// The address that it connected to.
    DestAddr,
    /// The port that it connected to.
    DestPort,
    /// The queue ID of the message.
    Ident,
    /// Whether the message comes from outside.
    Source,
}

impl Attribute {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Name => "NAME",
            Addr => "ADDR",
            Port => "PORT",
            Proto => "PROTO",
            Helo => "HELO",
            Login => "LOGIN",
            DestAddr => "DESTADDR",
            DestPort => "DESTPORT",
            Ident => "IDENT",
            Source => "SOURCE",
        }
    }

    /// The one of this name, in capital letters or not; None for another word.
    pub fn of(word: &[u8]) -> Option<Self> {
        XCLIENT.iter().chain(&XFORWARD).copied().find(|known| word.eq_ignore_ascii_case(known.name().as_bytes()))
    }

    /// A bit that no other one has.
    pub fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// What the reply to EHLO says behind the keyword.
pub fn words(attributes: &[Attribute]) -> String {
    attributes.iter().map(|attribute| attribute.name()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_name_and_a_bit_of_its_own() {
        let mut bits = 0;
        for attribute in XCLIENT.into_iter().chain([Ident, Source]) {
            assert_eq!(Attribute::of(attribute.name().to_ascii_lowercase().as_bytes()), Some(attribute));
            assert_eq!(bits & attribute.bit(), 0);
            bits |= attribute.bit();
        }
        assert_eq!((bits.count_ones(), Attribute::of(b"NAM"), Attribute::of(b"")), (10, None, None));
        assert_eq!(words(&XFORWARD), "NAME ADDR PORT PROTO HELO IDENT SOURCE");
    }
}
