//! The C library's heap, from which contents, sessions and Python's larger objects come.

use pyo3::prelude::*;

/// See `_native.pyi`.
#[pyfunction]
fn trim_heap(py: Python<'_>) -> bool {
    py.detach(trim)
}

#[cfg(target_env = "gnu")]
fn trim() -> bool {
    // SAFETY: it takes a number, may be called by any thread at any time, and touches only free memory.
    unsafe { libc::malloc_trim(0) != 0 }
}

/// Other C libraries give memory back by themselves.
#[cfg(not(target_env = "gnu"))]
fn trim() -> bool {
    false
}

/// Adds this module's function to the extension module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(trim_heap, module)?)
}
