//! Binding of `crate::machine::smtp::server::session`.

use std::collections::BTreeMap;
use std::sync::Arc;

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyBufferError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::address::Address;
use super::header::HeaderFirewall;
use super::message::Message;
use super::screen::Screened;
use super::session_config::SessionConfig;
use super::step::{END, STAGE, STEP};
use crate::machine::smtp::reply::Reply;
use crate::machine::smtp::server::session::Session as Inner;
use crate::machine::smtp::server::step::{Step, Verdict};
use crate::machine::smtp::server::tally::End;
use crate::machine::wire::Wire;
use crate::store::screen::{ALL, Agents};

/// See `_native.pyi`.
#[pyclass(module = "mailmoat._native")]
pub struct Session {
    pub(super) inner: Wire<Inner>,
    stage: u8,
    hold: u64,
    /// None: all agents are asked.
    pub(super) screened: Option<Screened>,
    pub(super) asked: Agents,
}

impl Session {
    /// A step as its member; what goes with it is kept for the getters.
    pub(super) fn step(&mut self, py: Python<'_>, step: Step) -> Py<PyAny> {
        let number = match self.pass_screened(py, step) {
            Step::NeedInput => 0,
            Step::Ask(stage) => {
                self.stage = stage as u8;
                1
            }
            Step::Hold(hold) => {
                self.hold = hold;
                2
            }
            Step::Commit => 3,
            Step::Close => 4,
            Step::Wait => 5,
            Step::Yield => 6,
            Step::StartTls => 7,
            Step::Secured => 8,
            Step::Authenticate => 9,
            Step::ReplaceClient => 10,
        };
        STEP.member(py, number)
    }

    fn verdict(&mut self, py: Python<'_>, verdict: Verdict) -> Py<PyAny> {
        let step = self.inner.answer(verdict);
        self.step(py, step)
    }
}

#[pymethods]
impl Session {
    #[new]
    fn new(config: &SessionConfig, id: &str, peer: &str, exempt: bool) -> Self {
        let session = Inner::new(config.config.clone(), id, peer, exempt);
        Self { inner: Wire::new(session), stage: 0, hold: 0, screened: None, asked: ALL }
    }

    fn connect(&mut self, py: Python<'_>) -> Py<PyAny> {
        let step = self.inner.connect();
        self.step(py, step)
    }

    #[allow(clippy::needless_pass_by_value)] // PyO3 makes the view anew in any case
    fn receive(&mut self, py: Python<'_>, octets: PyBuffer<u8>) -> PyResult<Py<PyAny>> {
        let octets = octets.as_slice_ptr().ok_or_else(|| PyBufferError::new_err("the octets are not contiguous"))?;
        // SAFETY: the view keeps the memory alive, and until the machine has taken its octets no Python code runs that could change
        // them: this thread is attached to the interpreter and calls none.
        let step = self.inner.receive(unsafe { octets.as_ref() });
        Ok(self.step(py, step))
    }

    fn proceed(&mut self, py: Python<'_>) -> Py<PyAny> {
        let step = self.inner.proceed();
        self.step(py, step)
    }

    fn pass_(&mut self, py: Python<'_>) -> Py<PyAny> {
        self.verdict(py, Verdict::Pass)
    }

    fn refuse(&mut self, py: Python<'_>, code: u16, enhanced: String, text: String) -> Py<PyAny> {
        self.verdict(py, Verdict::Refuse(Reply::new(code, enhanced, text)))
    }

    fn report(&mut self, py: Python<'_>, code: u16, enhanced: String, text: String) -> Py<PyAny> {
        self.verdict(py, Verdict::Report(Reply::new(code, enhanced, text)))
    }

    #[allow(clippy::needless_pass_by_value)] // PyO3 hands arguments over by value
    fn redirect(&mut self, py: Python<'_>, addresses: Vec<PyRef<'_, Address>>) -> Py<PyAny> {
        self.verdict(py, Verdict::Redirect(addresses.iter().map(|address| address.0.clone()).collect()))
    }

    fn discard(&mut self, py: Python<'_>) -> Py<PyAny> {
        self.verdict(py, Verdict::Discard)
    }

