//! Binding of `crate::store::snapshot`.
#![allow(clippy::needless_pass_by_value)] // PyO3 hands arguments over by value

use std::io;
use std::path::{Path, PathBuf};

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;

use super::address::Address;
use super::normalisation::Normalisation;
use crate::machine::message::address::Normalisation as Inner;
use crate::store::snapshot::{
    self, Answer, Compiled, Failure, Form, Input, Kept, Note, Record, Resolution, Scope, Stamp, row_of,
};

/// Number, name and path of an input.
type Given = (u8, String, PathBuf);

/// What is found, number of the input, place there, the address that is listed in its place, targets.
type Resolved = (u8, u8, u32, Option<Address>, Vec<Address>);

fn inputs(given: Vec<Given>) -> Vec<Input> {
    given.into_iter().map(|(number, name, path)| Input { number, name, path }).collect()
}

fn scope(
    default_domain: String,
    local_domains: Vec<String>,
    unfiltered_domains: Vec<String>,
    normalisation: &Normalisation,
) -> Scope {
    Scope {
        default_domain,
        local_domains: local_domains.into_iter().collect(),
        unfiltered_domains: unfiltered_domains.into_iter().collect(),
        normalisation: Inner::clone(&normalisation.0),
        ..Scope::default()
    }
}

fn senders() -> Scope {
    Scope { form: Form::Senders, ..Scope::default() }
}

/// With the name of the file, as Python's own errors have it.
pub fn os_error(path: &Path, error: &io::Error) -> PyErr {
    // Without a number of the system's there is no `strerror`: the text is taken for it.
    let number = error.raw_os_error();
    let text = number.map_or_else(|| error.to_string(), |_| plain(error));
    PyOSError::new_err((number.unwrap_or_default(), text, path.as_os_str().to_owned()))
}

/// What the system says, without Rust's note of the number.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// See `_native.pyi`.
#[pyclass(frozen, module = "mailmoat._native")]
pub struct Directory(pub(super) snapshot::Directory);

#[pymethods]
impl Directory {
    #[new]
    fn new(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        py.detach(|| snapshot::Directory::open(&path)).map(Self).map_err(|error| os_error(&path, &error))
    }

    fn lookup(&self, key: &str, domain: &str) -> (u8, u8, u32) {
        let Answer { found, source, line } = self.0.lookup(key, domain);
        (found as u8, source, line)
    }

    fn resolve(&self, address: &Address, normalisation: &Normalisation) -> Resolved {
        let Resolution { answer: Answer { found, source, line }, listed, targets } =
            self.0.resolve(&address.0, &normalisation.0);
        (found as u8, source, line, listed.map(Address), targets.into_iter().map(Address).collect())
    }

    #[getter]
    fn tables(&self) -> Vec<(u8, String)> {
        self.0.tables()
    }

    #[getter]
    fn entries(&self) -> u64 {
        self.0.entries()
    }

    #[getter]
    fn stamp(&self) -> (i64, u64, u64, i64) {
        let Stamp { mtime_ns, size, inode, ctime_ns } = self.0.stamp();
        (mtime_ns, size, inode, ctime_ns)
    }

    fn is_for(
        &self,
        inputs: Vec<Given>,
        default_domain: String,
        local_domains: Vec<String>,
        unfiltered_domains: Vec<String>,
        normalisation: &Normalisation,
    ) -> bool {
        self.0.is_for(&self::inputs(inputs), &scope(default_domain, local_domains, unfiltered_domains, normalisation))
    }
}

/// See `_native.pyi`.
#[pyclass(frozen, module = "mailmoat._native")]
pub struct KeptTable(Kept);

#[pymethods]
impl KeptTable {
    fn __len__(&self) -> usize {
        self.0.count()
    }

    fn rows(&self, first: usize, most: usize) -> Vec<(u32, String, String)> {
        let row = |record: Record<'_>| {
            let (text, targets) = row_of(&record);
            (record.line, text, targets)
        };
        self.0.records(first).take(most).map(row).collect()
    }
}

