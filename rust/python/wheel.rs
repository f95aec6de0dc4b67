//! Binding of `crate::machine::wheel`: a wheel of Python objects.

use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};

use crate::machine::wheel::{Key, Wheel as Inner};

/// See `_native.pyi`.
#[pyclass(module = "mailmoat._native")]
pub struct Wheel(Inner<Py<PyAny>>);

#[pymethods]
impl Wheel {
    #[new]
    fn new(now_ms: u64) -> Self {
        Self(Inner::new(now_ms))
    }

    fn schedule(&mut self, deadline_ms: u64, owner: Py<PyAny>) -> u64 {
        self.0.schedule(deadline_ms, owner).into()
    }

    fn cancel(slf: &Bound<'_, Self>, key: u64) -> bool {
        // The borrow ends before the owner is dropped: its end may call the wheel again.
        let owner = slf.borrow_mut().0.cancel(Key::from(key));
        owner.is_some()
    }

    fn advance(&mut self, now_ms: u64) -> Vec<Py<PyAny>> {
        let mut due = Vec::new();
        self.0.advance(now_ms, &mut due);
        due
    }

    fn fit(&mut self) {
        self.0.fit();
    }

    fn next_deadline(&self) -> Option<u64> {
        self.0.next_deadline()
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.0.values().try_for_each(|owner| visit.call(owner))
    }

    fn __clear__(slf: &Bound<'_, Self>) {
        // As in cancel: the owners end when the wheel is free again.
        let owners = std::mem::replace(&mut slf.borrow_mut().0, Inner::new(0));
        drop(owners);
    }
}

/// Adds this module's classes to the extension module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Wheel>()
}
