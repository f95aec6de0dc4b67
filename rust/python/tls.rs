//! Binding of `crate::machine::tls`.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::tls_identity::TlsIdentity;
use crate::machine::tls::{
    self, Association, ClientCertificates, ClientRules, Clock, Facts, ServerRules, TicketSecret, Unusable, Version,
};

impl From<Unusable> for PyErr {
    fn from(unusable: Unusable) -> Self {
        PyValueError::new_err(unusable.0)
    }
}

/// See `_native.pyi`.
#[pyclass(frozen, module = "mailmoat._native")]
pub struct TlsClock(Arc<Clock>);

#[pymethods]
impl TlsClock {
    #[new]
    fn new(seconds: u64) -> Self {
        Self(Arc::new(Clock::new(seconds)))
    }

    fn set(&self, seconds: u64) {
        self.0.set(seconds);
    }
}

/// See `_native.pyi`.
#[pyclass(frozen, module = "mailmoat._native")]
pub struct TlsServer(pub Arc<tls::TlsServer>);

#[pymethods]
impl TlsServer {
    #[allow(clippy::too_many_arguments)] // keyword-only: the value has this many names
    #[allow(clippy::needless_pass_by_value)] // PyO3 makes the list anew in any case
    #[new]
    #[pyo3(signature = (identities, *, clock, minimum, client_certificates, client_ca, tickets, ticket_secret, ticket_rotation,
        ticket_epoch))]
    fn new(
        identities: Vec<PyRef<'_, TlsIdentity>>,
        clock: &TlsClock,
        minimum: &str,
        client_certificates: &str,
        client_ca: &[u8],
        tickets: usize,
        ticket_secret: [u8; 32],
        ticket_rotation: u64,
        ticket_epoch: u64,
    ) -> PyResult<Self> {
        let identities: Vec<_> = identities.iter().map(|identity| Arc::clone(&identity.0)).collect();
        let rules = ServerRules {
            minimum: Version::numbered(minimum)?,
            client_certificates: ClientCertificates::named(client_certificates)?,
            client_ca,
            tickets,
            ticket_secret: TicketSecret { secret: ticket_secret, epoch: ticket_epoch, rotation: ticket_rotation },
        };
        Ok(Self(Arc::new(tls::TlsServer::new(&identities, Arc::clone(&clock.0), &rules)?)))
    }
}

/// Certificate usage, selector, matching type, octets.
type TlsaRecord = (u8, u8, u8, Vec<u8>);

/// See `_native.pyi`.
#[pyclass(frozen, module = "mailmoat._native")]
pub struct TlsClient(pub Arc<tls::TlsClient>);

#[pymethods]
impl TlsClient {
    #[allow(clippy::too_many_arguments)] // keyword-only: the value has this many names
    #[new]
    #[pyo3(signature = (*, clock, verify, ca, identity, minimum, maximum="1.3", names=None, tlsa=None, authentic=true))]
    fn new(
        clock: &TlsClock,
        verify: bool,
        ca: &[u8],
        identity: Option<&TlsIdentity>,
        minimum: &str,
        maximum: &str,
        names: Option<Vec<String>>,
        tlsa: Option<Vec<TlsaRecord>>,
        authentic: bool,
    ) -> PyResult<Self> {
        let tlsa: Vec<_> = tlsa.unwrap_or_default().into_iter().map(Association::from).collect();
        let asked = ClientRules {
            verify,
            authentic,
            tlsa: &tlsa,
            names: &names.unwrap_or_default(),
            ca,
            identity: identity.map(|identity| Arc::clone(&identity.0)),
            minimum: Version::numbered(minimum)?,
            maximum: Version::numbered(maximum)?,
        };
        Ok(Self(Arc::new(tls::TlsClient::new(Arc::clone(&clock.0), &asked)?)))
    }
}

/// See `_native.pyi`.
#[pyclass(frozen, module = "mailmoat._native")]
pub struct TlsFacts {
    #[pyo3(get)]
    version: &'static str,
    #[pyo3(get)]
    cipher_suite: &'static str,
    #[pyo3(get)]
    group: &'static str,
    #[pyo3(get)]
    server_name: String,
    #[pyo3(get)]
    resumed: bool,
    #[pyo3(get)]
    peer_fingerprint: String,
    #[pyo3(get)]
    peer_subject: String,
    #[pyo3(get)]
    peer_names: Vec<String>,
    #[pyo3(get)]
    verified: bool,
    #[pyo3(get)]
    verdict: String,
    peer_chain: Vec<Vec<u8>>,
    exporter: Vec<u8>,
    end_point: Arc<[u8]>,
}

impl TlsFacts {
    /// Of a connection whose peer has shown these certificates.
    pub fn of<'a>(facts: &Facts, peer_chain: impl Iterator<Item = &'a [u8]>) -> Self {
        let peer = facts.peer.as_deref();
        Self {
            version: facts.version,
            cipher_suite: facts.cipher_suite,
            group: facts.group,
            server_name: facts.server_name.to_string(),
            resumed: facts.resumed,
            peer_fingerprint: peer.map_or_else(String::new, |peer| peer.fingerprint.clone()),
            peer_subject: peer.map_or_else(String::new, |peer| peer.subject.clone()),
            peer_names: peer.map_or_else(Vec::new, |peer| peer.names.clone()),
            verified: facts.verified(),
            verdict: facts.verdict.and_then(Result::err).map_or_else(String::new, |why| why.to_string()),
            peer_chain: peer_chain.map(<[u8]>::to_vec).collect(),
            exporter: facts.exporter.map_or_else(Vec::new, Vec::from),
            end_point: Arc::clone(&facts.end_point),
        }
    }
}

#[pymethods]
impl TlsFacts {
    #[getter]
    fn peer_chain<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, PyBytes>> {
        self.peer_chain.iter().map(|der| PyBytes::new(py, der)).collect()
    }

    #[getter]
    fn exporter<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.exporter)
    }

    #[getter]
    fn end_point<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.end_point)
    }
}

/// Adds this module's classes to the extension module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<TlsClock>()?;
    module.add_class::<TlsServer>()?;
    module.add_class::<TlsClient>()?;
    module.add_class::<TlsFacts>()
}
