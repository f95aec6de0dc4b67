//! Binding of the records of sources and of harvest attacks in `crate::store::shared`.

use std::cmp::Reverse;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::int_enum::IntEnum;
use super::prefix::Prefix;
use super::shared::Shared;
use crate::machine::reputation::Kind;
use crate::store::shared::{Guess, Harvest as Inner, Record, Source};

/// By the numbers of `Scope`.
static SCOPE: IntEnum = IntEnum::new("HarvestScope", &["SOURCE", "NET", "DOMAIN"]);

type Row = (String, [u64; 9], u64, Option<u8>);

fn row(source: Source, record: Record) -> Row {
    (source.prefix().to_string(), record.counts, record.blocked, record.level())
}

/// See `_native.pyi`.
#[pyclass(frozen, module = "mailmoat._native")]
pub struct Harvest {
    inner: Inner,
}

#[pymethods]
impl Harvest {
    #[getter]
    fn scope(&self, py: Python<'_>) -> Py<PyAny> {
        SCOPE.member(py, self.inner.scope as u8)
    }

    #[getter]
    fn prefix(&self) -> &str {
        &self.inner.prefix
    }

    #[getter]
    fn domain(&self) -> &str {
        &self.inner.domain
    }

    #[getter]
    fn seconds(&self) -> u64 {
        self.inner.seconds
    }

    #[getter]
    fn guesses(&self) -> u64 {
        self.inner.guesses
    }

    #[getter]
    fn found(&self) -> u64 {
        self.inner.found
    }

    #[getter]
    fn sources(&self) -> u64 {
        self.inner.sources
    }
}

#[pymethods]
impl Shared {
    fn reputation_note(&self, kind: usize, address: &str, count: u64, now: u64) -> PyResult<Option<u8>> {
        let kind = Kind::numbered(kind).ok_or_else(|| PyValueError::new_err("no such kind of evidence"))?;
        Ok(Source::of(address).and_then(|source| self.inner.reputation_note(kind, source, count, now)))
    }

    fn reputation_of(&self, address: &str, now: u64) -> Option<Row> {
        let source = Source::of(address)?;
        self.inner.reputation_of(source, now).map(|record| row(source, record))
    }

    fn reputation_recipients(&self, address: &str, now: u64) -> (u64, u64) {
        let record = Source::of(address).and_then(|source| self.inner.reputation_of(source, now));
        record.map_or((0, 0), |record| (record.of(Kind::UNKNOWN), record.of(Kind::ACCEPTED)))
    }

    fn reputation_level(&self, address: &str, now: u64) -> Option<u8> {
        self.inner.reputation_of(Source::of(address)?, now)?.level()
    }

    fn reputation_blocks(&self, address: &str, now: u64) -> bool {
        Source::of(address).is_some_and(|source| self.inner.reputation_blocks(source, now))
    }

    fn reputation_block(&self, address: &str, now: u64, seconds: u64) -> bool {
        Source::of(address).is_some_and(|source| self.inner.reputation_block(source, now, seconds))
    }

    fn reputation_reset(&self, of: Option<&Prefix>, now: u64) -> usize {
        self.inner.reputation_reset(of.map(|prefix| prefix.inner), now)
    }

    fn reputation_list(&self, of: Option<&Prefix>, now: u64, most: usize) -> (Vec<Row>, usize) {
        let mut list = self.inner.reputation_list(of.map(|prefix| prefix.inner), now);
        list.sort_by_cached_key(|(source, record)| (Reverse((record.blocked, record.level())), source.prefix()));
        let left_out = list.len().saturating_sub(most);
        (list.into_iter().take(most).map(|(source, record)| row(source, record)).collect(), left_out)
    }

    fn reputation_dump<'py>(&self, py: Python<'py>, now: u64) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &py.detach(|| self.inner.reputation_dump(now)))
    }

    fn reputation_restore(&self, octets: &[u8], age: u64, now: u64) -> PyResult<usize> {
        let restored = self.inner.reputation_restore(octets, age, now);
        restored.ok_or_else(|| PyValueError::new_err("not what reputation_dump gives"))
    }

    fn reputation_save_due(&self, now: u64, seconds: u64) -> bool {
        self.inner.reputation_save_due(now, seconds)
    }

    fn harvest_guess(
        &self,
        address: &str,
        recipient: &str,
        domain: &str,
        now: u64,
        least: u64,
    ) -> Option<(Option<u8>, bool, Option<Harvest>)> {
        let guess = Guess { source: Source::of(address)?, recipient, domain, now, least };
        let guessed = self.inner.harvest_guess(guess);
        guessed.is_new.then(|| (guessed.level, guessed.in_attack, guessed.began.map(|inner| Harvest { inner })))
    }

    fn harvest_hit(&self, address: &str, now: u64) {
        if let Some(source) = Source::of(address) {
            self.inner.harvest_hit(source, now);
        }
    }

    fn harvests(&self) -> u64 {
        self.inner.harvests()
    }

    fn harvests_ended(&self, now: u64, least: u64) -> Vec<Harvest> {
        self.inner.harvests_ended(now, least).into_iter().map(|inner| Harvest { inner }).collect()
    }
}

/// Adds this module's classes to the extension module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    SCOPE.register(module)?;
    module.add_class::<Harvest>()
}
