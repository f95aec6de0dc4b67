//! One entry of a list of senders; settings and files read it alike.
#![forbid(unsafe_code)]

use super::NO_LIMITS;
use super::entry::{Entry, other_format};
use crate::machine::message::address::{Address, normalise_domain};
use crate::store::snapshot::Found;

const FORMS: &str =
    "Write user@domain, a domain, .domain for a domain and all below it, or !user@domain for one that is not blocked";

/// An entry in its normal form: `user@domain`, `domain`, `.domain` or `!user@domain`. `Err` says what is wrong and what to write.
pub fn read_sender(text: &str) -> Result<String, String> {
    let Entry { kind, key, .. } = sender_entry(text.trim())?;
    Ok(if kind == Found::Excluded { format!("!{key}") } else { key })
}

pub(super) fn sender_entry(text: &str) -> Result<Entry, String> {
    if text == "<>" {
        return Err("the null sender is no entry. Set sender_filter.blank".to_owned());
    }
    if let Some(domain) = text.strip_prefix("*.").or_else(|| text.strip_prefix("*@.")) {
        return Err(format!("* means nothing here. Write .{domain} for {domain} and all domains below it"));
    }
    if let Some(domain) = text.strip_prefix("*@") {
        return Err(format!("* means nothing here. Write {domain} for every address at {domain}"));
    }
    if let Some(fix) = other_format(text) {
        return Err(fix);
    }
    if let Some(excluded) = text.strip_prefix('!') {
        if !excluded.contains('@') || excluded.trim().starts_with('@') {
            return Err(
                "! takes an address, not a domain. Write !user@domain, or remove the entry of the domain".to_owned()
            );
        }
        return address(Found::Excluded, excluded.trim());
    }
    if let Some(name) = text.strip_prefix('.') {
        let name = domain(name)?;
        return Ok(Entry::plain(Found::Domain, format!(".{name}"), name));
    }
    let whole = text.strip_prefix('@');
    if whole.is_none() && (text.contains('@') || !(text.contains('.') || text.starts_with('['))) {
        return address(Found::Address, text);
    }
    let name = domain(whole.unwrap_or(text))?;
    Ok(Entry::plain(Found::Domain, name.clone(), name))
}

fn domain(text: &str) -> Result<String, String> {
    normalise_domain(text.as_bytes()).map_err(|error| with_forms(&error.to_string()))
}

fn address(kind: Found, text: &str) -> Result<Entry, String> {
    let address = Address::parse(text.as_bytes(), &NO_LIMITS).map_err(|error| with_forms(&error.to_string()))?;
    if address.domain().is_empty() {
        return Err(with_forms("it has neither an @ nor a dot"));
    }
    Ok(Entry::plain(kind, address.key(), address.domain().to_owned()))
}

fn with_forms(reason: &str) -> String {
    format!("{}. {FORMS}", reason.trim_end_matches('.'))
}
