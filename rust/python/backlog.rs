//! Binding of `crate::machine::backlog`. Messages are named by their queue ids here; partitions have to be added by their tags.
//!
//! Loop and adopting thread use it at the same time: whoever has the lock holds it for some microseconds.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::machine::backlog::{Backlog as Inner, Group, Marks, Room};
use crate::store::spool;

/// See `_native.pyi`.
#[pyclass(frozen, module = "mailmoat._native")]
pub struct Backlog(Mutex<State>);

/// The groups, and the tags of the partitions they are in, by number.
pub struct State {
    pub inner: Inner,
    tags: Vec<Option<Box<str>>>,
}

impl State {
    /// Number of the partition and sequence of the message; `None` for one of no partition that was added.
    fn find(&self, queue_id: &str) -> Option<(u16, i64)> {
        let tags = self.tags.iter().enumerate().filter_map(|(number, tag)| Some((number, tag.as_deref()?)));
        let mut found =
            tags.filter_map(|(number, tag)| Some((u16::try_from(number).ok()?, spool::sequence(tag, queue_id)?)));
        found.next()
    }

    /// The number of a partition; a new one for one that was not added yet. `None` when there are 65,536 of them.
    pub fn number(&mut self, tag: &str) -> Option<u16> {
        let is_it = |known: &Option<Box<str>>| known.as_deref() == Some(tag);
        let is_free = |known: &Option<Box<str>>| known.is_none();
        let found = self.tags.iter().position(is_it).or_else(|| self.tags.iter().position(is_free));
        let number = found.unwrap_or(self.tags.len());
        if found.is_none() {
            self.tags.push(None);
        }
        let short = u16::try_from(number).ok()?;
        if let Some(place) = self.tags.get_mut(number) {
            *place = Some(tag.into());
        }
        Some(short)
    }

    fn waiting(&self, group: &Group, more: bool) -> Option<Waiting> {
        let tag = self.tags.get(usize::from(group.partition))?.as_deref()?;
        let queue_id = spool::queue_id(tag, group.sequence);
        Some(Waiting { partition: tag.to_owned(), queue_id, marks: group.marks, more })
    }
}

#[pymethods]
impl Backlog {
    #[new]
    fn new() -> Self {
        Self(Mutex::new(State { inner: Inner::new(), tags: Vec::new() }))
    }

    fn __len__(&self) -> usize {
        self.lock().inner.len()
    }

    #[getter]
    fn octets(&self) -> usize {
        self.lock().inner.octets()
    }

    fn add_partition(&self, tag: &str) -> PyResult<()> {
        match self.lock().number(tag) {
            Some(_) => Ok(()),
            None => Err(PyValueError::new_err("too many partitions")),
        }
    }

    fn drop_partition(&self, tag: &str) {
        for known in self.lock().tags.iter_mut().filter(|known| known.as_deref() == Some(tag)) {
            *known = None;
        }
    }

    fn line(&self, name: &str) -> u32 {
        self.lock().inner.line(name)
    }

    fn alias(&self, name: &str, line: u32) {
        self.lock().inner.alias(name, line);
    }

    fn name(&self, line: u32) -> Option<String> {
        self.lock().inner.name(line).map(str::to_owned)
    }

    fn waiting(&self, line: u32) -> usize {
        self.lock().inner.waiting(line)
    }

    fn is_ready(&self, line: u32) -> bool {
        self.lock().inner.is_ready(line)
    }

    fn close(&self, line: u32) -> bool {
        self.lock().inner.close(line)
    }

