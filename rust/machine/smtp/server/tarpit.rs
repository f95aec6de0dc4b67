//! The tarpit: how long a 5xx reply is held before it joins the output. It counts time, and reads no clock.

use super::config::Config;
use crate::machine::smtp::reply::Reply;

/// What one session was held for so far.
#[derive(Debug, Default)]
pub struct Tarpit {
    /// Nothing is held.
    pub exempt: bool,
    /// Milliseconds in place of those of the configuration.
    pub time: Option<u64>,
    /// Replies held.
    pub holds: u32,
    /// Milliseconds of all holds.
    pub held: u64,
    /// Those of the clients before, where a server in front of us names one after the other.
    before: u64,
}

/// What becomes of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// It leaves at once.
    No,
    /// It is held for these milliseconds.
    For(u64),
    /// All delays of the session are used up: the session is to be closed.
    Spent,
}

impl Tarpit {
    /// Of a session without a hold so far.
    pub fn new(exempt: bool) -> Self {
        Self { exempt, ..Self::default() }
    }

    /// Forgets the client, but for the counts.
    pub fn begin_anew(&mut self, exempt: bool) {
        *self = Self { exempt, time: None, before: self.held, ..*self };
    }

    /// Judges a reply, and counts its hold, which lasts `least` milliseconds at least.
    pub fn hold(&mut self, config: &Config, reply: &Reply, least: u64) -> Hold {
        let (time, most) = (self.time.unwrap_or(config.tarpit_time).max(least), config.tarpit_max_session);
        if reply.class() != 5 || self.exempt || time == 0 {
            return Hold::No;
        }
        if most > 0 && self.held - self.before + time > most {
            return Hold::Spent;
        }
        self.holds += 1;
        self.held += time;
        Hold::For(time)
    }
}
