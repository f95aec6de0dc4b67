//! The C library's heap, from which contents, sessions and Python's larger objects come.

#[cfg(target_env = "gnu")]
use std::thread;

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

/// Stack of the thread in `return_cached`, in octets.
#[cfg(target_env = "gnu")]
const STACK: usize = 64 << 10;

/// Lets a thread that ends at once free the blocks kept for this one: trimming takes them for used, and each may hold a page. This thread would
/// keep them again; what is kept for a thread that ends goes back to the heap.
#[cfg(target_env = "gnu")]
fn return_cached() {
    let blocks = take_each_size();
    let free = || {
        for &block in &blocks {
            // SAFETY: the block was allocated by `take_each_size`, nothing else has its address, and it is freed once.
            unsafe { libc::free(std::ptr::with_exposed_provenance_mut(block)) };
        }
    };
    let is_freed = thread::scope(|scope| {
        let begun = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, free);
        begun.is_ok_and(|thread| thread.join().is_ok()) // the end of the scope alone does not wait for the thread's
    });
    if !is_freed {
        free();
    }
}

/// Allocates as many blocks of each size as may be kept; gives their addresses.
#[cfg(target_env = "gnu")]
fn take_each_size() -> Vec<usize> {
    let sizes = (SMALLEST..=LARGEST).step_by(STEP).flat_map(|size| [size; CACHED]);
    // SAFETY: it takes a number; a null pointer may be freed.
    sizes.map(|size| unsafe { libc::malloc(size) }.expose_provenance()).collect()
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
