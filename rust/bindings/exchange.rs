//! `Exchange`: where events arrive, and the mailboxes that want them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyList;

use super::event::Event;
use super::handles::handles_from;
use super::mailbox::Mailbox;
use super::raise;
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
#[pyclass(frozen, module = "aether._native")]
pub struct Exchange {
    pub shared: Arc<Shared>,
    has_namespace: bool,
}

#[pymethods]
impl Exchange {
    #[new]
    fn new(namespace: Option<&str>) -> Self {
        let shared = Arc::new(Shared(Mutex::new(ExchangeData::new(namespace))));
        Self { shared, has_namespace: namespace.is_some() }
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
    ///     room for it; when all were, the events' count and None.
    ///
    /// Raises:
    ///     TypeError: an item that is no `Event`; nothing was given out.
    ///     ValueError: the exchange is of any namespace, so that nobody can say whose events these are.
    #[pyo3(signature = (events, start=0, reply=None))]
    fn publish(&self, events: &Bound<'_, PyList>, start: usize, reply: Option<&str>) -> PyResult<(usize, Option<u64>)> {
        if !self.has_namespace {
            return Err(PyValueError::new_err("an exchange of any namespace gives out no events of its own"));
        }
        let handles = handles_from(events, start, usize::MAX)?;
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
