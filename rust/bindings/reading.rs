//! What `Event`, `NewEvent` and `Snapshot` read from their data in the same way.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyString};
use uuid::Uuid;

use super::decode;
use crate::event::{EventData, Id};

const REPR_DATA_CHARS: usize = 200;

pub fn id_of<'py>(py: Python<'py>, data: &EventData) -> Bound<'py, PyString> {
    match data.parts().id {
        Id::Uuid(uuid) => PyString::new(py, Uuid::from_bytes(uuid).hyphenated().encode_lower(&mut Uuid::encode_buffer())),
        Id::Text(text) => PyString::new(py, text),
    }
}

/// The value of type `into`, by `aether.payload.decode`.
pub fn decode_as<'py>(py: Python<'py>, payload: &[u8], into: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    static DECODE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    DECODE.import(py, "aether.payload", "decode")?.call1((PyBytes::new(py, payload), into))
}

pub fn hash_of(data: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    data.hash(&mut hasher);
    hasher.finish()
}

/// The data as `repr` shows it, cut short.
pub fn shown_data(py: Python<'_>, payload: &[u8]) -> PyResult<String> {
    let text = decode::build(py, payload)?.repr()?.to_string_lossy().into_owned();
    if text.chars().count() <= REPR_DATA_CHARS {
        return Ok(text);
    }
    Ok(text.chars().take(REPR_DATA_CHARS).chain("...".chars()).collect())
}
