//! Binding of `crate::machine::smtp::server::session::Config`.

use std::path::PathBuf;
use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::machine::message::address::Limits;
use crate::machine::smtp::server::session::Config;
use crate::store::budget::{ALWAYS, Budget, OPEN_FILES};
use crate::store::content::{BareNewline, ContentRules, NulInHeader};
use crate::store::disk::Disk;

/// See `_native.pyi`.
#[pyclass(frozen, module = "mailmoat._native")]
pub struct SessionConfig(pub Arc<Config>);

#[pymethods]
impl SessionConfig {
    #[allow(clippy::too_many_arguments)] // keyword-only: the value has this many names
    #[new]
    #[pyo3(signature = (*, hostname, default_domain, loose_dir, asked, tarpit, tarpit_session, local_part, domain, path,
        command_line, text_line, recipients, message_size, header, memory_content, content_memory, workers, hops, errors, idle_commands,
        bare_newline, nul_in_header, submitter))]
    fn new(
        hostname: String,
        default_domain: String,
        loose_dir: PathBuf,
        asked: u8,
        tarpit: u64,
        tarpit_session: u64,
        local_part: usize,
        domain: usize,
        path: usize,
        command_line: usize,
        text_line: usize,
        recipients: usize,
        message_size: u64,
        header: usize,
        memory_content: usize,
        content_memory: usize,
        workers: usize,
        hops: usize,
        errors: u32,
        idle_commands: u32,
        bare_newline: &str,
        nul_in_header: &str,
        submitter: bool,
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
        Ok(Self(Arc::new(Config {
            hostname,
            default_domain,
            addresses: Limits { local_part, domain, path },
            content: ContentRules {
                size: message_size,
                header,
                line: text_line,
                memory: memory_content,
                // Where the disk cannot be asked, writing itself will tell.
                budget: Arc::new(Budget::new(content_memory, Disk::of(loose_dir.clone()).ok(), workers)),
                bare,
                nul,
                eight_bit: true,
                incoming_dir: loose_dir,
            },
            command_line,
            recipients,
            hops,
            errors,
            idle_commands,
            tarpit,
            tarpit_session,
            submitter,
            smtputf8: true,
            asked,
        })))
    }

    #[pyo3(signature = (*, message_size, eight_bit, smtputf8))]
    fn offering(&self, message_size: u64, eight_bit: bool, smtputf8: bool) -> Self {
        let mut config = Config::clone(&self.0);
        config.content.size = message_size;
        config.content.eight_bit = eight_bit;
        config.smtputf8 = smtputf8;
        Self(Arc::new(config))
    }

    #[getter]
    fn content_in_memory(&self) -> usize {
        self.0.content.budget.in_memory()
    }

    fn take_most_in_memory(&self) -> usize {
        self.0.content.budget.take_most()
    }
}

/// Adds this module's class to the extension module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("OPEN_CONTENT_FILES", OPEN_FILES)?;
    module.add("ALWAYS_IN_MEMORY", ALWAYS)?;
    module.add_class::<SessionConfig>()
}
