//! Binding of `crate::machine::message::address`, with the usual limits: configuration and tables come through here.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::machine::message::address::{self, Address as Inner, AddressError, Limits};

fn value_error(error: AddressError) -> PyErr {
    PyValueError::new_err(error.to_string())
}

fn read(text: &str) -> PyResult<Inner> {
    Inner::parse(text.as_bytes(), &Limits::default()).map_err(value_error)
}

/// See `_native.pyi`.
#[pyclass(frozen, eq, hash, module = "mailmoat._native")]
#[derive(PartialEq, Eq, Hash)]
pub struct Address(pub Inner);

#[pymethods]
impl Address {
    #[staticmethod]
    fn parse(text: &str) -> PyResult<Self> {
        read(text).map(Self)
    }

    #[getter]
    fn local(&self) -> &str {
        self.0.local()
    }

    #[getter]
    fn domain(&self) -> &str {
        self.0.domain()
    }

    #[getter]
    fn key(&self) -> String {
        self.0.key()
    }

    #[getter]
    fn may_route(&self) -> bool {
        self.0.may_route()
    }

    fn without_detail(&self, delimiters: &str) -> Option<Self> {
        self.0.without_detail(delimiters).map(Self)
    }

    fn __str__(&self) -> String {
        self.0.to_string()
    }

    fn __repr__(&self) -> String {
        format!("<Address {}>", self.0)
    }
}

#[pyfunction]
fn normalise_address(text: &str) -> PyResult<String> {
    Ok(read(text)?.to_string())
}

#[pyfunction]
fn address_key(text: &str) -> PyResult<String> {
    Ok(read(text)?.key())
}

#[pyfunction]
fn normalise_domain(text: &str) -> PyResult<String> {
    address::normalise_domain(text.as_bytes()).map_err(value_error)
}

/// Adds this module's classes and functions to the extension module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Address>()?;
    module.add_function(wrap_pyfunction!(normalise_address, module)?)?;
    module.add_function(wrap_pyfunction!(address_key, module)?)?;
    module.add_function(wrap_pyfunction!(normalise_domain, module)?)
}
