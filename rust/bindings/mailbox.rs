//! `Mailbox`: what waits for one subscriber, with the marks between.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

use super::event::Event;
use super::filter::EventFilter;
use super::handles::events_of;
use super::{CorruptEventError, SubscriptionInterruptedError, SubscriptionLaggedError, raise};
use crate::error::Error;
use crate::mailbox::{Bounds, Damage, Delivery, Mailbox as MailboxData, Mark, Next, Policy};

/// An event, and where an answer is expected.
type Request<'py> = (Bound<'py, Event>, Option<Bound<'py, PyString>>);

/// A namespace, and an event of it.
type Namespaced<'py> = (Bound<'py, PyString>, Bound<'py, Event>);

/// What waits for one subscriber: events in order, and marks where some are missing. Safe from many threads.
///
/// An exchange puts events in. Each is given out, waits, or is counted as missed. A mark stands exactly where something is
/// missing, and is raised once as the error that it is. With policy "error" an event that has no room is missed, and a mark
/// says so; with "drop_oldest" the oldest events are missed in its place, and only counted; with "block" its publisher waits,
/// and where it cannot wait it is missed as with "error". An event that is larger than `max_bytes` is missed in any case.
///
/// Args:
///     filter: which events are wanted.
///     max_events: how many may wait, 1 or more.
///     max_bytes: how many bytes they may have together, 1 or more.
///     policy: what to do with an event that has no room: "error", "drop_oldest" or "block".
///
/// Raises:
///     ValueError: a bound of 0, or another policy.
#[pyclass(frozen, module = "aether._native")]
pub struct Mailbox {
    pub data: Arc<MailboxData>,
}

#[pymethods]
impl Mailbox {
    #[new]
    fn new(filter: &Bound<'_, EventFilter>, max_events: usize, max_bytes: usize, policy: &str) -> PyResult<Self> {
        if max_events == 0 || max_bytes == 0 {
            return Err(PyValueError::new_err("the bounds of a mailbox are 1 or more"));
        }
        let policy = match policy {
            "error" => Policy::Error,
            "drop_oldest" => Policy::DropOldest,
            "block" => Policy::Block,
            other => {
                return Err(PyValueError::new_err(format!("policy is \"error\", \"drop_oldest\" or \"block\", not {other:?}")));
            }
        };
        let bounds = Bounds { events: max_events, bytes: max_bytes };
        Ok(Self { data: Arc::new(MailboxData::new(filter.get().data.clone(), bounds, policy)) })
    }

    /// The next event; None: there is nothing to give now, or it is time to `rest`, after 256 in a row.
    ///
    /// Raises:
    ///     SubscriptionLaggedError: events are missing here.
    ///     SubscriptionInterruptedError: the connection was interrupted here, and is there again.
    ///     CorruptEventError: a damaged or foreign message came here.
    fn next<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, Event>>> {
        let next = self.data.lock().take_one();
        given(py, next)?.map(|delivery| Bound::new(py, Event { data: delivery.event })).transpose()
    }

    /// Begins to count anew how many events came in a row: others had their turn.
    fn rest(&self) {
        self.data.lock().rest();
    }

