//! Python's iterables of events to the core's handles, and back.

use std::sync::Arc;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString, PyTuple};

use super::event::Event;
use super::names::name;
use super::new_event::NewEvent;
use crate::event::EventData;
use crate::pending::Pending;

/// What a pipeline takes: an event, or one that has no version yet and the actor it is for.
pub enum Given {
    Event(Arc<EventData>),
    Draft(String, Arc<EventData>),
}

impl Given {
    pub fn event(&self) -> &EventData {
        match self {
            Self::Event(event) | Self::Draft(_, event) => event,
        }
    }

    /// One event for both; a draft has its actor and version 0.
    pub fn into_event(self) -> Arc<EventData> {
        match self {
            Self::Event(event) => event,
            Self::Draft(actor, event) => Arc::new(event.numbered(&actor, 0)),
        }
    }

    /// Puts it where there is room for it.
    pub fn put(self, pending: &mut Pending, tag: u64) {
        match self {
            Self::Event(event) => pending.put(event, tag),
            Self::Draft(actor, event) => pending.put_draft(&actor, event, tag),
        }
    }
}

/// One item for a pipeline: an `Event`, or an actor id with a `NewEvent`.
pub fn given(item: &Bound<'_, PyAny>) -> PyResult<Given> {
    if let Ok(event) = item.cast::<Event>() {
        return Ok(Given::Event(Arc::clone(&event.get().data)));
    }
    if let Ok(pair) = item.cast::<PyTuple>()
        && pair.len() == 2
        && let Ok(actor) = pair.get_item(0)?.cast::<PyString>()
        && let Ok(draft) = pair.get_item(1)?.cast::<NewEvent>()
    {
        return Ok(Given::Draft(name("actor_id", actor)?.to_owned(), Arc::clone(&draft.get().data)));
    }
    Err(PyTypeError::new_err(format!(
        "a pipeline takes Event objects and (actor_id, NewEvent) pairs, not {}",
        item.get_type().name()?
    )))
}

/// An `Event`, or a `NewEvent` where it has no version.
pub fn event_or_draft(py: Python<'_>, data: Arc<EventData>) -> PyResult<Bound<'_, PyAny>> {
    if data.version() == 0 {
        let data = if data.actor().is_empty() { data } else { Arc::new(data.draft()) };
        return Ok(Bound::new(py, NewEvent { data })?.into_any());
    }
    events_of(py, vec![data])?.get_item(0)
}

/// What was put: an `Event`, or the pair of an actor id and a `NewEvent`.
pub fn as_put<'py>(py: Python<'py>, actor: &str, data: Arc<EventData>) -> PyResult<Bound<'py, PyAny>> {
    let is_draft = data.version() == 0;
    let event = event_or_draft(py, data)?;
    if is_draft { Ok((actor, event).into_pyobject(py)?.into_any()) } else { Ok(event) }
}

/// Events, the position of each, and the position up to which that is everything.
pub fn placed(py: Python<'_>, events: Vec<(u64, Arc<EventData>)>, position: u64) -> PyResult<(Bound<'_, PyList>, Vec<u64>, u64)> {
    let (positions, handles): (Vec<_>, Vec<_>) = events.into_iter().unzip();
    Ok((events_of(py, handles)?, positions, position))
}

/// The handles of an iterable of events.
pub fn handles(events: &Bound<'_, PyAny>) -> PyResult<Vec<Arc<EventData>>> {
    let collect = |item: PyResult<Bound<'_, PyAny>>| match item?.cast::<Event>() {
        Ok(event) => Ok(Arc::clone(&event.get().data)),
        Err(error) => Err(PyTypeError::new_err(format!("events must be Event objects ({error})"))),
    };
    events.try_iter()?.map(collect).collect()
}

/// The handles of at most `limit` events of a list, from an index on.
pub fn handles_from(events: &Bound<'_, PyList>, start: usize, limit: usize) -> PyResult<Vec<Arc<EventData>>> {
    let mut handles = Vec::with_capacity(events.len().saturating_sub(start).min(limit));
    for item in events.iter().skip(start).take(limit) {
        match item.cast::<Event>() {
            Ok(event) => handles.push(Arc::clone(&event.get().data)),
            Err(error) => return Err(PyTypeError::new_err(format!("events must be Event objects ({error})"))),
        }
    }
    Ok(handles)
}

/// The handles of one `NewEvent` or an iterable of them.
pub fn drafts(events: &Bound<'_, PyAny>) -> PyResult<Vec<Arc<EventData>>> {
    if let Ok(one) = events.cast::<NewEvent>() {
        return Ok(vec![Arc::clone(&one.get().data)]);
    }
    let collect = |item: PyResult<Bound<'_, PyAny>>| match item?.cast::<NewEvent>() {
        Ok(event) => Ok(Arc::clone(&event.get().data)),
        Err(error) => Err(PyTypeError::new_err(format!(
            "append takes NewEvent objects, which the store numbers; an Event has its version, save it ({error})"
        ))),
    };
    events.try_iter()?.map(collect).collect()
}

#[cfg(not(any(Py_LIMITED_API, Py_GIL_DISABLED)))]
pub use super::lean::list as events_of;

/// A list of `Event` objects for these handles.
#[cfg(any(Py_LIMITED_API, Py_GIL_DISABLED))]
pub fn events_of(py: Python<'_>, handles: Vec<Arc<EventData>>) -> PyResult<Bound<'_, pyo3::types::PyList>> {
    let events: Vec<Bound<'_, Event>> =
        handles.into_iter().map(|data| Bound::new(py, Event { data })).collect::<PyResult<_>>()?;
    pyo3::types::PyList::new(py, events)
}
