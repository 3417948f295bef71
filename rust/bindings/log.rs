//! `MemoryLog`: the in-memory store's index behind a lock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyIterator, PyList, PyString};

use super::arrow::ArrowRows;
use super::event::Event;
use super::filter::EventFilter;
use super::handles::{drafts, events_of, given, handles, placed};
use super::names::name;
use super::pending::Pending;
use super::raise;
use super::snapshot::Snapshot;
use crate::log::Log;

/// The in-memory store's index behind a lock; see `InMemoryEventStore`. Safe from many threads.
///
/// Args:
///     max_events: how many events it holds at most, and never more than 2**32 - 1; None: that many.
///     commit_bytes_max: what one commit may take in bytes.
#[pyclass(frozen, module = "aether._native")]
pub struct MemoryLog {
    log: Mutex<Log>,
}

impl MemoryLog {
    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl MemoryLog {
    #[new]
    #[pyo3(signature = (max_events=None, commit_bytes_max=1_048_576))]
    fn new(max_events: Option<usize>, commit_bytes_max: usize) -> Self {
        Self { log: Mutex::new(Log::new(max_events.unwrap_or(usize::MAX), commit_bytes_max)) }
    }

    /// Stores one event as a commit and returns its position.
    #[pyo3(signature = (event, /))]
    fn save_event(&self, event: &Bound<'_, PyAny>) -> PyResult<u64> {
        let Ok(event) = event.cast::<Event>() else {
            return Err(PyTypeError::new_err(format!(
                "save_event takes an Event, not {}; append takes NewEvent",
                event.get_type().name()?
            )));
        };
        let handle = &event.get().data;
        let outcome = self.lock().save(std::slice::from_ref(handle));
        outcome.map_err(|error| raise(error, handle.actor()))
    }

    /// Stores events off the iterator through `pending`, one after another, at most `count`, until one is in trouble.
    ///
    /// Returns how many it took, and whether the iterator came to its end. None taken and no end: there is no room.
    ///
    /// Raises:
    ///     TypeError: an item is neither an `Event` nor an actor id with a `NewEvent`; what the iterator itself raises comes
    ///         through.
    #[pyo3(signature = (pending, iterator, count, /))]
    fn ingest(&self, pending: &Bound<'_, Pending>, iterator: &Bound<'_, PyIterator>, count: usize) -> PyResult<(usize, bool)> {
        let (shared, mut items) = (&pending.get().shared, iterator.clone());
        for taken in 0..count {
            if !pending.get().has_room() {
                return Ok((taken, false));
            }
            let Some(item) = items.next() else { return Ok((taken, true)) };
            let given = given(&item?)?;
            let mut pending = shared.lock();
            given.put(&mut pending, 0);
            pending.write_to(&mut self.lock());
            if pending.is_troubled() {
                return Ok((taken + 1, false));
            }
        }
        Ok((count, false))
    }

    /// Stores what waits in `pending`; what is refused is in trouble there.
    #[pyo3(signature = (pending, /))]
    fn write(&self, pending: &Bound<'_, Pending>) {
        let mut pending = pending.get().shared.lock();
        pending.write_to(&mut self.lock());
    }

    /// Stores the events of one actor as one commit and returns its position.
    #[pyo3(signature = (events, /))]
    fn save_events(&self, events: &Bound<'_, PyAny>) -> PyResult<u64> {
        let handles = handles(events)?;
        let outcome = self.lock().save(&handles);
        outcome.map_err(|error| raise(error, handles.first().map_or("", |event| event.actor())))
    }

    /// Numbers new events, stores them as one commit, and returns the actor's version and the commit's position.
    #[pyo3(signature = (actor_id, events, expected_version=None))]
    fn append(
        &self,
        actor_id: &Bound<'_, PyString>,
        events: &Bound<'_, PyAny>,
        expected_version: Option<u64>,
    ) -> PyResult<(u64, u64)> {
        let actor = name("actor_id", actor_id)?;
        let drafts = drafts(events)?;
        let outcome = self.lock().append(actor, &drafts, expected_version);
        outcome.map_err(|error| raise(error, actor))
    }

    /// The actor's events from `from_version` on, at most `limit`.
    #[pyo3(signature = (actor_id, from_version, limit=None))]
    fn get_events<'py>(
        &self,
        py: Python<'py>,
        actor_id: &Bound<'py, PyString>,
        from_version: u64,
        limit: Option<usize>,
    ) -> PyResult<Bound<'py, PyList>> {
        let actor = name("actor_id", actor_id)?;
        let handles = self.lock().events(actor, from_version, limit.unwrap_or(usize::MAX));
        events_of(py, handles)
    }

    /// The position of the last commit; 0: there is none.
    fn position(&self) -> u64 {
        self.lock().position()
    }

    /// Events of whole commits in position order, and the position up to which that is everything that `filter` takes.
    ///
    /// There are at most `limit`, unless the first commit alone has more; there may be none though more come behind.
    fn page<'py>(
        &self,
        py: Python<'py>,
        after: u64,
        through: u64,
        limit: usize,
        filter: &Bound<'py, EventFilter>,
    ) -> PyResult<(Bound<'py, PyList>, u64)> {
        let page = self.lock().page(after, through, limit, &filter.get().data);
        Ok((events_of(py, page.events)?, page.position))
    }

    /// The same page with the position of each of its events: (events, positions, position).
    fn placed_page<'py>(
        &self,
        py: Python<'py>,
        after: u64,
        through: u64,
        limit: usize,
        filter: &Bound<'py, EventFilter>,
    ) -> PyResult<(Bound<'py, PyList>, Vec<u64>, u64)> {
        let page = self.lock().placed_page(after, through, limit, &filter.get().data);
        placed(py, page.events, page.position)
    }

    /// Copies a page, as `page` would give it, into rows, and returns the position up to which that is everything.
    fn page_rows(
        &self,
        py: Python<'_>,
        rows: &Bound<'_, ArrowRows>,
        after: u64,
        through: u64,
        limit: usize,
        filter: &Bound<'_, EventFilter>,
    ) -> PyResult<u64> {
        let page = self.lock().placed_page(after, through, limit, &filter.get().data);
        rows.get().push(py, &page.events)?;
        Ok(page.position)
    }

    /// The actor's latest version; 0: it has no event yet.
    #[pyo3(signature = (actor_id, /))]
    fn get_latest_version(&self, actor_id: &Bound<'_, PyString>) -> PyResult<u64> {
        let actor = name("actor_id", actor_id)?;
        Ok(self.lock().latest(actor))
    }

    /// Keeps the snapshot unless one of a later version is kept.
    #[pyo3(signature = (snapshot, /))]
    fn save_snapshot(&self, snapshot: &Bound<'_, Snapshot>) -> PyResult<()> {
        let handle = &snapshot.get().data;
        let outcome = self.lock().save_snapshot(Arc::clone(handle));
        outcome.map_err(|error| raise(error, &handle.actor))
    }

    /// The actor's latest snapshot, or None.
    #[pyo3(signature = (actor_id, /))]
    fn get_latest_snapshot(&self, actor_id: &Bound<'_, PyString>) -> PyResult<Option<Snapshot>> {
        let actor = name("actor_id", actor_id)?;
        let found = self.lock().snapshot(actor);
        Ok(found.map(|data| Snapshot { data }))
    }

    /// Events held, and actors that have any.
    fn counts(&self) -> (usize, usize) {
        let log = self.lock();
        (log.len(), log.actors())
    }
}