    /// At most `limit` events, up to a mark; empty: there is nothing to give now. A mark that stands first is raised.
    ///
    /// Raises:
    ///     SubscriptionLaggedError: events are missing here.
    ///     SubscriptionInterruptedError: the connection was interrupted here, and is there again.
    ///     CorruptEventError: a damaged or foreign message came here.
    fn take<'py>(&self, py: Python<'py>, limit: usize) -> PyResult<Bound<'py, PyList>> {
        let taken = self.data.lock().take(limit);
        let deliveries = given(py, taken)?.unwrap_or_default();
        events_of(py, deliveries.into_iter().map(|delivery| delivery.event).collect())
    }

    /// The same as `take`, each event with the reply subject where an answer is expected; None: none is.
    ///
    /// Raises:
    ///     SubscriptionLaggedError: events are missing here.
    ///     SubscriptionInterruptedError: the connection was interrupted here, and is there again.
    ///     CorruptEventError: a damaged or foreign message came here.
    fn take_requests<'py>(&self, py: Python<'py>, limit: usize) -> PyResult<Vec<Request<'py>>> {
        let taken = self.data.lock().take(limit);
        let pair = |Delivery { event, context }: Delivery| {
            let reply = context.as_ref().and_then(|context| context.reply.as_deref()).map(|reply| PyString::new(py, reply));
            Ok((Bound::new(py, Event { data: event })?, reply))
        };
        given(py, taken)?.unwrap_or_default().into_iter().map(pair).collect()
    }

    /// The same as `take`, each event behind its namespace.
    ///
    /// Raises:
    ///     SubscriptionLaggedError: events are missing here.
    ///     SubscriptionInterruptedError: the connection was interrupted here, and is there again.
    ///     CorruptEventError: a damaged or foreign message came here.
    fn take_with_namespaces<'py>(&self, py: Python<'py>, limit: usize) -> PyResult<Vec<Namespaced<'py>>> {
        let (taken, home) = {
            let mut queue = self.data.lock();
            (queue.take(limit), queue.home.clone())
        };
        let pair = |Delivery { event, context }: Delivery| {
            let own = context.as_ref().and_then(|context| context.namespace.as_ref());
            let namespace = own.or(home.as_ref()).map_or("", |namespace| namespace);
            Ok((PyString::new(py, namespace), Bound::new(py, Event { data: event })?))
        };
        given(py, taken)?.unwrap_or_default().into_iter().map(pair).collect()
    }

    /// Whether `next` and `take` have something to give or to raise now.
    fn has_next(&self) -> bool {
        self.data.lock().has_next()
    }

    /// Whether so many events of so many bytes together have room.
    #[pyo3(signature = (count=1, bytes=0))]
    fn has_room(&self, count: usize, bytes: usize) -> bool {
        self.data.lock().has_room(count, bytes)
    }

    /// Marks that the connection is interrupted here.
    ///
    /// Nothing behind the mark comes out until `resume` is called with the number that this returns; what comes meanwhile
    /// waits, within the bounds. Interruptions that touch become one mark, held until each is over.
    fn interrupt(&self, reason: &str) -> u64 {
        self.data.lock().interrupt(reason)
    }

    /// Says that the interruption is over that `interrupt` returned this number for.
    fn resume(&self, token: u64) {
        self.data.lock().resume(token);
    }

    /// Takes nothing any more; what waits can still be had, and no interruption holds it up.
    fn close(&self) {
        self.data.lock().close();
    }

    /// Forgets what waits. It is not counted as missed: nobody wants it any more.
    fn clear(&self) {
        self.data.lock().clear();
    }

    /// Whether it is closed and everything was given out.
    fn is_ended(&self) -> bool {
        self.data.lock().is_ended()
    }

    /// How many events were given out.
    #[getter]
    fn delivered(&self) -> u64 {
        self.data.lock().delivered
    }

    /// How many events wait.
    #[getter]
    fn pending(&self) -> usize {
        self.data.lock().pending()
    }

    /// Their bytes together, as the bound counts them: about what they take in a message.
    #[getter]
    fn pending_bytes(&self) -> usize {
        self.data.lock().pending_bytes()
    }

    /// How many events had no room.
    #[getter]
    fn missed(&self) -> u64 {
        self.data.lock().missed
    }

    /// How many damaged or foreign messages came.
    #[getter]
    fn damaged(&self) -> u64 {
        self.data.lock().damaged
    }
}

/// What came out, or a mark as its error.
fn given<T>(py: Python<'_>, next: Next<T>) -> PyResult<Option<T>> {
    match next {
        Next::Given(value) => Ok(Some(value)),
        Next::Nothing => Ok(None),
        Next::Mark(Mark::Lagged(missed)) => Err(SubscriptionLaggedError::new_err((missed,))),
        Next::Mark(Mark::Interrupted(interruption)) => Err(SubscriptionInterruptedError::new_err((interruption.reason,))),
        Next::Mark(Mark::Damaged(damage)) => Err(corrupt(py, *damage)),
    }
}

fn corrupt(py: Python<'_>, damage: Damage) -> PyErr {
    let Damage { subject, error, more } = damage;
    let whole = matches!(error, Error::Format { .. });
    let cause = raise(error, "");
    let also = if more == 0 { String::new() } else { format!("; and {more} more such messages") };
    let failed = CorruptEventError::new_err((subject, 0, None::<String>, format!("{}{also}", cause.value(py))));
    if whole {
        failed.set_cause(py, Some(cause));
    }
    failed
}
