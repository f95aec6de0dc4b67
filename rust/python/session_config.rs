//! Binding of `crate::machine::smtp::server::config`.

use std::path::PathBuf;
use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::normalisation::Normalisation;
use crate::machine::message::address::Limits;
use crate::machine::smtp::chunking::Chunking;
use crate::machine::smtp::server::config::Config;
use crate::machine::smtp::server::content_rules::{BareNewline, ContentRules, NulInHeader};
use crate::store::budget::{ALWAYS, Budget, OPEN_FILES};
use crate::store::content::ContentStorage;
use crate::store::disk::Disk;

/// See `_native.pyi`.
#[pyclass(frozen, module = "mailmoat._native")]
pub struct SessionConfig {
    pub config: Arc<Config>,
    budget: Arc<Budget>,
}

#[pymethods]
impl SessionConfig {
    #[allow(clippy::too_many_arguments)] // keyword-only: the value has this many names
    #[new]
    #[pyo3(signature = (*, hostname, default_domain, incoming_dir, asked, tarpit_time, tarpit_max_session, auth_time, auth_failures, local_part, domain, path,
        command_line, text_line, recipients, null_sender_recipients, message_size, header_size, memory_content, content_memory, workers, hops, errors, idle_commands,
        bare_newline, nul_in_header, submitter, chunking, normalisation = None))]
    fn new(
        hostname: String,
        default_domain: String,
        incoming_dir: PathBuf,
        asked: u8,
        tarpit_time: u64,
        tarpit_max_session: u64,
        auth_time: u64,
        auth_failures: u32,
        local_part: usize,
        domain: usize,
        path: usize,
        command_line: usize,
        text_line: usize,
        recipients: usize,
        null_sender_recipients: usize,
        message_size: u64,
        header_size: usize,
        memory_content: usize,
        content_memory: usize,
        workers: usize,
        hops: usize,
        errors: u32,
        idle_commands: u32,
        bare_newline: &str,
        nul_in_header: &str,
        submitter: bool,
        chunking: bool,
        normalisation: Option<PyRef<'_, Normalisation>>,
    ) -> PyResult<Self> {
        let bare = match bare_newline {
            "refuse" => BareNewline::Refuse,
            "normalise" => BareNewline::Normalise,
            other => return Err(PyValueError::new_err(format!("bare_newline is refuse or normalise, not {other:?}"))),
        };
        let nul = match nul_in_header {
            "refuse" => NulInHeader::Refuse,
            "accept" => NulInHeader::Accept,
            other => return Err(PyValueError::new_err(format!("nul_in_header is refuse or accept, not {other:?}"))),
        };
        // Where the disk cannot be asked, a failed write says that it is full.
        let budget = Arc::new(Budget::new(content_memory, Disk::of(incoming_dir.clone()).ok(), workers));
        let storage = Arc::new(ContentStorage::new(memory_content, Arc::clone(&budget), incoming_dir));
        let config = Config {
            hostname,
            default_domain,
            normalisation: normalisation.map(|given| Arc::clone(&given.0)).unwrap_or_default(),
            addresses: Limits { local_part, domain, path },
            content: ContentRules {
                message_size,
                header_size,
                text_line,
                bare_newline: bare,
                nul_in_header: nul,
                eight_bit: true,
            },
            storage,
            command_line,
            recipients,
            null_sender_recipients,
            hops,
            errors,
            idle_commands,
            tarpit_time,
            tarpit_max_session,
            auth_time,
            auth_failures,
            submitter,
            smtputf8: true,
            chunking: if chunking { Chunking::Text } else { Chunking::Off },
            asked,
        };
        Ok(Self { config: Arc::new(config), budget })
    }

    #[pyo3(signature = (*, message_size, eight_bit, smtputf8, binary))]
    fn offering(&self, message_size: u64, eight_bit: bool, smtputf8: bool, binary: bool) -> Self {
        let mut config = Config::clone(&self.config);
        config.content.message_size = message_size;
        config.content.eight_bit = eight_bit;
        config.smtputf8 = smtputf8;
        if config.chunking != Chunking::Off {
            config.chunking = if binary { Chunking::Binary } else { Chunking::Text };
        }
        Self { config: Arc::new(config), budget: Arc::clone(&self.budget) }
    }

    #[getter]
    fn content_in_memory(&self) -> usize {
        self.budget.in_memory()
    }

    fn take_most_in_memory(&self) -> usize {
        self.budget.take_most()
    }
}

/// Adds this module's class to the extension module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("OPEN_CONTENT_FILES", OPEN_FILES)?;
    module.add("ALWAYS_IN_MEMORY", ALWAYS)?;
    module.add_class::<SessionConfig>()
}
