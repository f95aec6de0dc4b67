//! What touches files, clocks and threads: the spool, content files, the recipient snapshot, lists, memory shared between processes.
#![deny(unsafe_code)]
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // that is what this room is for

pub mod budget;
#[allow(unsafe_code)] // parts of a mapping, each with an owner
pub mod buffers;
mod checksum;
pub mod clock;
pub mod content;
#[cfg(test)]
mod decision_times;
pub mod disk;
pub mod lists;
#[allow(unsafe_code)] // a mapped file
pub mod mapped;
pub mod screen;
pub mod shared;
pub mod snapshot;
pub mod spool;
