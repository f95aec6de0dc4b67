//! Binding of `crate::machine::dns`.

use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::machine::dns::{self, Answer, Record};

const ANSWER_FOUND: u8 = 0;
const ANSWER_NO_NAME: u8 = 1;
const ANSWER_NO_DATA: u8 = 2;
const ANSWER_BOGUS: u8 = 3;
const ANSWER_UNREADABLE: u8 = 4;

#[derive(IntoPyObject)]
enum Value {
    Text(String),
    Exchange(u16, String),
    Octets(Vec<u8>),
}

impl From<Record> for Value {
    fn from(record: Record) -> Self {
        match record {
            Record::Address(address) => Self::Text(address.to_string()),
            Record::Name(name) => Self::Text(name),
            Record::Exchange(preference, host) => Self::Exchange(preference, host),
            Record::Text(octets) => Self::Octets(octets),
        }
    }
}

#[pyfunction]
fn read_answer<'py>(py: Python<'py>, octets: &[u8]) -> PyResult<(u8, u32, Bound<'py, PyTuple>)> {
    let (outcome, ttl, records) = match dns::read(octets) {
        Answer::Found(records, ttl) => (ANSWER_FOUND, ttl, records),
        Answer::NoName(ttl) => (ANSWER_NO_NAME, ttl, Vec::new()),
        Answer::NoData(ttl) => (ANSWER_NO_DATA, ttl, Vec::new()),
        Answer::Bogus => (ANSWER_BOGUS, 0, Vec::new()),
        Answer::Unreadable => (ANSWER_UNREADABLE, 0, Vec::new()),
    };
    Ok((outcome, ttl, PyTuple::new(py, records.into_iter().map(Value::from))?))
}

/// Adds this module's function and constants to the extension module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("ANSWER_FOUND", ANSWER_FOUND)?;
    module.add("ANSWER_NO_NAME", ANSWER_NO_NAME)?;
    module.add("ANSWER_NO_DATA", ANSWER_NO_DATA)?;
    module.add("ANSWER_BOGUS", ANSWER_BOGUS)?;
    module.add("ANSWER_UNREADABLE", ANSWER_UNREADABLE)?;
    module.add_function(wrap_pyfunction!(read_answer, module)?)
}
