//! AUTH in the binding of a session.

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::session::Session;
use crate::machine::smtp::reply::Reply;

#[pymethods]
impl Session {
    #[allow(clippy::needless_pass_by_value)] // PyO3 makes the list anew in any case
    fn offer_auth(&mut self, mechanisms: Vec<String>) {
        self.inner.offer_auth(&mechanisms);
    }

    fn require_auth(&mut self) {
        self.inner.require_auth();
    }

    fn identify(&mut self) {
        self.inner.identify();
    }

    #[getter]
    fn sasl<'py>(&self, py: Python<'py>) -> Option<(&str, Option<Bound<'py, PyBytes>>, bool)> {
        let exchange = self.inner.exchange()?;
        let response = exchange.response.as_ref().map(|response| PyBytes::new(py, response.octets()));
        Some((&exchange.mechanism, response, exchange.begins))
    }

    fn challenge(&mut self, py: Python<'_>, octets: &[u8]) -> Py<PyAny> {
        let step = self.inner.challenge(octets);
        self.step(py, step)
    }

    fn authenticated(&mut self, py: Python<'_>) -> Py<PyAny> {
        self.screened = None; // its client is another one to policy
        let step = self.inner.authenticated();
        self.step(py, step)
    }

    fn not_authenticated(&mut self, py: Python<'_>, code: u16, enhanced: String, text: String) -> Py<PyAny> {
        let step = self.inner.not_authenticated(Reply::new(code, enhanced, text));
        self.step(py, step)
    }
}
