//! The local part of an address: read, composed, folded, rendered (RFC 5321 4.1.2, RFC 6531 3.3).

use std::borrow::Cow;
use std::fmt::{self, Write};

use unicode_normalization::UnicodeNormalization;

use super::error::AddressError::{self, Syntax};
use super::limits::{Limits, over};

/// RFC 5322 3.2.3, and RFC 6531 3.3 for what is above ASCII.
pub const fn is_atext(octet: u8) -> bool {
    matches!(octet,
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'/'
        | b'=' | b'?' | b'^' | b'_' | b'`' | b'{' | b'|' | b'}' | b'~' | 0x80..)
}

fn is_dot_atom(local: &[u8]) -> bool {
    local.split(|&octet| octet == b'.').all(|atom| !atom.is_empty() && atom.iter().all(|&octet| is_atext(octet)))
}

/// Atoms and dots, the dots where a dot-atom has none: as some providers gave such addresses out, others have to take them.
pub fn is_odd(local: &str) -> bool {
    let mut octets = local.bytes();
    octets.clone().all(|octet| is_atext(octet) || octet == b'.')
        && octets.any(is_atext)
        && !is_dot_atom(local.as_bytes())
}

/// In small letters, by letter and whatever the language; the two small sigmas are one letter.
pub fn fold(local: &str) -> Cow<'_, str> {
    if local.is_ascii() {
        return if local.bytes().any(|octet| octet.is_ascii_uppercase()) {
            Cow::Owned(local.to_ascii_lowercase())
        } else {
            Cow::Borrowed(local)
        };
    }
    let small = local.chars().flat_map(char::to_lowercase).map(|letter| if letter == 'ς' { 'σ' } else { letter });
    // Some marks compose with a small letter alone: T and t with a diaeresis must be one key.
    Cow::Owned(small.nfc().collect())
}

/// Octets of the local part once rendered.
pub fn local_octets(local: &str) -> usize {
    if is_dot_atom(local.as_bytes()) {
        return local.len();
    }
    local.len() + local.matches(['"', '\\']).count() + 2
}

/// Renders a local part, in quotes only when it is no dot-atom.
pub fn write_local(local: &str, out: &mut impl Write) -> fmt::Result {
    if is_dot_atom(local.as_bytes()) {
        return out.write_str(local);
    }
    out.write_char('"')?;
    for character in local.chars() {
        if matches!(character, '"' | '\\') {
            out.write_char('\\')?;
        }
        out.write_char(character)?;
    }
    out.write_char('"')
}

pub fn read_local<'a>(input: &'a [u8], limits: &Limits) -> Result<(Box<str>, &'a [u8]), AddressError> {
    let (octets, rest) = if let Some(quoted) = input.strip_prefix(b"\"") {
        let (octets, rest) = read_quoted(quoted)?;
        (Cow::Owned(octets), rest)
    } else {
        let (atom, rest) = read_atoms(input)?;
        (Cow::Borrowed(atom), rest)
    };
    if over(input.len() - rest.len(), limits.local_part) {
        return Err(AddressError::LocalTooLong);
    }
    let local = compose(&octets)?;
    if over(local_octets(&local), limits.local_part) {
        return Err(AddressError::LocalTooLong);
    }
    Ok((local, rest))
}

fn read_atoms(input: &[u8]) -> Result<(&[u8], &[u8]), AddressError> {
    let end = input.iter().position(|&octet| !is_atext(octet) && octet != b'.').unwrap_or(input.len());
    let (atom, rest) = input.split_at(end);
    if !matches!(rest, [] | [b'@' | b' ' | b'>', ..]) {
        return Err(Syntax("The local part has a character that is not allowed outside quotes"));
    }
    match atom {
        [] => Err(Syntax("There is no local part before the @")),
        _ if atom.iter().all(|&octet| octet == b'.') => Err(Syntax("The local part is nothing but dots")),
        _ => Ok((atom, rest)),
    }
}

/// Reads what follows the opening quote, up to the closing one. `""` is refused: some servers take it for the null path.
fn read_quoted(input: &[u8]) -> Result<(Vec<u8>, &[u8]), AddressError> {
    let mut octets = Vec::new();
    let mut rest = input;
    loop {
        rest = match rest {
            [b'"', ..] if octets.is_empty() => return Err(Syntax("The local part is empty")),
            [b'"', rest @ ..] => return Ok((octets, rest)),
            [b'\\', octet @ b' '..=b'~', rest @ ..] | [octet @ (b' '..=b'[' | b']'..=b'~' | 0x80..), rest @ ..] => {
                octets.push(*octet);
                rest
            }
            [] => return Err(Syntax("The closing quote is missing")),
            _ => return Err(Syntax("The local part has a character that is not allowed in quotes")),
        };
    }
}

/// Text in NFC, without control characters: of one name only one sequence of code points is left.
fn compose(octets: &[u8]) -> Result<Box<str>, AddressError> {
    let text = str::from_utf8(octets).map_err(|_| AddressError::NotUtf8)?;
    if text.is_ascii() {
        return Ok(text.into());
    }
    if text.contains(char::is_control) {
        return Err(Syntax("The local part has a control character"));
    }
    Ok(text.nfc().collect::<String>().into())
}
