//! `FenceMark`: what the writer of a shard's owner and its pipelines share of the shard's fence. `RosterBudget`: what it may take.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::pending::{Budget, Mark};

/// What the rosters of a node's shards may take together. Safe from many threads.
///
/// Args:
///     bytes_max: so many bytes. A roster that passes it is dropped, and none should be begun before others
///         have gone and half of it is free.
#[pyclass(frozen, module = "aether._native")]
pub struct RosterBudget {
    budget: Arc<Budget>,
}

#[pymethods]
impl RosterBudget {
    #[new]
    #[pyo3(signature = (bytes_max, /))]
    fn new(bytes_max: usize) -> Self {
        Self { budget: Arc::new(Budget::new(bytes_max)) }
    }

    /// What they take now.
    #[getter]
    fn bytes(&self) -> usize {
        self.budget.bytes()
    }

    /// No roster should be begun.
    #[getter]
    fn is_spent(&self) -> bool {
        self.budget.is_spent()
    }
}

/// Where a shard's fence stands, shared by the owner's writer and its pipelines. Safe from many threads.
///
/// It may have a *roster*, of who is in the shard. That is dropped where `last` or `key` is set, and where `is_open` is set to
/// False: it holds only as long as nothing comes to the shard but through `pass_to`, and pipelines that hold this.
///
/// Attributes:
///     last: the position of the shard's last message, as the owner knows it.
///     key: under which name heads are remembered that may be written on.
///     is_open: writes are taken.
#[pyclass(frozen, module = "aether._native")]
pub struct FenceMark {
    pub mark: Arc<Mark>,
}

#[pymethods]
impl FenceMark {
    #[new]
    fn new(last: u64, key: u64) -> Self {
        let mark = Mark::default();
        mark.set_last(last);
        mark.set_key(key);
        Self { mark: Arc::new(mark) }
    }

    #[getter]
    fn last(&self) -> u64 {
        self.mark.last()
    }

    #[setter]
    fn set_last(&self, position: u64) {
        self.mark.set_last(position);
    }

    #[getter]
    fn key(&self) -> u64 {
        self.mark.key()
    }

    #[setter]
    fn set_key(&self, key: u64) {
        self.mark.set_key(key);
    }

    #[getter]
    fn is_open(&self) -> bool {
        self.mark.is_open()
    }

    #[setter]
    fn set_is_open(&self, is_open: bool) {
        self.mark.set_open(is_open);
    }

    /// A roster was begun, and holds.
    #[getter]
    fn has_roster(&self) -> bool {
        self.mark.has_roster()
    }

    /// Sets `last` to the position of a message on this subject, whose actor is in the shard from now on.
    #[pyo3(signature = (position, subject, /))]
    fn pass_to(&self, position: u64, subject: &str) {
        self.mark.pass(position, token_of(subject));
    }

    /// Begins a roster, and returns its serial number: who comes to the shard from now on is in it.
    #[pyo3(signature = (budget, /))]
    fn begin_roster(&self, budget: &Bound<'_, RosterBudget>) -> u64 {
        self.mark.begin_roster(&budget.get().budget)
    }

    /// Makes the roster of this serial number whole with all subjects that the shard had when it was begun, or later.
    ///
    /// Returns whether it holds; False: it was dropped meanwhile, or there is no room for it.
    ///
    /// Raises:
    ///     TypeError: an item is no str; the roster is as it was.
    #[pyo3(signature = (serial, subjects, /))]
    fn fill_roster(&self, serial: u64, subjects: &Bound<'_, PyList>) -> PyResult<bool> {
        let subjects: Vec<String> = subjects.extract()?;
        Ok(self.mark.fill_roster(serial, subjects.iter().map(|subject| token_of(subject))))
    }

    /// Drops the roster of this serial number, where it is there still.
    #[pyo3(signature = (serial, /))]
    fn end_roster(&self, serial: u64) {
        self.mark.end_roster(serial);
    }

    /// Whether the actor surely has no message in the shard up to `last`, as its roster tells; without one: False.
    #[pyo3(signature = (actor_id, /))]
    fn is_new(&self, actor_id: &str) -> bool {
        self.mark.is_new(actor_id)
    }
}

/// The actor's token in its subject.
fn token_of(subject: &str) -> &str {
    subject.rsplit('.').next().unwrap_or(subject)
}