    fn release(&mut self, py: Python<'_>) -> Py<PyAny> {
        let step = self.inner.release();
        self.step(py, step)
    }

    fn add_fields(&mut self, fields: &[u8]) {
        self.inner.add_fields(fields);
    }

    #[pyo3(signature = (*, queue_id, arrival, date, stamps, firewall, results=String::new()))]
    fn message(
        &mut self,
        queue_id: &str,
        arrival: i64,
        date: &str,
        stamps: &[u8],
        firewall: Option<&HeaderFirewall>,
        results: String,
    ) -> Option<Message> {
        let firewall = firewall.map(|firewall| &firewall.0);
        let mut message = self.inner.message(queue_id, arrival, date, stamps, firewall)?;
        message.envelope.results = results;
        Some(Message(Arc::new(message)))
    }

    #[allow(clippy::needless_pass_by_value)] // PyO3 makes the list anew in any case
    fn drop_recipients(&mut self, recipients: Vec<String>) {
        self.inner.drop_recipients(&recipients);
    }

    fn committed(&mut self, py: Python<'_>) -> Py<PyAny> {
        let step = self.inner.committed(None);
        self.step(py, step)
    }

    fn not_committed(&mut self, py: Python<'_>, code: u16, enhanced: String, text: String) -> Py<PyAny> {
        let step = self.inner.committed(Some(Reply::new(code, enhanced, text)));
        self.step(py, step)
    }

    fn stop(&mut self, py: Python<'_>, end: u8, enhanced: String, text: String) -> Py<PyAny> {
        let step = self.inner.stop(&Reply::new(421, enhanced, text), End::numbered(end));
        self.step(py, step)
    }

    fn output<'py>(&mut self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.inner.take_output())
    }

    #[getter]
    fn has_refused(&self) -> bool {
        self.inner.has_refused()
    }

    fn hold_refusals(&mut self, milliseconds: u64) {
        self.inner.hold_refusals(milliseconds);
    }

    #[getter]
    fn origin(&self) -> BTreeMap<&'static str, &str> {
        self.inner.origin().collect()
    }

    fn peer_name(&mut self, name: &str) {
        self.inner.set_peer_name(name);
    }

    /// The stage of the last ASK step.
    #[getter]
    fn stage(&self, py: Python<'_>) -> Py<PyAny> {
        STAGE.member(py, self.stage)
    }

    /// Milliseconds of the last HOLD step.
    #[getter]
    fn hold(&self) -> u64 {
        self.hold
    }

    #[getter]
    fn buffered(&self) -> usize {
        self.inner.buffered()
    }

    #[getter]
    fn is_pending(&self) -> bool {
        self.inner.is_pending()
    }

    #[getter]
    fn end(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.inner.tally().end.map(|end| END.member(py, end as u8))
    }

    #[getter]
    fn transactions(&self) -> u32 {
        self.inner.tally().transactions
    }

    #[getter]
    fn content_octets(&self) -> u64 {
        self.inner.tally().content
    }

    #[getter]
    fn in_content(&self) -> bool {
        self.inner.in_content()
    }

    #[getter]
    fn makes_no_progress(&self) -> bool {
        self.inner.makes_no_progress()
    }

    #[getter]
    fn in_transaction(&self) -> bool {
        self.inner.transaction().is_some()
    }

    #[getter]
    fn helo_name(&self) -> &str {
        self.inner.helo_name()
    }

    #[getter]
    fn reverse_path(&self) -> Option<Address> {
        self.inner.transaction()?.reverse_path.clone().map(Address)
    }

    #[getter]
    fn recipient(&self) -> Option<Address> {
        self.inner.recipient().cloned().map(Address)
    }

    #[getter]
    fn recipients(&self) -> Vec<Address> {
        self.inner.transaction().map_or_else(Vec::new, |transaction| {
            transaction.recipients.iter().map(|recipient| Address(recipient.address.clone())).collect()
        })
    }

    #[getter]
    fn header<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.inner.header())
    }
}

/// Adds this module's class to the extension module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Session>()
}
