//! `Exchange`: where events arrive, and the mailboxes that want them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyList;

use super::event::Event;
use super::handles::handles_from;
use super::mailbox::Mailbox;
use super::raise;
use crate::bus_message::write_body;
use crate::error::Error;
use crate::event::EventData;
use crate::exchange::Exchange as ExchangeData;

/// The core's side, which messages reach without Python.
pub struct Shared(Mutex<ExchangeData>);

impl Shared {
    /// Locks in one order: the exchange, then one mailbox.
    pub fn lock(&self) -> MutexGuard<'_, ExchangeData> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where events arrive, and the mailboxes that want them: each event goes to every mailbox that takes it, of a group to one.
///
/// Events come from `publish`, from a `FrameReader`, or one by one to `accept`. Safe from many threads.
///
/// Args:
///     namespace: whose events they are; None: those of any namespace, and each says its own.
///     event_bytes_max: what an event may take as a message, in bytes, where it comes from `publish`; None: no bound.
#[pyclass(frozen, module = "aether._native")]
pub struct Exchange {
    pub shared: Arc<Shared>,
    has_namespace: bool,
    event_bytes_max: usize,
}

/// Beside its event: the actor, keys and the checksum.
const BODY_BYTES: usize = 512;

impl Exchange {
    /// An event is made a message only where it comes near the bound.
    fn is_too_large(&self, event: &Arc<EventData>) -> bool {
        event.wire_size_bound().saturating_add(BODY_BYTES) > self.event_bytes_max && body_size(event) > self.event_bytes_max
    }
}

fn body_size(event: &Arc<EventData>) -> usize {
    let mut body = Vec::new();
    write_body(&mut body, event);
    body.len()
}

#[pymethods]
impl Exchange {
    #[new]
    #[pyo3(signature = (namespace, event_bytes_max=None))]
    fn new(namespace: Option<&str>, event_bytes_max: Option<usize>) -> Self {
        let shared = Arc::new(Shared(Mutex::new(ExchangeData::new(namespace))));
        Self { shared, has_namespace: namespace.is_some(), event_bytes_max: event_bytes_max.unwrap_or(usize::MAX) }
    }

    /// Lets events reach a mailbox; returns its number here.
    ///
    /// Args:
    ///     mailbox: a mailbox that is attached to no exchange.
    ///     group: of the mailboxes with the same group, one gets each event, in turn; None: it is in no group.
    ///
    /// Raises:
    ///     ValueError: the mailbox is attached already.
    #[pyo3(signature = (mailbox, group=None))]
    fn attach(&self, mailbox: &Bound<'_, Mailbox>, group: Option<&str>) -> PyResult<u64> {
        let attached = self.shared.lock().attach(&mailbox.get().data, group);
        attached.map_err(|error| raise(error, ""))
    }

    /// Ends what `attach` began, by the number that it returned; what waits in the mailbox stays there.
    fn detach(&self, id: u64) {
        self.shared.lock().detach(id);
    }

    /// How many mailboxes are attached.
    fn __len__(&self) -> usize {
        self.shared.lock().len()
    }

    /// The numbers of the mailboxes that got an event or a mark since this was last called.
    fn touched(&self) -> Vec<u64> {
        self.shared.lock().touched()
    }

    /// Gives out the events from the index `start` on, in order.
    ///
    /// An event goes to all that want it or to none: it is first looked whether all that must not miss it have room.
    ///
    /// Args:
    ///     events: events of the exchange's namespace.
    ///     start: the index of the first one to give out.
    ///     reply: where an answer is expected.
    ///
    /// Returns:
    ///     The index of the first event that was not given out, and the number of the mailbox with policy "block" that has no
    ///     room for it, or None where the event is too large; when all were, the events' count and None.
    ///
    /// Raises:
    ///     CommitTooLargeError: the first of these events is larger than `event_bytes_max`. One behind it ends what is given out.
    ///     TypeError: an item that is no `Event`; nothing was given out.
    ///     ValueError: the exchange is of any namespace, so that nobody can say whose events these are.
    #[pyo3(signature = (events, start=0, reply=None))]
    fn publish(&self, events: &Bound<'_, PyList>, start: usize, reply: Option<&str>) -> PyResult<(usize, Option<u64>)> {
        if !self.has_namespace {
            return Err(PyValueError::new_err("an exchange of any namespace gives out no events of its own"));
        }
        let mut handles = handles_from(events, start, usize::MAX)?;
        if let Some(index) = handles.iter().position(|event| self.is_too_large(event)) {
            if index == 0 {
                let error = Error::TooLarge { size: body_size(&handles[0]), limit: self.event_bytes_max };
                return Err(raise(error, handles[0].actor()));
            }
            handles.truncate(index);
        }
        let (count, blocked) = self.shared.lock().publish(&handles, reply);
        Ok((start + count, blocked))
    }

    /// How many mailboxes would get an event, those of a group counted as one.
    fn takers(&self, event: &Bound<'_, Event>) -> usize {
        self.shared.lock().takers(&event.get().data)
    }

    /// Takes a message of a server's subscription, where they come one by one.
    ///
    /// Args:
    ///     subject: where it was published.
    ///     reply: where an answer is expected; empty: nowhere.
    ///     body: what `bus_body` made.
    fn accept(&self, subject: &str, reply: &str, body: &[u8]) {
        let reply = (!reply.is_empty()).then_some(reply.as_bytes());
        self.shared.lock().take_message(subject.as_bytes(), reply, body);
    }
}
