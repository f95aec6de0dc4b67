//! Binding of the values that a partition of `crate::store::spool` takes and gives.

use pyo3::prelude::*;

use crate::store::spool;

/// See `_native.pyi`.
#[pyclass(frozen, eq, module = "mailmoat._native")]
#[derive(PartialEq)]
pub struct AttemptRow(pub spool::AttemptRow);

#[pymethods]
impl AttemptRow {
    #[new]
    #[pyo3(signature = (*, at, next_hop, peer))]
    fn new(at: i64, next_hop: String, peer: String) -> Self {
        Self(spool::AttemptRow { at, next_hop, peer })
    }

    #[getter]
    fn at(&self) -> i64 {
        self.0.at
    }

    #[getter]
    fn next_hop(&self) -> &str {
        &self.0.next_hop
    }

    #[getter]
    fn peer(&self) -> &str {
        &self.0.peer
    }
}

/// See `_native.pyi`.
#[pyclass(frozen, module = "mailmoat._native")]
pub struct DamagedMessage(pub String);

#[pymethods]
impl DamagedMessage {
    #[getter]
    fn reason(&self) -> &str {
        &self.0
    }
}

/// See `_native.pyi`.
#[pyclass(frozen, eq, module = "mailmoat._native")]
#[derive(PartialEq)]
pub struct Scheduled(pub spool::Scheduled);

#[pymethods]
impl Scheduled {
    #[getter]
    fn queue_id(&self) -> &str {
        &self.0.queue_id
    }

    #[getter]
    fn arrival(&self) -> i64 {
        self.0.arrival
    }

    #[getter]
    fn due(&self) -> i64 {
        self.0.next.due
    }

    #[getter]
    fn attempts(&self) -> u32 {
        self.0.next.attempts
    }

    #[getter]
    fn next_hop(&self) -> &str {
        &self.0.next.next_hop
    }
}

/// See `_native.pyi`.
#[pyclass(frozen, module = "mailmoat._native")]
pub struct SealedPartition(pub spool::Sealed);

#[pymethods]
impl SealedPartition {
    #[getter]
    fn tag(&self) -> &str {
        self.0.directory.tag()
    }

    #[getter]
    fn count(&self) -> Option<i64> {
        self.0.messages
    }

    #[getter]
    fn reason(&self) -> &str {
        &self.0.reason
    }
}

/// Adds this module's classes to the extension module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<AttemptRow>()?;
    module.add_class::<DamagedMessage>()?;
    module.add_class::<Scheduled>()?;
    module.add_class::<SealedPartition>()
}
