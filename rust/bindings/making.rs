//! How an event is made from what Python gives: everything is checked and encoded here, once.

use std::sync::Arc;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyInt, PyString};

use super::codec::{default_limits, with_encoded};
use super::names::name;
use super::{clock, metadata, shown};
use crate::event::{EventData, Id, Parts, VERSION_MAX};

/// A version as given: an int from 1.
pub fn version(value: &Bound<'_, PyAny>) -> PyResult<u64> {
    if !value.is_instance_of::<PyInt>() || value.is_instance_of::<PyBool>() {
        return Err(PyTypeError::new_err(format!("version must be an int, not {}", value.get_type().name()?)));
    }
    match value.extract::<u64>() {
        Ok(version @ 1..=VERSION_MAX) => Ok(version),
        _ => Err(PyValueError::new_err(format!("version must be from 1 to 2**64 - 1, not {}", shown(value)))),
    }
}

/// The optional parts as Python gave them.
pub struct Given<'a, 'py> {
    pub id: Option<&'a Bound<'py, PyAny>>,
    pub timestamp: Option<&'a Bound<'py, PyAny>>,
    pub metadata: Option<&'a Bound<'py, PyAny>>,
}

/// An event, or with an empty actor and version 0 a new one.
pub fn make(
    py: Python<'_>,
    (actor, kind, version): (&str, &str, u64),
    data: Option<&Bound<'_, PyAny>>,
    given: &Given<'_, '_>,
) -> PyResult<Arc<EventData>> {
    let time_ns = clock::time_ns(py, given.timestamp)?;
    let text;
    let id = match given.id {
        None => Id::Uuid(clock::fresh_id(if given.timestamp.is_none() { time_ns } else { clock::now_ns(py)? })?),
        Some(id) => {
            text = id_text(id)?;
            Id::parse(name("id", &text)?)
        }
    };
    let meta = given.metadata.map(metadata::encode).transpose()?.unwrap_or_default();
    let build = |payload: &[u8]| {
        let parts = Parts { id, actor, kind, version, time_ns, payload, meta: &meta, extra: &[], extra_pairs: 0 };
        Ok(Arc::new(EventData::new(&parts)))
    };
    match data {
        None => build(&[0xc0]),
        Some(data) => with_encoded(data, &default_limits(), "data", build),
    }
}

fn id_text<'py>(id: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyString>> {
    static UUID: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    if let Ok(text) = id.cast::<PyString>() {
        return Ok(text.clone());
    }
    if id.is_instance(UUID.import(id.py(), "uuid", "UUID")?)? {
        return id.str();
    }
    Err(PyTypeError::new_err(format!("id must be a str or a uuid.UUID, not {}", id.get_type().name()?)))
}
