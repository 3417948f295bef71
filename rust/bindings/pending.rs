//! `Pending`: ingestion's bookkeeping, between Python's pipeline and the lane.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyIterator, PyList};

use super::handles::{events_of, handle};
use super::heads::{Head, HeadCache};
use crate::answer::{Answer, Sink};
use crate::heads::Heads;
use crate::pending::{Bounds, Counts, Pending as PendingData, Tally, Why};

/// A place of a commit takes 20 bits of its token.
const PLACES_MAX: usize = 1_000_000;

/// How many bytes of frames are made at once.
const FRAMES_BYTES: usize = 1 << 18;

/// What both sides share: Python, and the reader that brings answers.
pub struct Shared {
    pending: Mutex<PendingData>,
    heads: Arc<Mutex<Heads>>,
}

impl Shared {
    /// Locks in one order: what is pending, then the heads.
    fn lock(&self) -> MutexGuard<'_, PendingData> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn heads(&self) -> MutexGuard<'_, Heads> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Shared {
    fn take(&self, answer: &Answer<'_>) {
        let mut pending = self.lock();
        pending.answer(&mut self.heads(), answer.token, answer.status, answer.body);
    }
}

/// A message to send: subject, token, guard, body.
type MessageObject<'py> = (String, u64, u64, Bound<'py, PyBytes>);

/// A commit in trouble: ticket, why, JetStream's number or the size, guard, events.
type TroubleObject<'py> = (u64, &'static str, u64, u64, Bound<'py, PyList>);

/// Ingestion's bookkeeping: events by actor, one commit in flight per actor, many actors in flight. Safe from many threads.
///
/// It is an outbox and a sink of `aether.nats.transport`: what to send comes out of it, and the answers go into it.
///
/// Args:
///     namespace: where the events belong.
///     stream: the stream whose acks count.
///     heads: what the store knows of its actors; shared with its other writers.
///     pending_max: events put and not settled, 1 to 1,000,000.
///     pending_bytes_max: their bytes.
///     in_flight_max: commits sent and not settled.
///     in_flight_bytes_max: their bytes.
///     commit_events_max: events of one commit.
///
/// Raises:
///     ValueError: a bound of 0, or a `pending_max` that is too large.
#[pyclass(frozen, module = "aether._native")]
pub struct Pending {
    pub shared: Arc<Shared>,
}

