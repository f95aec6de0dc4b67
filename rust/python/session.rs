//! Binding of `crate::machine::smtp::server::session`.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::address::Address;
use super::header::HeaderFirewall;
use super::message::Message;
use super::session_config::SessionConfig;
use crate::machine::smtp::reply::Reply;
use crate::machine::smtp::server::session::Session as Inner;
use crate::machine::smtp::server::step::{Stage, Step, Verdict};
use crate::machine::smtp::server::tally::LOGGED;

/// See `_native.pyi`.
#[pyclass(module = "mailmoat._native")]
pub struct Session {
    inner: Inner,
    stage: u8,
    hold: u64,
}

impl Session {
    /// A step as its number; what goes with it is kept for the getters.
    fn step(&mut self, step: Step) -> u8 {
        match step {
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
        }
    }

    fn verdict(&mut self, verdict: Verdict) -> u8 {
        let step = self.inner.answer(verdict);
        self.step(step)
    }
}

#[pymethods]
impl Session {
    #[new]
    fn new(config: &SessionConfig, id: &str, peer: &str, exempt: bool) -> Self {
        Self { inner: Inner::new(config.config.clone(), id, peer, exempt), stage: 0, hold: 0 }
    }

    fn connect(&mut self) -> u8 {
        let step = self.inner.connect();
        self.step(step)
    }

    fn receive(&mut self, octets: &[u8]) -> u8 {
        let step = self.inner.receive(octets);
        self.step(step)
    }

    fn proceed(&mut self) -> u8 {
        let step = self.inner.proceed();
        self.step(step)
    }

    fn pass_(&mut self) -> u8 {
        self.verdict(Verdict::Pass)
    }

    fn refuse(&mut self, code: u16, enhanced: String, text: String) -> u8 {
        self.verdict(Verdict::Refuse(Reply::new(code, enhanced, text)))
    }

    fn report(&mut self, code: u16, enhanced: String, text: String) -> u8 {
        self.verdict(Verdict::Report(Reply::new(code, enhanced, text)))
    }

    fn redirect(&mut self, address: &Address) -> u8 {
        self.verdict(Verdict::Redirect(address.0.clone()))
    }

    fn discard(&mut self) -> u8 {
        self.verdict(Verdict::Discard)
    }

    fn release(&mut self) -> u8 {
        let step = self.inner.release();
        self.step(step)
    }

    #[pyo3(signature = (queue_id, arrival, date, stamps, firewall))]
    fn message(
        &mut self,
        queue_id: &str,
        arrival: i64,
        date: &str,
        stamps: &[u8],
        firewall: Option<&HeaderFirewall>,
    ) -> Option<Message> {
        let firewall = firewall.map(|firewall| &firewall.0);
        self.inner.message(queue_id, arrival, date, stamps, firewall).map(|message| Message(Arc::new(message)))
    }

    #[pyo3(name = "drop")]
    #[allow(clippy::needless_pass_by_value)] // PyO3 makes the list anew in any case
    fn drop_recipients(&mut self, recipients: Vec<String>) {
        self.inner.drop_recipients(&recipients);
    }

    fn committed(&mut self) -> u8 {
        let step = self.inner.committed(None);
        self.step(step)
    }

    fn not_committed(&mut self, code: u16, enhanced: String, text: String) -> u8 {
        let step = self.inner.committed(Some(Reply::new(code, enhanced, text)));
        self.step(step)
    }

    fn stop(&mut self, code: u16, enhanced: String, text: String) -> u8 {
        let step = self.inner.stop(&Reply::new(code, enhanced, text));
        self.step(step)
    }

    fn output<'py>(&mut self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.inner.take_output())
    }

    /// What was refused since the last call: recipient, command, reverse-path, reply.
    fn take_refused(&mut self) -> Vec<(String, String, String, String)> {
        let taken = self.inner.take_refused().into_iter();
        taken.map(|one| (one.recipient, one.command, one.mail_from, one.reply.to_string())).collect()
    }

    #[getter]
    fn has_refused(&self) -> bool {
        self.inner.has_refused()
    }

    /// How many refusals `take_refused` did not give, because there were so many.
    #[getter]
    fn refusals_left_out(&self) -> u32 {
        self.inner.tally().refused.saturating_sub(LOGGED)
    }

    fn exempt(&mut self) {
        self.inner.exempt();
    }

    /// The stage of the last ASK step.
    #[getter]
    fn stage(&self) -> u8 {
        self.stage
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
    fn is_owed(&self) -> bool {
        self.inner.is_pending()
    }

    #[getter]
    fn delays_spent(&self) -> bool {
        self.inner.delays_spent()
    }

    #[getter]
    fn end(&self) -> Option<(u16, String)> {
        self.inner.tally().end.as_ref().map(|reply| (reply.code, reply.to_string()))
    }

    #[getter]
    fn transactions(&self) -> u32 {
        self.inner.tally().transactions
    }

    #[getter]
    fn in_content(&self) -> bool {
        self.inner.in_content()
    }

    #[getter]
    fn in_transaction(&self) -> bool {
        self.inner.transaction().is_some()
    }

    #[getter]
    fn hello(&self) -> &str {
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
            transaction.recipients.iter().map(|(address, _)| Address(address.clone())).collect()
        })
    }

    #[getter]
    fn submitter(&self) -> Option<Address> {
        self.inner.transaction()?.parameters.submitter.clone().map(Address)
    }

    #[getter]
    fn head<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.inner.header())
    }

    #[getter]
    fn replies(&self) -> [u32; 6] {
        self.inner.tally().replies
    }

    #[getter]
    fn refusals(&self) -> Vec<String> {
        self.inner.tally().refusals.iter().map(ToString::to_string).collect()
    }

    #[getter]
    fn holds(&self) -> u32 {
        self.inner.tarpit().holds
    }

    #[getter]
    fn held(&self) -> u64 {
        self.inner.tarpit().held
    }

    #[getter]
    fn commands(&self) -> u32 {
        self.inner.tally().commands
    }

    #[getter]
    fn messages(&self) -> u32 {
        self.inner.tally().messages
    }
}

/// Adds this module's classes and constants to the extension module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let steps = ["STEP_NEED_INPUT", "STEP_ASK", "STEP_HOLD", "STEP_COMMIT", "STEP_CLOSE", "STEP_WAIT", "STEP_YIELD"];
    for (number, name) in (0u8..).zip(steps) {
        module.add(name, number)?;
    }
    let stages = [
        ("STAGE_CONNECT", Stage::Connect),
        ("STAGE_HELO", Stage::Helo),
        ("STAGE_MAIL", Stage::Mail),
        ("STAGE_RCPT", Stage::Rcpt),
        ("STAGE_DATA", Stage::Data),
        ("STAGE_END_OF_HEADERS", Stage::EndOfHeaders),
        ("STAGE_END_OF_DATA", Stage::EndOfData),
    ];
    for (name, stage) in stages {
        module.add(name, stage as u8)?;
    }
    module.add_class::<Session>()
}
