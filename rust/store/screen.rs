//! What policy need not be asked: for each stage the agents in their order, each with the conditions under which it would pass.
//!
//! An agent whose conditions hold is not asked, and a stage at which none is to be asked costs no Python. Policy is in the agents alone: a
//! condition may fail where its agent would pass, never hold where it would not, and what it does is what the agent would do. Agents come
//! one after the other, so behind one that is to be asked, a condition holds only if it stands alone.

use std::net::IpAddr;
use std::sync::Arc;

use super::clock::Clock;
use super::lists;
use super::shared::{Limits, Shared};
use super::snapshot::Directory;
use crate::machine::smtp::server::session::Session;
use crate::machine::smtp::server::step::Stage;

mod condition;
mod names;
mod recipients;
mod senders;
#[cfg(test)]
mod tests;

pub use condition::Condition;
pub use names::{HeloNames, Names};
pub use recipients::KnownRecipients;
pub use senders::CleanSenders;

/// A set of the agents of a stage: `1 << place`.
pub type Agents = u64;

/// All of them.
pub const ALL: Agents = Agents::MAX;

/// What conditions are looked up in.
#[derive(Clone, Copy)]
pub struct Tables<'a> {
    /// The memory of the host.
    pub shared: &'a Shared,
    /// Rates of this process.
    pub limits: &'a Limits,
    /// Their clock.
    pub clock: &'a Clock,
    /// Block and allow list of clients; None: nobody is on one.
    pub lists: Option<&'a lists::Snapshot>,
    /// Blocked senders; None: none is.
    pub senders: Option<&'a Directory>,
    /// Recipients that exist; None: they are not known here.
    pub recipients: Option<&'a Directory>,
    /// Somebody has to wait because the server is short of something.
    pub is_pressed: bool,
}

/// A session that is at a stage.
#[derive(Clone, Copy)]
pub struct Case<'a> {
    /// It.
    pub session: &'a Session,
    /// Of its client.
    pub address: IpAddr,
    /// What is known.
    pub tables: Tables<'a>,
}

/// An agent that may be asked at a stage.
#[derive(Debug, Clone)]
pub enum Check {
    /// It is asked whenever the stage is reached.
    Always,
    /// It is asked unless all of these hold.
    Unless(Vec<Arc<Condition>>),
}

/// The agents of all stages, for clients of one kind.
#[derive(Debug)]
pub struct Screen {
    stages: [Vec<Check>; Stage::ALL.len()],
}

impl Screen {
    /// By the numbers of the stages; None when there are too many stages, or more agents than a set has places.
    pub fn new(stages: Vec<Vec<Check>>) -> Option<Self> {
        let fit = stages.iter().all(|agents| agents.len() <= Agents::BITS as usize);
        stages.try_into().ok().filter(|_| fit).map(|stages| Self { stages })
    }

    /// The agents that have to be asked at this stage.
    pub fn asked(&self, stage: Stage, case: Case<'_>) -> Agents {
        let mut asked = 0;
        for (place, check) in self.stages.get(stage as usize).into_iter().flatten().enumerate() {
            let passes = match check {
                Check::Always => false,
                Check::Unless(conditions) => {
                    conditions.iter().all(|condition| (asked == 0 || condition.stands_alone()) && condition.holds(case))
                }
            };
            asked |= Agents::from(!passes) << place;
        }
        asked
    }
}
