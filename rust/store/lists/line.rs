//! One line of a source: an entry, nothing, or what is wrong with it and what to write instead.
#![forbid(unsafe_code)]

use std::fmt::Write;

use super::{MAX_REASON, Terms, read_time, write_time};
use crate::machine::prefix::{BadPrefix, Prefix};

/// Longest line, in octets.
pub const MAX_LINE: usize = 2048;

/// The entry on a line, if there is one.
pub fn read_line(line: &[u8]) -> Result<Option<(Prefix, Terms)>, String> {
    if line.len() > MAX_LINE {
        return Err(format!("the line is longer than {MAX_LINE} octets. Write one entry a line"));
    }
    if line.contains(&0) {
        return Err("it has NUL octets, as UTF-16 has. Save the file as UTF-8".to_owned());
    }
    let Ok(line) = std::str::from_utf8(line) else {
        return Err("it is not UTF-8. Save the file as UTF-8".to_owned());
    };
    let (entry, comment) = line.find(['#', ';']).map_or((line, ""), |at| line.split_at(at));
    let mut words = entry.split_whitespace();
    let Some(prefix) = words.next() else { return Ok(None) };
    let prefix: Prefix = prefix.parse().map_err(|bad: BadPrefix| bad.to_string())?;
    let mut terms = Terms { reason: reason(comment.trim_start_matches(['#', ';'])), ..Terms::default() };
    for word in words {
        let (name, time) = word.split_once('=').unwrap_or((word, ""));
        let field = match name {
            "since" => &mut terms.since,
            "until" => &mut terms.until,
            _ => return Err(format!("\"{}\" means nothing here. Write a reason after #", shown(word))),
        };
        *field = read_time(time).filter(|time| *time > 0).ok_or_else(|| {
            format!("\"{}\" is not a time. Write it as {name}=2030-12-31 or {name}=2030-12-31T18:00:00Z", shown(word))
        })?;
    }
    Ok(Some((prefix, terms)))
}

/// Adds the line of an entry.
pub fn write_line(text: &mut String, prefix: Prefix, terms: &Terms) {
    let _ = write!(text, "{prefix:#}"); // writing to a string does not fail
    for (name, time) in [("since", terms.since), ("until", terms.until)] {
        if time > 0 {
            let _ = write!(text, " {name}={}", write_time(time));
        }
    }
    if !terms.reason.is_empty() {
        let _ = write!(text, " # {}", terms.reason);
    }
    text.push('\n');
}

/// A reason as it is kept: without control characters, cut to `MAX_REASON` octets.
pub fn reason(text: &str) -> String {
    let mut kept = String::new();
    for character in text.trim().chars() {
        let character = if character.is_control() { ' ' } else { character };
        if kept.len() + character.len_utf8() > MAX_REASON {
            break;
        }
        kept.push(character);
    }
    kept.truncate(kept.trim_end().len());
    kept
}

/// What a terminal and a log can show of a foreign word, cut to 60 characters.
fn shown(word: &str) -> String {
    word.chars().take(60).flat_map(char::escape_debug).collect()
}
