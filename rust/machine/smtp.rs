//! SMTP: commands and replies, the server's side of a session and the client's.

pub mod attribute;
pub mod chunking;
pub mod client;
pub mod command;
pub mod extensions;
pub mod forwarded;
pub mod parameters;
mod redirected;
pub mod reply;
pub mod server;
pub mod xtext;
