//! `Snapshot`: an actor's state at a version.

use std::sync::Arc;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyTuple};

use super::codec::{default_limits, with_encoded};
use super::making;
use super::names::name;
use super::reading::{decode_as, hash_of};
use super::{clock, decode, raise};
use crate::msgpack::Limits;
use crate::snapshot::SnapshotData;

/// An actor's state as of a version: a shortcut for loading that never changes what a load yields. Frozen.
///
/// Args:
///     actor_id: whose state it is, any string of 1 to 255 UTF-8 bytes.
///     version: the version of the last event that the state contains, from 1 to 2**64 - 1.
///     state: the state; see `Event` for what it may hold. It is encoded once, when the snapshot is made.
///     timestamp: when it was taken, an aware datetime within the years 1677 to 2262; None: now, in nanoseconds.
///
/// Raises:
///     InvalidIdError: `actor_id` is empty, too long or no UTF-8.
///     EncodeError: `state` holds what it may not; `path` says where.
///     TypeError: an argument of another type.
///     ValueError: a version out of range, or a timestamp that is naive or out of range.
#[pyclass(frozen, eq, module = "aether")]
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    pub data: Arc<SnapshotData>,
}

#[pymethods]
impl Snapshot {
    #[new]
    #[pyo3(signature = (actor_id, version, state, *, timestamp=None))]
    fn new(
        py: Python<'_>,
        actor_id: &Bound<'_, PyString>,
        version: &Bound<'_, PyAny>,
        state: &Bound<'_, PyAny>,
        timestamp: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let actor = name("actor_id", actor_id)?.to_owned();
        let version = making::version(version)?;
        let time_ns = clock::time_ns(py, timestamp)?;
        with_encoded(state, &default_limits(), "state", |payload| {
            Ok(Self { data: Arc::new(SnapshotData { actor, version, time_ns, payload: payload.to_vec() }) })
        })
    }

    /// What pickle calls.
    #[staticmethod]
    #[pyo3(signature = (actor_id, version, time_ns, payload, /))]
    fn _restore(actor_id: &Bound<'_, PyString>, version: &Bound<'_, PyAny>, time_ns: i64, payload: &[u8]) -> PyResult<Self> {
        let actor = name("actor_id", actor_id)?.to_owned();
        let version = making::version(version)?;
        decode::check(payload, &Limits::STORED).map_err(|error| raise(error, ""))?;
        Ok(Self { data: Arc::new(SnapshotData { actor, version, time_ns, payload: payload.to_vec() }) })
    }

    /// The snapshot of a message's body.
    ///
    /// Raises:
    ///     DecodeError: these bytes are no snapshot.
    #[staticmethod]
    #[pyo3(signature = (body, /))]
    fn _from_bytes(body: &[u8]) -> PyResult<Self> {
        let data = SnapshotData::decode(body).map_err(|error| raise(error, ""))?;
        Ok(Self { data: Arc::new(data) })
    }

    /// The body of its message.
    fn _to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.data.encode())
    }

    /// Whose state it is.
    #[getter]
    fn actor_id<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        PyString::new(py, &self.data.actor)
    }

    /// The version of the last event that the state contains.
    #[getter]
    fn version(&self) -> u64 {
        self.data.version
    }

    /// The state, decoded afresh at each access. Tuples come back as lists.
    #[getter]
    fn state<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        decode::build(py, &self.data.payload)
    }

    /// The state as msgpack bytes, just as they are stored.
    #[getter]
    fn payload<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.data.payload)
    }

    /// When it was taken, as an aware datetime in UTC, cut to microseconds; `time_ns` has the rest.
    #[getter]
    fn timestamp<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        clock::datetime_of_ns(py, self.data.time_ns)
    }

    /// When it was taken, in nanoseconds since 1970-01-01 UTC; before that it is negative.
    #[getter]
    fn time_ns(&self) -> i64 {
        self.data.time_ns
    }

    /// The state as a value of `type`: a msgspec Struct, a dataclass, a pydantic model, or any type that msgspec decodes.
    ///
    /// Raises:
    ///     DecodeError: the state does not fit the type; `reason` names the field.
    #[pyo3(signature = (r#type, /))]
    fn decode<'py>(&self, py: Python<'py>, r#type: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        decode_as(py, &self.data.payload, r#type)
    }

    fn __hash__(&self) -> u64 {
        hash_of(&*self.data)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("Snapshot({}, {}, <{} bytes>)", self.actor_id(py).repr()?, self.data.version, self.data.payload.len()))
    }

    fn __copy__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (memo, /))]
    #[allow(unused_variables)] // frozen, so there is nothing to copy
    fn __deepcopy__(slf: Py<Self>, memo: &Bound<'_, PyAny>) -> Py<Self> {
        slf
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let (py, this) = (slf.py(), slf.get());
        let arguments = (this.actor_id(py), this.data.version, this.data.time_ns, this.payload(py));
        Ok((slf.get_type().getattr(intern!(py, "_restore"))?, arguments.into_pyobject(py)?))
    }
}
