//! Compiles what changed since the snapshot that is there, as a file of changes upon it; or says that all is to be compiled.
//!
//! The tables say which entries are others than when the base was compiled, and what those had. So the addresses that they have and had are
//! those that may be others, and the aliases that lead to one of these. Each of them is made anew of all records that the inputs have of it: those
//! of other entries are in the base. All that the changes before these changed is among it, so that changes are never upon changes.
//!
//! All is compiled where this is not worth it, not known or not enough: an entry for a domain is another one, as much hangs on that; too
//! much is another, or is followed; nothing is; no entry would count any more; the text file, the scope, an input is another; something is wrong.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::Path;

use super::aliases::{Followed, followed};
use super::draft::Draft;
use super::line::read_entry;
use super::notes::Notes;
use super::place::keep_base;
use super::rows::Reader;
use super::steps::Steps;
use super::stored::{Records, Stored};
use super::strangers::is_ours;
use super::targets::{Targets, are_united};
use super::{Compiled, Failure, Opened, Source, Text, repeated};
use crate::store::snapshot::format::{Record, hash};
use crate::store::snapshot::layer::Layer;
use crate::store::snapshot::table::Table;
use crate::store::snapshot::{Directory, Found, Input, Scope};

/// Most octets of records that are in memory.
const MOST_OCTETS: usize = 16 << 20;

/// Most addresses that may be others than in a snapshot of so many entries: a hundredth.
pub(super) fn most_of(entries: u64) -> u64 {
    entries / 100
}

/// What the inputs say of an address.
struct Said {
    /// Each record, in their order.
    records: Vec<Stored>,
    /// All together; None: nothing.
    one: Option<Stored>,
}

/// What is said of each address, by its key.
type Joined = BTreeMap<Vec<u8>, Said>;

/// What may be another than in the base.
struct Changes<'a> {
    inputs: &'a [Input],
    scope: &'a Scope,
    base: Layer,
    most: u64,
    /// Entries that are others, each by the number of its input and its own.
    touched: HashSet<(u8, u32)>,
    /// The addresses that may be others, by their keys, each with the records that these entries have now.
    keys: BTreeMap<Vec<u8>, Vec<Stored>>,
    /// Of the records in memory.
    octets: usize,
}

/// Compiles the changes upon the snapshot at `target`; None when all is to be compiled.
pub(super) fn compile(opened: &Opened<'_>, target: &Path, most: fn(u64) -> u64) -> Result<Option<Compiled>, Failure> {
    let Some(mut changes) = Changes::upon(opened, target, most) else { return Ok(None) };
    let (mut problems, mut warnings) = (Notes::default(), Notes::default());
    if changes.read(opened, &mut warnings)?.is_none() || changes.add_dependents().is_none() {
        return Ok(None);
    }
    let Some((joined, ours)) = changes.joined(&mut problems, &mut warnings) else { return Ok(None) };
    let base = &changes.base;
    let mark = base.mark();
    if !keep_base(target, mark)? {
        return Ok(None);
    }
    let mut draft = Draft::create(target, &opened.scope.text(opened.inputs), &opened.states)?;
    let (mut entries, mut steps, now) = (base.header.entries, Steps::default(), Now { joined: &joined, base });
    for (key, Said { records, one }) in &joined {
        let Some(before) = base.find(false, key, hash(false, key)) else { return Ok(None) };
        let record = one.as_ref().and_then(Stored::record);
        entries = (entries + u64::from(record.is_some())).saturating_sub(u64::from(before.is_some()));
        match record {
            None if before.is_none() => {}
            Some(record) if record.targets.is_empty() => draft.add(record)?,
            Some(record) => {
                let Followed { kind, targets, .. } =
                    followed(&now, opened.scope, &record, &mut steps, &mut problems, &mut warnings)?;
                draft.add(Record { kind, targets: targets.as_bytes(), ..record })?;
            }
            None => draft.add(Record { kind: Found::Absent, source: 0, line: 0, key, targets: &[] })?,
        }
        if records.len() > 1 || record.is_some_and(|record| !record.targets.is_empty()) {
            records.iter().filter_map(Stored::record).try_for_each(|record| draft.add_other(record))?;
        }
    }
    draft.end_input();
    draft.build_table(|_, _| ())?;
    if !steps.leave_half()
        || entries == 0
        || ours == 0
        || !problems.is_empty()
        || opened.text().map_or(Ok(false), Text::has_changed)?
    {
        return Ok(None);
    }
    draft.publish_changes(target, entries, opened.stamp(), mark)?;
    Ok(Some(Compiled { entries, warnings: warnings.list(), ..Compiled::default() }))
}

