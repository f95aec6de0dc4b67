//! A connection that only asks whether recipients exist, and never says DATA or BDAT.
//!
//! After MAIL and RCPT comes RSET, in one write where PIPELINING permits it; what is known of the recipient is the reply to RCPT alone. One
//! that it accepts is delivered, one that it refuses with 5xx is failed. Whatever is said of anything else, MAIL included, leaves it
//! deferred: that was not about the recipient. No XCLIENT, no XFORWARD and no SIZE: there is no client and no message.
//!
//! After some refusals the session ends with QUIT. Servers count them as errors, as no message comes that would show good intent: Postfix
//! slows a session down after ten, and ends it after twenty.

#[cfg(test)]
mod tests;

use super::Client;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Messages.
    Delivery,
    /// Questions whether recipients exist.
    Callout,
}

/// Refusals after which a session is left.
pub const MOST_REFUSALS: usize = 10;

impl Client {
    /// The same connection, which only asks.
    #[must_use]
    pub fn for_callouts(self) -> Self {
        Self { purpose: Purpose::Callout, ..self }
    }
}
