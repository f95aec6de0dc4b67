//! CHUNKING (RFC 3030): what may be sent by BDAT, and how a chunk is announced.
//!
//! Total. Where the number cannot be read, nobody can say which octets are commands: there is no recovery on that connection.

/// Digits of the longest number; more would be leading zeros or too much in any case (RFC 1870 3 has as many).
const DIGITS: usize = 20;

/// What may be sent by BDAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Chunking {
    /// Nothing: it is not offered.
    #[default]
    Off,
    /// Text: CHUNKING is offered (RFC 3030 2).
    Text,
    /// Anything: BINARYMIME is offered with it (RFC 3030 3).
    Binary,
}

/// A chunk as it is announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkSize {
    /// Octets that follow the command line.
    pub octets: u64,
    /// The content ends with them.
    pub is_last: bool,
}

impl ChunkSize {
    /// Reads `chunk-size [ SP end-marker ]`; None when it is anything else, or more than 64 bits.
    pub fn read(argument: &[u8]) -> Option<Self> {
        let mut words = argument.split(|&octet| octet == b' ').filter(|word| !word.is_empty());
        let octets = number(words.next()?)?;
        let is_last = match words.next() {
            None => false,
            Some(word) if word.eq_ignore_ascii_case(b"LAST") => true,
            Some(_) => return None,
        };
        words.next().is_none().then_some(Self { octets, is_last })
    }

    /// Appends the command for it.
    pub fn write(self, output: &mut Vec<u8>) {
        let end = if self.is_last { " LAST" } else { "" };
        output.extend_from_slice(format!("BDAT {}{end}\r\n", self.octets).as_bytes());
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    let is_number = digits.len() <= DIGITS && digits.iter().all(u8::is_ascii_digit);
    str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(argument: &str) -> Option<(u64, bool)> {
        ChunkSize::read(argument.as_bytes()).map(|size| (size.octets, size.is_last))
    }

    #[test]
    fn a_number_and_perhaps_the_end() {
        for (argument, size) in [
            ("0", (0, false)),
            ("0 LAST", (0, true)),
            ("86 last", (86, true)),
            ("00000000000000000012", (12, false)),
            (" 7   LAST  ", (7, true)),
            ("18446744073709551615", (u64::MAX, false)),
        ] {
            assert_eq!(read(argument), Some(size), "{argument:?}");
        }
    }

    #[test]
    fn anything_else_is_no_size() {
        for argument in [
            "",
            " ",
            "LAST",
            "-1",
            "+1",
            "1.5",
            "0x10",
            "1e3",
            "1 LAST LAST",
            "1 FIRST",
            "1LAST",
            "1\tLAST",
            "1,000",
            "18446744073709551616",
            "000000000000000000012",
            "99999999999999999999999",
            "\u{661}",
        ] {
            assert_eq!(read(argument), None, "{argument:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(octets: u64, is_last: bool) {
            let (size, mut command) = (ChunkSize { octets, is_last }, Vec::new());
            size.write(&mut command);
            let argument = command.strip_prefix(b"BDAT ").and_then(|rest| rest.strip_suffix(b"\r\n"));
            prop_assert_eq!(argument.and_then(ChunkSize::read), Some(size));
        }
    }
}
