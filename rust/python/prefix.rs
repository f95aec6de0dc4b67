//! Binding of `crate::machine::prefix`.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::machine::prefix::{BadPrefix, Prefix as Inner};

impl From<BadPrefix> for PyErr {
    fn from(bad: BadPrefix) -> Self {
        PyValueError::new_err(bad.to_string())
    }
}

/// See `_native.pyi`.
#[pyclass(frozen, eq, hash, module = "mailmoat._native")]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Prefix {
    pub inner: Inner,
}

impl Prefix {
    pub fn of_packed(packed: &[u8]) -> PyResult<Inner> {
        Inner::from_packed(packed).ok_or_else(|| PyValueError::new_err("a packed address has 4 or 16 octets"))
    }
}

#[pymethods]
impl Prefix {
    #[new]
    fn new(text: &str) -> PyResult<Self> {
        Ok(Self { inner: text.parse()? })
    }

    #[staticmethod]
    fn nested(packed: &[u8]) -> PyResult<Vec<Self>> {
        Ok(Self::of_packed(packed)?.nested().map(|inner| Self { inner }).collect())
    }

    #[getter]
    fn length(&self) -> u8 {
        self.inner.length()
    }

    #[getter]
    fn is_ipv4(&self) -> bool {
        self.inner.is_ipv4()
    }

    #[getter]
    fn short(&self) -> String {
        format!("{:#}", self.inner)
    }

    #[getter]
    fn too_wide(&self) -> Option<u8> {
        self.inner.too_wide()
    }

    fn covers(&self, other: &Self) -> bool {
        self.inner.covers(other.inner)
    }

    fn __str__(&self) -> String {
        self.inner.to_string()
    }

    fn __repr__(&self) -> String {
        format!("Prefix('{}')", self.inner)
    }
}

/// Adds this module's class to the extension module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Prefix>()
}
