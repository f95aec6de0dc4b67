//! The notation of an entry: `user@domain`, `@domain` or `!user@domain`, and what the other notations have in common with it.
#![forbid(unsafe_code)]

use super::{FORMS, MAX_KEY, NO_LIMITS};
use crate::machine::message::address::{Address, normalise_domain};
use crate::store::snapshot::{Found, Scope};

/// What an entry says.
pub(super) struct Entry {
    /// Address, Domain or Excluded.
    pub kind: Found,
    /// Of the address, or the domain itself.
    pub key: String,
    /// At which it is.
    pub domain: String,
    /// Of an alias: addresses, one a line, or the other domain.
    pub targets: String,
}

impl Entry {
    /// One that is no alias.
    pub fn plain(kind: Found, key: String, domain: String) -> Self {
        Self { kind, key, domain, targets: String::new() }
    }
}

/// The entry that is no alias; `Err` says what is wrong and what to write.
pub(super) fn recipient_entry(text: &str, scope: &Scope) -> Result<Entry, String> {
    if let Some(fix) = other_format(text) {
        return Err(fix);
    }
    match text.as_bytes() {
        [b'@', domain @ ..] => {
            let domain = normalise_domain(domain).map_err(with_forms)?;
            Ok(Entry::plain(Found::Domain, domain.clone(), domain))
        }
        [b'!', ..] => read_address(Found::Excluded, text.strip_prefix('!').unwrap_or(text).trim(), scope),
        _ => read_address(Found::Address, text, scope),
    }
}

fn read_address(kind: Found, text: &str, scope: &Scope) -> Result<Entry, String> {
    if text.starts_with('@') {
        return Err("! takes an address, not a domain. Write !user@domain, or remove the @domain entry".to_owned());
    }
    let address = Address::parse(text.as_bytes(), &NO_LIMITS).map_err(with_forms)?;
    let address = address.with_default_domain(&scope.default_domain);
    if address.domain().is_empty() {
        return Err("it has no domain and there is no default domain. Write user@domain".to_owned());
    }
    Ok(Entry::plain(kind, scope.normalisation.key(&address), address.domain().to_owned()))
}

/// The entry, if a snapshot has room for its key.
pub(super) fn not_too_long(entry: Entry) -> Result<Entry, String> {
    if entry.key.len() > MAX_KEY {
        return Err(format!("the address is longer than {MAX_KEY} octets. Shorten or remove it"));
    }
    Ok(entry)
}

/// What other programs write and this file does not mean; said before anything else, for some of it could be read as an address.
pub(super) fn other_format(text: &str) -> Option<String> {
    let bare = text.strip_prefix('!').unwrap_or(text).trim();
    let (quoted, outside) = split_quoted(bare);
    if quoted.contains('@') && !outside.starts_with('@') {
        return Some(format!("the whole entry is in quotes, as in a CSV file. Write {quoted} without the quotes"));
    }
    if outside.contains([',', ';', '\t']) {
        return Some("it has several columns, as in a CSV file. Keep only the address, one on each line".to_owned());
    }
    if outside.contains(['<', '>']) {
        return Some("it has angle brackets. Write the address without them and without a name".to_owned());
    }
    if let Some(domain) = bare.strip_prefix("*@") {
        return Some(format!("* means nothing here. Write @{domain} for every address at {domain}"));
    }
    let (scheme, address) = bare.split_once(':')?;
    ["smtp", "mailto"]
        .contains(&scheme.to_ascii_lowercase().as_str())
        .then(|| format!("{scheme}: is no part of an address. Write {address}"))
}

/// The characters that are not between quotes, and where they are.
pub(super) fn unquoted(text: &str) -> impl Iterator<Item = (usize, char)> {
    let (mut quoted, mut escaped) = (false, false);
    text.char_indices().filter(move |(_, character)| {
        let is_quote = *character == '"' && !escaped;
        escaped = quoted && !escaped && *character == '\\';
        quoted ^= is_quote;
        !quoted && !is_quote
    })
}

/// What is in quotes at the start, and the rest.
fn split_quoted(text: &str) -> (&str, &str) {
    let Some(rest) = text.strip_prefix('"') else { return ("", text) };
    let mut escaped = false;
    let end = rest.find(|character| {
        let closes = character == '"' && !escaped;
        escaped = character == '\\' && !escaped;
        closes
    });
    let (quoted, rest) = rest.split_at(end.unwrap_or(rest.len()));
    (quoted, rest.strip_prefix('"').unwrap_or(rest))
}

/// What is wrong, and what can be written instead.
#[allow(clippy::needless_pass_by_value)] // made for map_err
pub(super) fn with_forms(reason: impl ToString) -> String {
    format!("{}. {FORMS}", reason.to_string().trim_end_matches('.'))
}
