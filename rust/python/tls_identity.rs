//! Binding of `crate::machine::tls::certificate`.
#![allow(clippy::needless_pass_by_value)] // PyO3 hands arguments over by value

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::machine::tls::certificate::{CertificateFacts, Identity, Refusal};

impl From<Refusal> for PyErr {
    fn from(refusal: Refusal) -> Self {
        PyValueError::new_err(refusal.to_string())
    }
}

/// See `_native.pyi`.
#[pyclass(frozen, module = "mailmoat._native")]
pub struct Certificate(CertificateFacts);

#[pymethods]
impl Certificate {
    #[new]
    fn new(der: &[u8]) -> PyResult<Self> {
        CertificateFacts::read(der).map(Self).ok_or_else(|| PyValueError::new_err("not a certificate"))
    }

    fn covers(&self, name: &str) -> bool {
        self.0.covers(name)
    }

    #[getter]
    fn subject(&self) -> &str {
        &self.0.subject
    }

    #[getter]
    fn issuer(&self) -> &str {
        &self.0.issuer
    }

    #[getter]
    fn names(&self) -> Vec<String> {
        self.0.names.clone()
    }

    #[getter]
    fn not_before(&self) -> i64 {
        self.0.not_before
    }

    #[getter]
    fn not_after(&self) -> i64 {
        self.0.not_after
    }

    #[getter]
    fn key_kind(&self) -> &str {
        &self.0.key_kind
    }

    #[getter]
    fn fingerprint(&self) -> &str {
        &self.0.fingerprint
    }

    #[getter]
    fn public_key_digest(&self) -> String {
        self.0.public_key_digest()
    }

    #[getter]
    fn self_signed(&self) -> bool {
        self.0.self_signed
    }
}

/// See `_native.pyi`.
#[pyclass(frozen, module = "mailmoat._native")]
pub struct TlsIdentity(pub Arc<Identity>);

#[pymethods]
impl TlsIdentity {
    #[new]
    fn new(chain: &[u8], key: &[u8]) -> PyResult<Self> {
        Ok(Self(Arc::new(Identity::from_pem(chain, key)?)))
    }

    #[staticmethod]
    fn self_signed(py: Python<'_>, names: Vec<String>, days: u32, now: i64) -> PyResult<(Py<PyBytes>, Py<PyBytes>)> {
        let (chain, key) = Identity::self_signed(&names, days, now)?;
        Ok((PyBytes::new(py, chain.as_bytes()).unbind(), PyBytes::new(py, key.as_bytes()).unbind()))
    }

    #[getter]
    fn chain(&self) -> Vec<Certificate> {
        self.0.chain().iter().cloned().map(Certificate).collect()
    }
}

/// Adds this module's classes to the extension module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Certificate>()?;
    module.add_class::<TlsIdentity>()
}
