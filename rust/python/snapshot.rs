//! Binding of `crate::snapshot`.
#![allow(clippy::needless_pass_by_value)] // PyO3 hands arguments over by value

use std::path::PathBuf;

use pyo3::prelude::*;

use crate::snapshot::{self, Stamp};

/// See `_native.pyi`.
#[pyclass(frozen, module = "mailmoat._native")]
struct Directory(snapshot::Directory);

#[pymethods]
impl Directory {
    #[new]
    fn new(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        Ok(Self(py.detach(|| snapshot::Directory::open(&path))?))
    }

    fn lookup(&self, key: &str, domain: &str) -> u8 {
        self.0.lookup(key, domain).0 as u8
    }

    fn line(&self, key: &str, domain: &str) -> u32 {
        self.0.lookup(key, domain).1
    }

    #[getter]
    fn entries(&self) -> u64 {
        self.0.entries()
    }

    #[getter]
    fn stamp(&self) -> (i64, u64, u64) {
        let Stamp { mtime_ns, size, inode } = self.0.stamp();
        (mtime_ns, size, inode)
    }

    #[getter]
    fn default_domain(&self) -> &str {
        self.0.default_domain()
    }
}

/// See `_native.pyi`.
#[pyfunction]
#[pyo3(signature = (source_path, target_path, default_domain=""))]
fn compile_directory(
    py: Python<'_>,
    source_path: PathBuf,
    target_path: PathBuf,
    default_domain: &str,
) -> PyResult<(u64, Vec<String>)> {
    let compiled = py.detach(|| snapshot::compile(&source_path, &target_path, default_domain))?;
    Ok((compiled.entries, compiled.problems))
}

/// Adds this module's classes to the extension module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Directory>()?;
    module.add_function(wrap_pyfunction!(compile_directory, module)?)
}
