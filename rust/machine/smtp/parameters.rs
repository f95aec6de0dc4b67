//! Parameters of MAIL and RCPT: what an extension adds to a transaction (RFC 5321 4.1.2).
//!
//! Total: a parameter that cannot be read is a [`BadParameter`] value. Which parameters there are says
//! [`crate::machine::smtp::extensions`].

use std::borrow::Cow;

use super::xtext;
use crate::machine::message::Parameters;
use crate::machine::message::address::{Address, Limits};

mod rcpt;

pub use rcpt::{NOTIFY, ORCPT, RcptParameters};

/// The longest value of ENVID (RFC 3461 5.4).
pub const ENVID: usize = 100;

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

/// How much of a message a report about it gives back (RFC 3461 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Return {
    /// `FULL`
    Full,
    /// `HDRS`
    Header,
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
    /// The message may be sent over verified TLS alone (RFC 8689 2).
    pub require_tls: bool,
    /// What reports give back.
    pub ret: Option<Return>,
    /// What reports name the transaction by, as given: in `xtext` (RFC 3461 4.4).
    pub envid: Option<Box<str>>,
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
    // Octets above 127 are UTF-8 (RFC 6531 3.3).
    let is_value =
        |value: &str| !value.is_empty() && !value.contains(|letter: char| letter == '=' || letter.is_control());
    let value_is_good = value.is_none_or(|value| str::from_utf8(value).is_ok_and(is_value));
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

    pub(super) fn read_requiretls(&mut self, value: Option<&[u8]>) -> Result<(), &'static str> {
        self.require_tls = true;
        if value.is_none() { Ok(()) } else { Err("REQUIRETLS takes no value") }
    }

    pub(super) fn keep_requiretls(&self) -> Kept {
        if self.require_tls { Kept::Keyword } else { Kept::Nothing }
    }

    /// A mailbox in xtext (RFC 4405 4). It has the usual limits, whatever those of a path are.
    pub(super) fn read_submitter(&mut self, value: Option<&[u8]>) -> Result<(), &'static str> {
        let mailbox = value.and_then(xtext::decode).and_then(|text| Address::parse(&text, &Limits::default()).ok());
        self.submitter = mailbox.filter(|address| !address.domain().is_empty());
        if self.submitter.is_some() { Ok(()) } else { Err("SUBMITTER needs a mailbox with a domain") }
    }

    pub(super) fn keep_submitter(&self) -> Kept {
        let encoded = |address: &Address| Kept::Value(xtext::encode(&address.to_string()).into());
        self.submitter.as_ref().map_or(Kept::Nothing, encoded)
    }

    pub(super) fn read_ret(&mut self, value: Option<&[u8]>) -> Result<(), &'static str> {
        self.ret = Some(match value {
            Some(value) if value.eq_ignore_ascii_case(b"FULL") => Return::Full,
            Some(value) if value.eq_ignore_ascii_case(b"HDRS") => Return::Header,
            _ => return Err("RET must be FULL or HDRS"),
        });
        Ok(())
    }

    pub(super) fn keep_ret(&self) -> Kept {
        match self.ret {
            None => Kept::Nothing,
            Some(Return::Full) => Kept::Value("FULL".into()),
            Some(Return::Header) => Kept::Value("HDRS".into()),
        }
    }

    pub(super) fn read_envid(&mut self, value: Option<&[u8]>) -> Result<(), &'static str> {
        let value = value.filter(|value| value.len() <= ENVID && xtext::decode_printable(value).is_some());
        self.envid = value.and_then(|value| str::from_utf8(value).ok()).map(Box::from);
        if self.envid.is_some() { Ok(()) } else { Err("ENVID needs up to 100 characters of printable text in xtext") }
    }

    pub(super) fn keep_envid(&self) -> Kept {
        keep(self.envid.as_deref())
    }
}

/// Checks the value of AUTH, which nobody is trusted to give: whatever it says counts as `<>` (RFC 4954 5).
pub(super) fn check_auth(value: Option<&[u8]>) -> Result<(), &'static str> {
    let mailbox = value.and_then(xtext::decode);
    let is_good = mailbox.is_some_and(|text| text == b"<>" || Address::parse(&text, &Limits::default()).is_ok());
    if is_good { Ok(()) } else { Err("AUTH needs <> or a mailbox in xtext") }
}

/// A value as it was given.
fn keep(value: Option<&str>) -> Kept {
    value.map_or(Kept::Nothing, |value| Kept::Value(value.to_owned().into()))
}
