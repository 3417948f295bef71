//! `FrameReader` and the frames to send: whole batches cross into Python, never single frames where Rust can take them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString};

use super::exchange::{Exchange, Shared as ExchangeShared};
use super::pending::Pending;
use super::raise;
use super::replay::Replay;
use super::tally::Tally;
use crate::answer::{Answer, Sink};
use crate::frames::{Frame, Limits, Message, Parser, publish};

/// An answer: its token, its status (0: none), and where a stored message lies (0 and None: it is no stored message).
type AnswerObject<'py> = (u64, u16, u64, Option<Bound<'py, PyString>>, Bound<'py, PyBytes>);

/// What the connection itself has to know: its name ("INFO", "PING", "PONG", "-ERR") and the text behind it.
type Control<'py> = (&'static str, Bound<'py, PyBytes>);

/// What a chunk completed: answers for Python, control frames, and the sinks that took answers, by subscription.
type Fed<'py> = (Bound<'py, PyList>, Bound<'py, PyList>, Vec<u64>);

/// A native taker of what comes under one subscription.
enum Route {
    /// Of answers: their subjects are the prefix and a number.
    Answers { prefix: Vec<u8>, sink: Arc<dyn Sink> },
    /// Of a bus's messages, each on the subject that it was published to.
    Messages(Arc<ExchangeShared>),
}

/// Reads what a NATS server sends, chunk by chunk.
///
/// Args:
///     inbox: subjects of answers for Python are this and a number; they come under subscription 1.
#[pyclass(frozen, module = "aether._native")]
pub struct FrameReader {
    /// Taken out while it reads, so that no lock is held while Python objects are made.
    parser: Mutex<Option<Parser>>,
    inbox: Vec<u8>,
    routes: Mutex<HashMap<u64, Route>>,
}

impl FrameReader {
    fn routes(&self) -> MutexGuard<'_, HashMap<u64, Route>> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn parser(&self) -> MutexGuard<'_, Option<Parser>> {
        self.parser.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl FrameReader {
    #[new]
    fn new(inbox: &str) -> Self {
        Self {
            parser: Mutex::new(Some(Parser::new(Limits::DEFAULT))),
            inbox: inbox.as_bytes().to_vec(),
            routes: Mutex::default(),
        }
    }

    /// Takes a chunk from the socket; returns the answers and control frames that it completes, and which sinks took any.
    ///
    /// An answer is (token, status, position, subject, body), a control frame (name, text), a sink its subscription's number.
    ///
    /// Raises:
    ///     DecodeError: these bytes are no NATS protocol; the connection is of no use any more.
    #[pyo3(signature = (chunk, /))]
    fn feed<'py>(&self, py: Python<'py>, chunk: &[u8]) -> PyResult<Fed<'py>> {
        let taken = self.parser().take();
        let mut parser = taken.ok_or_else(|| PyRuntimeError::new_err("the reader is in use, or has met an error before"))?;
        let (answers, controls, mut touched) = (PyList::empty(py), PyList::empty(py), Vec::new());
        let mut failed = None;
        let mut keep = |frame: Frame<'_>| {
            let kept = match frame {
                Frame::Message(message) if message.sid == 1 => {
                    self.answer(py, &message).map_or(Ok(()), |answer| answers.append(answer))
                }
                Frame::Message(message) => {
                    self.route(&message, &mut touched);
                    Ok(())
                }
                other => control(py, other).map_or(Ok(()), |control| controls.append(control)),
            };
            if let Err(error) = kept {
                failed.get_or_insert(error);
            }
        };
        parser.feed(chunk, &mut keep).map_err(|error| raise(error, ""))?;
        self.parser().replace(parser);
        failed.map_or(Ok((answers, controls, touched)), Err)
    }

    /// Leads the answers under a subscription to `sink`; their subjects are `prefix` and a number.
    ///
    /// Raises:
    ///     TypeError: `sink` cannot take answers.
    fn attach(&self, sid: u64, prefix: &str, sink: &Bound<'_, PyAny>) -> PyResult<()> {
        let route = Route::Answers { prefix: prefix.as_bytes().to_vec(), sink: sink_of(sink)? };
        self.routes().insert(sid, route);
        Ok(())
    }

    /// Leads the messages under a subscription to the mailboxes of `exchange`, by the subjects that they were published to.
    fn attach_messages(&self, sid: u64, exchange: &Bound<'_, Exchange>) {
        let route = Route::Messages(Arc::clone(&exchange.get().shared));
        self.routes().insert(sid, route);
    }

    /// Ends what `attach` or `attach_messages` began; what still comes is of no more interest.
    fn detach(&self, sid: u64) {
        let ended = self.routes().remove(&sid);
        drop(ended);
    }
}

