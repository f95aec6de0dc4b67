//! Binding of the parameters of MAIL in a session.

use pyo3::prelude::*;

use super::address::Address;
use super::session::Session;

#[pymethods]
impl Session {
    #[getter]
    fn submitter(&self) -> Option<Address> {
        self.inner.transaction()?.parameters.submitter.clone().map(Address)
    }

    #[getter]
    fn declared_size(&self) -> u64 {
        self.inner.transaction().and_then(|transaction| transaction.parameters.size).unwrap_or(0)
    }
}
