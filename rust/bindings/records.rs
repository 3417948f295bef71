//! Lines of an import to events, and these into a pipeline.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString};

use super::codec::default_limits;
use super::handles::handles_from;
use super::names::name;
use super::new_event::NewEvent;
use super::pending::Pending;
use crate::event::EventData;
use crate::records::format::Formatter;
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

/// Of so many events at most lines are made at once: each that Python has to write ends a call, and the rest was looked at in vain.
const CALL_EVENTS: usize = 128;

/// Lines of events from the index `start` on, and the index of the first one that is not among them.
///
/// They are what `aether.ingest.records.format_record` makes, each with its end. Where none is made, that one has to: data that
/// JSON cannot say, floats that are very large or very small.
///
/// Args:
///     events: the events.
///     start: the index of the first one.
///
/// Raises:
///     TypeError: an item that is no `Event`.
#[pyfunction]
#[pyo3(signature = (events, start, /))]
pub fn format_records<'py>(py: Python<'py>, events: &Bound<'py, PyList>, start: usize) -> PyResult<(Bound<'py, PyBytes>, usize)> {
    let handles = handles_from(events, start, CALL_EVENTS)?;
    let (mut formatter, mut out) = (Formatter::new(default_limits()), Vec::new());
    let count = handles.iter().take_while(|event| formatter.line(event, &mut out).is_some()).count();
    Ok((PyBytes::new(py, &out), start + count))
}

/// Data as JSON from which equal data is read, as `aether.ingest.records.json_data` makes it; None: that has to say.
#[pyfunction]
#[pyo3(signature = (payload, /))]
pub fn payload_json<'py>(py: Python<'py>, payload: &[u8]) -> Option<Bound<'py, PyBytes>> {
    let mut out = Vec::new();
    Formatter::new(default_limits()).data(payload, &mut out)?;
    Some(PyBytes::new(py, &out))
}

/// The records of a chunk of NDJSON, on their way into a pipeline: `while records.read(): ...; records.pour(pending)`.
///
/// `read` and `odd` are for a pipeline; or iterate: a record is (number, actor id, event, version, size); a line that is none, or
/// is written in a rare way, is (number, line), for `parse_record` to judge.
///
/// Args:
///     content: the lines.
///     number: the first one's number.
///     commit_bytes_max: the largest commit that the store takes, in bytes.
#[pyclass(frozen, module = "aether._native")]
pub struct Records {
    content: Py<PyBytes>,
    state: Mutex<State>,
}

struct State {
    walk: Walk,
    /// Read and not poured yet, each with its number.
    batch: VecDeque<(Arc<EventData>, u64)>,
    odd: Option<(u64, Range<usize>)>,
    number: u64,
}

impl Records {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Records {
    #[new]
    #[pyo3(signature = (content, number, commit_bytes_max, /))]
    fn new(content: Py<PyBytes>, number: u64, commit_bytes_max: usize) -> Self {
        let walk = Walk::new(Parser::new(default_limits(), commit_bytes_max), number);
        Self { content, state: Mutex::new(State { walk, batch: VecDeque::new(), odd: None, number: 0 }) }
    }

    /// Reads on, up to the next line that has to be judged (see `odd`) or the end; False: there was nothing left.
    fn read(&self, py: Python<'_>) -> bool {
        let content = self.content.as_bytes(py);
        let mut state = self.lock();
        let before = state.number;
        while let Some((number, line)) = state.walk.next(content) {
            state.number = number;
            match line {
                Line::Record(record) => state.batch.push_back((Arc::new(record.event), number)),
                Line::Odd(place) => {
                    state.odd = Some((number, place));
                    break;
                }
            }
        }
        state.number != before
    }

    /// The line that `read` stopped at, with its number, once; None: it stopped at the end.
    fn odd<'py>(&self, py: Python<'py>) -> Option<(u64, Bound<'py, PyBytes>)> {
        let (number, place) = self.lock().odd.take()?;
        Some((number, PyBytes::new(py, &self.content.as_bytes(py)[place])))
    }

    /// Adds a record that was judged by itself.
    ///
    /// Raises:
    ///     InvalidIdError: `actor_id` is none.
    #[pyo3(signature = (number, actor_id, event, version, /))]
    fn add(
        &self,
        number: u64,
        actor_id: &Bound<'_, PyString>,
        event: &Bound<'_, NewEvent>,
        version: Option<u64>,
    ) -> PyResult<()> {
        let event = event.get().data.numbered(name("actor_id", actor_id)?, version.unwrap_or(0));
        self.lock().batch.push_back((Arc::new(event), number));
        Ok(())
    }

    /// Puts into a pipeline what there is room for, its numbers as tags; returns how many events that were.
    #[pyo3(signature = (pending, /))]
    fn pour(&self, pending: &Bound<'_, Pending>) -> usize {
        pending.get().shared.pour(&mut self.lock().batch)
    }

    /// The number of the last line that was read; 0: none was.
    #[getter]
    fn number(&self) -> u64 {
        self.lock().number
    }

    /// The number of the first record that was read and not poured; None: there is none.
    #[getter]
    fn first(&self) -> Option<u64> {
        self.lock().batch.front().map(|(_, number)| *number)
    }

    fn __len__(&self) -> usize {
        self.lock().batch.len()
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let content = self.content.as_bytes(py);
        let next = self.lock().walk.next(content);
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
