//! Sets of names.

use std::collections::HashSet;

/// Domains, or addresses by their keys; all normalised.
#[derive(Debug, Default)]
pub struct Names(HashSet<Box<str>>);

impl Names {
    /// Of these.
    pub fn new(names: Vec<String>) -> Self {
        Self(names.into_iter().map(String::into_boxed_str).collect())
    }

    /// Whether it is one of them.
    pub fn has(&self, name: &str) -> bool {
        !self.0.is_empty() && self.0.contains(name)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Names of ours, which no client has.
#[derive(Debug)]
pub struct HeloNames(pub Names);

impl HeloNames {
    /// Whether a HELO name is that of some host elsewhere: in letters, digits, hyphens and underscores, with a dot, no address, and none
    /// that another spelling could be ours.
    pub fn is_ordinary(&self, name: &str) -> bool {
        let plain = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.');
        let Some((rest, top)) = name.rsplit_once('.') else { return false };
        let is_domain = !rest.is_empty() && !top.is_empty() && !top.bytes().all(|octet| octet.is_ascii_digit());
        if !is_domain || !name.bytes().all(plain) {
            return false;
        }
        let name = name.to_ascii_lowercase();
        !name.split('.').any(|label| label.starts_with("xn--")) && !self.0.has(&name)
    }
}
