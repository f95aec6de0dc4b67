//! The extension of mailmoat, in three rooms. `machine` holds value machines: bytes in, steps out, no file, clock, thread or socket.
//! `store` holds what touches those: the spool, content files, the recipient snapshot, memory shared between processes. `python`
//! alone uses `PyO3` and is an optional feature, so `cargo test --no-default-features` proves the separation.
// Tests may read files and wait.
#![cfg_attr(test, allow(clippy::disallowed_methods, clippy::disallowed_types))]

pub mod machine;
pub mod store;

#[cfg(feature = "python")]
mod python;
