//! Records in memory.
#![forbid(unsafe_code)]

use std::io;

use super::draft::Draft;
use crate::store::snapshot::format::{Record, hash};

/// A record that is kept.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    octets: Vec<u8>,
}

impl Stored {
    /// What begins with a record, perhaps.
    pub fn read(octets: Vec<u8>) -> Self {
        Self { octets }
    }

    /// Of `record`; None when its key or its targets are too long.
    pub fn of(record: &Record<'_>) -> Option<Self> {
        Some(Self { octets: [record.head()?.as_slice(), record.key, &record.tail()?].concat() })
    }

    /// None when it is none.
    pub fn record(&self) -> Option<Record<'_>> {
        Record::read(&self.octets)
    }

    /// How much memory it takes.
    pub fn octets(&self) -> usize {
        self.octets.len()
    }
}

/// Where the records are that aliases lead to: one for each key, before its aliases are followed.
pub(super) trait Records {
    /// The record of an address or a domain, if there is one.
    fn find(&self, is_domain: bool, key: &[u8]) -> io::Result<Option<Stored>>;
}

impl Records for Draft {
    fn find(&self, is_domain: bool, key: &[u8]) -> io::Result<Option<Stored>> {
        let mut found = None;
        self.slot(hash(is_domain, key), |draft, at| {
            let stored = draft.stored(at)?;
            let is_it = stored.record().is_some_and(|record| record.key == key && record.kind.is_domain() == is_domain);
            found = is_it.then_some(stored);
            Ok(is_it)
        })?;
        Ok(found)
    }
}
