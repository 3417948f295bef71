//! `ShardTable`: the owner of an actor, found natively.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::assign::owner;
use super::names::name;
use super::raise;
use crate::shard_table::ShardTable as TableData;

/// The owner of each of the 1021 shards, as a snapshot that never changes.
///
/// Args:
///     owners: the owners, any objects.
///     index: for each shard the index of its owner in `owners`; -1: it has none.
///
/// Raises:
///     ValueError: not 1021 entries, or an index that is none.
#[pyclass(frozen, module = "aether._native")]
pub struct ShardTable {
    owners: Vec<Py<PyAny>>,
    table: TableData,
}

impl ShardTable {
    fn owner(&self, py: Python<'_>, found: Option<usize>) -> Option<Py<PyAny>> {
        found.and_then(|index| self.owners.get(index)).map(|owner| owner.clone_ref(py))
    }
}

#[pymethods]
impl ShardTable {
    #[new]
    #[allow(clippy::needless_pass_by_value)] // taken from a Python list
    fn new(owners: Vec<Py<PyAny>>, index: Vec<i64>) -> PyResult<Self> {
        let table = TableData::new(owners.len(), index.into_iter().map(owner).collect());
        let table = table.map_err(|error| raise(error, ""))?;
        Ok(Self { owners, table })
    }

    /// The owner of the actor's shard; None: it has none.
    ///
    /// Raises:
    ///     InvalidIdError: this is no id.
    #[pyo3(signature = (actor_id, /))]
    fn owner_of(&self, actor_id: &Bound<'_, PyString>) -> PyResult<Option<Py<PyAny>>> {
        let found = self.table.owner_of(name("actor_id", actor_id)?);
        Ok(self.owner(actor_id.py(), found))
    }

    /// The owner of a shard; None: it has none, or there is no such shard.
    #[pyo3(signature = (shard, /))]
    fn of_shard(&self, py: Python<'_>, shard: u32) -> Option<Py<PyAny>> {
        self.owner(py, self.table.of_shard(shard))
    }

    /// The shards of the owner at this index, ascending.
    #[pyo3(signature = (owner, /))]
    fn shards_of(&self, owner: usize) -> Vec<u32> {
        self.table.shards_of(owner).collect()
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.owners.iter().try_for_each(|owner| visit.call(owner))
    }
}
