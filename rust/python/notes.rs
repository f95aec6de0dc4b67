//! What a partition notes of its messages in the shared memory, within calls that are made anyway.

use pyo3::prelude::*;

use super::shared::Shared;
use crate::store::shared::Suspicion;
use crate::store::spool;

/// The notes of one worker about one partition.
pub struct Notes {
    shared: Py<Shared>,
    slot: usize,
    tag: String,
    partition: u64,
}

impl Notes {
    /// The notes of the worker of a slot about the partition `tag`.
    pub fn new(shared: Py<Shared>, slot: usize, tag: &str) -> Self {
        let partition = shared.get().inner.partition_key(tag);
        Self { shared, slot, tag: tag.to_owned(), partition }
    }

    /// Notes that a message is in memory.
    pub fn add(&self, queue_id: &str, suspicion: Suspicion) -> PyResult<()> {
        match spool::sequence(&self.tag, queue_id) {
            Some(sequence) => Ok(self.shared.get().inner.note(self.slot, self.partition, sequence, suspicion)?),
            None => Ok(()),
        }
    }

    /// Notes that it is not any more.
    pub fn remove(&self, queue_id: &str) -> PyResult<()> {
        match spool::sequence(&self.tag, queue_id) {
            Some(sequence) => Ok(self.shared.get().inner.unnote(self.slot, self.partition, sequence)?),
            None => Ok(()),
        }
    }
}
