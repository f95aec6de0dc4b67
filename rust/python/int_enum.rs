//! Enums as Python sees them: an `enum.IntEnum` made once, whose members are handed out and never made anew. So `is` compares them,
//! `match` names them, and a call that gives one costs no allocation.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::IntoPyDict;

/// The members of one enum, by number from 0 on.
pub struct IntEnum {
    name: &'static str,
    members: &'static [&'static str],
    made: PyOnceLock<Vec<Py<PyAny>>>,
}

impl IntEnum {
    /// The enum `name` with these members, numbered from 0 on.
    pub const fn new(name: &'static str, members: &'static [&'static str]) -> Self {
        Self { name, members, made: PyOnceLock::new() }
    }

    /// Makes it, and adds it to the extension module.
    pub fn register(&self, module: &Bound<'_, PyModule>) -> PyResult<()> {
        let py = module.py();
        let numbered: Vec<(&str, usize)> = self.members.iter().copied().zip(0..).collect();
        let options = [("module", "mailmoat._native")].into_py_dict(py)?;
        let class = py.import("enum")?.getattr("IntEnum")?.call((self.name, numbered), Some(&options))?;
        let members = class.try_iter()?.map(|member| Ok(member?.unbind())).collect::<PyResult<Vec<_>>>()?;
        // A second import of the module finds the first one's members.
        let _ = self.made.set(py, members);
        module.add(self.name, class)
    }

    /// The member of this number; None of Python for one that there is not.
    pub fn member(&self, py: Python<'_>, number: u8) -> Py<PyAny> {
        let member = self.made.get(py).and_then(|members| members.get(usize::from(number)));
        member.map_or_else(|| py.None(), |member| member.clone_ref(py))
    }
}
