//! Base64 (RFC 4648 4), as SASL exchanges write it (RFC 4954 4).
//!
//! Strict: the alphabet and nothing else, no line ends, padding where it belongs and nowhere else. Pure; an error says nothing of
//! the text, which may be a password.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const PAD: u8 = b'=';

/// The octets in base64, padded.
pub fn encode(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len().div_ceil(3) * 4);
    for group in octets.chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, octet| bits << 8 | u32::from(*octet)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let digit = (bits >> (18 - 6 * place) & 0x3f) as usize;
            let letter = ALPHABET.get(digit).filter(|_| place <= group.len()).unwrap_or(&PAD);
            text.push(char::from(*letter));
        }
    }
    text
}

/// The octets that a text encodes; None when it is no base64. The bits that padding leaves over may be anything (RFC 4648 3.5).
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let padding = text.iter().rev().take(2).take_while(|letter| **letter == PAD).count();
    let (digits, _) = text.split_at(text.len() - padding);
    let mut octets = Vec::with_capacity(text.len() / 4 * 3);
    for group in digits.chunks(4) {
        let mut bits = 0_u32;
        for letter in group {
            bits = bits << 6 | digit(*letter)?;
        }
        bits <<= 6 * (4 - group.len());
        let [_, whole @ ..] = bits.to_be_bytes();
        octets.extend_from_slice(whole.get(..group.len() - 1).unwrap_or_default());
    }
    Some(octets)
}

/// The value of a letter, without a table: an access to memory could show which one it was.
fn digit(letter: u8) -> Option<u32> {
    let value = match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(value.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 4648 10.
    #[test]
    fn the_test_vectors_of_the_standard() {
        let vectors = ["", "f", "fo", "foo", "foob", "fooba", "foobar"];
        let encoded = ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"];
        for (plain, text) in vectors.into_iter().zip(encoded) {
            assert_eq!(encode(plain.as_bytes()), text);
            assert_eq!(decode(text.as_bytes()).as_deref(), Some(plain.as_bytes()));
        }
    }

    #[test]
    fn whatever_is_not_of_the_alphabet_is_refused() {
        // The first two are the examples of RFC 4954 4.
        for text in [
            "=AAA", "AAA=BBB", "A", "AA", "AAA", "A===", "====", "AA=A", "AAA= ", " AAA", "AA\r\nAA", "AA-_", "AAA\0",
            "AAAA====", "AA==AA==", "=", "==", "*", "é===",
        ] {
            assert_eq!(decode(text.as_bytes()), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(octets in prop::collection::vec(any::<u8>(), 0..200)) {
            let text = encode(&octets);
            prop_assert_eq!(text.len(), octets.len().div_ceil(3) * 4);
            prop_assert_eq!(decode(text.as_bytes()), Some(octets));
        }

        #[test]
        fn what_can_be_decoded_is_what_was_encoded_but_for_the_bits_left_over(text in "[A-Za-z0-9+/]{0,12}={0,3}") {
            if let Some(octets) = decode(text.as_bytes()) {
                let again = encode(&octets);
                prop_assert_eq!(again.trim_end_matches('=').len(), text.trim_end_matches('=').len());
                prop_assert_eq!(decode(again.as_bytes()), Some(octets));
            }
        }
    }
}
