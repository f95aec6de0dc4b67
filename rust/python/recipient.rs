//! Binding of `crate::machine::message::recipient`.

use std::collections::BTreeMap;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::int_enum::IntEnum;
use crate::machine::message::{Outcome as InnerOutcome, Parameters, Recipient as Inner, State};
use crate::machine::smtp::xtext;

/// By the numbers of [`State`].
static RECIPIENT_STATE: IntEnum =
    IntEnum::new("RecipientState", &["PENDING", "DELIVERED", "FAILED", "CLOSED", "RELAYED", "PLACED", "EXPANDED"]);

/// A state that crosses as a member of `_native.RecipientState`.
#[derive(Clone, Copy)]
pub struct RecipientState(pub State);

impl<'py> IntoPyObject<'py> for RecipientState {
    type Target = PyAny;
    type Output = Bound<'py, PyAny>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Self::Output> {
        Ok(RECIPIENT_STATE.member(py, self.0 as u8).into_bound(py))
    }
}

impl FromPyObject<'_, '_> for RecipientState {
    type Error = PyErr;

    fn extract(given: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        let state = given.extract().ok().and_then(State::numbered);
        state.map(Self).ok_or_else(|| PyValueError::new_err("not a RecipientState"))
    }
}

/// See `_native.pyi`.
#[pyclass(frozen, eq, module = "mailmoat._native")]
#[derive(PartialEq)]
pub struct Recipient(pub Inner);

#[pymethods]
impl Recipient {
    #[getter]
    fn address(&self) -> &str {
        &self.0.address
    }

    #[getter]
    fn parameters(&self) -> BTreeMap<String, Option<String>> {
        given(&self.0.parameters)
    }

    #[getter]
    fn state(&self) -> RecipientState {
        RecipientState(self.0.state)
    }

    #[getter]
    fn is_open(&self) -> bool {
        self.0.state.is_open()
    }

    #[getter]
    fn reply(&self) -> &str {
        &self.0.reply
    }

    #[getter]
    fn due(&self) -> i64 {
        self.0.due
    }

    #[getter]
    fn attempts(&self) -> u32 {
        self.0.attempts
    }

    #[getter]
    fn next_hop(&self) -> &str {
        &self.0.next_hop
    }

    #[getter]
    fn next_hop_fixed(&self) -> &str {
        &self.0.next_hop_fixed
    }

    #[getter]
    fn reported(&self) -> bool {
        self.0.reported
    }

    fn __repr__(&self) -> String {
        format!("<Recipient {:?} {:?}>", self.0.address, self.0.state)
    }
}

/// See `_native.pyi`.
#[pyclass(frozen, eq, module = "mailmoat._native")]
#[derive(PartialEq)]
pub struct Outcome(pub InnerOutcome);

#[pymethods]
impl Outcome {
    #[new]
    fn new(index: u32, state: RecipientState, reply: String) -> Self {
        Self(InnerOutcome { index, state: state.0, reply })
    }

    #[getter]
    fn index(&self) -> u32 {
        self.0.index
    }

    #[getter]
    fn state(&self) -> RecipientState {
        RecipientState(self.0.state)
    }

    #[getter]
    fn reply(&self) -> &str {
        &self.0.reply
    }

    fn __repr__(&self) -> String {
        format!("Outcome({}, {:?}, {:?})", self.0.index, self.0.state, self.0.reply)
    }
}

/// See `_native.pyi`.
#[pyfunction]
fn decode_xtext(text: &str) -> String {
    xtext::decode_printable(text.as_bytes()).unwrap_or_else(|| text.to_owned())
}

/// See `_native.pyi`.
#[pyfunction]
fn decode_unitext(text: &str) -> String {
    xtext::decode_unitext(text).unwrap_or_else(|| text.to_owned())
}

/// Parameters as Python has them.
pub fn given(parameters: &Parameters) -> BTreeMap<String, Option<String>> {
    parameters.iter().map(|(keyword, value)| (keyword.to_owned(), value.map(str::to_owned))).collect()
}

/// Parameters that come from Python.
pub fn taken(parameters: &BTreeMap<String, Option<String>>) -> PyResult<Parameters> {
    let mut list = Parameters::default();
    for (keyword, value) in parameters {
        if !list.push(keyword, value.as_deref()) {
            return Err(PyValueError::new_err(format!("{keyword}={value:?} is no parameter")));
        }
    }
    Ok(list)
}

/// Adds this module's classes to the extension module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    RECIPIENT_STATE.register(module)?;
    module.add_class::<Recipient>()?;
    module.add_class::<Outcome>()?;
    module.add_function(wrap_pyfunction!(decode_xtext, module)?)?;
    module.add_function(wrap_pyfunction!(decode_unitext, module)?)
}
