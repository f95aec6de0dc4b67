//! A connection that only asks whether recipients exist, and never says DATA or BDAT.
//!
//! After MAIL and RCPT comes RSET; what is known of the recipient is the reply to RCPT alone. One
//! that it accepts is delivered, one that it refuses with 5xx is failed. Whatever is said of anything else, MAIL included, leaves it
//! deferred: that was not about the recipient. No XCLIENT, no XFORWARD and no SIZE: there is no client and no message.
//!
//! RCPT and RSET are one write where PIPELINING permits it. MAIL goes before them by itself: a host that replies to it twice would else say
//! of the recipient what it says of the sender. A reply too many behind the last one makes a refusal void.
//!
//! After some refusals the session ends with QUIT. Servers count them as errors, as no message comes that would show good intent: Postfix
//! holds each reply after the tenth for a second, that to RSET among them, and ends the session after twenty.

#[cfg(test)]
mod tests;

use super::Client;
use super::reply::MAX_TEXT;
use crate::machine::message::State;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Messages.
    Delivery,
    /// Questions whether recipients exist.
    Callout,
}

/// Refusals after which a session is left.
pub const MOST_REFUSALS: usize = 9;

impl Client {
    /// The same connection, which only asks.
    #[must_use]
    pub fn for_callouts(self) -> Self {
        Self { purpose: Purpose::Callout, ..self }
    }

    /// Defers what a callout that is over, but not taken yet, had as a refusal.
    pub(super) fn doubt_refusals(&mut self, why: &str) {
        for outcome in &mut self.outcomes {
            if outcome.1 == State::Failed {
                (outcome.1, outcome.2) = (State::Pending, why.get(..MAX_TEXT).unwrap_or(why).to_owned());
            }
        }
    }
}
