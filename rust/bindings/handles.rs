//! Python's iterables of events to the core's handles, and back.

use std::sync::Arc;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyList;

use super::event::Event;
use super::new_event::NewEvent;
use crate::event::EventData;

/// The handle of one event for a pipeline.
pub fn handle(item: &Bound<'_, PyAny>) -> PyResult<Arc<EventData>> {
    match item.cast::<Event>() {
        Ok(event) => Ok(Arc::clone(&event.get().data)),
        Err(_) => Err(PyTypeError::new_err(format!("a pipeline takes Event objects, not {}", item.get_type().name()?))),
    }
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
