//! Binding of the read-only part of `crate::store::spool`: what is in the spool, for an operator's command.
// What comes from Python is owned.
#![allow(clippy::needless_pass_by_value)]

use std::collections::HashMap;
use std::path::PathBuf;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use super::int_enum::IntEnum;
use super::message::Message;
use super::recipient::{Outcome, Recipient};
use crate::store::spool::{self, Filter, Listed, Pattern, Shown, Status, StoredAttempt, Tally};

/// By the numbers of [`Status`].
static STATUS: IntEnum = IntEnum::new("QueueStatus", &["QUEUED", "DEFERRED", "HELD", "CRASHED", "DAMAGED"]);

/// See `_native.pyi`.
#[pyclass(frozen, module = "mailmoat._native")]
pub struct QueueFilter(Filter);

#[pymethods]
impl QueueFilter {
    #[new]
    #[pyo3(signature = (*, to=None, sender=None, next_hop=None, arrived_before=None, statuses=Vec::new()))]
    fn new(
        to: Option<&str>,
        sender: Option<&str>,
        next_hop: Option<&str>,
        arrived_before: Option<i64>,
        statuses: Vec<u8>,
    ) -> PyResult<Self> {
        let statuses = statuses.into_iter().map(Status::numbered).collect::<Option<_>>();
        Ok(Self(Filter {
            to: to.map(Pattern::parse),
            sender: sender.map(Pattern::parse),
            next_hop: next_hop.map(Pattern::glob),
            arrived_before,
            statuses: statuses.ok_or_else(|| PyValueError::new_err("not a QueueStatus"))?,
        }))
    }
}

/// See `_native.pyi`.
#[pyclass(frozen, get_all, module = "mailmoat._native")]
pub struct QueuePage {
    entries: Vec<Py<PyDict>>,
    after: Option<String>,
    examined: usize,
}

/// See `_native.pyi`.
#[pyclass(frozen, get_all, eq, module = "mailmoat._native")]
#[derive(Clone, PartialEq)]
pub struct QueueTally {
    recipients: i64,
    deferred: i64,
    oldest: i64,
}

/// See `_native.pyi`.
#[pyclass(frozen, get_all, module = "mailmoat._native")]
pub struct QueueStats {
    messages: i64,
    recipients: i64,
    octets: i64,
    oldest: Option<i64>,
    statuses: Vec<i64>,
    next_hops: HashMap<String, QueueTally>,
    domains: HashMap<String, QueueTally>,
}

/// See `_native.pyi`.
#[pyclass(frozen, module = "mailmoat._native")]
pub struct StoredMessage {
    shown: Shown,
    message: Py<Message>,
}

#[pymethods]
impl StoredMessage {
    #[getter]
    fn message(&self, py: Python<'_>) -> Py<Message> {
        self.message.clone_ref(py)
    }

    #[getter]
    fn status(&self, py: Python<'_>) -> Py<PyAny> {
        STATUS.member(py, self.shown.status as u8)
    }

    #[getter]
    fn crashes(&self) -> u32 {
        self.shown.crashes
    }

    #[getter]
    fn attempts(&self) -> Vec<QueueAttempt> {
        self.shown.attempts.iter().cloned().map(QueueAttempt).collect()
    }

    #[getter]
    fn header<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.shown.header)
    }

    #[getter]
    fn damage(&self) -> Option<&str> {
        self.shown.damage.as_deref()
    }

    #[getter]
    fn owned(&self) -> bool {
        self.shown.owned
    }
}

/// See `_native.pyi`.
#[pyclass(frozen, module = "mailmoat._native")]
pub struct QueueAttempt(StoredAttempt);

#[pymethods]
impl QueueAttempt {
    #[getter]
    fn number(&self) -> i64 {
        self.0.number
    }

    #[getter]
    fn at(&self) -> i64 {
        self.0.row.at
    }

    #[getter]
    fn next_hop(&self) -> &str {
        &self.0.row.next_hop
    }

    #[getter]
    fn peer(&self) -> &str {
        &self.0.row.peer
    }

    #[getter]
    fn outcomes(&self) -> Vec<Outcome> {
        self.0.outcomes.iter().cloned().map(Outcome).collect()
    }
}