impl<'a> Changes<'a> {
    /// Upon what is at `target`; None when nothing can be.
    fn upon(opened: &Opened<'a>, target: &Path, most: fn(u64) -> u64) -> Option<Self> {
        let (inputs, scope, in_force) = (opened.inputs, opened.scope, Directory::open(target).ok()?);
        if !in_force.is_for(inputs, scope) || in_force.stamp() != opened.stamp() {
            return None;
        }
        let base = in_force.into_base();
        let most = most(base.header.entries);
        let is_base = base.header.ours > 0 && base.is_for(inputs, scope) && base.header.stamp == opened.stamp();
        is_base.then(|| Self { inputs, scope, base, most, touched: HashSet::new(), keys: BTreeMap::new(), octets: 0 })
    }

    /// Reads what changed in the tables; None when that is not known, nothing or too much.
    fn read(&mut self, opened: &Opened<'_>, warnings: &mut Notes) -> Result<Option<()>, Failure> {
        let then: BTreeMap<u8, String> = self.base.tables().into_iter().collect();
        for (input, source) in opened.inputs.iter().zip(&opened.sources) {
            let table = match source {
                Source::Text(_) => continue,
                Source::Table(table) => table,
                Source::Kept(kept) if then.get(&input.number).is_some_and(|then| *then == kept.state(self.scope)) => {
                    continue;
                }
                Source::Kept(_) => return Ok(None), // what the changes say of it is nowhere else
            };
            let wrong = |error| Failure::Source(input.path.clone(), error);
            let now = table.state().map_err(wrong)?;
            let Some(then) = then.get(&input.number) else { return Ok(None) };
            if *then == now {
                continue;
            }
            let Some((generation, digest)) = generation_before(then, &now) else { return Ok(None) };
            let Some(history) = table.history(generation, digest).map_err(wrong)? else { return Ok(None) };
            let mut entries = Vec::new();
            for (entry, text) in &history {
                let Ok(number) = u32::try_from(*entry) else { return Ok(None) };
                if self.touched.insert((input.number, number)) {
                    entries.push(*entry);
                }
                match read_entry(text, self.scope) {
                    Ok(Some(entry)) if entry.kind.is_domain() => return Ok(None),
                    Ok(Some(entry)) => drop(self.keys.entry(entry.key.into_bytes()).or_default()),
                    Ok(None) | Err(_) => {} // it is not in the base
                }
            }
            if self.is_too_much() || self.read_entries(input, table, &entries, warnings)?.is_none() {
                return Ok(None);
            }
        }
        Ok((!self.touched.is_empty()).then_some(()))
    }

    /// Reads what entries have now; None when one has a whole domain, or that is too much.
    fn read_entries(
        &mut self,
        input: &Input,
        table: &Table,
        entries: &[i64],
        warnings: &mut Notes,
    ) -> Result<Option<()>, Failure> {
        let mut reader = Reader::new(input, table, self.scope);
        for entry in entries {
            let (mut is_small, wrong) = (true, |error| Failure::Source(input.path.clone(), error));
            table.read_entry(*entry, wrong, |row| {
                let Some(entry) = reader.entry(&row) else { return Ok(true) };
                let stored = Stored::of(&reader.record(&row, &entry)).filter(|_| !entry.kind.is_domain());
                is_small = stored.as_ref().is_some_and(|stored| self.has_room_for(stored)) && !self.is_too_much();
                self.keys.entry(entry.key.into_bytes()).or_default().extend(stored);
                Ok(is_small)
            })?;
            if !is_small {
                return Ok(None);
            }
        }
        reader.warn(warnings);
        Ok(Some(()))
    }

