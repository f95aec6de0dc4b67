//! Binding of `crate::store::shared`.

use std::cmp::Reverse;

use pyo3::exceptions::{PyIndexError, PyOSError, PyOverflowError, PyValueError};
use pyo3::prelude::*;

use super::int_enum::IntEnum;
use super::prefix::Prefix;
use crate::store::shared::{Counts, Incident, OutOfRange, Shared as Inner, Source, first_by_key};
use crate::store::spool::queue_id;

/// By the numbers of `Incident`.
static INCIDENT: IntEnum = IntEnum::new("Incident", &["NO_COMMON_TLS", "TLS_DONE", "IDLE_TLS"]);

/// By the numbers of `Suspicion`.
static SUSPICION: IntEnum = IntEnum::new("Suspicion", &["UNSUSPECTED", "IN_COMPANY", "ALONE"]);

impl From<OutOfRange> for PyErr {
    fn from(_: OutOfRange) -> Self {
        PyIndexError::new_err("no such slot or metric in the shared memory")
    }
}

/// A slot or the index of a metric: a negative or huge number is out of range like any other.
#[derive(Clone, Copy)]
pub(super) struct Index(pub(super) usize);

impl<'py> FromPyObject<'_, 'py> for Index {
    type Error = PyErr;

    fn extract(number: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        number.extract().map(Self).map_err(|error| {
            if error.is_instance_of::<PyOverflowError>(number.py()) { OutOfRange.into() } else { error }
        })
    }
}

fn source_of(packed: &[u8]) -> PyResult<Source> {
    Source::from_packed(packed).ok_or_else(|| PyValueError::new_err("a packed address has 4 or 16 octets"))
}

fn incident_of(kind: u8) -> PyResult<Incident> {
    match kind {
        0 => Ok(Incident::NoCommonTls),
        1 => Ok(Incident::TlsDone),
        2 => Ok(Incident::IdleTls),
        _ => Err(PyValueError::new_err("no such incident")),
    }
}

/// See `_native.pyi`.
#[pyclass(frozen, module = "mailmoat._native")]
pub struct Shared {
    pub(super) inner: Inner,
}

#[pymethods]
impl Shared {
    #[new]
    #[pyo3(signature = (workers, metrics, *, gauges=Vec::new(), sources=65_536))]
    fn new(workers: usize, metrics: usize, gauges: Vec<usize>, sources: usize) -> PyResult<Self> {
        let inner = Inner::new(workers, metrics, gauges, sources)
            .map_err(|error| PyOSError::new_err(format!("shared memory: {error}")))?;
        Ok(Self { inner })
    }

    #[getter]
    fn slots(&self) -> usize {
        self.inner.slots()
    }

    #[getter]
    fn size(&self) -> usize {
        self.inner.size()
    }

    #[pyo3(signature = (slot, index, n=1))]
    fn add(&self, slot: Index, index: Index, n: i64) -> PyResult<()> {
        Ok(self.inner.add(slot.0, index.0, n)?)
    }

    fn set(&self, slot: Index, index: Index, value: i64) -> PyResult<()> {
        Ok(self.inner.set(slot.0, index.0, value)?)
    }

    fn sum(&self, index: Index) -> PyResult<i64> {
        Ok(self.inner.sum(index.0)?)
    }

    fn greatest(&self, index: Index) -> PyResult<i64> {
        Ok(self.inner.greatest(index.0)?)
    }

    fn row(&self, slot: Index) -> PyResult<Vec<i64>> {
        Ok(self.inner.row(slot.0)?)
    }

    fn reset_gauges(&self, slot: Index) -> PyResult<()> {
        Ok(self.inner.reset_gauges(slot.0)?)
    }

    fn set_oldest_held(&self, slot: Index, since_ms: u64) -> PyResult<()> {
        Ok(self.inner.set_oldest_held(slot.0, since_ms)?)
    }

    fn oldest_held(&self) -> Option<usize> {
        self.inner.oldest_held()
    }

    fn request_eviction(&self, slot: Index) -> PyResult<()> {
        Ok(self.inner.request_eviction(slot.0)?)
    }

    fn take_eviction_requests(&self, slot: Index) -> PyResult<u64> {
        Ok(self.inner.take_eviction_requests(slot.0)?)
    }

    fn source_enter(&self, slot: Index, source: &[u8]) -> PyResult<Option<Counts>> {
        Ok(self.inner.source_enter(slot.0, Prefix::of_packed(source)?)?)
    }

    fn source_leave(&self, slot: Index, source: &[u8]) -> PyResult<()> {
        Ok(self.inner.source_leave(slot.0, Prefix::of_packed(source)?)?)
    }

    fn source_counts(&self, of: Option<&Prefix>, most: usize) -> (Vec<(String, u64)>, usize) {
        let counts = self.inner.source_counts(of.map(|prefix| prefix.inner));
        let order = |(prefix, count): &(_, u64)| (Reverse(*count), *prefix);
        let (counts, left_out) = first_by_key(counts.into_iter().collect(), most, order);
        (counts.into_iter().map(|(prefix, count)| (prefix.to_string(), count)).collect(), left_out)
    }

    fn source_clear(&self, slot: Index) -> PyResult<()> {
        Ok(self.inner.source_clear(slot.0)?)
    }

    fn notes_settle(&self, slot: Index, crashed: bool) -> PyResult<()> {
        Ok(self.inner.notes_settle(slot.0, crashed)?)
    }

    fn crashed_with(&self, tag: &str) -> Option<Vec<(String, u64)>> {
        let found = self.inner.crashed_with(self.inner.partition_key(tag))?;
        let named = |(sequence, suspicion)| (queue_id(tag, sequence), suspicion as u64);
        Some(found.into_iter().map(named).collect())
    }

    fn incident_add(&self, kind: u8, source: &[u8], now: u64, seconds: u64) -> PyResult<u64> {
        Ok(self.inner.incident_add(incident_of(kind)?, source_of(source)?, now, seconds))
    }

    fn incidents(&self, kind: u8, source: &[u8], now: u64) -> PyResult<u64> {
        Ok(self.inner.incidents(incident_of(kind)?, source_of(source)?, now))
    }
}

/// Adds this module's classes to the extension module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    INCIDENT.register(module)?;
    SUSPICION.register(module)?;
    module.add_class::<Shared>()
}
