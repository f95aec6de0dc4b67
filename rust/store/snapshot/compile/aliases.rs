//! Follows aliases to the addresses at their ends, so that a lookup finds those at once.
//!
//! An alias that is among its own targets is delivered to itself as well: that is forwarding with a copy. What leads back to an alias in
//! another way, is too long a chain or has too many ends is a mistake in the text file. In a table it is a warning, and the address
//! is delivered to itself: one that exists is never lost over its targets.
#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::io;

use super::MOST_TARGETS;
use super::draft::{Draft, Stored};
use super::notes::{Notes, printable};
use crate::machine::message::address::{Address, Limits};
use crate::store::snapshot::format::Record;
use crate::store::snapshot::{Found, LONGEST_CHAIN, Scope};

/// Why an alias cannot be followed.
enum Fault {
    /// The draft cannot be read.
    Disk(io::Error),
    /// What is wrong with the alias.
    Alias(String),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

/// Follows all aliases of a draft whose table is made.
pub(super) fn follow(draft: &mut Draft, scope: &Scope, problems: &mut Notes, warnings: &mut Notes) -> io::Result<()> {
    let mut replaced = Vec::new();
    for at in std::mem::take(&mut draft.aliases) {
        let stored = draft.stored(at)?;
        let Some(record) = stored.record() else { continue };
        if !draft.decides(at, &record)? {
            continue;
        }
        let note = |reason: &str| {
            let place = if record.source == 0 { "line" } else { "entry" };
            format!("{place} {}: \"{}\": {reason}", record.line, printable(record.key))
        };
        match ends_of(draft, scope, &record) {
            Ok(ends) => {
                for end in &ends.missing {
                    warnings.add(record.source, note(&format!("its mail goes to {end}, which is not listed")));
                }
                let lines = ends.lines.join("\n");
                if lines.as_bytes() != record.targets {
                    replaced.push((at, draft.append(Record { targets: lines.as_bytes(), ..record })?));
                }
            }
            Err(Fault::Disk(error)) => return Err(error),
            Err(Fault::Alias(reason)) if record.source == 0 => problems.add(0, note(&reason)),
            Err(Fault::Alias(reason)) => {
                warnings.add(record.source, note(&format!("{reason}. It is delivered to itself")));
                // A circle of domains stays one: its addresses are unknown then, which refuses nobody for good.
                if record.kind != Found::AliasDomain {
                    let kind = if record.kind == Found::CatchAll { Found::Domain } else { Found::Address };
                    replaced.push((at, draft.append(Record { kind, targets: &[], ..record })?));
                }
            }
        }
    }
    for (old, new) in replaced {
        let stored = draft.stored(old)?;
        if let Some(record) = stored.record() {
            draft.replace(old, new, &record)?;
        }
    }
    Ok(())
}

fn ends_of(draft: &Draft, scope: &Scope, record: &Record<'_>) -> Result<Ends, Fault> {
    if record.kind == Found::AliasDomain {
        domain_end(draft, text(record.key))?;
        return Ok(Ends { lines: vec![text(record.targets).to_owned()], missing: Vec::new() });
    }
    let mut walk = Walk {
        draft,
        scope,
        path: vec![text(record.key).to_owned()],
        followed: HashSet::new(),
        ended: HashSet::new(),
        ends: Ends::default(),
    };
    walk.all(text(record.targets))?;
    Ok(walk.ends)
}

/// Where an alias leads to.
#[derive(Default)]
struct Ends {
    /// Its addresses, or the other domain.
    lines: Vec<String>,
    /// Those of them that are at local domains and not listed.
    missing: Vec<String>,
}

struct Walk<'a> {
    draft: &'a Draft,
    scope: &'a Scope,
    /// Keys of the aliases from the first to the one that is looked at.
    path: Vec<String>,
    /// Keys of the aliases that were followed.
    followed: HashSet<String>,
    /// Keys of the ends: an alias that is its own target is among both.
    ended: HashSet<String>,
    ends: Ends,
}

impl Walk<'_> {
    fn all(&mut self, targets: &str) -> Result<(), Fault> {
        targets.lines().try_for_each(|target| self.one(target))
    }

    fn one(&mut self, target: &str) -> Result<(), Fault> {
        let Ok(address) = Address::parse(target.as_bytes(), &Limits::default()) else { return Ok(()) };
        let (address, found) = self.find(address)?;
        let record = found.as_ref().and_then(Stored::record);
        // An entry for a whole domain is followed once, and ends where it leads to an address that it has itself.
        if let Some(alias) = record.as_ref().filter(|record| matches!(record.kind, Found::Alias | Found::CatchAll)) {
            let name = text(alias.key).to_owned();
            if self.path.last() != Some(&name) {
                return self.alias(name, text(alias.targets));
            }
        }
        if self.ended.insert(self.scope.normalisation.key(&address)) {
            if self.ends.lines.len() >= MOST_TARGETS {
                return Err(Fault::Alias(format!("it leads to more than {MOST_TARGETS} addresses")));
            }
            let is_missing = !record.map_or(found.is_some(), |record| record.kind != Found::Excluded);
            if is_missing && self.scope.local_domains.contains(address.domain()) {
                self.ends.missing.push(address.to_string());
            }
            self.ends.lines.push(address.to_string());
        }
        Ok(())
    }

    fn alias(&mut self, key: String, targets: &str) -> Result<(), Fault> {
        if self.path.contains(&key) {
            return Err(Fault::Alias(format!("it leads back to {key}")));
        }
        if self.path.len() >= LONGEST_CHAIN {
            return Err(Fault::Alias(format!("more than {LONGEST_CHAIN} aliases lead from one to the next")));
        }
        if self.followed.insert(key.clone()) {
            self.path.push(key);
            self.all(targets)?;
            self.path.pop();
        }
        Ok(())
    }

    /// The address, at the domain that its own is another name of, and the record of it or of that domain.
    fn find(&self, mut address: Address) -> Result<(Address, Option<Stored>), Fault> {
        for _ in 0..=LONGEST_CHAIN {
            if let Some(found) = self.draft.find(false, self.scope.normalisation.key(&address).as_bytes())? {
                return Ok((address, Some(found)));
            }
            let by_domain = self.draft.find(true, address.domain().as_bytes())?;
            let other = by_domain.as_ref().and_then(Stored::record).filter(|record| record.kind == Found::AliasDomain);
            let Some(other) = other.map(|record| text(record.targets).to_owned()) else {
                return Ok((address, by_domain));
            };
            address = address.at_domain(&other);
        }
        Err(circle(address.domain()))
    }
}

/// The domain at the end of a chain of domains.
fn domain_end(draft: &Draft, domain: &str) -> Result<String, Fault> {
    let mut domain = domain.to_owned();
    for _ in 0..=LONGEST_CHAIN {
        let found = draft.find(true, domain.as_bytes())?;
        let record = found.as_ref().and_then(Stored::record);
        let Some(other) = record.filter(|record| record.kind == Found::AliasDomain) else { return Ok(domain) };
        text(other.targets).clone_into(&mut domain);
    }
    Err(circle(&domain))
}

fn circle(domain: &str) -> Fault {
    Fault::Alias(format!(
        "{domain} leads back to itself, or more than {LONGEST_CHAIN} domains are each another name of the next"
    ))
}

/// Of a record, which is written from text.
fn text(octets: &[u8]) -> &str {
    std::str::from_utf8(octets).unwrap_or_default()
}
