//! Who brought a message, as a next hop that asks for it is told: XCLIENT, by which it treats that client as its own, or XFORWARD,
//! which it only logs (both are Postfix's; its `XCLIENT_README` and `XFORWARD_README` define them).
//!
//! XCLIENT begins a session anew, in the name of one client: the connection carries one message then. XFORWARD is for one transaction, and
//! nothing depends on its reply.

#[cfg(test)]
mod tests;

use super::attributes::Attributes;
use super::callout::Purpose;
use super::reply::Reply;
use super::transaction::Fate;
use super::{Awaited, Client};
use crate::machine::message::State;
use crate::machine::smtp::attribute::Attribute;

/// What a connection says of the clients whose messages it carries.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Announcement {
    /// Nothing.
    #[default]
    Nothing,
    /// Whatever the host takes.
    Offered,
    /// It was made for one client.
    Made,
}

impl Client {
    /// The same connection, which says who brought the messages where that is asked for.
    #[must_use]
    pub fn announcing(self) -> Self {
        Self { announcement: Announcement::Offered, ..self }
    }

    /// Begins the transaction, after XCLIENT where that is taken.
    pub(super) fn announce(&mut self) {
        let Some(transaction) = &self.transaction else { return };
        let taken = self.offers.xclient;
        if self.announcement != Announcement::Offered
            || !taken.takes(Attribute::Addr)
            || transaction.message.envelope.client().is_empty()
            || transaction.slots(&Fate::Waiting).is_empty()
        {
            return self.start();
        }
        self.announcement = Announcement::Made;
        // Each begins the session anew: one has to be enough.
        let commands = taken.commands("XCLIENT", &transaction.message);
        if let Some(first) = commands.first() {
            self.send(format!("{first}\r\n").as_bytes(), Awaited::XClient);
        }
    }

    pub(super) fn on_xclient(&mut self, reply: &Reply) {
        match reply.class() {
            2 => {
                if let Some(authentication) = &mut self.authentication {
                    authentication.forget();
                }
                self.send_extended_hello();
            }
            3 => self.violate(&reply.text()),
            _ => self.refuse(State::Pending, &format!("451 4.7.0 The next hop refused XCLIENT: {}", reply.text())),
        }
    }

    /// With PIPELINING, as all that offer it do: XFORWARD, whose replies are waited for with that to MAIL.
    pub(super) fn send_xforward(&mut self) {
        let Some(transaction) = &self.transaction else { return };
        if self.announcement != Announcement::Offered || !self.offers.pipelining || self.purpose == Purpose::Callout {
            return;
        }
        for command in self.offers.xforward.commands("XFORWARD", &transaction.message) {
            self.send(format!("{command}\r\n").as_bytes(), Awaited::XForward);
        }
    }

    pub(super) fn on_xforward(&mut self, reply: &Reply) {
        match reply.class() {
            3 => self.violate(&reply.text()),
            4 | 5 => self.offers.xforward = Attributes::default(),
            _ => {}
        }
    }
}
