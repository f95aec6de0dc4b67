//! Binding of what the workers have at next hops together, in `crate::store::shared`.

use pyo3::prelude::*;

use super::limits::{microseconds, seconds};
use super::shared::{Index, Shared};
use crate::store::shared::Rate;

/// See `_native.pyi`.
#[pyclass(frozen, module = "mailmoat._native")]
pub struct NextHopShare {
    shared: Py<Shared>,
    slot: usize,
    name: String,
    connections: u64,
    rate: Option<Rate>,
}

#[pymethods]
impl NextHopShare {
    #[new]
    fn new(shared: Py<Shared>, slot: Index, name: String, connections: u64, rate: Option<(u64, f64, u64)>) -> Self {
        let rate = rate.map(|(count, seconds, burst)| Rate { count, period: microseconds(seconds), burst });
        Self { shared, slot: slot.0, name, connections, rate }
    }

    #[getter]
    fn is_rated(&self) -> bool {
        self.rate.is_some()
    }

    fn enter(&self) -> PyResult<bool> {
        Ok(self.shared.get().inner.next_hop_enter(self.slot, &self.name, self.connections)?)
    }

    fn leave(&self) -> PyResult<()> {
        Ok(self.shared.get().inner.next_hop_leave(self.slot, &self.name)?)
    }

    fn rest(&self) -> PyResult<()> {
        Ok(self.shared.get().inner.next_hop_rest(self.slot, &self.name)?)
    }

    fn yields(&self) -> PyResult<bool> {
        Ok(self.shared.get().inner.next_hop_yields(self.slot, &self.name, self.connections)?)
    }

    fn spend(&self, now: f64) -> f64 {
        let Some(rate) = self.rate else { return 0.0 };
        seconds(self.shared.get().inner.next_hop_spend(&self.name, rate, microseconds(now)))
    }
}

#[pymethods]
impl Shared {
    fn at_next_hop(&self, name: &str) -> (u64, u64, u64) {
        let all = self.inner.at_next_hop(name);
        (all.connections, all.workers, all.waiting)
    }

    fn next_hop_clear(&self, slot: Index) -> PyResult<()> {
        Ok(self.inner.next_hop_clear(slot.0)?)
    }
}

/// Adds this module's class to the extension module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<NextHopShare>()
}
