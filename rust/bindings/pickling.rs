//! Pickling events: their parts out, and in again. A pickle is input like any other, so everything is checked again.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyTuple};

use super::names::name;
use super::reading::id_of;
use super::{decode, raise};
use crate::event::{EventData, Id, Parts};
use crate::msgpack::Limits;
use crate::{event_map, metadata};

/// What pickle needs to build the same object again.
pub type Restore<'py> = (Bound<'py, PyAny>, Bound<'py, PyTuple>);

pub fn restore<'py>(py: Python<'py>, class: &Bound<'py, PyAny>, data: &EventData) -> PyResult<Restore<'py>> {
    let parts = data.parts();
    let actor = Some(parts.actor).filter(|actor| !actor.is_empty());
    let arguments = (
        actor,
        parts.kind,
        parts.version,
        PyBytes::new(py, parts.payload),
        id_of(py, data),
        parts.time_ns,
        PyBytes::new(py, parts.meta),
        (PyBytes::new(py, parts.extra), parts.extra_pairs),
    );
    Ok((class.getattr(intern!(py, "_restore"))?, arguments.into_pyobject(py)?))
}

/// Encoded pairs of unknown keys, and how many.
pub type Extra<'a> = (&'a [u8], u16);

/// The inverse of `restore`.
pub fn restored(
    (actor, kind, version): (&str, &Bound<'_, PyString>, u64),
    payload: &[u8],
    id: &Bound<'_, PyString>,
    (time_ns, meta, (extra, extra_pairs)): (i64, &[u8], Extra<'_>),
) -> PyResult<Arc<EventData>> {
    decode::check(payload, &Limits::STORED).map_err(|error| raise(error, ""))?;
    if meta.len().max(extra.len()) > Limits::STORED.payload_bytes
        || !metadata::is_canonical(meta)
        || !event_map::is_extra(extra, extra_pairs)
    {
        return Err(PyValueError::new_err("this pickle holds no event: its metadata or its unknown keys are damaged"));
    }
    let id = Id::parse(name("id", id)?);
    let kind = name("event_type", kind)?;
    Ok(Arc::new(EventData::new(&Parts { id, actor, kind, version, time_ns, payload, meta, extra, extra_pairs })))
}
