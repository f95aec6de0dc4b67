//! Binding of `crate::machine::message::header` and `crate::machine::message::pra`.

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::address::Address;
use super::int_enum::IntEnum;
use crate::machine::message::author;
use crate::machine::message::firewall::Firewall;
use crate::machine::message::header::{self};
use crate::machine::message::pra::{self, Responsible};

static PRA: IntEnum = IntEnum::new("PraKind", &["FOUND", "ABSENT", "ILL_FORMED", "LENIENT"]);

/// See `_native.pyi`.
#[pyclass(frozen, eq, module = "mailmoat._native")]
#[derive(PartialEq, Eq)]
pub struct HeaderFirewall(pub Firewall);

#[pymethods]
impl HeaderFirewall {
    #[new]
    fn new(authserv_id: &str, prefixes: Vec<String>) -> Self {
        Self(Firewall::new(authserv_id, prefixes))
    }

    fn clean<'py>(&self, py: Python<'py>, header: &[u8]) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.clean(header.to_vec()))
    }
}

#[pyfunction]
fn responsible_address(py: Python<'_>, header: &[u8]) -> (Py<PyAny>, &'static str, Option<Address>) {
    let (kind, field, address) = match pra::responsible_address(header) {
        Responsible::Found(field, address) => (0, field, Some(Address(address))),
        Responsible::Absent => (1, "", None),
        Responsible::IllFormed(field) => (2, field, None),
        Responsible::Lenient(field, address) => (3, field, Some(Address(address))),
    };
    (PRA.member(py, kind), field, address)
}

#[pyfunction]
fn received_sources(header: &[u8]) -> Vec<Option<String>> {
    header::received_sources(header).into_iter().map(|source| source.map(|address| address.to_string())).collect()
}

#[pyfunction]
fn authors(header: &[u8]) -> Vec<Address> {
    author::authors(header).into_iter().map(Address).collect()
}

/// Adds this module's class, enum and functions to the extension module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    PRA.register(module)?;
    module.add_class::<HeaderFirewall>()?;
    module.add_function(wrap_pyfunction!(responsible_address, module)?)?;
    module.add_function(wrap_pyfunction!(received_sources, module)?)?;
    module.add_function(wrap_pyfunction!(authors, module)?)
}