    /// Adds the aliases that lead to what may be another; None when one is for a whole domain, or there are too many.
    fn add_dependents(&mut self) -> Option<()> {
        let mut names = Vec::new();
        for key in self.keys.keys() {
            for alias in self.base.dependents(key)? {
                names.push((!alias.kind.is_domain()).then(|| alias.key.to_vec())?);
            }
            if names.len() as u64 > self.most {
                return None;
            }
        }
        for name in names {
            self.keys.entry(name).or_default();
        }
        (!self.is_too_much()).then_some(())
    }

    /// What all inputs say of each address that may be another, before its alias is followed; and how many entries at local domains there are.
    fn joined(&mut self, problems: &mut Notes, warnings: &mut Notes) -> Option<(Joined, u64)> {
        let (mut joined, mut ours) = (Joined::new(), self.base.header.ours);
        for (key, new) in std::mem::take(&mut self.keys) {
            let domain = key.rsplit(|octet| *octet == b'@').next().unwrap_or_default();
            let counts = u64::from(is_ours(std::str::from_utf8(domain).ok()?, self.scope));
            let mut records: Vec<Stored> = Vec::new();
            for record in self.base.of_inputs(false, &key)? {
                if self.touched.contains(&(record.source, record.line)) {
                    ours = ours.checked_sub(counts)?;
                } else {
                    records.push(Stored::of(&record)?);
                }
            }
            ours += counts * new.len() as u64;
            records.extend(new);
            records.sort_by_key(|stored| stored.record().map(|record| self.place(&record)));
            let one = first_of(&records, |first, second| repeated(self.inputs, first, second, problems, warnings));
            if !records.iter().chain(&one).all(|stored| self.has_room_for(stored)) {
                return None;
            }
            joined.insert(key, Said { records, one });
        }
        Some((joined, ours))
    }

    /// Where a record comes among those of its key.
    fn place(&self, record: &Record<'_>) -> (usize, u32) {
        let rank = self.inputs.iter().position(|input| input.number == record.source);
        (rank.unwrap_or(usize::MAX), record.line)
    }

    fn has_room_for(&mut self, stored: &Stored) -> bool {
        self.octets += stored.octets();
        self.octets <= MOST_OCTETS
    }

    fn is_too_much(&self) -> bool {
        self.touched.len().max(self.keys.len()) as u64 > self.most
    }
}

/// The generation of the state `then` and the digest of its rows, if the table is `now` still read by the same.
fn generation_before<'s>(then: &'s str, now: &str) -> Option<(u64, &'s str)> {
    let ((identity, rows), (same, _)) = (then.rsplit_once(' ')?, now.rsplit_once(' ')?);
    let (generation, digest) = rows.split_once('.')?;
    (identity == same).then(|| generation.parse().ok().map(|generation| (generation, digest)))?
}

/// What the records of one key say together, in their order; `apart` gets two of which the first decides.
fn first_of(records: &[Stored], mut apart: impl FnMut(&Record<'_>, &Record<'_>)) -> Option<Stored> {
    let mut records = records.iter().filter_map(Stored::record);
    let first = records.next()?;
    let (united, others): (Vec<_>, Vec<_>) = records.partition(|other| are_united(&first, other));
    let mut targets = Targets::of(&first);
    for other in &united {
        targets.add(other);
    }
    let targets = if united.is_empty() { None } else { targets.others() };
    let all = targets.as_ref().map_or(first, |targets| {
        let kind = if first.kind == Found::CatchAll { first.kind } else { Found::Alias };
        Record { kind, targets: targets.as_bytes(), ..first }
    });
    for other in &others {
        apart(if other.source == first.source { &first } else { &all }, other);
    }
    Stored::of(&all)
}

/// Base and changes together, before aliases are followed.
struct Now<'a> {
    joined: &'a Joined,
    base: &'a Layer,
}

impl Records for Now<'_> {
    fn find(&self, is_domain: bool, key: &[u8]) -> io::Result<Option<Stored>> {
        if let Some(said) = self.joined.get(key).filter(|_| !is_domain) {
            return Ok(said.one.clone());
        }
        let records = self.base.of_inputs(is_domain, key).ok_or(io::ErrorKind::InvalidData)?;
        let records: Option<Vec<Stored>> = records.iter().map(Stored::of).collect();
        Ok(first_of(&records.ok_or(io::ErrorKind::InvalidData)?, |_, _| ()))
    }
}
