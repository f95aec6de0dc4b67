//! Binding of `crate::machine::smtp::forwarded`.

use pyo3::prelude::*;

use crate::machine::smtp::forwarded::Client;

/// See `_native.pyi`.
#[pyclass(frozen, get_all, module = "mailmoat._native")]
pub struct NextClient {
    pub address: Option<String>,
    pub port: Option<String>,
    pub name: Option<String>,
    pub helo_name: Option<String>,
    pub login: Option<String>,
    pub destination: Option<String>,
    pub destination_port: Option<String>,
}

impl From<&Client> for NextClient {
    fn from(client: &Client) -> Self {
        let Client { name, address, port, helo_name, login, destination, destination_port, .. } = client.clone();
        Self { address, port, name, helo_name, login, destination, destination_port }
    }
}

/// Adds this module's class to the extension module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<NextClient>()
}
