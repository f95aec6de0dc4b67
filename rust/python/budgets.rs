//! Binding of `crate::store::shared::Budgets` and of the floods of reports.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::limits::{microseconds, seconds};
use super::shared::Shared;
use crate::store::shared::{BUDGETS, Budgets, Flood, Rate, Report};

/// See `_native.pyi`.
#[pyclass(frozen, module = "mailmoat._native")]
pub struct ReportBudgets {
    shared: Py<Shared>,
    budgets: Budgets,
}

/// Side, reports withheld, domains, seconds.
type PlainFlood = (usize, u64, u64, u64);

#[pymethods]
impl ReportBudgets {
    #[new]
    fn new(shared: Py<Shared>, rates: Vec<Option<(u64, f64, u64)>>, fold: f64) -> PyResult<Self> {
        let rate = |(count, seconds, burst)| Rate { count, period: microseconds(seconds), burst };
        let rates: Vec<_> = rates.into_iter().map(|given| given.map(rate)).collect();
        let rates =
            <[Option<Rate>; BUDGETS]>::try_from(rates).map_err(|_| PyValueError::new_err("not nine budgets"))?;
        Ok(Self { shared, budgets: Budgets::new(rates, microseconds(fold)) })
    }

    fn lower_debts(&self, now: f64) {
        self.budgets.lower_debts(&self.shared.get().inner, microseconds(now));
    }

    fn spend(&self, side: usize, address: &str, domain: &str, now: f64) -> Option<(usize, f64)> {
        let refused = self.budgets.spend(&self.shared.get().inner, Report { side, address, domain }, microseconds(now));
        refused.map(|(scope, wait)| (scope, seconds(wait)))
    }

    fn wait(&self, side: usize, address: &str, domain: &str, now: f64) -> Option<(usize, f64)> {
        let refused = self.budgets.wait(&self.shared.get().inner, Report { side, address, domain }, microseconds(now));
        refused.map(|(scope, wait)| (scope, seconds(wait)))
    }

    fn held(&self, address: &str, now: f64) -> f64 {
        seconds(self.budgets.held(&self.shared.get().inner, address, microseconds(now)))
    }

    fn count_withheld(&self, side: usize, domain: &str, now: u64, least: u64) -> Option<PlainFlood> {
        self.shared.get().inner.flood_count(side, domain, now, least).map(plain)
    }

    fn floods_ended(&self, now: u64, least: u64) -> Vec<PlainFlood> {
        self.shared.get().inner.floods_ended(now, least).into_iter().map(plain).collect()
    }

    fn is_flooded(&self, side: usize) -> bool {
        self.shared.get().inner.is_flooded(side)
    }
}

fn plain(flood: Flood) -> PlainFlood {
    (flood.side, flood.withheld, flood.domains, flood.seconds)
}

/// Adds this module's class to the extension module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<ReportBudgets>()
}