/// See `_native.pyi`.
#[pyfunction]
fn kept_table(py: Python<'_>, snapshot_path: PathBuf, input: Given) -> Option<KeptTable> {
    let [input] = inputs(vec![input]).try_into().ok()?;
    py.detach(|| Kept::of(snapshot::Directory::open(&snapshot_path).ok()?, &input)).map(KeptTable)
}

/// See `_native.pyi`.
#[pyclass(frozen, module = "mailmoat._native")]
pub struct SenderTable(pub(super) snapshot::Directory);

#[pymethods]
impl SenderTable {
    #[new]
    fn new(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        py.detach(|| snapshot::Directory::open(&path)).map(Self).map_err(|error| os_error(&path, &error))
    }

    fn lookup(&self, key: &str, domain: &str) -> (u8, u32) {
        let Answer { found, line, .. } = self.0.lookup_sender(key, domain);
        (found as u8, line)
    }

    #[getter]
    fn entries(&self) -> u64 {
        self.0.entries()
    }

    #[getter]
    fn stamp(&self) -> (i64, u64, u64, i64) {
        let Stamp { mtime_ns, size, inode, ctime_ns } = self.0.stamp();
        (mtime_ns, size, inode, ctime_ns)
    }

    fn is_for(&self, source_path: PathBuf) -> bool {
        self.0.is_for(&[Input::text(&source_path)], &senders())
    }
}

/// See `_native.pyi`.
#[pyfunction]
fn compile_directory(
    py: Python<'_>,
    inputs: Vec<Given>,
    target_path: PathBuf,
    default_domain: String,
    local_domains: Vec<String>,
    unfiltered_domains: Vec<String>,
    normalisation: &Normalisation,
) -> PyResult<(u64, Vec<Note>, Vec<Note>)> {
    let scope = scope(default_domain, local_domains, unfiltered_domains, normalisation);
    compile(py, &self::inputs(inputs), &target_path, &scope)
}

/// See `_native.pyi`.
#[pyfunction]
fn table_state(path: PathBuf) -> PyResult<String> {
    snapshot::table_state(&path).map_err(|error| os_error(&path, &error))
}

/// See `_native.pyi`.
#[pyfunction]
fn compile_senders(
    py: Python<'_>,
    source_path: PathBuf,
    target_path: PathBuf,
) -> PyResult<(u64, Vec<String>, Vec<String>)> {
    let (entries, problems, warnings) = compile(py, &[Input::text(&source_path)], &target_path, &senders())?;
    let sentences = |notes: Vec<Note>| notes.into_iter().map(|(_, sentence)| sentence).collect();
    Ok((entries, sentences(problems), sentences(warnings)))
}

/// See `_native.pyi`.
#[pyfunction]
fn sender_entry(text: &str) -> PyResult<String> {
    snapshot::read_sender(text).map_err(PyValueError::new_err)
}

fn compile(py: Python<'_>, inputs: &[Input], target: &Path, scope: &Scope) -> PyResult<(u64, Vec<Note>, Vec<Note>)> {
    match py.detach(|| snapshot::compile(inputs, target, scope)) {
        Ok(Compiled { entries, problems, warnings, unread }) => Ok((entries, [problems, unread].concat(), warnings)),
        Err(Failure::Source(path, error)) => Err(os_error(&path, &error)),
        Err(Failure::Snapshot(error)) => Err(os_error(target, &error)),
    }
}

/// Adds this module's classes to the extension module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Directory>()?;
    module.add_class::<KeptTable>()?;
    module.add_class::<SenderTable>()?;
    module.add_function(wrap_pyfunction!(compile_directory, module)?)?;
    module.add_function(wrap_pyfunction!(kept_table, module)?)?;
    module.add_function(wrap_pyfunction!(table_state, module)?)?;
    module.add_function(wrap_pyfunction!(compile_senders, module)?)?;
    module.add_function(wrap_pyfunction!(sender_entry, module)?)
}
