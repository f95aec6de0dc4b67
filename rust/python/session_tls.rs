//! TLS in the binding of a session.

use std::sync::Arc;

use pyo3::prelude::*;

use super::session::Session;
use super::tls::{TlsFacts, TlsServer};
use crate::machine::tls::Fault;

#[pymethods]
impl Session {
    fn start_tls(&mut self, py: Python<'_>, setup: &TlsServer) -> Py<PyAny> {
        let step = self.inner.start_tls(Arc::clone(&setup.0));
        self.step(py, step)
    }

    fn refuse_tls(&mut self, py: Python<'_>) -> Py<PyAny> {
        let step = self.inner.refuse_tls();
        self.step(py, step)
    }

    fn offer_tls(&mut self, offered: bool) {
        self.inner.offer_tls(offered);
    }

    fn require_tls(&mut self) {
        self.inner.require_tls();
    }

    #[getter]
    fn tls(&self) -> Option<TlsFacts> {
        self.inner.facts().map(|facts| TlsFacts::of(facts, self.inner.peer_chain()))
    }

    #[getter]
    fn handshaking(&self) -> bool {
        self.inner.is_handshaking()
    }

    #[getter]
    fn tls_fault(&self) -> Option<String> {
        self.inner.fault().map(|fault| fault.to_string())
    }

    #[getter]
    fn tls_nothing_in_common(&self) -> bool {
        matches!(self.inner.fault(), Some(Fault::NothingInCommon(_)))
    }

    #[getter]
    fn tls_closed(&self) -> bool {
        self.inner.peer_closed()
    }

    #[getter]
    fn injected(&self) -> usize {
        self.inner.tally().injected
    }
}
