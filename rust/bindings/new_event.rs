//! `NewEvent`: an event before the store gives it an actor and a version.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use super::making::{Given, make};
use super::names::name;
use super::pickling::{Extra, Restore, restore, restored};
use super::reading::{decode_as, hash_of, id_of, shown_data};
use super::{clock, decode, metadata};
use crate::event::EventData;

/// An event that has no actor and no version yet: `append` gives it both.
///
/// Like an `Event` it is frozen and its data is encoded once, when it is made.
///
/// Args:
///     event_type: what happened, 1 to 255 UTF-8 bytes.
///     data: what is to be known about it; see `Event` for what it may hold.
///     id: a string of 1 to 255 UTF-8 bytes or a `uuid.UUID`; None: a new UUID of version 7.
///     timestamp: when it happened, an aware datetime within the years 1677 to 2262; None: now, in nanoseconds.
///     metadata: str to str, about the event rather than of it, at most 65,536 bytes encoded.
///
/// Raises:
///     InvalidIdError: `event_type` or `id` is empty, too long or no UTF-8.
///     EncodeError: `data` or `metadata` holds what it may not; `path` says where.
///     TypeError: an argument of another type.
///     ValueError: a timestamp that is naive or out of range.
#[pyclass(frozen, eq, module = "aether")]
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    /// Without actor and version, which the store gives it.
    pub data: Arc<EventData>,
}

#[pymethods]
impl NewEvent {
    #[new]
    #[pyo3(signature = (event_type, data=None, *, id=None, timestamp=None, metadata=None))]
    fn new(
        py: Python<'_>,
        event_type: &Bound<'_, PyString>,
        data: Option<&Bound<'_, PyAny>>,
        id: Option<&Bound<'_, PyAny>>,
        timestamp: Option<&Bound<'_, PyAny>>,
        metadata: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let kind = name("event_type", event_type)?;
        Ok(Self { data: make(py, ("", kind, 0), data, &Given { id, timestamp, metadata })? })
    }

    /// What pickle calls; actor and version are those of no event.
    #[staticmethod]
    #[allow(clippy::too_many_arguments)] // a pickle's tuple
    #[pyo3(signature = (actor_id, event_type, version, payload, id, time_ns, meta, extra, /))]
    #[allow(unused_variables)] // a new event has neither actor nor version
    fn _restore(
        actor_id: Option<&str>,
        event_type: &Bound<'_, PyString>,
        version: u64,
        payload: &[u8],
        id: &Bound<'_, PyString>,
        time_ns: i64,
        meta: &[u8],
        extra: Extra<'_>,
    ) -> PyResult<Self> {
        Ok(Self { data: restored(("", event_type, 0), payload, id, (time_ns, meta, extra))? })
    }

    /// The event's id; a UUID is given in its canonical form.
    #[getter]
    fn id<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        id_of(py, &self.data)
    }

    /// What happened.
    #[getter]
    fn event_type<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        PyString::new(py, self.data.parts().kind)
    }

    /// The data, decoded afresh at each access: keep it in a name to read several fields. Tuples come back as lists.
    #[getter]
    fn data<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        decode::build(py, self.data.payload())
    }

    /// The data as msgpack bytes, just as they will be stored.
    #[getter]
    fn payload<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.data.payload())
    }

    /// When it happened, as an aware datetime in UTC, cut to microseconds; `time_ns` has the rest.
    #[getter]
    fn timestamp<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        clock::datetime_of_ns(py, self.data.time_ns())
    }

    /// When it happened, in nanoseconds since 1970-01-01 UTC; before that it is negative.
    #[getter]
    fn time_ns(&self) -> i64 {
        self.data.time_ns()
    }

    /// The metadata, a new dict at each access, its keys sorted.
    #[getter]
    fn metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        metadata::all(py, &self.data)
    }

    /// The metadata's "correlation_id": which conversation it belongs to. None if it has none.
    #[getter]
    fn correlation_id<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyString>>> {
        metadata::entry(py, &self.data, "correlation_id")
    }

    /// The metadata's "causation_id": the message that caused it. None if it has none.
    #[getter]
    fn causation_id<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyString>>> {
        metadata::entry(py, &self.data, "causation_id")
    }

    /// The metadata's "command_id": the command it came from. None if it has none.
    #[getter]
    fn command_id<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyString>>> {
        metadata::entry(py, &self.data, "command_id")
    }

    /// The same event, id and time included, with these entries in its metadata too; they win over those of the same name.
    ///
    /// Raises:
    ///     EncodeError: they hold what metadata may not, or all of it together is larger than 65,536 bytes.
    ///     TypeError: no mapping.
    #[pyo3(signature = (entries, /))]
    fn with_metadata(&self, py: Python<'_>, entries: &Bound<'_, PyAny>) -> PyResult<Self> {
        let meta = metadata::merged(py, &self.data, entries)?;
        Ok(Self { data: Arc::new(self.data.with_meta(&meta)) })
    }

    /// The data as a value of `type`: a msgspec Struct, a dataclass, a pydantic model, or any type that msgspec decodes.
    ///
    /// Raises:
    ///     DecodeError: the data does not fit the type; `reason` names the field.
    #[pyo3(signature = (r#type, /))]
    fn decode<'py>(&self, py: Python<'py>, r#type: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        decode_as(py, self.data.payload(), r#type)
    }

    fn __hash__(&self) -> u64 {
        hash_of(&*self.data)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let (kind, id) = (self.event_type(py).repr()?, self.id(py).repr()?);
        Ok(format!("NewEvent({kind}, {}, id={id})", shown_data(py, self.data.payload())?))
    }

    fn __copy__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (memo, /))]
    #[allow(unused_variables)] // frozen, so there is nothing to copy
    fn __deepcopy__(slf: Py<Self>, memo: &Bound<'_, PyAny>) -> Py<Self> {
        slf
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Restore<'py>> {
        restore(slf.py(), slf.get_type().as_any(), &slf.get().data)
    }
}
