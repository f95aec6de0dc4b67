//! Binding of `crate::machine::smtp::client`.

use std::sync::Arc;

use aws_lc_rs::rand;
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use rustls::pki_types::ServerName;

use super::int_enum::IntEnum;
use super::message::Message;
use super::recipient::{Outcome, RecipientState};
use super::tls::{TlsClient, TlsFacts};
use crate::machine::message;
use crate::machine::smtp::chunking::Chunking;
use crate::machine::smtp::client::{Client as Inner, Credentials as InnerCredentials, Misuse, Offers, Protocol, Tls};
use crate::machine::wire::Wire;

/// By the numbers of [`crate::machine::smtp::client::Timeout`].
static TIME_LIMIT: IntEnum =
    IntEnum::new("TimeLimit", &["GREETING", "MAIL", "RCPT", "DATA", "BLOCK", "END_OF_DATA", "IDLE", "HANDSHAKE"]);

/// By the numbers of `Step`.
static CLIENT_STEP: IntEnum = IntEnum::new("ClientStep", &["WAIT", "READY", "DONE", "CLOSED", "MORE", "START_TLS"]);

/// See `_native.pyi`.
#[pyclass(module = "mailmoat._native")]
pub struct Client(Wire<Inner>);

impl From<Misuse> for PyErr {
    fn from(misuse: Misuse) -> Self {
        PyValueError::new_err(misuse.0)
    }
}

#[pymethods]
impl Client {
    #[new]
    #[pyo3(signature = (helo_name, *, lmtp=false, tls="none", credentials=None, xclient=false, chunking=true, callout=false))]
    #[allow(clippy::too_many_arguments, clippy::fn_params_excessive_bools)] // keyword-only
    fn new(
        helo_name: &str,
        lmtp: bool,
        tls: &str,
        credentials: Option<&Credentials>,
        xclient: bool,
        chunking: bool,
        callout: bool,
    ) -> PyResult<Self> {
        let protocol = if lmtp { Protocol::Lmtp } else { Protocol::Smtp };
        let tls = match tls {
            "none" => Tls::None,
            "may" => Tls::May,
            "encrypt" => Tls::Encrypt,
            "verify" => Tls::Verify,
            other => return Err(PyValueError::new_err(format!("tls is none, may, encrypt or verify, not {other:?}"))),
        };
        let client = Inner::new(protocol, helo_name)?.with_tls(tls);
        let client = if xclient { client.announcing() } else { client };
        let client = if chunking { client } else { client.without_chunks() };
        let client = if callout { client.for_callouts() } else { client };
        Ok(Self(Wire::new(match credentials {
            Some(credentials) => client.authenticating(credentials.0.clone(), &nonce()?),
            None => client,
        })))
    }

    fn start_tls(&mut self, py: Python<'_>, policy: &TlsClient, host: &str) -> PyResult<Py<PyAny>> {
        let name = host.strip_suffix('.').unwrap_or(host).to_owned();
        let name = ServerName::try_from(name).map_err(|_| PyValueError::new_err("not the name of a host"))?;
        Ok(CLIENT_STEP.member(py, self.0.start_tls(Arc::clone(&policy.0), name)? as u8))
    }

    #[getter]
    fn tls(&self) -> Option<TlsFacts> {
        self.0.facts().map(|facts| TlsFacts::of(facts, self.0.peer_chain()))
    }

    #[getter]
    fn tls_fault(&self) -> Option<String> {
        self.0.fault().map(|fault| fault.to_string())
    }

    #[getter]
    fn retry_in_clear(&self) -> bool {
        self.0.retry_in_clear()
    }

    fn receive(&mut self, py: Python<'_>, chunk: &[u8]) -> Py<PyAny> {
        CLIENT_STEP.member(py, self.0.receive(chunk) as u8)
    }

    fn output<'py>(&mut self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.output())
    }

    #[allow(clippy::needless_pass_by_value)]
    fn begin(
        &mut self,
        py: Python<'_>,
        message: &Bound<'_, Message>,
        recipient_indexes: Vec<usize>,
    ) -> PyResult<Py<PyAny>> {
        Ok(CLIENT_STEP.member(py, self.0.begin(message.get().0.clone(), &recipient_indexes)? as u8))
    }

    fn mark(&mut self, mark: &str) -> PyResult<()> {
        Ok(self.0.mark(mark)?)
    }

    fn quit(&mut self, py: Python<'_>) -> Py<PyAny> {
        CLIENT_STEP.member(py, self.0.quit() as u8)
    }

    fn end(&mut self, py: Python<'_>, cause: &str) -> Py<PyAny> {
        CLIENT_STEP.member(py, self.0.end(cause) as u8)
    }

    fn outcomes(&mut self) -> Vec<Outcome> {
        let outcomes = self.0.outcomes().into_iter();
        outcomes
            .map(|(index, state, reply)| {
                Outcome(message::Outcome { index: u32::try_from(index).unwrap_or(u32::MAX), state, reply })
            })
            .collect()
    }

    #[getter]
    fn step(&self, py: Python<'_>) -> Py<PyAny> {
        CLIENT_STEP.member(py, self.0.step() as u8)
    }

    #[getter]
    fn time_limit(&self, py: Python<'_>) -> Py<PyAny> {
        TIME_LIMIT.member(py, self.0.timeout() as u8)
    }

    #[getter]
    fn refusal(&self) -> Option<(RecipientState, &str)> {
        self.0.refusal().map(|(state, reply)| (RecipientState(*state), reply.as_str()))
    }

    #[getter]
    fn authentication_refused(&self) -> bool {
        self.0.authentication_refused()
    }

    #[getter]
    fn offers(&self) -> Option<(bool, bool, Option<u64>, bool)> {
        let binary = |offers: &Offers| offers.chunking == Chunking::Binary;
        self.0.offers().map(|offers| (offers.eight_bit, offers.smtputf8, offers.size, binary(offers)))
    }

    #[getter]
    fn replies(&self) -> u64 {
        self.0.replies()
    }

    #[getter]
    fn untouched(&self) -> bool {
        self.0.untouched()
    }
}

/// See `_native.pyi`.
#[pyclass(frozen, module = "mailmoat._native")]
pub struct Credentials(Arc<InnerCredentials>);

#[pymethods]
impl Credentials {
    #[new]
    fn new(name: &str, password: &str) -> PyResult<Self> {
        Ok(Self(Arc::new(InnerCredentials::new(name, password)?)))
    }

    #[getter]
    fn name(&self) -> &str {
        self.0.name()
    }

    fn __repr__(&self) -> String {
        format!("Credentials({:?})", self.0.name())
    }
}

/// 128 random bits in hexadecimal digits.
fn nonce() -> PyResult<String> {
    let mut octets = [0; 16];
    rand::fill(&mut octets).map_err(|_| PyOSError::new_err("no random octets"))?;
    Ok(format!("{:032x}", u128::from_ne_bytes(octets)))
}

/// Adds this module's classes to the extension module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    CLIENT_STEP.register(module)?;
    TIME_LIMIT.register(module)?;
    module.add_class::<Credentials>()?;
    module.add_class::<Client>()
}
