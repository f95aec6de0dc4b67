//! What the log takes from the binding of a session.

use pyo3::prelude::*;

use super::session::Session;
use super::step::Refusal;
use crate::machine::smtp::server::envelopes::Logged;
use crate::machine::smtp::server::tally::{self, LOGGED};

/// Reverse-path, recipients with the codes of their replies, queue id, octets, recipients left out.
type Envelope = (String, Vec<(String, u16)>, String, u64, u32);

#[pymethods]
impl Session {
    fn take_refused(&mut self) -> Vec<Refusal> {
        let taken = self.inner.take_refused().into_iter();
        let refusal = |one: tally::Refusal| Refusal {
            recipient: one.recipient,
            command: one.command,
            mail_from: one.mail_from,
            reply: one.reply.to_string(),
        };
        taken.map(refusal).collect()
    }

    /// How many refusals `take_refused` did not give, because there were so many.
    #[getter]
    fn refusals_left_out(&self) -> u32 {
        self.inner.tally().refused.saturating_sub(LOGGED)
    }

    fn message_accepted(&mut self, queue_id: &str, octets: u64) {
        self.inner.envelopes().end(queue_id, octets);
    }

    /// See `_native.pyi`.
    fn take_envelopes(&mut self) -> (Vec<Envelope>, u32) {
        let (kept, left_out) = self.inner.envelopes().take();
        let plain = |one: Logged| {
            let recipients = one.recipients.into_iter().map(|(recipient, code)| (recipient.into_string(), code));
            (one.mail_from.into_string(), recipients.collect(), one.queue_id.into_string(), one.octets, one.left_out)
        };
        (kept.map(plain).collect(), left_out)
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
