//! One line of the source: an entry, nothing, or what is wrong with it and what to write instead.
#![forbid(unsafe_code)]

use super::alias_line::alias_entry;
use super::entry::{Entry, not_too_long, recipient_entry, unquoted};
use super::sender::sender_entry;
use crate::store::snapshot::{Form, Scope};

/// The entry on a line, if there is one; `Err` says what is wrong and what to write.
pub(super) fn read_line(line: &[u8], scope: &Scope) -> Result<Option<Entry>, String> {
    let Ok(line) = std::str::from_utf8(line) else {
        return Err("it is not UTF-8. Save the file as UTF-8".to_owned());
    };
    entry(before_comment(line).trim(), scope)
}

/// Whether a line that begins so is an alias.
pub(super) fn is_alias(beginning: &[u8]) -> bool {
    let whole = beginning.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    split_alias(before_comment(whole).trim()).is_some()
}

/// The entry in a row of a table, if there is one: the same notation, without comments and aliases.
pub(super) fn read_entry(row: &[u8], scope: &Scope) -> Result<Option<Entry>, String> {
    let text = std::str::from_utf8(row).map_err(|_| "it is not UTF-8".to_owned())?.trim();
    if text.is_empty() {
        return Ok(None);
    }
    recipient_entry(text, scope).and_then(not_too_long).map(Some)
}

fn entry(text: &str, scope: &Scope) -> Result<Option<Entry>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let entry = match scope.form {
        Form::Recipients => match split_alias(text) {
            Some((name, targets)) => alias_entry(name, targets, scope)?,
            None => recipient_entry(text, scope)?,
        },
        Form::Senders => sender_entry(text)?,
    };
    not_too_long(entry).map(Some)
}

/// Both sides of an ` = ` that is not between quotes: in an address there is no white space but there, and `=` alone is part of it.
fn split_alias(text: &str) -> Option<(&str, &str)> {
    memchr::memchr(b'=', text.as_bytes())?; // most lines have none
    let mut blank = false;
    for (at, character) in unquoted(text) {
        let rest = text.get(at + 1..).unwrap_or_default();
        if character == '=' && blank && (rest.is_empty() || rest.starts_with(char::is_whitespace)) {
            return Some((text.get(..at).unwrap_or_default().trim_end(), rest.trim_start()));
        }
        blank = character.is_whitespace();
    }
    None
}

/// The line up to a `#` that is at its start or after white space, and not between quotes.
fn before_comment(line: &str) -> &str {
    if memchr::memchr(b'#', line.as_bytes()).is_none() {
        return line;
    }
    let (mut quoted, mut escaped, mut blank) = (false, false, true);
    for (at, character) in line.char_indices() {
        match character {
            '#' if blank && !quoted => return line.get(..at).unwrap_or(line),
            '"' if !escaped => quoted = !quoted,
            _ => {}
        }
        escaped = quoted && !escaped && character == '\\';
        blank = character.is_whitespace();
    }
    line
}
