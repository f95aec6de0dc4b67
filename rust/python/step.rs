//! Binding of `crate::machine::smtp::server::step` and `tally`.

use pyo3::prelude::*;

use super::int_enum::IntEnum;

/// By the order of `Session::step` in `session`.
pub static STEP: IntEnum = IntEnum::new(
    "Step",
    &[
        "NEED_INPUT",
        "ASK",
        "HOLD",
        "COMMIT",
        "CLOSE",
        "WAIT",
        "YIELD",
        "START_TLS",
        "SECURED",
        "AUTHENTICATE",
        "REPLACE_CLIENT",
    ],
);
/// The stages of the machine, and one that only agents know: the connection is gone.
pub static STAGE: IntEnum =
    IntEnum::new("Stage", &["CONNECT", "HELO", "MAIL", "RCPT", "DATA", "END_OF_HEADERS", "END_OF_DATA", "DISCONNECT"]);

/// By the numbers of `End` in `tally`.
pub static END: IntEnum = IntEnum::new(
    "End",
    &[
        "QUIT",
        "NOT_SMTP",
        "BAD_CHUNK",
        "TOO_MANY_ERRORS",
        "NO_PROGRESS",
        "TARPIT_LIMIT",
        "REFUSED",
        "TOO_MANY_CONNECTIONS",
        "TIMEOUT",
        "SESSION_TIME",
        "EVICTED",
        "IDLE_CLOSED",
        "SHUTDOWN",
        "FAULT",
        "TLS_FAILED",
        "AUTH_FAILURES",
        "PRESSURE",
    ],
);

/// See `_native.pyi`.
#[pyclass(frozen, get_all, module = "mailmoat._native")]
pub struct Refusal {
    pub recipient: String,
    pub command: String,
    pub mail_from: String,
    pub reply: String,
}

/// Adds this module's classes and enums to the extension module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    STEP.register(module)?;
    STAGE.register(module)?;
    END.register(module)?;
    module.add_class::<Refusal>()
}
