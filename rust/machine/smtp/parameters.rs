//! Parameters of MAIL: what an extension adds to a transaction (RFC 5321 4.1.2).
//!
//! Total: a parameter that cannot be read is a [`BadParameter`] value. Which parameters there are says
//! [`crate::machine::smtp::extensions`].

use std::borrow::Cow;
use std::fmt::Write;

use crate::machine::message::Parameters;
use crate::machine::message::address::{Address, Limits};

/// Longest piece of a keyword that a reply repeats.
const ECHO: usize = 40;

/// What BODY takes where BINARYMIME is not offered.
pub const BAD_BODY: &str = "BODY must be 7BIT or 8BITMIME";

/// Declared kind of content (RFC 6152 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// `7BIT`
    SevenBit,
    /// `8BITMIME`
    EightBitMime,
    /// `BINARYMIME` (RFC 3030 3)
    Binary,
}

/// Parameters of MAIL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MailParameters {
    /// Declared octets of the message; a number beyond 64 bits is the greatest one (RFC 1870 4).
    pub size: Option<u64>,
    /// Declared kind of content.
    pub body: Option<Body>,
    /// The envelope or the header section may hold UTF-8 (RFC 6531 3.4).
    pub smtputf8: bool,
    /// Who says to be responsible for sending the message (RFC 4405 4); its domain is never empty.
    pub submitter: Option<Address>,
}

/// Why parameters cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadParameter {
    /// Of an extension that is not offered; its keyword, cut to what may be echoed.
    Unknown(String),
    /// Without the form or the value it must have; a plain sentence.
    Value(&'static str),
    /// Given twice; its keyword.
    Repeated(&'static str),
}

/// A parameter: its keyword, what reads its value, and what of it goes with the message.
#[derive(Debug)]
pub struct Parameter<P: 'static> {
    /// In capital letters.
    pub keyword: &'static str,
    /// Gives a plain sentence when the value is not one of this parameter.
    pub read: fn(&mut P, Option<&[u8]>) -> Result<(), &'static str>,
    /// What the envelope of the message keeps of it.
    pub kept: fn(&P) -> Kept,
}

/// What an envelope keeps of a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// Nothing: it was not given, or is of this hop alone.
    Nothing,
    /// The keyword.
    Keyword,
    /// The keyword with a value, in the notation of the command.
    Value(Cow<'static, str>),
}

/// Reads what follows a path. At most 64 parameters are known.
pub fn read<P: Default + 'static>(
    input: &[u8],
    known: &(impl Iterator<Item = &'static Parameter<P>> + Clone),
) -> Result<P, BadParameter> {
    let mut parameters = P::default();
    let mut seen = 0_u64; // one bit a parameter
    for parameter in input.split(|&octet| octet == b' ').filter(|parameter| !parameter.is_empty()) {
        let (keyword, value) = split(parameter)?;
        let found = known.clone().zip(0_u32..).find(|(known, _)| keyword.eq_ignore_ascii_case(known.keyword));
        let Some((known, index)) = found else {
            return Err(BadParameter::Unknown(keyword.chars().take(ECHO).collect()));
        };
        let bit = 1 << index;
        if seen & bit != 0 {
            return Err(BadParameter::Repeated(known.keyword));
        }
        seen |= bit;
        (known.read)(&mut parameters, value).map_err(BadParameter::Value)?;
    }
    Ok(parameters)
}

/// Keyword and value of an `esmtp-param` (RFC 5321 4.1.2).
fn split(parameter: &[u8]) -> Result<(&str, Option<&[u8]>), BadParameter> {
    let mut parts = parameter.splitn(2, |&octet| octet == b'=');
    let keyword = parts.next().and_then(|keyword| str::from_utf8(keyword).ok()).unwrap_or_default();
    let value = parts.next();
    let value_is_good = value
        .is_none_or(|value| !value.is_empty() && value.iter().all(|octet| octet.is_ascii_graphic() && *octet != b'='));
    if Parameters::is_keyword(keyword) && value_is_good {
        Ok((keyword, value))
    } else {
        Err(BadParameter::Value("What follows the address is not KEYWORD or KEYWORD=value"))
    }
}

impl MailParameters {
    /// `1*20DIGIT` (RFC 1870 4).
    pub(super) fn read_size(&mut self, value: Option<&[u8]>) -> Result<(), &'static str> {
        let digits = value.unwrap_or_default();
        if !(1..=20).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
            return Err("SIZE needs a number of octets");
        }
        let fold = |size: u64, digit: &u8| size.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
        self.size = Some(digits.iter().fold(0, fold));
        Ok(())
    }

    /// Whether BINARYMIME is offered is for the session to say (RFC 3030 3).
    pub(super) fn read_body(&mut self, value: Option<&[u8]>) -> Result<(), &'static str> {
        self.body = Some(match value {
            Some(value) if value.eq_ignore_ascii_case(b"7BIT") => Body::SevenBit,
            Some(value) if value.eq_ignore_ascii_case(b"8BITMIME") => Body::EightBitMime,
            Some(value) if value.eq_ignore_ascii_case(b"BINARYMIME") => Body::Binary,
            _ => return Err(BAD_BODY),
        });
        Ok(())
    }

    pub(super) fn keep_body(&self) -> Kept {
        match self.body {
            None => Kept::Nothing,
            Some(Body::SevenBit) => Kept::Value("7BIT".into()),
            Some(Body::EightBitMime) => Kept::Value("8BITMIME".into()),
            Some(Body::Binary) => Kept::Value("BINARYMIME".into()),
        }
    }

    /// RFC 6531 3.4.
    pub(super) fn read_smtputf8(&mut self, value: Option<&[u8]>) -> Result<(), &'static str> {
        self.smtputf8 = true;
        if value.is_none() { Ok(()) } else { Err("SMTPUTF8 takes no value") }
    }

    pub(super) fn keep_smtputf8(&self) -> Kept {
        if self.smtputf8 { Kept::Keyword } else { Kept::Nothing }
    }

    /// A mailbox in xtext (RFC 4405 4). It has the usual limits, whatever those of a path are.
    pub(super) fn read_submitter(&mut self, value: Option<&[u8]>) -> Result<(), &'static str> {
        let mailbox = value.and_then(decode_xtext).and_then(|text| Address::parse(&text, &Limits::default()).ok());
        self.submitter = mailbox.filter(|address| !address.domain().is_empty());
        if self.submitter.is_some() { Ok(()) } else { Err("SUBMITTER needs a mailbox with a domain") }
    }

    pub(super) fn keep_submitter(&self) -> Kept {
        let encoded = |address: &Address| Kept::Value(encode_xtext(&address.to_string()).into());
        self.submitter.as_ref().map_or(Kept::Nothing, encoded)
    }
}

/// A text as `xtext` (RFC 3461 4).
pub fn encode_xtext(text: &str) -> String {
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

/// What an `xtext` encodes (RFC 3461 4); None when a `+` is not followed by two hexadecimal digits.
fn decode_xtext(text: &[u8]) -> Option<Vec<u8>> {
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
            [octet, rest @ ..] => {
                octets.push(*octet);
                rest
            }
        };
    }
}
