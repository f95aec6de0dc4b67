//! Follows aliases to the addresses at their ends, so that a lookup finds those at once.
//!
//! An alias that is among its own targets is delivered to itself as well: that is forwarding with a copy. What leads back to an alias in
//! another way, is too long a chain or has too many ends is a mistake in the text file. In a table it is a warning, and the address
//! is delivered to itself: one that exists is never lost over its targets. An alias of the text file ends at the alias of a table that cannot
//! be followed: who may write into a directory makes no mistake of the file, which would keep the snapshot from being replaced.
#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::io;

use super::MOST_TARGETS;
use super::draft::{Draft, MOST_DEPENDENTS};
use super::notes::{Notes, printable};
use super::steps::{MOST_STEPS, Steps};
use super::stored::{Records, Stored};
use crate::machine::message::address::{Address, Limits};
use crate::store::snapshot::format::{Record, hash};
use crate::store::snapshot::{Found, LONGEST_CHAIN, Scope};

/// Why an alias cannot be followed.
enum Fault {
    /// The draft cannot be read.
    Disk(io::Error),
    /// What is wrong with the alias.
    Alias(String),
    /// The same, where a table has a part in it.
    Table(String),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

/// Follows all aliases of a draft whose table is made.
pub(super) fn follow(draft: &mut Draft, scope: &Scope, problems: &mut Notes, warnings: &mut Notes) -> io::Result<()> {
    let (mut replaced, mut steps) = (Vec::new(), Steps::default());
    for at in std::mem::take(&mut draft.aliases) {
        let stored = draft.stored(at)?;
        let Some(record) = stored.record() else { continue };
        if !draft.decides(at, &record)? {
            continue;
        }
        let Followed { kind, targets, looked_at } = followed(draft, scope, &record, &mut steps, problems, warnings)?;
        if draft.dependents.len() < MOST_DEPENDENTS {
            draft.dependents.extend(looked_at.into_iter().map(|hash| (hash, at)));
        }
        if targets.as_bytes() != record.targets {
            replaced.push((at, draft.append(Record { kind, targets: targets.as_bytes(), ..record })?));
        }
    }
    for (old, new) in replaced {
        let stored = draft.stored(old)?;
        if let Some(record) = stored.record() {
            draft.replace(old, new, &record)?;
        }
    }
    draft.steps = steps;
    Ok(())
}

/// What becomes of an alias that is followed.
pub(super) struct Followed {
    /// Of its record.
    pub kind: Found,
    /// The addresses at its ends, one a line, or the other domain.
    pub targets: String,
    /// Hashes of the keys of addresses that were looked at, without its own: as long as those and all domains stay, so does this.
    pub looked_at: HashSet<u64>,
}

/// Follows one alias.
pub(super) fn followed(
    records: &impl Records,
    scope: &Scope,
    record: &Record<'_>,
    steps: &mut Steps,
    problems: &mut Notes,
    warnings: &mut Notes,
) -> io::Result<Followed> {
    let note = |reason: &str| {
        let place = if record.source == 0 { "line" } else { "entry" };
        format!("{place} {}: \"{}\": {reason}", record.line, printable(record.key))
    };
    let mut followed =
        Followed { kind: record.kind, targets: text(record.targets).to_owned(), looked_at: HashSet::new() };
    match ends_of(records, scope, record, steps, &mut followed.looked_at) {
        Ok(ends) => {
            for end in &ends.missing {
                warnings.add(record.source, note(&format!("its mail goes to {end}, which is not listed")));
            }
            followed.targets = ends.lines.join("\n");
        }
        Err(Fault::Disk(error)) => return Err(error),
        Err(Fault::Alias(reason)) if record.source == 0 => problems.add(0, note(&reason)),
        Err(Fault::Alias(reason) | Fault::Table(reason)) => {
            warnings.add(record.source, note(&format!("{reason}. It is delivered to itself")));
            // A circle of domains stays one: its addresses are unknown then, which refuses nobody for good.
            if record.kind != Found::AliasDomain {
                followed.kind = if record.kind == Found::CatchAll { Found::Domain } else { Found::Address };
                followed.targets = String::new();
            }
        }
    }
    if !record.kind.is_domain() {
        followed.looked_at.remove(&hash(false, record.key));
    }
    Ok(followed)
}

fn ends_of(
    records: &impl Records,
    scope: &Scope,
    record: &Record<'_>,
    steps: &mut Steps,
    looked_at: &mut HashSet<u64>,
) -> Result<Ends, Fault> {
    if record.kind == Found::AliasDomain {
        check_domain(records, text(record.key))?;
        return Ok(Ends { lines: vec![text(record.targets).to_owned()], missing: Vec::new() });
    }
    let mut walk = Walk {
        records,
        scope,
        path: vec![text(record.key).to_owned()],
        followed: Seen::default(),
        ended: Seen::default(),
        looked_at,
        source: record.source,
        steps,
        has_table: false,
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

/// Keys, in the order in which they came.
#[derive(Default)]
struct Seen {
    keys: HashSet<String>,
    order: Vec<String>,
}

impl Seen {
    /// Whether it is a new one.
    fn insert(&mut self, key: String) -> bool {
        let is_new = self.keys.insert(key.clone());
        if is_new {
            self.order.push(key);
        }
        is_new
    }

    /// Takes back all after the first so many.
    fn truncate(&mut self, length: usize) {
        for key in self.order.drain(length..) {
            self.keys.remove(&key);
        }
    }
}

struct Walk<'a, R> {
    records: &'a R,
    scope: &'a Scope,
    /// Keys of the aliases from the first to the one that is looked at.
    path: Vec<String>,
    /// Keys of the aliases that were followed.
    followed: Seen,
    /// Keys of the ends: an alias that is its own target is among both.
    ended: Seen,
    /// Hashes of the keys of addresses that were looked at.
    looked_at: &'a mut HashSet<u64>,
    /// Number of the input of the first alias; 0 is the text file.
    source: u8,
    steps: &'a mut Steps,
    /// Whether an alias of a table was followed.
    has_table: bool,
    ends: Ends,
}

impl<R: Records> Walk<'_, R> {
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
                self.has_table |= alias.source != 0;
                let before =
                    (self.path.len(), self.followed.order.len(), self.ended.order.len(), self.ends.missing.len());
                match self.alias(name, alias) {
                    Err(Fault::Alias(_) | Fault::Table(_)) if self.source == 0 && alias.source != 0 => {
                        self.path.truncate(before.0);
                        self.followed.truncate(before.1);
                        self.ended.truncate(before.2);
                        self.ends.lines.truncate(before.2);
                        self.ends.missing.truncate(before.3);
                    }
                    followed => return followed,
                }
            }
        }
        if self.ended.insert(self.scope.normalisation.key(&address)) {
            if self.ends.lines.len() >= MOST_TARGETS {
                return Err(fault(format!("it leads to more than {MOST_TARGETS} addresses"), self.has_table));
            }
            let is_missing = !record.map_or(found.is_some(), |record| record.kind != Found::Excluded);
            if is_missing && self.scope.local_domains.contains(address.domain()) {
                self.ends.missing.push(address.to_string());
            }
            self.ends.lines.push(address.to_string());
        }
        Ok(())
    }

    fn alias(&mut self, key: String, alias: &Record<'_>) -> Result<(), Fault> {
        if self.path.contains(&key) {
            return Err(Fault::Alias(format!("it leads back to {key}")));
        }
        if self.path.len() >= LONGEST_CHAIN {
            return Err(Fault::Alias(format!("more than {LONGEST_CHAIN} aliases lead from one to the next")));
        }
        if self.followed.insert(key.clone()) {
            let targets = text(alias.targets);
            if !self.steps.take(self.source, alias.source, targets.lines().count()) {
                let reason = format!("aliases that lead to aliases have more than {MOST_STEPS} targets in all");
                return Err(fault(reason, alias.source != 0));
            }
            self.path.push(key);
            self.all(targets)?;
            self.path.pop();
        }
        Ok(())
    }

    /// The address, at the domain that its own is another name of, and the record of it or of that domain.
    fn find(&mut self, mut address: Address) -> Result<(Address, Option<Stored>), Fault> {
        let mut has_table = false;
        for _ in 0..=LONGEST_CHAIN {
            let key = self.scope.normalisation.key(&address);
            self.looked_at.insert(hash(false, key.as_bytes()));
            if let Some(found) = self.records.find(false, key.as_bytes())? {
                return Ok((address, Some(found)));
            }
            let by_domain = self.records.find(true, address.domain().as_bytes())?;
            let other = by_domain.as_ref().and_then(Stored::record).filter(|record| record.kind == Found::AliasDomain);
            let Some(other) = other else { return Ok((address, by_domain)) };
            has_table |= other.source != 0;
            address = address.at_domain(text(other.targets));
        }
        Err(circle(address.domain(), has_table))
    }
}

/// Follows a chain of domains to its end.
fn check_domain(records: &impl Records, domain: &str) -> Result<(), Fault> {
    let (mut domain, mut has_table) = (domain.to_owned(), false);
    for _ in 0..=LONGEST_CHAIN {
        let found = records.find(true, domain.as_bytes())?;
        let record = found.as_ref().and_then(Stored::record);
        let Some(other) = record.filter(|record| record.kind == Found::AliasDomain) else { return Ok(()) };
        has_table |= other.source != 0;
        text(other.targets).clone_into(&mut domain);
    }
    Err(circle(&domain, has_table))
}

fn circle(domain: &str, has_table: bool) -> Fault {
    let reason = format!(
        "{domain} leads back to itself, or more than {LONGEST_CHAIN} domains are each another name of the next"
    );
    fault(reason, has_table)
}

fn fault(reason: String, has_table: bool) -> Fault {
    if has_table { Fault::Table(reason) } else { Fault::Alias(reason) }
}

/// Of a record, which is written from text.
fn text(octets: &[u8]) -> &str {
    std::str::from_utf8(octets).unwrap_or_default()
}
