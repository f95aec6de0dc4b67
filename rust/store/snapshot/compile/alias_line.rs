//! An alias: `address = address, address`, `@domain = @domain` for another name of a domain, or `@domain = address, address` for what is not listed there.
#![forbid(unsafe_code)]

use std::collections::HashSet;

use super::MOST_TARGETS;
use super::entry::{Entry, other_format, recipient_entry, unquoted, with_forms};
use super::notes::printable;
use crate::machine::message::address::{Address, Limits, normalise_domain};
use crate::store::snapshot::{Found, Scope};

/// The alias `name` with `targets`, which are separated by commas; `Err` says what is wrong and what to write.
pub(super) fn alias_entry(name: &str, targets: &str, scope: &Scope) -> Result<Entry, String> {
    let entry = recipient_entry(name, scope)?;
    if targets.is_empty() {
        return Err("nothing is behind the =. Write the addresses that get its mail, separated by commas".to_owned());
    }
    let parts: Vec<&str> = split(targets).map(str::trim).filter(|part| !part.is_empty()).collect();
    alias_of(entry, &parts, &scope.default_domain)
}

/// `entry` as an alias of `targets`. An exclusion cannot be one.
pub(super) fn alias_of(entry: Entry, targets: &[&str], default_domain: &str) -> Result<Entry, String> {
    match entry.kind {
        Found::Excluded => {
            Err("! says that an address does not exist, so it has no alias. Remove the ! or the =".to_owned())
        }
        Found::Domain if targets.iter().any(|target| target.starts_with('@')) => domain_alias(entry, targets),
        Found::Domain => Ok(Entry { kind: Found::CatchAll, targets: read_targets(targets, default_domain)?, ..entry }),
        _ => address_alias(entry, targets, default_domain),
    }
}

fn domain_alias(entry: Entry, targets: &[&str]) -> Result<Entry, String> {
    let Some(target) = targets.first().filter(|_| targets.len() == 1).and_then(|target| target.strip_prefix('@'))
    else {
        return Err("a domain is another name of one domain. Write @old.example = @new.example".to_owned());
    };
    let targets = normalise_domain(target.as_bytes()).map_err(with_forms)?;
    if targets == entry.key {
        return Err("a domain cannot be another name of itself. Remove the line".to_owned());
    }
    Ok(Entry { kind: Found::AliasDomain, targets, ..entry })
}

fn address_alias(entry: Entry, targets: &[&str], default_domain: &str) -> Result<Entry, String> {
    if entry.key.split('@').next() == Some("postmaster") {
        return Err("postmaster is accepted without a question to the directory. Set recipients.postmaster".to_owned());
    }
    Ok(Entry { kind: Found::Alias, targets: read_targets(targets, default_domain)?, ..entry })
}

/// Addresses, one a line, each once.
fn read_targets(targets: &[&str], default_domain: &str) -> Result<String, String> {
    if targets.len() > MOST_TARGETS {
        return Err(format!(
            "it has more than {MOST_TARGETS} addresses. Use a group of the mail system behind this server"
        ));
    }
    let (mut lines, mut known) = (Vec::with_capacity(targets.len()), HashSet::new());
    for target in targets {
        let line = read_target(target, default_domain)
            .map_err(|reason| format!("\"{}\": {reason}", printable(target.as_bytes())))?;
        if known.insert(line.clone()) {
            lines.push(line);
        }
    }
    Ok(lines.join("\n"))
}

fn read_target(text: &str, default_domain: &str) -> Result<String, String> {
    if text.starts_with(['@', '!']) {
        return Err("only addresses may be behind the =. Write user@domain".to_owned());
    }
    if let Some(fix) = other_format(text) {
        return Err(fix);
    }
    let address = Address::parse(text.as_bytes(), &Limits::default()).map_err(with_forms)?;
    let address = address.with_default_domain(default_domain);
    if address.domain().is_empty() {
        return Err("it has no domain and there is no default domain. Write user@domain".to_owned());
    }
    if address.may_route() {
        return Err(
            "another server may read it as a program, a file or an address elsewhere. Write another one".to_owned()
        );
    }
    Ok(address.to_string())
}

/// The parts between commas that are not between quotes.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut start = 0;
    let commas: Vec<usize> = unquoted(text).filter(|(_, character)| *character == ',').map(|(at, _)| at).collect();
    commas.into_iter().chain([text.len()]).filter_map(move |end| {
        let part = text.get(start..end);
        start = end + 1;
        part
    })
}
