//! Binding of `crate::client`.

use pyo3::prelude::*;

/// Adds this module's classes to the extension module.
#[allow(clippy::unnecessary_wraps)]
pub fn register(_module: &Bound<'_, PyModule>) -> PyResult<()> {
    Ok(())
}