/// See `_native.pyi`.
#[pyfunction]
#[pyo3(signature = (spool_dir, filter, after=""))]
fn queue_list(py: Python<'_>, spool_dir: PathBuf, filter: &QueueFilter, after: &str) -> PyResult<QueuePage> {
    let page = py.detach(|| spool::page(&spool_dir, &filter.0, after))?;
    let entries =
        page.entries.into_iter().map(|entry| Ok(listed_entry(py, entry)?.unbind())).collect::<PyResult<_>>()?;
    Ok(QueuePage { entries, after: page.after, examined: page.examined })
}

/// See `_native.pyi`.
#[pyfunction]
fn queue_stats(py: Python<'_>, spool_dir: PathBuf) -> PyResult<QueueStats> {
    let stats = py.detach(|| spool::stats(&spool_dir))?;
    Ok(QueueStats {
        messages: stats.messages,
        recipients: stats.recipients,
        octets: stats.octets,
        oldest: stats.oldest,
        statuses: stats.statuses.into(),
        next_hops: tallies(stats.next_hops),
        domains: tallies(stats.domains),
    })
}

/// See `_native.pyi`.
#[pyfunction]
fn queue_message(py: Python<'_>, spool_dir: PathBuf, queue_id: &str) -> PyResult<Option<StoredMessage>> {
    let Some((message, shown)) = py.detach(|| spool::show(&spool_dir, queue_id))? else { return Ok(None) };
    Ok(Some(StoredMessage { shown, message: Py::new(py, Message(message))? }))
}

/// See `_native.pyi`.
#[pyfunction]
fn queue_export(py: Python<'_>, spool_dir: PathBuf, queue_id: &str, path: PathBuf) -> PyResult<bool> {
    Ok(py.detach(|| spool::export(&spool_dir, queue_id, &path))?)
}

/// See `_native.pyi`.
#[pyfunction]
fn newer_partitions(py: Python<'_>, spool_dir: PathBuf) -> PyResult<Vec<(String, Option<i64>)>> {
    Ok(py.detach(|| spool::newer(&spool_dir))?)
}

/// See `_native.pyi`.
#[pyfunction]
fn count_spool(py: Python<'_>, spool_dir: PathBuf) -> PyResult<i64> {
    Ok(py.detach(|| spool::count(&spool_dir))?)
}

fn listed_entry(py: Python<'_>, entry: Listed) -> PyResult<Bound<'_, PyDict>> {
    let recipients: Vec<Recipient> = entry.recipients.into_iter().map(Recipient).collect();
    let dict = PyDict::new(py);
    dict.set_item("queue_id", entry.queue_id)?;
    dict.set_item("arrival", entry.arrival)?;
    dict.set_item("reverse_path", entry.reverse_path)?;
    dict.set_item("size", entry.size)?;
    dict.set_item("recipients", recipients)?;
    dict.set_item("status", STATUS.member(py, entry.status as u8))?;
    dict.set_item("crashes", entry.crashes)?;
    dict.set_item("partition", entry.partition)?;
    dict.set_item("owned", entry.owned)?;
    Ok(dict)
}

fn tallies(tallies: HashMap<String, Tally>) -> HashMap<String, QueueTally> {
    let tally = |one: Tally| QueueTally { recipients: one.recipients, deferred: one.deferred, oldest: one.oldest };
    tallies.into_iter().map(|(key, one)| (key, tally(one))).collect()
}

/// Adds this module's classes and functions to the extension module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    STATUS.register(module)?;
    module.add_class::<QueueFilter>()?;
    module.add_class::<QueuePage>()?;
    module.add_class::<QueueTally>()?;
    module.add_class::<QueueStats>()?;
    module.add_class::<StoredMessage>()?;
    module.add_class::<QueueAttempt>()?;
    module.add_function(wrap_pyfunction!(queue_list, module)?)?;
    module.add_function(wrap_pyfunction!(queue_stats, module)?)?;
    module.add_function(wrap_pyfunction!(queue_message, module)?)?;
    module.add_function(wrap_pyfunction!(queue_export, module)?)?;
    module.add_function(wrap_pyfunction!(newer_partitions, module)?)?;
    module.add_function(wrap_pyfunction!(count_spool, module)?)
}
