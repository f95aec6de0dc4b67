//! The value machines of mailmoat: bytes in, steps out.
//!
//! The modules listed here are pure: no `PyO3`, no clock, no policy. `python` alone knows `PyO3` and is an optional feature, so
//! `cargo test --no-default-features` proves the separation.

pub mod address;
pub mod budget;
pub mod client;
pub mod command;
pub mod content;
pub mod disk;
pub mod dns;
pub mod header;
pub mod mailbox;
pub mod message;
pub mod pra;
pub mod reply;
pub mod section;
pub mod session;
pub mod shared;
pub mod snapshot;
pub mod spool;
mod token;
pub mod wheel;

#[cfg(feature = "python")]
mod python;
