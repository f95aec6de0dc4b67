//! Binding of `crate::store::spool`.
// What comes from Python is owned.
#![allow(clippy::needless_pass_by_value)]

use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::backlog::Backlog;
use super::backlog_fill::{Filled, Terms, fill};
use super::int_enum::IntEnum;
use super::message::Message;
use super::notes::Notes;
use super::recipient::Outcome;
use super::shared::Shared;
use super::spool_values::{AttemptRow, DamagedMessage, Scheduled, SealedPartition};
use crate::store::shared::Suspicion;
use crate::store::spool::{self, Adopted, Change, Failure, Next, Redirection, Settlement};

/// By the numbers of [`spool::Held`].
static HELD: IntEnum = IntEnum::new("Held", &["NO", "OPERATOR", "CRASHED", "DAMAGED"]);

/// One completion: waiter, error text, what was loaded.
type News<'py> = (Py<PyAny>, Option<String>, Option<Bound<'py, PyAny>>);

/// See `_native.pyi`.
#[pyclass(frozen, module = "mailmoat._native")]
pub struct Partition(spool::Partition<Py<PyAny>>, OnceLock<Notes>);

#[pymethods]
impl Partition {
    #[staticmethod]
    fn create(py: Python<'_>, spool_dir: PathBuf) -> PyResult<Self> {
        Ok(Self(py.detach(|| spool::Partition::create(&spool_dir, now_ms()))?, OnceLock::new()))
    }

    #[staticmethod]
    #[allow(clippy::needless_pass_by_value)] // PyO3 makes it
    fn is_adoptable(spool_dir: PathBuf) -> bool {
        spool::Partition::<Py<PyAny>>::is_adoptable(&spool_dir)
    }

