//! The domain of an address: lower-case A-labels, or a literal (RFC 5321 4.1.2, 4.1.3; UTS 46, non-transitional).

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

use super::error::{AddressError, AddressError::Syntax, BAD_LITERAL};
use super::limits::{Limits, over};

/// A label is at most this long in the DNS (RFC 1035 2.3.4).
const LABEL: usize = 63;
/// No DNS name is longer than this, in octets of UTF-8, before its labels are encoded; bounds the work of IDNA.
const LONGEST_NAME: usize = 1024;

/// Normalises a domain or address literal on its own, by the rules of an address's domain and its usual limit.
pub fn normalise_domain(input: &[u8]) -> Result<String, AddressError> {
    canonical_domain(input, Limits::default().domain)
}

/// Whether HELO or EHLO may carry it: labels in ASCII, or a literal, which may lack its tag as in `[::1]`. The name decides
/// nothing (RFC 5321 4.1.4), so that what is no proper domain is taken as long as it cannot break a header field or a log line:
/// a hyphen at the end of a label, an underscore, an A-label that is none.
pub fn is_helo_name(name: &[u8], limits: &Limits) -> bool {
    if let Some(inside) = name.strip_prefix(b"[").and_then(|inside| inside.strip_suffix(b"]")) {
        let bare = str::from_utf8(inside).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok());
        return bare || canonical_literal(name).is_ok();
    }
    let name = name.strip_suffix(b".").unwrap_or(name);
    !over(name.len(), limits.domain) && name.split(|&octet| octet == b'.').all(is_label)
}

pub fn is_label(label: &[u8]) -> bool {
    (1..=LABEL).contains(&label.len())
        && label.iter().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_'))
}

pub fn read_domain<'a>(input: &'a [u8], limits: &Limits) -> Result<(Box<str>, &'a [u8]), AddressError> {
    let end = if input.starts_with(b"[") {
        memchr::memchr(b']', input).map_or(input.len(), |bracket| bracket + 1)
    } else {
        memchr::memchr2(b'>', b' ', input).unwrap_or(input.len())
    };
    let (domain, rest) = input.split_at(end);
    Ok((canonical_domain(domain, limits.domain)?.into(), rest))
}

pub fn canonical_domain(input: &[u8], limit: usize) -> Result<String, AddressError> {
    if input.starts_with(b"[") {
        return canonical_literal(input);
    }
    if over(input.strip_suffix(b".").unwrap_or(input).len(), limit) {
        return Err(AddressError::DomainTooLong);
    }
    let text = str::from_utf8(input).map_err(|_| AddressError::NotUtf8)?;
    let name = if input.is_ascii() && !has_a_label(input) { Cow::Borrowed(text) } else { to_a_labels(text)? };
    // After the mapping, which makes ordinary dots of the ideographic ones; and once, so that two dots stay an error.
    let name = name.strip_suffix('.').unwrap_or(&name);
    check_labels(name.as_bytes())?;
    if over(name.len(), limit) { Err(AddressError::DomainTooLong) } else { Ok(name.to_ascii_lowercase()) }
}

fn has_a_label(domain: &[u8]) -> bool {
    domain
        .split(|&octet| octet == b'.')
        .any(|label| label.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case(b"xn--")))
}

/// Maps to A-labels and proves the A-labels already there, so that both forms of a name are one. ASCII is left to `check_labels`.
fn to_a_labels(domain: &str) -> Result<Cow<'_, str>, AddressError> {
    if domain.len() > LONGEST_NAME {
        return Err(AddressError::DomainTooLong);
    }
    let mapped = Uts46::new()
        .to_ascii(domain.as_bytes(), AsciiDenyList::EMPTY, Hyphens::Allow, DnsLength::Ignore)
        .map_err(|_| Syntax("The domain is not a valid internationalised name"))?;
    // What is taken must be taken again in its normal form, which is longer.
    if mapped.len() > LONGEST_NAME { Err(AddressError::DomainTooLong) } else { Ok(mapped) }
}

/// RFC 5321 4.1.2 `Domain`, and `_`, which names of hosts do have.
fn check_labels(domain: &[u8]) -> Result<(), AddressError> {
    if domain.is_empty() {
        return Err(Syntax("The domain is empty"));
    }
    for label in domain.split(|&octet| octet == b'.') {
        match label {
            [] => return Err(Syntax("The domain has an empty label")),
            [b'-', ..] | [.., b'-'] => return Err(Syntax("A label of the domain begins or ends with a hyphen")),
            _ if label.len() > LABEL => return Err(Syntax("A label of the domain is longer than 63 octets")),
            _ if is_label(label) => {}
            _ => return Err(Syntax("The domain has a character that is not allowed in it")),
        }
    }
    Ok(())
}

/// RFC 5321 4.1.3. An IPv4 address in IPv6 clothes is that IPv4 address.
fn canonical_literal(input: &[u8]) -> Result<String, AddressError> {
    let inside = input.strip_prefix(b"[").and_then(|inside| inside.strip_suffix(b"]")).ok_or(BAD_LITERAL)?;
    let text = str::from_utf8(inside).map_err(|_| BAD_LITERAL)?;
    let address = match text.split_at_checked("IPv6:".len()) {
        Some((tag, six)) if tag.eq_ignore_ascii_case("IPv6:") => six.parse::<Ipv6Addr>().map(IpAddr::from),
        _ => text.parse::<Ipv4Addr>().map(IpAddr::from),
    };
    match address.map_err(|_| BAD_LITERAL)?.to_canonical() {
        IpAddr::V4(address) => Ok(format!("[{address}]")),
        IpAddr::V6(address) => Ok(format!("[IPv6:{address}]")),
    }
}
