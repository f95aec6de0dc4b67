//! The encodings in which parameters of commands hold octets that they cannot have: `xtext` (RFC 3461 4) and `unitext`
//! (RFC 6533 3).
//!
//! Promises: what is encoded decodes to what it was. Total: text that is not of the encoding decodes to None.

use std::fmt::Write;

use crate::machine::ascii::is_printable;

/// A text as `xtext`.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for octet in text.bytes() {
        match octet {
            b'!'..=b'~' if !matches!(octet, b'+' | b'=') => encoded.push(char::from(octet)),
            // Writing to a String cannot fail.
            _ => _ = write!(encoded, "+{octet:02X}"),
        }
    }
    encoded
}

/// What an `xtext` encodes; None when an octet has to be encoded, or a `+` is not followed by two hexadecimal digits.
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |octet: u8| char::from(octet).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (mut octets, mut rest) = (Vec::new(), text);
    loop {
        rest = match rest {
            [] => return Some(octets),
            [b'+', high, low, rest @ ..] => {
                octets.push(digit(*high)? << 4 | digit(*low)?);
                rest
            }
            [b'+', ..] => return None,
            [octet, rest @ ..] if octet.is_ascii_graphic() && *octet != b'=' => {
                octets.push(*octet);
                rest
            }
            _ => return None,
        };
    }
}

/// What an `xtext` encodes, when that consists of graphic characters and white space of ASCII alone (RFC 3461 4.2, 4.4).
pub fn decode_printable(text: &[u8]) -> Option<String> {
    let octets = decode(text)?;
    let printable = octets.iter().all(|octet| is_printable(*octet) || *octet == b'\t');
    if printable { String::from_utf8(octets).ok() } else { None }
}

/// A text with everything beyond ASCII as `\x{...}`: a `unitext` that a server without SMTPUTF8 takes. What is ASCII stays as it is.
pub fn to_ascii(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_ascii() {
            encoded.push(letter);
        } else {
            // Writing to a String cannot fail.
            _ = write!(encoded, "\\x{{{:X}}}", u32::from(letter));
        }
    }
    encoded
}

/// What a `unitext` encodes; None when a backslash does not begin an encoded character.
pub fn decode_unitext(text: &str) -> Option<String> {
    let mut parts = text.split('\\');
    let mut decoded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (digits, rest) = part.strip_prefix("x{")?.split_once('}')?;
        let point = Some(digits).filter(|digits| (2..=6).contains(&digits.len()) && !digits.starts_with('+'))?;
        decoded.push(char::from_u32(u32::from_str_radix(point, 16).ok()?)?);
        decoded.push_str(rest);
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn xtext_of_the_standard() {
        assert_eq!(encode("a+b=c@d e"), "a+2Bb+3Dc@d+20e");
        assert_eq!(decode(b"a+2Bb+3dc@d+20e").as_deref(), Some(&b"a+b=c@d e"[..]));
        for text in [&b"+"[..], b"+2", b"+2G", b"a=b", b"a b", "\u{e9}".as_bytes(), b"\x7f"] {
            assert_eq!(decode(text), None, "{}", text.escape_ascii());
        }
        assert_eq!(decode_printable(b"a+09b").as_deref(), Some("a\tb"));
        for text in [&b"+0D+0A"[..], b"+00", b"+7F", b"+C3+A9"] {
            assert_eq!(decode_printable(text), None, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn unitext_of_the_standard() {
        assert_eq!(to_ascii("\u{f6}\u{1f600}\\x{5C}@b"), "\\x{F6}\\x{1F600}\\x{5C}@b");
        assert_eq!(decode_unitext(r"a\x{F6}b\x{2B}\x{10FFFF}").as_deref(), Some("a\u{f6}b+\u{10ffff}"));
        for text in
            [r"\", r"\x", r"\x{}", r"\x{F}", r"\x{D800}", r"\x{1234567}", r"\x{+1}", r"\x{F6", r"\y{F6}", r"a\\x{F6}"]
        {
            assert_eq!(decode_unitext(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes(text in ".{0,40}") {
            let encoded = encode(&text);
            prop_assert!(encoded.is_ascii());
            prop_assert_eq!(decode(encoded.as_bytes()), Some(text.clone().into_bytes()));
            prop_assume!(!text.contains('\\'));
            let ascii = to_ascii(&text);
            prop_assert!(ascii.is_ascii());
            prop_assert_eq!(decode_unitext(&ascii), Some(text));
        }

        #[test]
        fn any_text_is_decoded_or_not(octets in any::<Vec<u8>>(), text in r"(.|\\x\{[0-9A-F]{0,7}\}){0,10}") {
            let _ = (decode(&octets), decode_printable(&octets), decode_unitext(&text));
        }
    }
}
