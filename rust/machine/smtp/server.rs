//! The server's side of an SMTP session.
#![forbid(unsafe_code)]

pub mod session;
