//! The C library's heap, from which contents, sessions and Python's larger objects come.

use pyo3::prelude::*;

/// See `_native.pyi`.
#[pyfunction]
fn trim_heap(py: Python<'_>) -> bool {
    py.detach(trim)
}

#[cfg(target_env = "gnu")]
fn trim() -> bool {
    return_cached();
    // SAFETY: it takes a number, may be called by any thread at any time, and touches only free memory.
    unsafe { libc::malloc_trim(0) != 0 }
}

/// Free blocks of one size that the C library keeps for a thread: so many by default.
#[cfg(target_env = "gnu")]
const CACHED: usize = 7;
/// Octets of the smallest of them.
#[cfg(target_env = "gnu")]
const SMALLEST: usize = 24;
/// Octets of the largest of them.
#[cfg(target_env = "gnu")]
const LARGEST: usize = 1032;
/// Octets between two sizes.
#[cfg(target_env = "gnu")]
const STEP: usize = 16;

/// Exchanges the free blocks kept for this thread for others that lie closer together: trimming takes them for used, and each may hold a page.
#[cfg(target_env = "gnu")]
fn return_cached() {
    let (kept, others) = (take_each_size(), take_each_size());
    for block in others.into_iter().chain(kept) {
        // SAFETY: the block was allocated by `take_each_size`, and nothing else has its address.
        unsafe { libc::free(block) };
    }
}

/// Allocates as many blocks of each size as may be kept.
#[cfg(target_env = "gnu")]
fn take_each_size() -> Vec<*mut libc::c_void> {
    let sizes = (SMALLEST..=LARGEST).step_by(STEP).flat_map(|size| [size; CACHED]);
    // SAFETY: it takes a number; a null pointer may be freed.
    sizes.map(|size| unsafe { libc::malloc(size) }).collect()
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
