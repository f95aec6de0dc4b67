//! XCLIENT and XFORWARD in the binding of a session.

use pyo3::prelude::*;

use super::next_client::NextClient;
use super::session::Session;

#[pymethods]
impl Session {
    fn offer_proxied(&mut self, xclient: bool, xforward: bool) {
        self.inner.offer_proxied(xclient, xforward);
    }

    #[getter]
    fn next_client(&self) -> Option<NextClient> {
        self.inner.next_client().map(NextClient::from)
    }

    fn replace_client(&mut self, py: Python<'_>, address: &str, exempt: bool) -> Py<PyAny> {
        self.screened = None; // its client is another one to policy
        let step = self.inner.replace_client(address, exempt);
        self.step(py, step)
    }
}
