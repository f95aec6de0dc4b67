//! Binding of `crate::machine::message`.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::recipient::{Recipient, given, taken};
use crate::machine::message as inner;
use crate::machine::message::State;
use crate::machine::message::content::{Content, Octets, Reader};
use crate::store::spool;

/// See `_native.pyi`.
#[pyclass(frozen, module = "mailmoat._native")]
pub struct Message(pub Arc<inner::Message>);

#[pymethods]
impl Message {
    /// A message made here, such as a report: `content` is whole, CRLF-ended and not dot-stuffed.
    #[new]
    #[pyo3(signature = (*, queue_id, arrival, reverse_path, recipients, content, trace=Vec::new(), parameters=BTreeMap::new(),
        results=String::new(), tls_optional=false))]
    #[allow(clippy::too_many_arguments, clippy::needless_pass_by_value)] // keyword-only, and owned as it comes from Python
    fn new(
        queue_id: String,
        arrival: i64,
        reverse_path: String,
        recipients: Vec<String>,
        content: Vec<u8>,
        trace: Vec<u8>,
        parameters: BTreeMap<String, Option<String>>,
        results: String,
        tls_optional: bool,
    ) -> PyResult<Self> {
        let eight_bit = !content.is_ascii();
        let recipients = recipients.into_iter().map(|address| inner::Recipient::new(address, arrival)).collect();
        let parameters = taken(&parameters)?;
        let origin = inner::Envelope::origin(&inner::Origin { tls_optional, ..inner::Origin::default() });
        Ok(Self(Arc::new(inner::Message {
            queue_id,
            arrival,
            envelope: inner::Envelope { reverse_path, parameters, recipients, origin, results },
            trace,
            content: Content { octets: Octets::Memory(content), eight_bit },
            share: None,
        })))
    }

    #[staticmethod]
    #[allow(clippy::needless_pass_by_value)] // owned as it comes from Python
    fn imported(py: Python<'_>, path: PathBuf, queue_id: String, incoming_dir: PathBuf) -> PyResult<Self> {
        let message = py.detach(|| spool::import(&path, queue_id, &incoming_dir));
        message.map(|message| Self(Arc::new(message))).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => PyValueError::new_err(error.to_string()),
            _ => error.into(),
        })
    }

    #[getter]
    fn queue_id(&self) -> &str {
        &self.0.queue_id
    }

    #[getter]
    fn arrival(&self) -> i64 {
        self.0.arrival
    }

    #[getter]
    fn reverse_path(&self) -> &str {
        &self.0.envelope.reverse_path
    }

    #[getter]
    fn recipients(&self) -> Vec<Recipient> {
        self.0.envelope.recipients.iter().cloned().map(Recipient).collect()
    }

    /// Recipients that it is still to be delivered to.
    #[getter]
    fn pending(&self) -> usize {
        self.0.envelope.recipients.iter().filter(|recipient| recipient.state == State::Pending).count()
    }

    #[getter]
    fn parameters(&self) -> BTreeMap<String, Option<String>> {
        given(&self.0.envelope.parameters)
    }

    #[getter]
    fn results(&self) -> &str {
        &self.0.envelope.results
    }

    #[getter]
    fn smtputf8(&self) -> bool {
        self.0.envelope.smtputf8()
    }

    #[getter]
    fn is_tls_optional(&self) -> bool {
        self.0.envelope.is_tls_optional()
    }

    #[getter]
    fn eight_bit(&self) -> bool {
        self.0.content.eight_bit || !self.0.trace.is_ascii()
    }

    #[getter]
    fn session_id(&self) -> &str {
        self.0.envelope.session_id()
    }

    #[getter]
    fn client(&self) -> &str {
        self.0.envelope.client()
    }

    #[getter]
    fn size(&self) -> u64 {
        self.0.size()
    }

    /// The content file at its beginning, or None when the content is in memory.
    fn open_content(&self) -> PyResult<Option<ContentReader>> {
        Ok(match &self.0.content.octets {
            Octets::Memory(_) => None,
            Octets::File(file) => Some(ContentReader(file.open()?)),
        })
    }

    /// Trace and content in one piece, for content in memory; of a content file the trace alone, which goes before it.
    fn octets<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let message = &self.0;
        let memory: &[u8] = match &message.content.octets {
            Octets::Memory(octets) => octets,
            Octets::File(_) => &[],
        };
        PyBytes::new_with(py, message.trace.len() + memory.len(), |target| {
            let (trace, rest) = target.split_at_mut(message.trace.len());
            trace.copy_from_slice(&message.trace);
            rest.copy_from_slice(memory);
            Ok(())
        })
    }
}

/// See `_native.pyi`.
#[pyclass(module = "mailmoat._native")]
pub struct ContentReader(Box<dyn Reader>);

#[pymethods]
impl ContentReader {
    fn read<'py>(&mut self, py: Python<'py>, most: u64) -> PyResult<Bound<'py, PyBytes>> {
        let mut octets = Vec::new();
        let reader = &mut self.0;
        py.detach(|| reader.take(most).read_to_end(&mut octets))?;
        Ok(PyBytes::new(py, &octets))
    }
}

/// Adds this module's classes to the extension module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Message>()?;
    module.add_class::<ContentReader>()
}