    #[staticmethod]
    fn adopt(py: Python<'_>, spool_dir: PathBuf) -> PyResult<Option<Bound<'_, PyAny>>> {
        // Workers that begin in the same instant begin at different places: their process ids follow each other.
        let turn = std::process::id() as usize;
        adopted(py, py.detach(|| spool::Partition::adopt(&spool_dir, turn))?)
    }

    #[staticmethod]
    fn claim<'py>(py: Python<'py>, spool_dir: PathBuf, tag: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
        adopted(py, py.detach(|| spool::Partition::claim(&spool_dir, tag))?)
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

    fn note_in(&self, shared: Py<Shared>, slot: usize) {
        let _ = self.1.set(Notes::new(shared, slot, self.0.tag()));
    }

    fn note(&self, queue_id: &str, suspicion: u64) -> PyResult<()> {
        let known = Suspicion::numbered(suspicion).ok_or_else(|| PyValueError::new_err("no such suspicion"))?;
        self.1.get().map_or(Ok(()), |notes| notes.add(queue_id, known))
    }

    fn unnote(&self, queue_id: &str) -> PyResult<()> {
        self.1.get().map_or(Ok(()), |notes| notes.remove(queue_id))
    }

    fn insert(&self, waiter: Py<PyAny>, message: &Message) -> PyResult<()> {
        self.note(&message.0.queue_id, Suspicion::Unsuspected as u64)?;
        self.0.insert(waiter, Arc::clone(&message.0)).map_err(raised)
    }

    #[pyo3(signature = (waiter, queue_id, outcomes, *, due, attempts, next_hop=String::new(), attempt=None,
        reported=Vec::new()))]
    #[allow(clippy::too_many_arguments)] // keyword-only
    fn settle(
        &self,
        waiter: Option<Py<PyAny>>,
        queue_id: &str,
        outcomes: Vec<PyRef<'_, Outcome>>,
        due: i64,
        attempts: u32,
        next_hop: String,
        attempt: Option<PyRef<'_, AttemptRow>>,
        reported: Vec<u32>,
    ) -> PyResult<()> {
        self.unnote(queue_id)?;
        let settlement = Settlement {
            attempt: attempt.map(|attempt| attempt.0.clone()),
            reported,
            ..settlement(&outcomes, Next { due, attempts, next_hop })
        };
        self.0.settle(waiter, queue_id, settlement).map_err(raised)
    }

    #[pyo3(signature = (queue_id, outcomes, *, due, attempts, next_hop=String::new()))]
    fn end(
        &self,
        queue_id: &str,
        outcomes: Vec<PyRef<'_, Outcome>>,
        due: i64,
        attempts: u32,
        next_hop: String,
    ) -> PyResult<()> {
        self.unnote(queue_id)?;
        self.0.end(queue_id, settlement(&outcomes, Next { due, attempts, next_hop })).map_err(raised)
    }

    #[pyo3(signature = (queue_id, waiter=None))]
    fn remove(&self, queue_id: &str, waiter: Option<Py<PyAny>>) -> PyResult<()> {
        self.unnote(queue_id)?;
        self.0.remove(waiter, queue_id).map_err(raised)
    }

    fn hold(&self, waiter: Option<Py<PyAny>>, queue_id: &str, kind: i64) -> PyResult<()> {
        self.change(waiter, queue_id, Change::Hold(spool::Held::numbered(kind)))
    }

    fn release(&self, waiter: Option<Py<PyAny>>, queue_id: &str) -> PyResult<()> {
        self.change(waiter, queue_id, Change::Release)
    }

    #[pyo3(signature = (waiter, queue_id, *, due))]
    fn retry(&self, waiter: Option<Py<PyAny>>, queue_id: &str, due: i64) -> PyResult<()> {
        self.change(waiter, queue_id, Change::Retry { due })
    }

    #[pyo3(signature = (waiter, queue_id, reply, *, due))]
    fn fail(&self, waiter: Option<Py<PyAny>>, queue_id: &str, reply: String, due: i64) -> PyResult<()> {
        self.change(waiter, queue_id, Change::Fail { reply, due })
    }

    #[pyo3(signature = (waiter, queue_id, *, due, recipients=Vec::new(), next_hop=String::new()))]
    fn redirect(
        &self,
        waiter: Option<Py<PyAny>>,
        queue_id: &str,
        due: i64,
        recipients: Vec<String>,
        next_hop: String,
    ) -> PyResult<()> {
        let to =
            if recipients.is_empty() { Redirection::NextHop(next_hop) } else { Redirection::Recipients(recipients) };
        self.change(waiter, queue_id, Change::Redirect { to, due })
    }

    fn crashed(&self, py: Python<'_>, queue_id: &str) -> PyResult<i64> {
        py.detach(|| self.0.crashed(queue_id)).map_err(raised)
    }

    fn load(&self, waiter: Py<PyAny>, queue_id: &str) -> PyResult<()> {
        self.note(queue_id, Suspicion::Unsuspected as u64)?;
        self.0.load(waiter, queue_id).map_err(raised)
    }

    fn completions<'py>(&self, py: Python<'py>) -> PyResult<Vec<News<'py>>> {
        let news = self.0.completions().into_iter();
        news.map(|one| {
            Ok(match one.result {
                Ok(None) => (one.waiter, None, None),
                Ok(Some(message)) => (one.waiter, None, Some(Bound::new(py, Message(message))?.into_any())),
                Err(Failure::Refused(text)) => (one.waiter, Some(text), None),
                Err(Failure::Damaged(text)) => {
                    (one.waiter, None, Some(Bound::new(py, DamagedMessage(text))?.into_any()))
                }
            })
        })
        .collect()
    }

    fn schedule(&self, py: Python<'_>) -> PyResult<Vec<Scheduled>> {
        Ok(py.detach(|| self.0.schedule())?.into_iter().map(Scheduled).collect())
    }

    #[pyo3(signature = (backlog, after, *, wall_ms, now_ms, longest_ms, big, at_once=false))]
    #[allow(clippy::too_many_arguments)] // keyword-only
    fn fill(
        &self,
        py: Python<'_>,
        backlog: &Backlog,
        after: i64,
        wall_ms: i64,
        now_ms: u64,
        longest_ms: u64,
        big: i64,
        at_once: bool,
    ) -> PyResult<Filled> {
        let terms = Terms { wall: wall_ms, now: now_ms, longest: longest_ms, big, at_once };
        py.detach(|| fill(&self.0, backlog, after, terms)).map_err(raised)
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        Ok(py.detach(|| self.0.close())?)
    }
}

impl Partition {
    fn change(&self, waiter: Option<Py<PyAny>>, queue_id: &str, change: Change) -> PyResult<()> {
        self.0.change(waiter, queue_id, change).map_err(raised)
    }
}

fn settlement(outcomes: &[PyRef<'_, Outcome>], next: Next) -> Settlement {
    let outcomes = outcomes.iter().map(|outcome| outcome.0.clone()).collect();
    Settlement { outcomes, next, attempt: None, reported: Vec::new() }
}

fn adopted(py: Python<'_>, adopted: Option<Adopted<Py<PyAny>>>) -> PyResult<Option<Bound<'_, PyAny>>> {
    Ok(match adopted {
        None => None,
        Some(Adopted::Partition(partition)) => Some(Bound::new(py, Partition(partition, OnceLock::new()))?.into_any()),
        Some(Adopted::Sealed(sealed)) => Some(Bound::new(py, SealedPartition(sealed))?.into_any()),
    })
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
    HELD.register(module)?;
    module.add("NO_MESSAGE", spool::NO_MESSAGE)?;
    module.add_class::<Partition>()
}
