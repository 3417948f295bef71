//! `Event`: frozen, its data encoded once when it is made.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use super::making::{self, Given, make};
use super::names::name;
use super::new_event::NewEvent;
use super::pickling::{Extra, Restore, restore, restored};
use super::reading::{decode_as, hash_of, id_of, shown_data};
use super::{clock, decode, metadata};
use crate::event::EventData;

/// Something that happened to one actor. It never changes.
///
/// `data` is encoded when the event is made, so nothing that the caller changes later is seen, and `.data` decodes afresh at
/// each access. Two events are equal if all their fields are: id, actor, type, version, time, data and metadata. Events can
/// be hashed, pickled and copied (a copy is the same object).
///
/// Args:
///     actor_id: whose event it is, any string of 1 to 255 UTF-8 bytes.
///     event_type: what happened, 1 to 255 UTF-8 bytes.
///     version: its place among the actor's events, from 1 to 2**64 - 1. Versions of an actor strictly increase.
///     data: None, bool, int (-2**63 to 2**64 - 1), finite float, str, bytes, list, tuple, dict with str keys, aware
///         datetime, or a msgspec Struct, dataclass or pydantic model of these.
///     id: a string of 1 to 255 UTF-8 bytes or a `uuid.UUID`; None: a new UUID of version 7, greater than all that this
///         process made before. A UUID in its canonical form (lower case, hyphens) takes 16 bytes.
///     timestamp: when it happened, an aware datetime within the years 1677 to 2262; None: now, in nanoseconds.
///     metadata: str to str, about the event rather than of it, at most 65,536 bytes encoded.
///
/// Raises:
///     InvalidIdError: `actor_id`, `event_type` or `id` is empty, too long or no UTF-8.
///     EncodeError: `data` or `metadata` holds what it may not; `path` says where.
///     TypeError: an argument of another type.
///     ValueError: a version out of range, or a timestamp that is naive or out of range.
#[pyclass(frozen, eq, module = "aether")]
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub data: Arc<EventData>,
}

#[pymethods]
impl Event {
    #[new]
    #[allow(clippy::too_many_arguments)] // Python gives them by keyword
    #[pyo3(signature = (actor_id, event_type, version, data=None, *, id=None, timestamp=None, metadata=None))]
    pub fn new(
        py: Python<'_>,
        actor_id: &Bound<'_, PyString>,
        event_type: &Bound<'_, PyString>,
        version: &Bound<'_, PyAny>,
        data: Option<&Bound<'_, PyAny>>,
        id: Option<&Bound<'_, PyAny>>,
        timestamp: Option<&Bound<'_, PyAny>>,
        metadata: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let actor = name("actor_id", actor_id)?;
        let kind = name("event_type", event_type)?;
        let version = making::version(version)?;
        Ok(Self { data: make(py, (actor, kind, version), data, &Given { id, timestamp, metadata })? })
    }

    /// What pickle calls.
    #[staticmethod]
    #[allow(clippy::too_many_arguments)] // a pickle's tuple
    #[pyo3(signature = (actor_id, event_type, version, payload, id, time_ns, meta, extra, /))]
    fn _restore(
        actor_id: &Bound<'_, PyString>,
        event_type: &Bound<'_, PyString>,
        version: &Bound<'_, PyAny>,
        payload: &[u8],
        id: &Bound<'_, PyString>,
        time_ns: i64,
        meta: &[u8],
        extra: Extra<'_>,
    ) -> PyResult<Self> {
        let actor = name("actor_id", actor_id)?;
        let version = making::version(version)?;
        Ok(Self { data: restored((actor, event_type, version), payload, id, (time_ns, meta, extra))? })
    }

    /// The event's id; a UUID is given in its canonical form.
    #[getter]
    fn id<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        id_of(py, &self.data)
    }

    /// Whose event it is.
    #[getter]
    fn actor_id<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        PyString::new(py, self.data.actor())
    }

    /// What happened.
    #[getter]
    fn event_type<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        PyString::new(py, self.data.parts().kind)
    }

    /// Its place among the actor's events, from 1.
    #[getter]
    fn version(&self) -> u64 {
        self.data.version()
    }

    /// The data, decoded afresh at each access: keep it in a name to read several fields. Tuples come back as lists.
    #[getter]
    fn data<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        decode::build(py, self.data.payload())
    }

    /// The data as msgpack bytes, just as they are stored.
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

    /// The data as a value of `type`: a msgspec Struct, a dataclass, a pydantic model, or any type that msgspec decodes.
    ///
    /// Raises:
    ///     DecodeError: the data does not fit the type; `reason` names the field.
    #[pyo3(signature = (r#type, /))]
    fn decode<'py>(&self, py: Python<'py>, r#type: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        decode_as(py, self.data.payload(), r#type)
    }

    /// The same event as a `NewEvent`, without actor and version.
    fn _draft(&self) -> NewEvent {
        NewEvent { data: Arc::new(self.data.draft()) }
    }

    fn __hash__(&self) -> u64 {
        hash_of(&*self.data)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let parts = self.data.parts();
        let (actor, kind, id) =
            (PyString::new(py, parts.actor).repr()?, PyString::new(py, parts.kind).repr()?, id_of(py, &self.data).repr()?);
        let data = shown_data(py, parts.payload)?;
        Ok(format!("Event({actor}, {kind}, {}, {data}, id={id})", parts.version))
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
