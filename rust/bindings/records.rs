//! Lines of an import to events.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::codec::default_limits;
use super::new_event::NewEvent;
use crate::records::{Line, Parser, Record, Walk};

/// Actor, event, version, size.
type RecordObject = (String, NewEvent, Option<u64>, usize);

fn object(record: &Record) -> RecordObject {
    let (actor, version) = (record.event.actor().to_owned(), record.event.version());
    (actor, NewEvent { data: Arc::new(record.event.draft()) }, (version > 0).then_some(version), record.size)
}

/// Reads one line as `aether.ingest.records.parse_record` would: (actor id, event, version, size).
///
/// None: it is no record, or written in a rare way; `parse_record` says which.
#[pyfunction]
#[pyo3(signature = (line, commit_bytes_max, /))]
pub fn read_record(line: &[u8], commit_bytes_max: usize) -> Option<RecordObject> {
    Parser::new(default_limits(), commit_bytes_max).parse(line).as_ref().map(object)
}

/// The records of a chunk of NDJSON: an iterator.
///
/// A record is (number, actor id, event, version, size); a line that is none, or is written in a rare way, is (number, line), for
/// `parse_record` to judge.
///
/// Args:
///     content: the lines.
///     number: the first one's number.
///     commit_bytes_max: the largest commit that the store takes, in bytes.
#[pyclass(frozen, module = "aether._native")]
pub struct Records {
    content: Py<PyBytes>,
    walk: Mutex<Walk>,
}

#[pymethods]
impl Records {
    #[new]
    #[pyo3(signature = (content, number, commit_bytes_max, /))]
    fn new(content: Py<PyBytes>, number: u64, commit_bytes_max: usize) -> Self {
        let walk = Mutex::new(Walk::new(Parser::new(default_limits(), commit_bytes_max), number));
        Self { content, walk }
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let content = self.content.as_bytes(py);
        let next = self.walk.lock().unwrap_or_else(PoisonError::into_inner).next(content);
        let Some((number, line)) = next else { return Ok(None) };
        match line {
            Line::Odd(place) => (number, PyBytes::new(py, &content[place])).into_bound_py_any(py).map(Some),
            Line::Record(record) => {
                let (actor, event, version, size) = object(&record);
                (number, actor, event, version, size).into_bound_py_any(py).map(Some)
            }
        }
    }
}