impl FrameReader {
    /// None: a message that belongs to no request of ours.
    fn answer<'py>(&self, py: Python<'py>, message: &Message<'_>) -> Option<AnswerObject<'py>> {
        let Answer { token, status, position, subject, body } = Answer::of(message, &self.inbox)?;
        let subject = (!subject.is_empty()).then(|| PyString::new(py, subject));
        Some((token, status, position, subject, PyBytes::new(py, body)))
    }

    fn route(&self, message: &Message<'_>, touched: &mut Vec<u64>) {
        match self.routes().get(&message.sid) {
            Some(Route::Answers { prefix, sink }) => match Answer::of(message, prefix) {
                Some(answer) => sink.take(&answer),
                None => return,
            },
            Some(Route::Messages(exchange)) => {
                exchange.lock().take_message(message.subject, message.reply, message.payload);
            }
            None => return,
        }
        if !touched.contains(&message.sid) {
            touched.push(message.sid);
        }
    }
}

/// The native side of a Python object that takes answers.
fn sink_of(sink: &Bound<'_, PyAny>) -> PyResult<Arc<dyn Sink>> {
    if let Ok(replay) = sink.cast::<Replay>() {
        return Ok(Arc::clone(&replay.get().shared) as Arc<dyn Sink>);
    }
    if let Ok(pending) = sink.cast::<Pending>() {
        return Ok(Arc::clone(&pending.get().shared) as Arc<dyn Sink>);
    }
    if let Ok(tally) = sink.cast::<Tally>() {
        return Ok(Arc::clone(&tally.get().shared) as Arc<dyn Sink>);
    }
    Err(PyTypeError::new_err(format!("{} takes no answers", sink.get_type().name()?)))
}

fn control<'py>(py: Python<'py>, frame: Frame<'_>) -> Option<Control<'py>> {
    let (name, text): (_, &[u8]) = match frame {
        Frame::Info(json) => ("INFO", json),
        Frame::Err(text) => ("-ERR", text),
        Frame::Ping => ("PING", &[]),
        Frame::Pong => ("PONG", &[]),
        Frame::Ok | Frame::Message(_) => return None,
    };
    Some((name, PyBytes::new(py, text)))
}

/// One message to send. Subject and reply hold no white space, header values no line's end: the caller made them.
#[pyfunction]
#[allow(clippy::needless_pass_by_value)] // taken from a Python list
pub fn publish_frame<'py>(
    py: Python<'py>,
    subject: &str,
    reply: &str,
    headers: Vec<(Bound<'py, PyString>, Bound<'py, PyString>)>,
    payload: &[u8],
) -> PyResult<Bound<'py, PyBytes>> {
    let mut out = Vec::with_capacity(payload.len() + subject.len() + reply.len() + 128);
    let lines: Vec<(&str, &str)> =
        headers.iter().map(|(name, value)| Ok((name.to_str()?, value.to_str()?))).collect::<PyResult<_>>()?;
    publish(&mut out, subject, reply, &lines, payload);
    Ok(PyBytes::new(py, &out))
}

/// The requests of one batch to `subject`, with the reply subjects `inbox` + `first_token` and on.
#[pyfunction]
#[allow(clippy::needless_pass_by_value)] // taken from a Python list
pub fn request_frames<'py>(
    py: Python<'py>,
    subject: &str,
    inbox: &str,
    first_token: u64,
    payloads: Vec<Bound<'py, PyBytes>>,
) -> Bound<'py, PyBytes> {
    let mut out = Vec::with_capacity(payloads.iter().map(|payload| payload.as_bytes().len() + 128).sum());
    for (payload, token) in payloads.iter().zip(first_token..) {
        publish(&mut out, subject, &format!("{inbox}{token}"), &[], payload.as_bytes());
    }
    PyBytes::new(py, &out)
}
