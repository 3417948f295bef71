//! `Head` and `HeadCache`: what a writer knows of its actors.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::heads::{Head as HeadData, Heads};

/// What a writer knows of an actor: its latest version, the sequence of its latest commit, and the next commit's spine.
#[pyclass(frozen, eq, module = "aether._native")]
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    pub data: HeadData,
}

#[pymethods]
impl Head {
    #[new]
    fn new() -> Self {
        Self { data: HeadData::new_actor() }
    }

    /// The actor's latest version; 0: it has no event yet.
    #[getter]
    fn version(&self) -> u64 {
        self.data.version
    }

    /// The stream sequence of its latest commit; 0: it has none yet.
    #[getter]
    fn sequence(&self) -> u64 {
        self.data.sequence
    }

    /// The head once a commit that was written on top of this one lies at `sequence`.
    fn after(&self, version: u64, sequence: u64) -> Self {
        Self { data: self.data.after(version, sequence) }
    }

    fn __repr__(&self) -> String {
        let HeadData { version, sequence, spine } = &self.data;
        format!("<Head version {version} at {sequence}, {} roots>", spine.as_ref().map_or(0, Vec::len))
    }
}

/// The heads of the actors used last, at most `capacity` of them; the least recently used goes first. Safe from many threads.
///
/// Raises:
///     ValueError: `capacity` is 0.
#[pyclass(frozen, module = "aether._native")]
pub struct HeadCache {
    /// Shared with the pipelines of the same store.
    pub heads: Arc<Mutex<Heads>>,
}

impl HeadCache {
    fn lock(&self) -> MutexGuard<'_, Heads> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl HeadCache {
    #[new]
    fn new(capacity: usize) -> PyResult<Self> {
        let capacity =
            NonZeroUsize::new(capacity).ok_or_else(|| PyValueError::new_err("the cache of heads needs room for one actor"))?;
        Ok(Self { heads: Arc::new(Mutex::new(Heads::new(capacity))) })
    }

    /// The actor's head, or None where it is not known.
    #[pyo3(signature = (actor_id, /))]
    fn get(&self, actor_id: &str) -> Option<Head> {
        let found = self.lock().get(actor_id).cloned();
        found.map(|data| Head { data })
    }

    /// Keeps the actor's head unless a later one is known: answers may arrive out of order.
    #[pyo3(signature = (actor_id, head, /))]
    fn put(&self, actor_id: &str, head: &Bound<'_, Head>) {
        let head = head.get().data.clone();
        self.lock().put(actor_id, head);
    }

    /// Drops what is known of the actor.
    #[pyo3(signature = (actor_id, /))]
    fn forget(&self, actor_id: &str) {
        self.lock().forget(actor_id);
    }

    /// How many were dropped so far to make room for others.
    #[getter]
    fn dropped(&self) -> u64 {
        self.lock().dropped()
    }

    fn __len__(&self) -> usize {
        self.lock().len()
    }
}