#[pymethods]
impl Pending {
    #[new]
    #[allow(clippy::too_many_arguments)] // Python gives them by keyword
    #[pyo3(signature = (namespace, stream, heads, *, pending_max, pending_bytes_max, in_flight_max, in_flight_bytes_max, commit_events_max))]
    fn new(
        namespace: &str,
        stream: &str,
        heads: &Bound<'_, HeadCache>,
        pending_max: usize,
        pending_bytes_max: usize,
        in_flight_max: usize,
        in_flight_bytes_max: usize,
        commit_events_max: usize,
    ) -> PyResult<Self> {
        if pending_max > PLACES_MAX
            || [pending_max, pending_bytes_max, in_flight_max, in_flight_bytes_max, commit_events_max].contains(&0)
        {
            return Err(PyValueError::new_err("bounds are 1 or more, and pending_max is at most 1,000,000"));
        }
        let bounds = Bounds {
            pending: pending_max,
            pending_bytes: pending_bytes_max,
            in_flight: in_flight_max,
            in_flight_bytes: in_flight_bytes_max,
            commit_events: commit_events_max,
            commit_bytes: usize::MAX,
            frames_bytes: FRAMES_BYTES,
        };
        let shared =
            Shared { pending: Mutex::new(PendingData::new(namespace, stream, bounds)), heads: Arc::clone(&heads.get().heads) };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Takes one event if there is room for it; says whether it did.
    ///
    /// Raises:
    ///     TypeError: it is no `Event`.
    #[pyo3(signature = (event, /))]
    fn put(&self, event: &Bound<'_, PyAny>) -> PyResult<bool> {
        let handle = handle(event)?;
        let mut pending = self.shared.lock();
        let (events, bytes) = pending.room();
        let fits = events > 0 && bytes > 0;
        if fits {
            pending.put(handle);
        }
        Ok(fits)
    }

    /// Takes events off the iterator as long as there is room, at most `count`.
    ///
    /// Returns how many, and whether that was the end.
    ///
    /// What came before an error is taken.
    ///
    /// Raises:
    ///     TypeError: an item is no `Event`; what the iterator itself raises comes through.
    #[pyo3(signature = (iterator, count, /))]
    fn pull(&self, iterator: &Bound<'_, PyIterator>, count: usize) -> PyResult<(usize, bool)> {
        let (events, bytes) = self.shared.lock().room();
        let count = count.min(events);
        let (mut taken, mut size, mut end) = (Vec::with_capacity(count), 0, Ok(false));
        let mut items = iterator.clone();
        while taken.len() < count && size < bytes {
            match items.next() {
                None => end = Ok(true),
                Some(item) => match item.and_then(|item| handle(&item)) {
                    Ok(event) => {
                        size += event.wire_size_bound();
                        taken.push(event);
                        continue;
                    }
                    Err(error) => end = Err(error),
                },
            }
            break;
        }
        let number = taken.len();
        if number > 0 {
            let mut pending = self.shared.lock();
            for event in taken {
                pending.put(event);
            }
        }
        end.map(|end| (number, end))
    }

    /// Whether an event could be put now.
    fn has_room(&self) -> bool {
        let (events, bytes) = self.shared.lock().room();
        events > 0 && bytes > 0
    }

    /// Returns the next commits as frames, a bounded number of bytes; none: there are no more for now.
    #[pyo3(signature = (inbox, /))]
    fn frames<'py>(&self, py: Python<'py>, inbox: &str) -> Bound<'py, PyBytes> {
        let mut out = Vec::with_capacity(FRAMES_BYTES);
        {
            let mut pending = self.shared.lock();
            pending.frames(&mut self.shared.heads(), inbox, &mut out);
        }
        PyBytes::new(py, &out)
    }

    /// Returns the next commits one by one, as (subject, token, guard, body); none: there are no more for now.
    fn messages<'py>(&self, py: Python<'py>) -> Vec<MessageObject<'py>> {
        let messages = {
            let mut pending = self.shared.lock();
            pending.messages(&mut self.shared.heads())
        };
        messages.into_iter().map(|(subject, token, guard, body)| (subject, token, guard, PyBytes::new(py, &body))).collect()
    }

    /// Takes one answer, where they come one by one.
    #[allow(unused_variables)] // of the protocol
    fn accept(&self, token: u64, status: u16, position: u64, subject: &str, body: &[u8]) {
        let mut pending = self.shared.lock();
        pending.answer(&mut self.shared.heads(), token, status, body);
    }

    /// Sets what one message may take, headers included: the server says it anew with each connection.
    #[pyo3(signature = (commit_bytes_max, /))]
    fn set_commit_bytes_max(&self, commit_bytes_max: usize) {
        self.shared.lock().set_commit_bytes(commit_bytes_max);
    }

    /// Actors whose head must be read before they go on, at most `count`; each is told of once.
    #[pyo3(signature = (count, /))]
    fn headless(&self, count: usize) -> Vec<String> {
        let names = self.shared.lock().headless(count);
        names.iter().map(ToString::to_string).collect()
    }

    /// Takes a head that was read; None: it cannot be read, and the actor's next events are in trouble.
    #[pyo3(signature = (actor_id, head, /))]
    fn found(&self, actor_id: &str, head: Option<&Bound<'_, Head>>) {
        let head = head.map(|head| head.get().data.clone());
        self.shared.lock().found(actor_id, head);
    }

    /// Says that everything sent is lost, or what was sent to `subject` (in lower case); returns how many commits that hits.
    ///
    /// `denied`: the server says that it took nothing of it.
    #[pyo3(signature = (subject=None, *, denied=false))]
    fn lose(&self, subject: Option<&str>, denied: bool) -> usize {
        self.shared.lock().lose(subject, denied)
    }

    /// Says that a round has passed: what was sent more than `rounds` ago is in trouble; returns how many commits are.
    #[pyo3(signature = (rounds, /))]
    fn tick(&self, rounds: u64) -> usize {
        self.shared.lock().tick(rounds)
    }

    /// Commits that need somebody, at most `count`, as (ticket, why, number, guard, events); each is told of once.
    ///
    /// Why: "silent", "refused" (number: JetStream's), "unheard", "behind" (not sent), "large" (not sent; number: its bytes).
    #[pyo3(signature = (count, /))]
    fn troubles<'py>(&self, py: Python<'py>, count: usize) -> PyResult<Vec<TroubleObject<'py>>> {
        let troubles = self.shared.lock().troubles(count);
        let shown = |why| match why {
            Why::Silent => ("silent", 0),
            Why::Refused(number) => ("refused", number),
            Why::Unheard => ("unheard", 0),
            Why::Behind => ("behind", 0),
            Why::TooLarge(size) => ("large", size as u64),
        };
        let object = |trouble: crate::pending::Trouble| {
            let (why, number) = shown(trouble.why);
            Ok((trouble.ticket, why, number, trouble.guard, events_of(py, trouble.events)?))
        };
        troubles.into_iter().map(object).collect()
    }

    /// Says how a commit in trouble ended: what became of its events.
    ///
    /// Raises:
    ///     ValueError: there is no such commit in trouble, or it has another number of events.
    #[pyo3(signature = (ticket, /, *, saved=0, already_stored=0, conflicts=0, failed=0, unknown=0))]
    fn settle(&self, ticket: u64, saved: u64, already_stored: u64, conflicts: u64, failed: u64, unknown: u64) -> PyResult<()> {
        let tally = Tally { saved, already_stored, conflicts, failed, unknown };
        let settled = self.shared.lock().settle(ticket, &tally);
        if settled { Ok(()) } else { Err(PyValueError::new_err("no commit in trouble with so many events has this ticket")) }
    }

    /// Gives back every event that was not sent yet; they count as failed.
    fn drop_queued<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let dropped = self.shared.lock().drop_queued();
        events_of(py, dropped)
    }

    /// Returns a mark behind everything put so far.
    fn mark(&self) -> u64 {
        self.shared.lock().mark()
    }

    /// Whether everything put before the mark is settled.
    #[pyo3(signature = (mark, /))]
    fn is_settled(&self, mark: u64) -> bool {
        self.shared.lock().is_settled(mark)
    }

    /// The numbers of `IngestStats`, in its order.
    #[allow(clippy::type_complexity)] // ten numbers
    fn counts(&self) -> (u64, u64, u64, u64, u64, u64, u64, usize, u64, u64) {
        let (counts, pending) = {
            let shared = self.shared.lock();
            (shared.counts(), shared.pending())
        };
        let Counts { settled, put, commits, bytes, in_flight, reached: _ } = counts;
        let Tally { saved, already_stored, conflicts, failed, unknown } = settled;
        (put, saved, already_stored, conflicts, failed, unknown, pending, in_flight, commits, bytes)
    }

    /// How many events wait to be sent.
    #[getter]
    fn queued(&self) -> usize {
        self.shared.lock().queued()
    }

    /// The largest position acked.
    #[getter]
    fn reached(&self) -> u64 {
        self.shared.lock().counts().reached
    }
}
