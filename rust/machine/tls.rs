//! TLS between a socket and a machine. No socket, no clock, no policy.

pub mod certificate;
