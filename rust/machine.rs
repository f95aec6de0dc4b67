//! Value machines: bytes in, steps out.
#![forbid(unsafe_code)]

mod ascii;
pub mod backlog;
pub mod base64;
pub mod dns;
pub mod message;
pub mod prefix;
pub mod reputation;
pub mod smtp;
pub mod tls;
pub mod wheel;
pub mod wire;
