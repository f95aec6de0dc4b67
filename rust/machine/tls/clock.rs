//! The time that TLS reckons with: set by the caller, never read from a clock.

use core::time::Duration;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

/// Seconds since the epoch, shared by all that judge certificates and tickets.
#[derive(Debug)]
pub struct Clock(AtomicU64);

impl Clock {
    /// A clock that stands at `seconds`.
    pub fn new(seconds: u64) -> Self {
        Self(AtomicU64::new(seconds))
    }

    /// Sets the time.
    pub fn set(&self, seconds: u64) {
        self.0.store(seconds, Ordering::Relaxed);
    }

    /// The time that was set last.
    pub fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// The same, as certificates are judged by it.
    pub fn time(&self) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(self.now()))
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.time())
    }
}
