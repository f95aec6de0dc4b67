//! Binding of `crate::machine::message::address::Normalisation`.
#![allow(clippy::needless_pass_by_value)] // PyO3 hands arguments over by value

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::address::Address;
use crate::machine::message::address::{Case, Dots, Normalisation as Inner, Options};

/// A domain, its dots, its case, its delimiters.
type Given = (String, String, String, String);

/// See `_native.pyi`.
#[pyclass(frozen, eq, module = "mailmoat._native")]
#[derive(PartialEq, Eq)]
pub struct Normalisation(pub Arc<Inner>);

#[pymethods]
impl Normalisation {
    #[new]
    #[pyo3(signature = (delimiters = "", domains = None, ours = None))]
    fn new(delimiters: &str, domains: Option<Vec<Given>>, ours: Option<Vec<String>>) -> PyResult<Self> {
        let domains = domains.unwrap_or_default().into_iter().map(options).collect::<PyResult<Vec<_>>>()?;
        let ours = ours.unwrap_or_default().into_iter().map(String::into_boxed_str);
        Ok(Self(Arc::new(Inner::new(delimiters.to_owned(), domains).with_ours(ours))))
    }

    fn key(&self, address: &Address) -> String {
        self.0.key(&address.0)
    }

    fn without_detail(&self, address: &Address) -> Option<Address> {
        address.0.without_detail(self.0.delimiters(address.0.domain())).map(Address)
    }

    fn with_detail_of(&self, address: &Address, target: &Address) -> Option<Address> {
        let delimiters = self.0.delimiters(address.0.domain());
        self.0.with_detail_of(&address.0, delimiters, &target.0).map(Address)
    }

    fn without_dots(&self, address: &Address) -> Option<Address> {
        self.0.without_dots(&address.0).map(Address)
    }

    fn __repr__(&self) -> String {
        format!("<{:?}>", self.0)
    }
}

fn options((domain, dots, case, delimiters): Given) -> PyResult<(Box<str>, Options)> {
    let dots = match dots.as_str() {
        "keep" => Dots::Keep,
        "ignore" => Dots::Ignore,
        other => return Err(PyValueError::new_err(format!("dots is keep or ignore, not {other:?}"))),
    };
    let case = match case.as_str() {
        "ignore" => Case::Ignore,
        "keep" => Case::Keep,
        other => return Err(PyValueError::new_err(format!("case is ignore or keep, not {other:?}"))),
    };
    Ok((domain.into(), Options { dots, case, delimiters }))
}

/// Adds this module's class to the extension module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Normalisation>()
}
