//! The server's side of SMTP: `session` is the machine, every other file one concept of it.

pub mod auth;
pub mod checked_content;
pub mod chunk;
pub mod config;
pub mod content_rules;
pub mod data;
pub mod envelopes;
mod mode;
mod phase;
pub mod session;
pub mod step;
pub mod tally;
mod tarpit;
mod trace;
pub mod transaction;
mod usual_lines;
