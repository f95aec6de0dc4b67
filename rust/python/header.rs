//! Binding of `crate::machine::message::header` and `crate::machine::message::pra`.

use pyo3::prelude::*;

use super::address::Address;
use crate::machine::message::header::{self, Firewall};
use crate::machine::message::pra::{self, Responsible};

const PRA_FOUND: u8 = 0;
const PRA_ABSENT: u8 = 1;
const PRA_ILL_FORMED: u8 = 2;
const PRA_LENIENT: u8 = 3;

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
}

#[pyfunction]
fn responsible_address(head: &[u8]) -> (u8, &'static str, Option<Address>) {
    match pra::responsible_address(head) {
        Responsible::Found(field, address) => (PRA_FOUND, field, Some(Address(address))),
        Responsible::Lenient(field, address) => (PRA_LENIENT, field, Some(Address(address))),
        Responsible::Absent => (PRA_ABSENT, "", None),
        Responsible::IllFormed(field) => (PRA_ILL_FORMED, field, None),
    }
}

#[pyfunction]
fn received_sources(head: &[u8]) -> Vec<Option<String>> {
    header::received_sources(head).into_iter().map(|source| source.map(|address| address.to_string())).collect()
}

/// Adds this module's class, functions and constants to the extension module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("PRA_FOUND", PRA_FOUND)?;
    module.add("PRA_ABSENT", PRA_ABSENT)?;
    module.add("PRA_ILL_FORMED", PRA_ILL_FORMED)?;
    module.add("PRA_LENIENT", PRA_LENIENT)?;
    module.add_class::<HeaderFirewall>()?;
    module.add_function(wrap_pyfunction!(responsible_address, module)?)?;
    module.add_function(wrap_pyfunction!(received_sources, module)?)
}
