//! Binding of `crate::store::lists`.
#![allow(clippy::needless_pass_by_value)] // PyO3 hands arguments over by value

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::snapshot::os_error;
use crate::machine::prefix::Prefix;
use crate::store::lists::{self, InForce, List, Snapshot, Source, Terms};

/// Of (path, allow, ours, settled).
type SourceTuple = (PathBuf, bool, bool, bool);
/// Of path, whether it allows, stamp, entries.
type SourceState = (PathBuf, bool, (i64, u64, u64, i64), u32);
/// Of entries blocked, entries allowed, whether it is another snapshot, and what is wrong with which file.
type CompiledTuple = (usize, usize, bool, Vec<(PathBuf, String)>);
/// See `_native.pyi`.
type EntryTuple = (String, u32, u32, String);

fn list(allow: bool) -> List {
    if allow { List::Allow } else { List::Block }
}

fn prefix(text: &str) -> PyResult<Prefix> {
    Ok(text.parse::<Prefix>()?)
}

fn entry(prefix: Prefix, terms: &Terms) -> EntryTuple {
    (format!("{prefix:#}"), terms.since, terms.until, terms.reason.clone())
}

/// See `_native.pyi`.
#[pyclass(frozen, module = "mailmoat._native")]
struct ListEntry {
    found: InForce,
    snapshot: Arc<Snapshot>,
}

#[pymethods]
impl ListEntry {
    #[getter]
    fn allows(&self) -> bool {
        self.found.list == List::Allow
    }

    #[getter]
    fn prefix(&self) -> String {
        format!("{:#}", self.found.prefix)
    }

    #[getter]
    fn since(&self) -> u32 {
        self.snapshot.terms(&self.found).since
    }

    #[getter]
    fn until(&self) -> u32 {
        self.found.until
    }

    #[getter]
    fn reason(&self) -> String {
        self.snapshot.terms(&self.found).reason
    }

    #[getter]
    fn source(&self) -> &Path {
        self.snapshot.sources().get(usize::from(self.found.source)).map_or(Path::new(""), |source| &source.path)
    }
}

/// See `_native.pyi`.
#[pyclass(frozen, module = "mailmoat._native")]
pub struct ListSnapshot(pub Arc<Snapshot>);

impl ListSnapshot {
    fn entry(&self, found: InForce) -> ListEntry {
        ListEntry { found, snapshot: Arc::clone(&self.0) }
    }
}

#[pymethods]
impl ListSnapshot {
    #[new]
    fn new(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let opened = py.detach(|| Snapshot::open(&path)).map_err(|error| os_error(&path, &error))?;
        Ok(Self(Arc::new(opened)))
    }

    fn find(&self, address: &str, now: u32) -> Option<ListEntry> {
        let address = IpAddr::from_str(address).ok()?;
        self.0.find(address, now).map(|found| self.entry(found))
    }

    #[getter]
    fn entries(&self) -> (usize, usize) {
        (self.0.entries(List::Block), self.0.entries(List::Allow))
    }

    #[getter]
    fn octets(&self) -> usize {
        self.0.octets()
    }

    fn next_end(&self, now: u32) -> u32 {
        self.0.next_end(now).unwrap_or_default()
    }

    #[getter]
    fn sources(&self) -> Vec<SourceState> {
        let state = |source: &lists::SourceState| {
            let stamp = source.stamp;
            let stamp = (stamp.mtime_ns, stamp.size, stamp.inode, stamp.ctime_ns);
            (source.path.clone(), source.list == List::Allow, stamp, source.entries)
        };
        self.0.sources().iter().map(state).collect()
    }

    fn select(&self, allow: bool, now: u32, within: Option<&str>) -> PyResult<Vec<ListEntry>> {
        let within = within.map(prefix).transpose()?;
        let wanted = |entry: &InForce| {
            let inside = within.is_none_or(|around| around.overlaps(entry.prefix));
            entry.list == list(allow) && inside && entry.holds_at(now)
        };
        Ok(self.0.iter().filter(wanted).map(|found| self.entry(found)).collect())
    }
}

/// See `_native.pyi`.
#[pyclass(module = "mailmoat._native")]
#[derive(Default)]
struct EntryList(lists::EntryList);

#[pymethods]
impl EntryList {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    #[pyo3(signature = (text, since = 0, until = 0))]
    fn read(&mut self, py: Python<'_>, text: &[u8], since: u32, until: u32) {
        py.detach(|| self.0.read(text, since, until));
    }

    #[getter]
    fn problems(&self) -> Vec<String> {
        self.0.problems()
    }

    fn add(&mut self, written: &str, since: u32, until: u32, reason: String) -> PyResult<bool> {
        Ok(self.0.add(prefix(written)?, Terms { since, until, reason }))
    }

    fn merge(&mut self, other: PyRef<'_, Self>) {
        self.0.merge(&other.0);
    }

    fn remove(&mut self, written: &str) -> PyResult<bool> {
        Ok(self.0.remove(prefix(written)?))
    }

    fn remove_ended(&mut self, now: u32) -> usize {
        self.0.remove_ended(now)
    }

    fn entries(&self) -> Vec<EntryTuple> {
        self.0.iter().map(|(prefix, terms)| entry(prefix, terms)).collect()
    }

    fn text<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let text = py.detach(|| self.0.text());
        PyBytes::new(py, text.as_bytes())
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }
}

/// See `_native.pyi`.
#[pyfunction]
fn compile_lists(py: Python<'_>, target: PathBuf, sources: Vec<SourceTuple>, now: u32) -> PyResult<CompiledTuple> {
    let of = |(path, allow, ours, settled)| Source { path, list: list(allow), ours, settled };
    let sources: Vec<Source> = sources.into_iter().map(of).collect();
    let compiled = py.detach(|| lists::compile(&target, &sources, now)).map_err(|error| os_error(&target, &error))?;
    let named = |(index, why): (usize, String)| {
        let path = sources.get(index).map(|source| source.path.clone());
        (path.unwrap_or_default(), why)
    };
    let problems = compiled.problems.into_iter().map(named).collect();
    Ok((compiled.blocked, compiled.allowed, compiled.changed, problems))
}

/// See `_native.pyi`.
#[pyfunction]
fn list_time(written: &str) -> PyResult<u32> {
    lists::read_time(written).ok_or_else(|| PyValueError::new_err("not a time"))
}

/// See `_native.pyi`.
#[pyfunction]
fn list_time_text(seconds: u32) -> String {
    lists::write_time(seconds)
}

/// Adds this module's classes and functions to the extension module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<ListEntry>()?;
    module.add_class::<ListSnapshot>()?;
    module.add_class::<EntryList>()?;
    module.add_function(wrap_pyfunction!(compile_lists, module)?)?;
    module.add_function(wrap_pyfunction!(list_time, module)?)?;
    module.add_function(wrap_pyfunction!(list_time_text, module)?)
}
