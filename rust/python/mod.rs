//! The only files that use `PyO3`: one thin binding file per pure module. Each class, enum and function is exported once.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // the clock of the spool

use pyo3::prelude::*;

mod address;
mod backlog;
mod backlog_fill;
mod budgets;
mod client;
mod disk;
mod dns;
mod header;
mod heap;
mod int_enum;
mod limits;
mod lists;
mod message;
mod next_client;
mod next_hops;
mod normalisation;
mod notes;
mod prefix;
mod queue;
mod recipient;
mod reputation;
mod screen;
mod session;
mod session_auth;
mod session_config;
mod session_log;
mod session_parameters;
mod session_proxied;
mod session_tls;
mod shared;
mod snapshot;
mod spool;
mod spool_values;
mod step;
mod tls;
mod tls_identity;
mod wheel;

/// The extension module `mailmoat._native`; its typed contract is `python/mailmoat/_native.pyi`.
#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    address::register(module)?;
    normalisation::register(module)?;
    backlog::register(module)?;
    budgets::register(module)?;
    client::register(module)?;
    disk::register(module)?;
    dns::register(module)?;
    header::register(module)?;
    heap::register(module)?;
    limits::register(module)?;
    lists::register(module)?;
    message::register(module)?;
    next_client::register(module)?;
    next_hops::register(module)?;
    prefix::register(module)?;
    queue::register(module)?;
    recipient::register(module)?;
    reputation::register(module)?;
    screen::register(module)?;
    session::register(module)?;
    session_config::register(module)?;
    shared::register(module)?;
    snapshot::register(module)?;
    spool::register(module)?;
    spool_values::register(module)?;
    step::register(module)?;
    tls::register(module)?;
    tls_identity::register(module)?;
    wheel::register(module)
}
