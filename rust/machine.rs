//! Value machines: bytes in, steps out.
#![forbid(unsafe_code)]

pub mod dns;
pub mod message;
pub mod smtp;
pub mod wheel;
