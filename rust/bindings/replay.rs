//! `Replay`: takes the answers to a read of a whole stream, and gives out batches of events.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use super::arrow::ArrowRows;
use super::filter::EventFilter;
use super::handles::{events_of, placed};
use super::raise;
use crate::answer::{Answer, Sink};
use crate::replay::{Fault, Replay as ReplayData, Request};

/// The core's side, which answers reach without Python.
pub struct Shared(Mutex<ReplayData>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, ReplayData> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Shared {
    fn take(&self, answer: &Answer<'_>) {
        self.lock().take_answer(answer);
    }
}

/// A fault: its position, its actor, and what is wrong with the message; None in place of that: it did not come.
type FaultObject<'py> = (u64, Option<String>, Option<Bound<'py, PyAny>>);

/// A read of a namespace's stream in position order: says what to ask, takes what comes, gives out batches of events.
///
/// Args:
///     namespace: whose stream it is.
///     after: the position behind which to begin.
///     through: the last position to read.
///     filter: which events are wanted.
#[pyclass(frozen, module = "aether._native")]
pub struct Replay {
    pub shared: Arc<Shared>,
}

#[pymethods]
impl Replay {
    #[new]
    fn new(namespace: &str, after: u64, through: u64, filter: &Bound<'_, EventFilter>) -> Self {
        let data = ReplayData::new(namespace, after, through, filter.get().data.clone());
        Self { shared: Arc::new(Shared(Mutex::new(data))) }
    }

    /// The one subject that the server looks for; None: it gives all.
    #[getter]
    fn subject(&self) -> Option<String> {
        self.shared.lock().subject().map(str::to_owned)
    }

    /// How many answers came so far.
    #[getter]
    fn received(&self) -> u64 {
        self.shared.lock().received
    }

    /// Whether everything was given out.
    fn is_done(&self) -> bool {
        self.shared.lock().is_done()
    }

    /// Whether answers are to come.
    fn is_waiting(&self) -> bool {
        self.shared.lock().is_waiting()
    }

    /// Requests to send now, as (token, payload, whether it goes to the consumer); bounded in number and bytes.
    fn requests<'py>(&self, py: Python<'py>) -> Vec<(u64, Bound<'py, PyBytes>, bool)> {
        let requests = self.shared.lock().requests();
        let object = |request: &Request| (request.token, PyBytes::new(py, request.payload.as_bytes()), request.pull);
        requests.iter().map(object).collect()
    }

    /// The position at which a consumer should begin, if one is worth its making now.
    fn pull_start(&self) -> Option<u64> {
        self.shared.lock().pull_start()
    }

    /// Pulls what comes next from a consumer that begins at `start`. False: that is not where it goes on any more.
    fn pull(&self, start: u64) -> bool {
        self.shared.lock().pull(start)
    }

    /// Gives up the consumer: what was pulled and did not come can be asked for otherwise.
    fn stop_pulling(&self) {
        self.shared.lock().stop_pulling();
    }

    /// Takes one answer, where they come one by one.
    fn accept(&self, token: u64, status: u16, position: u64, subject: &str, body: &[u8]) {
        self.shared.lock().take_answer(&Answer { token, status, position, subject, body });
    }

    /// Takes a message that the leader gave; a position past the last to read: there is none. False: it comes too late.
    fn put(&self, position: u64, subject: &str, body: &[u8]) -> bool {
        self.shared.lock().put(position, subject, body)
    }

    /// Steps over the damaged message that stops the read.
    fn step_over(&self) {
        self.shared.lock().step_over();
    }

    /// Gives up what was asked for and will not be answered; `requests` asks for it again.
    fn lose(&self) {
        self.shared.lock().lose();
    }

    /// The position that was asked for and did not come, so that the leader is to be asked; None: there is none.
    fn stuck(&self) -> Option<u64> {
        self.shared.lock().stuck()
    }

    /// What stops the read, once everything before it was given out: (position, actor, error); None: nothing does.
    ///
    /// No error: a commit of the actor names this position, and nothing came from there.
    fn fault<'py>(&self, py: Python<'py>) -> Option<FaultObject<'py>> {
        let fault = self.shared.lock().fault().cloned()?;
        Some(match fault {
            Fault::Damaged { position, actor, error } => {
                (position, actor, Some(raise(error, "").into_value(py).into_bound(py).into_any()))
            }
            Fault::Absent { position, actor } => (position, actor, None),
        })
    }

    /// Says that a position without an error is none of the actor's; the read goes on.
    fn disprove(&self, position: u64) {
        self.shared.lock().disprove(position);
    }

    /// A batch, and the position up to which that is everything that is wanted; None: more is to come first.
    ///
    /// Its events are those of whole commits, at most `limit`, unless one commit alone has more.
    fn take<'py>(&self, py: Python<'py>, limit: usize) -> PyResult<Option<(Bound<'py, PyList>, u64)>> {
        let taken = self.shared.lock().take(limit);
        taken.map(|(events, position)| Ok((events_of(py, events)?, position))).transpose()
    }

    /// The same batch with the position of each of its events: (events, positions, position); None: more is to come first.
    #[allow(clippy::type_complexity)] // three lists of one batch
    fn take_placed<'py>(&self, py: Python<'py>, limit: usize) -> PyResult<Option<(Bound<'py, PyList>, Vec<u64>, u64)>> {
        let taken = self.shared.lock().take_placed(limit);
        taken.map(|(events, position)| placed(py, events, position)).transpose()
    }

    /// Moves a batch, as `take` would give it, into rows; False: more is to come first.
    fn take_rows(&self, py: Python<'_>, rows: &Bound<'_, ArrowRows>, limit: usize) -> PyResult<bool> {
        let taken = self.shared.lock().take_placed(limit);
        let Some((events, _)) = taken else { return Ok(false) };
        rows.get().push(py, &events)?;
        Ok(true)
    }
}
