//! The messages of a bus: frames to send, bodies and subjects, and the reply to a request.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString};

use super::event::Event;
use super::handles::handles_from;
use super::{decode, raise};
use crate::bus_message::{Reply, write_body, write_subject};
use crate::error::Error;
use crate::event::EventData;
use crate::frames::publish;
use crate::msgpack::{Limits, read::Reader};

/// A frame's first line and its ends, beside subject and reply.
const LINE_BYTES: usize = 32;

/// Frames for the events from the index `start` on, and the index of the first one that is not among them.
///
/// Args:
///     namespace: whose events they are; taken as it is.
///     events: the events.
///     start: the index of the first one.
///     max_payload: how many bytes a message may have.
///     bytes_max: after how many bytes of frames to stop; one event is made in any case.
///
/// Raises:
///     CommitTooLargeError: the first event does not fit a message. One behind it ends the frames before it.
///     TypeError: an item that is no `Event`.
#[pyfunction]
pub fn publish_events<'py>(
    py: Python<'py>,
    namespace: &str,
    events: &Bound<'py, PyList>,
    start: usize,
    max_payload: usize,
    bytes_max: usize,
) -> PyResult<(Bound<'py, PyBytes>, usize)> {
    // An event takes more than a hundred bytes, so no more of them are looked at than can be needed.
    let handles = handles_from(events, start, bytes_max / 100 + 1)?;
    let (mut out, mut body, mut subject) = (Vec::new(), Vec::new(), String::new());
    let mut count = 0;
    for event in &handles {
        make(&mut body, &mut subject, namespace, event);
        let size = out.len() + body.len() + subject.len() + LINE_BYTES;
        if body.len() > max_payload || (count > 0 && size > bytes_max) {
            break;
        }
        if count == 0 {
            out.reserve(size.saturating_mul(handles.len()).min(bytes_max));
        }
        publish(&mut out, &subject, "", &[], &body);
        count += 1;
    }
    if count == 0
        && let Some(first) = handles.first()
    {
        return Err(raise(Error::TooLarge { size: body.len(), limit: max_payload }, first.actor()));
    }
    Ok((PyBytes::new(py, &out), start + count))
}

fn make(body: &mut Vec<u8>, subject: &mut String, namespace: &str, event: &Arc<EventData>) {
    body.clear();
    write_body(body, event);
    subject.clear();
    write_subject(subject, namespace, event);
}

/// The body of an event's message on a bus.
#[pyfunction]
#[pyo3(signature = (event, /))]
pub fn bus_body<'py>(event: &Bound<'py, Event>) -> Bound<'py, PyBytes> {
    let mut body = Vec::new();
    write_body(&mut body, &event.get().data);
    PyBytes::new(event.py(), &body)
}

/// The subject of an event on a bus: `aether-bus.<namespace>.<actor token>.<type token>`. The namespace is taken as it is.
#[pyfunction]
#[pyo3(signature = (namespace, event, /))]
pub fn bus_subject(namespace: &str, event: &Bound<'_, Event>) -> String {
    let mut subject = String::new();
    write_subject(&mut subject, namespace, &event.get().data);
    subject
}

/// The body of a request's reply with a value.
///
/// Raises:
///     DecodeError: `payload` is not exactly one msgpack value.
#[pyfunction]
#[pyo3(signature = (payload, /))]
pub fn encode_reply<'py>(py: Python<'py>, payload: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    let mut reader = Reader::new(payload);
    reader.skip(&Limits::STORED).and_then(|()| reader.end()).map_err(|error| raise(error, ""))?;
    Ok(PyBytes::new(py, &Reply::Value(payload).encode()))
}

/// The body of a request's reply that says why there is no value; of a text of more than 8,192 bytes the beginning.
#[pyfunction]
#[pyo3(signature = (text, /))]
pub fn encode_error<'py>(text: &Bound<'py, PyString>) -> Bound<'py, PyBytes> {
    PyBytes::new(text.py(), &Reply::Error(text.to_string_lossy()).encode())
}

/// The value of a reply's body, or why there is none: one of the two is None.
///
/// Raises:
///     DecodeError: these bytes are no reply.
#[pyfunction]
#[pyo3(signature = (body, /))]
pub fn decode_reply<'py>(py: Python<'py>, body: &[u8]) -> PyResult<(Option<Bound<'py, PyAny>>, Option<String>)> {
    match Reply::decode(body).map_err(|error| raise(error, ""))? {
        Reply::Value(payload) => Ok((Some(decode::build(py, payload)?), None)),
        Reply::Error(text) => Ok((None, Some(text.into_owned()))),
    }
}
