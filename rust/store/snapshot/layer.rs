//! One file of a snapshot, mapped: a whole one, or the changes upon one. The layout is in `format.rs`.

use std::io;
use std::path::{Path, PathBuf};

use memmap2::{Advice, Mmap};

use super::format::{HEADER, Header, OFFSET_BITS, OFFSET_MASK, PAIR, Record, hash, word};
use super::{Found, Input, Scope};
use crate::store::mapped;

/// A mapped file.
pub(super) struct Layer {
    map: Mmap,
    pub header: Header,
}

impl Layer {
    /// Maps the file at `path`; `InvalidData` when it is none, of another version, or cut short.
    pub fn open(path: &Path) -> io::Result<Self> {
        let map = mapped::open(path)?;
        let header = Header::decode(&map).map_err(|what| io::Error::new(io::ErrorKind::InvalidData, what))?;
        map.advise(Advice::WillNeed)?;
        Ok(Self { map, header })
    }

    /// By what changes know their base: all that the file was made from. Never 0.
    pub fn mark(&self) -> u64 {
        hash(false, self.part(0, self.header.records().unwrap_or_default())) | 1
    }

    /// Whether it was made from the inputs of these names for this scope.
    pub fn is_for(&self, inputs: &[Input], scope: &Scope) -> bool {
        self.part(HEADER as u64, self.header.scope) == scope.text(inputs).as_bytes()
    }

    /// The number that `input` had among those that it was made from, whatever the scope was: where it stands between quotes, quotes are
    /// escaped. Another one where the order of rows is another.
    pub fn number_of(&self, input: &Input) -> Option<u8> {
        let scope = self.part(HEADER as u64, self.header.scope);
        let is_there = |number: &u8| {
            let input = Input { number: *number, ..input.clone() };
            memchr::memmem::find(scope, format!("{input:?}").as_bytes()).is_some()
        };
        std::iter::once(input.number).chain(1..=u8::MAX).find(is_there)
    }

    /// Whether the same spellings were one mailbox when it was made.
    pub fn is_spelt_as(&self, scope: &Scope) -> bool {
        self.part(HEADER as u64, self.header.scope).ends_with(scope.spelling().as_bytes())
    }

    /// The tables it was compiled from: their numbers, each with what `table_state` said then.
    pub fn tables(&self) -> Vec<(u8, String)> {
        let text = self.part((HEADER as u64).saturating_add(self.header.scope), self.header.states);
        let lines = std::str::from_utf8(text).unwrap_or_default().lines();
        lines
            .filter_map(|line| line.split_once(' '))
            .filter_map(|(number, state)| Some((number.parse().ok()?, state.to_owned())))
            .collect()
    }

    fn part(&self, start: u64, length: u64) -> &[u8] {
        let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
        self.map.get(at(start)..at(start.saturating_add(length))).unwrap_or_default()
    }

    /// The record with this key and its hash to which the table leads. `None`: the file contradicts itself. `Some(None)`: no such record.
    #[allow(clippy::option_option)]
    pub fn find(&self, domain: bool, key: &[u8], hash: u64) -> Option<Option<Record<'_>>> {
        let (table, slots) = (usize::try_from(self.header.table).ok()?, self.header.slots);
        for step in 0..slots {
            let slot = hash.wrapping_add(step) & (slots - 1);
            match word(&self.map, table.checked_add(usize::try_from(slot).ok()?.checked_mul(8)?)?)? {
                0 => return Some(None),
                entry if entry >> OFFSET_BITS == hash >> OFFSET_BITS => {
                    let record = self.record(entry & OFFSET_MASK)?;
                    if record.key == key && record.kind.is_domain() == domain {
                        return Some(Some(record));
                    }
                }
                _ => {}
            }
        }
        None
    }

    /// The records of the inputs that have this key, in their order. None: the file contradicts itself.
    pub fn of_inputs(&self, domain: bool, key: &[u8]) -> Option<Vec<Record<'_>>> {
        let hash = hash(domain, key);
        let others = self.paired(0, self.header.others, hash)?;
        let of_key = others.into_iter().filter(|record| record.key == key && record.kind.is_domain() == domain);
        let records: Vec<Record<'_>> = of_key.collect();
        Some(if records.is_empty() { self.find(domain, key, hash)?.into_iter().collect() } else { records })
    }

    /// The aliases that lead to the address with this key, and perhaps some that do not. None: the file contradicts itself.
    pub fn dependents(&self, key: &[u8]) -> Option<Vec<Record<'_>>> {
        self.paired(self.header.others, self.header.dependents, hash(false, key))
    }

    /// Gives each record of the inputs with its offset, in no order; of a key that other records decide about, too. None: the file contradicts itself.
    pub fn each_of_inputs<'s>(&'s self, mut take: impl FnMut(u64, Record<'s>)) -> Option<()> {
        let others = self.pairs(0, self.header.others)?;
        let of_others: Vec<(u64, u64)> =
            others.chunks_exact(PAIR).map(|pair| Some((word(pair, 0)?, word(pair, 8)?))).collect::<Option<_>>()?;
        for (_, at) in &of_others {
            take(*at, self.record(*at)?);
        }
        let table = self.part(self.header.table, self.header.slots.checked_mul(8)?);
        for slot in table.chunks_exact(8) {
            let at = word(slot, 0)? & OFFSET_MASK;
            if at == 0 {
                continue;
            }
            let record = self.record(at)?;
            let hash = hash(record.kind.is_domain(), record.key);
            if of_others.binary_search_by_key(&hash, |(hash, _)| *hash).is_err() {
                take(at, record);
            }
        }
        Some(())
    }

    /// The list of `count` pairs from the pair number `first`.
    fn pairs(&self, first: u64, count: u64) -> Option<&[u8]> {
        let start = self.header.pairs()?.checked_add(first.checked_mul(PAIR as u64)?)?;
        Some(self.part(start, count.checked_mul(PAIR as u64)?))
    }

    /// The records that are paired with `hash` in the list of `count` pairs from the pair number `first`.
    fn paired(&self, first: u64, count: u64, hash: u64) -> Option<Vec<Record<'_>>> {
        let pairs = self.pairs(first, count)?;
        let pair = |number: usize| pairs.get(number * PAIR..(number + 1) * PAIR);
        let (mut from, mut to) = (0, pairs.len() / PAIR);
        while from < to {
            let middle = usize::midpoint(from, to);
            if word(pair(middle)?, 0)? < hash { from = middle + 1 } else { to = middle }
        }
        let equal = (from..).map_while(pair).take_while(|pair| word(pair, 0) == Some(hash));
        equal.map(|pair| self.record(word(pair, 8)?)).collect()
    }

    /// The record at an offset; None when there is none.
    pub fn record(&self, at: u64) -> Option<Record<'_>> {
        let records = self.map.get(..usize::try_from(self.header.table).ok()?)?;
        let record = Record::read(records.get(usize::try_from(at).ok()?..)?)?;
        (record.kind != Found::Absent || self.header.base != 0).then_some(record)
    }
}

/// Where the base with this mark of the snapshot at `path` is.
pub(super) fn base_path(path: &Path, mark: u64) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{mark:016x}.base"));
    PathBuf::from(name)
}
