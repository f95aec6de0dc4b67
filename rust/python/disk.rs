//! Binding of `crate::store::disk`.

use std::path::PathBuf;

use pyo3::prelude::*;

use crate::store::disk;

/// See `_native.pyi`.
#[pyclass(frozen, module = "mailmoat._native")]
pub struct Disk(disk::Disk);

#[pymethods]
impl Disk {
    #[new]
    fn new(path: PathBuf) -> PyResult<Self> {
        Ok(Self(disk::Disk::of(path)?))
    }

    fn used(&self, spare: u64) -> Option<f64> {
        self.0.used(spare)
    }
}

/// Adds this module's class to the extension module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Disk>()
}
