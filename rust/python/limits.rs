//! Binding of `crate::store::shared::Limits`.

use std::net::IpAddr;

use pyo3::prelude::*;

use super::prefix::Prefix;
use super::shared::Shared;
use crate::store::clock::Clock;
use crate::store::shared::{Class, Limits, Rate};

const MICROSECONDS: f64 = 1e6;

/// See `_native.pyi`.
#[pyclass(frozen, module = "mailmoat._native")]
pub struct RateLimits {
    pub(super) shared: Py<Shared>,
    pub(super) limits: Limits,
}

/// See `_native.pyi`.
#[pyclass(frozen, module = "mailmoat._native")]
pub struct MonotonicClock(pub(super) Clock);

#[pymethods]
impl MonotonicClock {
    #[new]
    fn new() -> Self {
        Self(Clock::default())
    }

    fn set(&self, seconds: f64) {
        self.0.set(microseconds(seconds));
    }
}

/// Class, prefix, units used, burst, seconds until more may be spent, seconds until nothing is, units spent.
type Standing = (Class, String, u64, u64, f64, f64, u64);

#[pymethods]
impl RateLimits {
    #[new]
    fn new(shared: Py<Shared>, rates: Vec<Option<(u64, f64, u64)>>) -> Self {
        let rate = |(count, seconds, burst)| Rate { count, period: microseconds(seconds), burst };
        Self { shared, limits: Limits::new(rates.into_iter().map(|given| given.map(rate)).collect()) }
    }

    /// See `_native.pyi`.
    fn lower_debts(&self, now: f64) {
        self.limits.lower_debts(&self.shared.get().inner, microseconds(now));
    }

    #[pyo3(signature = (class_, address, now, units=1, /))]
    fn spend(&self, class_: Class, address: &str, now: f64, units: u64) -> f64 {
        let Ok(address) = address.parse::<IpAddr>() else { return 0.0 };
        seconds(self.limits.spend(&self.shared.get().inner, class_, address, microseconds(now), units))
    }

    #[pyo3(signature = (class_, address, now, units=1, /))]
    fn charge(&self, class_: Class, address: &str, now: f64, units: u64) {
        if let Ok(address) = address.parse::<IpAddr>() {
            self.limits.charge(&self.shared.get().inner, class_, address, microseconds(now), units);
        }
    }

    #[pyo3(signature = (class_, address, now, /))]
    fn wait(&self, class_: Class, address: &str, now: f64) -> f64 {
        let Ok(address) = address.parse::<IpAddr>() else { return 0.0 };
        seconds(self.limits.wait(&self.shared.get().inner, class_, address, microseconds(now)))
    }

    /// See `_native.pyi`.
    fn take(&self, waits: u32, spends: u32, address: &str, now: f64) -> Option<(Class, f64)> {
        let address = address.parse::<IpAddr>().ok()?;
        let (class, wait) = self.limits.take(&self.shared.get().inner, waits, spends, address, microseconds(now))?;
        Some((class, seconds(wait)))
    }

    fn show(&self, of: Option<&Prefix>, now: f64, most: usize) -> (Vec<Standing>, usize) {
        let (of, now) = (of.map(|prefix| prefix.inner), microseconds(now));
        let (standings, left_out) = self.limits.show(&self.shared.get().inner, of, now, most);
        let plain = standings.into_iter().map(|one| {
            (one.class, one.prefix.to_string(), one.used, one.burst, seconds(one.wait), seconds(one.rest), one.spent)
        });
        (plain.collect(), left_out)
    }

    fn reset(&self, of: Option<&Prefix>, now: f64) -> usize {
        self.shared.get().inner.clear_cells(of.map(|prefix| prefix.inner), microseconds(now))
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a cast of floats saturates
pub(super) fn microseconds(seconds: f64) -> u64 {
    (seconds * MICROSECONDS) as u64
}

#[allow(clippy::cast_precision_loss)] // below 2^53
pub(super) fn seconds(microseconds: u64) -> f64 {
    microseconds as f64 / MICROSECONDS
}

/// Adds this module's class to the extension module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<MonotonicClock>()?;
    module.add_class::<RateLimits>()
}
