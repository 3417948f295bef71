//! `Snapshot`: an actor's state at a version.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyString, PyTuple};

use super::codec::{default_limits, with_encoded};
use super::names::name;
use super::{clock, decode, raise};
use crate::msgpack::Limits;
use crate::snapshot::SnapshotData;

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
        let version = super::event::version(version)?;
        let time_ns = clock::time_ns(py, timestamp)?;
        with_encoded(state, &default_limits(), "state", |payload| {
            Ok(Self { data: Arc::new(SnapshotData { actor, version, time_ns, payload: payload.to_vec() }) })
        })
    }

    #[staticmethod]
    fn _restore(actor_id: &Bound<'_, PyString>, version: &Bound<'_, PyAny>, time_ns: i64, payload: &[u8]) -> PyResult<Self> {
        let actor = name("actor_id", actor_id)?.to_owned();
        let version = super::event::version(version)?;
        decode::check(payload, &Limits::STORED).map_err(|error| raise(error, ""))?;
        Ok(Self { data: Arc::new(SnapshotData { actor, version, time_ns, payload: payload.to_vec() }) })
    }

    #[staticmethod]
    fn _from_bytes(body: &[u8]) -> PyResult<Self> {
        let data = SnapshotData::decode(body).map_err(|error| raise(error, ""))?;
        Ok(Self { data: Arc::new(data) })
    }

    fn _to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.data.encode())
    }

    #[getter]
    fn actor_id<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        PyString::new(py, &self.data.actor)
    }

    #[getter]
    fn version(&self) -> u64 {
        self.data.version
    }

    #[getter]
    fn state<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        decode::build(py, &self.data.payload)
    }

    #[getter]
    fn payload<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.data.payload)
    }

    #[getter]
    fn timestamp<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        clock::datetime_of_ns(py, self.data.time_ns)
    }

    #[getter]
    fn time_ns(&self) -> i64 {
        self.data.time_ns
    }

    #[pyo3(signature = (r#type, /))]
    fn decode<'py>(&self, py: Python<'py>, r#type: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        static DECODE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        DECODE.import(py, "aether.payload", "decode")?.call1((self.payload(py), r#type))
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.data.hash(&mut hasher);
        hasher.finish()
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("Snapshot({}, {}, <{} bytes>)", self.actor_id(py).repr()?, self.data.version, self.data.payload.len()))
    }

    fn __copy__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __deepcopy__(slf: Py<Self>, _memo: &Bound<'_, PyAny>) -> Py<Self> {
        slf
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let (py, this) = (slf.py(), slf.get());
        let arguments = (this.actor_id(py), this.data.version, this.data.time_ns, this.payload(py));
        Ok((slf.get_type().getattr(intern!(py, "_restore"))?, arguments.into_pyobject(py)?))
    }
}
