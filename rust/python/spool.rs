//! Binding of `crate::store::spool`.
// What comes from Python is owned.
#![allow(clippy::needless_pass_by_value)]

use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::message::Message;
use super::recipient::{Outcome, Recipient};
use crate::store::spool::{self, Adopted, Next, Sealed};

/// See `_native.pyi`.
#[pyclass(frozen, module = "mailmoat._native")]
pub struct Partition(spool::Partition<Py<PyAny>>);

#[pymethods]
impl Partition {
    #[staticmethod]
    fn create(py: Python<'_>, spool_dir: PathBuf) -> PyResult<Self> {
        Ok(Self(py.detach(|| spool::Partition::create(&spool_dir, now_ms()))?))
    }

    #[staticmethod]
    fn adopt(py: Python<'_>, spool_dir: PathBuf) -> PyResult<Option<Bound<'_, PyAny>>> {
        // Workers that begin in the same instant begin at different places: their process ids follow each other.
        let turn = std::process::id() as usize;
        match py.detach(|| spool::Partition::adopt(&spool_dir, turn))? {
            None => Ok(None),
            Some(Adopted::Partition(partition)) => Ok(Some(Bound::new(py, Self(partition))?.into_any())),
            Some(Adopted::Sealed(sealed)) => Ok(Some(Bound::new(py, SealedPartition(sealed))?.into_any())),
        }
    }

    #[getter]
    fn tag(&self) -> &str {
        self.0.tag()
    }

    #[getter]
    fn descriptor(&self) -> i32 {
        self.0.descriptor().as_raw_fd()
    }

    #[getter]
    fn incoming_dir(&self) -> String {
        self.0.incoming().to_string_lossy().into_owned()
    }

    #[getter]
    fn healthy(&self) -> bool {
        self.0.healthy()
    }

    #[getter]
    fn in_place(&self) -> bool {
        self.0.in_place()
    }

    #[getter]
    fn count(&self) -> i64 {
        self.0.len()
    }

    #[getter]
    fn spare(&self) -> u64 {
        self.0.spare()
    }

    fn next_queue_id(&self) -> String {
        self.0.next_queue_id()
    }

    fn insert(&self, waiter: Py<PyAny>, message: &Message) -> PyResult<()> {
        self.0.insert(waiter, Arc::clone(&message.0)).map_err(raised)
    }

    #[pyo3(signature = (waiter, queue_id, outcomes, *, due, attempts, next_hop=String::new()))]
    fn settle(
        &self,
        waiter: Option<Py<PyAny>>,
        queue_id: &str,
        outcomes: Vec<PyRef<'_, Outcome>>,
        due: i64,
        attempts: u32,
        next_hop: String,
    ) -> PyResult<()> {
        let outcomes = outcomes.iter().map(|outcome| outcome.0.clone()).collect();
        self.0.settle(waiter, queue_id, outcomes, Next { due, attempts, next_hop }).map_err(raised)
    }

    fn remove(&self, queue_id: &str) -> PyResult<()> {
        self.0.remove(queue_id).map_err(raised)
    }

    fn load(&self, waiter: Py<PyAny>, queue_id: &str) -> PyResult<()> {
        self.0.load(waiter, queue_id).map_err(raised)
    }

    fn completions(&self) -> Vec<(Py<PyAny>, Option<String>, Option<Message>)> {
        let news = self.0.completions().into_iter();
        news.map(|one| match one.result {
            Ok(message) => (one.waiter, None, message.map(Message)),
            Err(text) => (one.waiter, Some(text), None),
        })
        .collect()
    }

    fn schedule(&self, py: Python<'_>) -> PyResult<Vec<Scheduled>> {
        Ok(py.detach(|| self.0.schedule())?.into_iter().map(Scheduled).collect())
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        Ok(py.detach(|| self.0.close())?)
    }
}

/// See `_native.pyi`.
#[pyclass(frozen, eq, module = "mailmoat._native")]
#[derive(PartialEq)]
pub struct Scheduled(spool::Scheduled);

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
pub struct SealedPartition(Sealed);

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

/// See `_native.pyi`.
#[pyfunction]
fn newer_partitions(py: Python<'_>, spool_dir: PathBuf) -> PyResult<Vec<(String, Option<i64>)>> {
    Ok(py.detach(|| spool::newer(&spool_dir))?)
}

/// See `_native.pyi`.
#[pyfunction]
fn list_spool(py: Python<'_>, spool_dir: PathBuf) -> PyResult<Vec<Bound<'_, PyDict>>> {
    let listed = py.detach(|| spool::list(&spool_dir))?;
    listed.into_iter().map(|entry| listed_entry(py, entry)).collect()
}

/// See `_native.pyi`.
#[pyfunction]
fn count_spool(py: Python<'_>, spool_dir: PathBuf) -> PyResult<i64> {
    Ok(py.detach(|| spool::count(&spool_dir))?)
}

fn listed_entry(py: Python<'_>, entry: spool::Listed) -> PyResult<Bound<'_, PyDict>> {
    let recipients: Vec<Recipient> = entry.recipients.into_iter().map(Recipient).collect();
    let dict = PyDict::new(py);
    dict.set_item("queue_id", entry.queue_id)?;
    dict.set_item("arrival", entry.arrival)?;
    dict.set_item("reverse_path", entry.reverse_path)?;
    dict.set_item("size", entry.size)?;
    dict.set_item("recipients", recipients)?;
    dict.set_item("partition", entry.partition)?;
    dict.set_item("owned", entry.owned)?;
    Ok(dict)
}

/// A queue id of another partition is the caller's mistake; the rest is the system's.
fn raised(error: io::Error) -> PyErr {
    match error.kind() {
        io::ErrorKind::InvalidInput => PyValueError::new_err(error.to_string()),
        _ => error.into(),
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or_default()
}

/// Adds this module's classes and functions to the extension module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Partition>()?;
    module.add_class::<Scheduled>()?;
    module.add_class::<SealedPartition>()?;
    module.add_function(wrap_pyfunction!(newer_partitions, module)?)?;
    module.add_function(wrap_pyfunction!(list_spool, module)?)?;
    module.add_function(wrap_pyfunction!(count_spool, module)?)
}