    #[pyo3(signature = (line, queue_id, *, due, now, arrival, fresh=false, big=false, parted=false, delayed=false, stranded=false, firm=false))]
    #[allow(clippy::too_many_arguments, clippy::fn_params_excessive_bools)] // all have their names in Python
    fn put(
        &self,
        line: u32,
        queue_id: &str,
        due: u64,
        now: u64,
        arrival: i64,
        fresh: bool,
        big: bool,
        parted: bool,
        delayed: bool,
        stranded: bool,
        firm: bool,
    ) -> PyResult<bool> {
        let mut state = self.lock();
        let Some((partition, sequence)) = state.find(queue_id) else {
            return Err(PyValueError::new_err(format!("{queue_id} is of no partition that was added")));
        };
        let marks = Marks::FRESH
            .when(fresh)
            .and(Marks::BIG.when(big))
            .and(Marks::PARTED.when(parted))
            .and(Marks::DELAYED.when(delayed))
            .and(Marks::STRANDED.when(stranded))
            .and(Marks::FIRM.when(firm));
        let group = Group { sequence, partition, marks, arrival: seconds(arrival), due };
        Ok(state.inner.put(line, &group, now))
    }

    #[allow(clippy::fn_params_excessive_bools)] // all have their names in Python
    #[pyo3(signature = (line, now, *, fresh=true, old=true, big=true))]
    fn take(&self, line: u32, now: u64, fresh: bool, old: bool, big: bool) -> Option<Waiting> {
        let mut state = self.lock();
        let group = state.inner.take(line, now, Room { fresh, old, big })?;
        state.waiting(&group, state.inner.is_ready(line))
    }

    fn take_older(&self, line: u32, now: u64, expired: i64, overdue: i64, most: usize) -> Vec<Waiting> {
        let mut state = self.lock();
        let groups = state.inner.take_older(line, now, (seconds(expired), seconds(overdue)), most);
        let more = state.inner.is_ready(line);
        groups.iter().filter_map(|group| state.waiting(group, more)).collect()
    }

    fn advance(&self, now: u64) -> Vec<u32> {
        self.lock().inner.advance(now)
    }

    fn next_due(&self) -> Option<u64> {
        self.lock().inner.next_due()
    }

    fn release(&self, line: u32, now: u64) -> bool {
        self.lock().inner.release(line, now)
    }

    fn lines_of(&self, queue_id: &str) -> Vec<u32> {
        let state = self.lock();
        state.find(queue_id).map(|(partition, sequence)| state.inner.lines_of(partition, sequence)).unwrap_or_default()
    }

    fn forget(&self, queue_id: &str, now: u64) -> Vec<u32> {
        let mut state = self.lock();
        let found = state.find(queue_id);
        found.map(|(partition, sequence)| state.inner.forget(partition, sequence, now)).unwrap_or_default()
    }

    fn hurry(&self, queue_id: &str, now: u64) -> Vec<u32> {
        let mut state = self.lock();
        let found = state.find(queue_id);
        found.map(|(partition, sequence)| state.inner.hurry(partition, sequence, now)).unwrap_or_default()
    }
}

impl Backlog {
    /// A panic while the lock was held leaves a group in one place too few, not in two.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See `_native.pyi`.
#[pyclass(frozen, module = "mailmoat._native")]
pub struct Waiting {
    partition: String,
    queue_id: String,
    marks: Marks,
    more: bool,
}

#[pymethods]
impl Waiting {
    #[getter]
    fn partition(&self) -> &str {
        &self.partition
    }

    #[getter]
    fn queue_id(&self) -> &str {
        &self.queue_id
    }

    #[getter]
    fn fresh(&self) -> bool {
        self.marks.has(Marks::FRESH)
    }

    #[getter]
    fn big(&self) -> bool {
        self.marks.has(Marks::BIG)
    }

    #[getter]
    fn parted(&self) -> bool {
        self.marks.has(Marks::PARTED)
    }

    #[getter]
    fn delayed(&self) -> bool {
        self.marks.has(Marks::DELAYED)
    }

    #[getter]
    fn more(&self) -> bool {
        self.more
    }
}

/// Seconds of a time in milliseconds since the epoch, as far as they have a place in a group: until the year 2106.
pub fn seconds(milliseconds: i64) -> u32 {
    u32::try_from(milliseconds.max(0) / 1000).unwrap_or(u32::MAX)
}

/// Adds this module's classes to the extension module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Backlog>()?;
    module.add_class::<Waiting>()
}
