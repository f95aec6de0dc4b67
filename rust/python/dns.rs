//! Binding of `crate::machine::dns`.

use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::int_enum::IntEnum;
use crate::machine::dns::{self, Answer, Record};

static ANSWER: IntEnum = IntEnum::new("AnswerKind", &["FOUND", "NO_NAME", "NO_DATA", "BOGUS", "UNREADABLE"]);

#[derive(IntoPyObject)]
enum Value {
    Text(String),
    Exchange(u16, String),
    Octets(Vec<u8>),
    Association(u8, u8, u8, Vec<u8>),
}

impl From<Record> for Value {
    fn from(record: Record) -> Self {
        match record {
            Record::Address(address) => Self::Text(address.to_string()),
            Record::Name(name) => Self::Text(name),
            Record::Exchange(preference, host) => Self::Exchange(preference, host),
            Record::Text(octets) => Self::Octets(octets),
            Record::Association(usage, selector, matching, octets) => {
                Self::Association(usage, selector, matching, octets)
            }
        }
    }
}

type Read<'py> = (Py<PyAny>, u32, Bound<'py, PyTuple>, String);

#[pyfunction]
fn read_answer<'py>(py: Python<'py>, octets: &[u8]) -> PyResult<Read<'py>> {
    let (kind, ttl, records, alias) = match dns::read(octets) {
        Answer::Found(records, ttl, alias) => (0, ttl, records, alias.unwrap_or_default()),
        Answer::NoName(ttl) => (1, ttl, Vec::new(), String::new()),
        Answer::NoData(ttl) => (2, ttl, Vec::new(), String::new()),
        Answer::Bogus => (3, 0, Vec::new(), String::new()),
        Answer::Unreadable => (4, 0, Vec::new(), String::new()),
    };
    Ok((ANSWER.member(py, kind), ttl, PyTuple::new(py, records.into_iter().map(Value::from))?, alias))
}

/// Adds this module's function and enum to the extension module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    ANSWER.register(module)?;
    module.add_function(wrap_pyfunction!(read_answer, module)?)
}
