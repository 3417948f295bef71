//! `Commit` read from a message, and the bytes of one to send.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString};

use super::handles::{drafts, events_of, handles};
use super::heads::Head;
use super::making::version;
use super::names::name;
use super::raise;
use crate::commit::{self, Commit as CommitData};
use crate::error::Error;
use crate::heads::Head as HeadData;

/// One message of an actor: a commit as it was written. Stores work with it, users see its events.
#[pyclass(frozen, module = "aether._native")]
pub struct Commit {
    pub data: CommitData,
}

#[pymethods]
impl Commit {
    /// The commit of a message's body.
    ///
    /// Raises:
    ///     DecodeError: these bytes are no commit; `offset` says where that was noticed.
    #[staticmethod]
    #[pyo3(signature = (body, /))]
    fn decode(body: &[u8]) -> PyResult<Self> {
        let data = CommitData::decode(body).map_err(|error| raise(error, ""))?;
        Ok(Self { data })
    }

    /// The body again. For what Aether itself wrote these are the same bytes, with keys that a later version added.
    fn encode<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.data.encode())
    }

    /// Whose commit it is.
    #[getter]
    fn actor_id<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        PyString::new(py, &self.data.actor)
    }

    /// The actor's latest version after this commit.
    #[getter]
    fn version(&self) -> u64 {
        self.data.version
    }

    /// The version before its first event; its own where it has no events.
    #[getter]
    fn version_before(&self) -> u64 {
        self.data.version_before()
    }

    /// The roots over the actor's earlier commits, as (sequence, size); None where the writer gave none.
    #[getter]
    fn spine(&self) -> Option<Vec<(u64, u64)>> {
        let roots = self.data.spine.as_ref()?;
        Some(roots.iter().map(|root| (root.sequence, root.size)).collect())
    }

    /// The epoch of its shard under which it was written; None outside shard mode.
    #[getter]
    fn epoch(&self) -> Option<u64> {
        self.data.epoch
    }

    /// The positions that readers of this actor step over.
    #[getter]
    fn passed(&self) -> Vec<u64> {
        self.data.passed.clone()
    }

    /// The events from `from_version` on.
    #[pyo3(signature = (from_version=0))]
    fn events<'py>(&self, py: Python<'py>, from_version: u64) -> PyResult<Bound<'py, PyList>> {
        let events = self.data.events.iter().filter(|event| event.version() >= from_version);
        events_of(py, events.map(Arc::clone).collect())
    }

    /// The head this commit makes at `sequence`.
    fn head(&self, sequence: u64) -> Head {
        Head { data: HeadData::of(&self.data, sequence) }
    }

    fn __repr__(&self) -> String {
        format!("<Commit of {:?} to version {}, {} events>", self.data.actor, self.data.version, self.data.events.len())
    }
}

/// What makes these events one commit: the actor, the first and the last version.
///
/// Raises:
///     TypeError: not an iterable of `Event`.
///     ValueError: no events, of several actors, or versions that do not increase.
#[pyfunction]
pub fn check_events<'py>(py: Python<'py>, events: &Bound<'py, PyAny>) -> PyResult<(Bound<'py, PyString>, u64, u64)> {
    let handles = handles(events)?;
    let first = commit::check_events(&handles).map_err(|error| raise(error, ""))?;
    let last = handles.last().map_or(0, |event| event.version());
    Ok((PyString::new(py, first.actor()), first.version(), last))
}

/// The body of a commit on top of `head`; no events: a repair, which passes positions.
///
/// Args:
///     actor_id: whose commit it is.
///     events: its events, of this actor, all above the head's version.
///     head: the actor's head, under whose sequence it will be guarded.
///     header_bytes: what the message's headers take.
///     bytes_max: what body and headers may take together.
///     passed: positions that readers of this actor step over.
///     epoch: the epoch of the actor's shard, from 1, under which its owner writes this; None: the shard has no owner.
///
/// Raises:
///     CommitTooLargeError: it does not fit.
///     ValueError: events of another actor, versions that do not increase from the head's on, or epoch 0.
#[pyfunction]
#[pyo3(signature = (actor_id, events, head, *, header_bytes, bytes_max, passed=Vec::new(), epoch=None))]
pub fn encode_commit<'py>(
    actor_id: &Bound<'py, PyString>,
    events: &Bound<'py, PyAny>,
    head: &Bound<'py, Head>,
    header_bytes: usize,
    bytes_max: usize,
    passed: Vec<u64>,
    epoch: Option<u64>,
) -> PyResult<Bound<'py, PyBytes>> {
    if epoch == Some(0) {
        return Err(PyValueError::new_err("an epoch is a stream sequence, from 1"));
    }
    let actor = name("actor_id", actor_id)?;
    let head = &head.get().data;
    let events = handles(events)?;
    if !events.is_empty() {
        let first = commit::check_events(&events).map_err(|error| raise(error, ""))?;
        if first.actor() != actor || first.version() <= head.version {
            return Err(PyValueError::new_err("the events are not this actor's, or do not lie above its head"));
        }
    }
    let commit = CommitData {
        actor: actor.to_owned(),
        events,
        version: head.version,
        spine: head.spine.clone(),
        passed,
        epoch,
        ..CommitData::default()
    };
    let body = commit.encode();
    let size = body.len() + header_bytes;
    if size > bytes_max {
        return Err(raise(Error::TooLarge { size, limit: bytes_max }, actor));
    }
    Ok(PyBytes::new(actor_id.py(), &body))
}

/// Commits with their positions, as a walk or a scan yields them.
type Placed<'py> = Vec<(u64, Bound<'py, Commit>)>;

/// The events of these commits from `from_version` on, at most `limit`, in order.
#[pyfunction]
#[allow(clippy::needless_pass_by_value)] // taken from a Python list
#[pyo3(signature = (commits, from_version=0, limit=None))]
pub fn events_in<'py>(
    py: Python<'py>,
    commits: Placed<'py>,
    from_version: u64,
    limit: Option<usize>,
) -> PyResult<Bound<'py, PyList>> {
    let events = commits.iter().flat_map(|(_, commit)| &commit.get().data.events).filter(|event| event.version() >= from_version);
    events_of(py, events.take(limit.unwrap_or(usize::MAX)).map(Arc::clone).collect())
}

/// The position of the last of `events` if the commits hold an equal event for each of them.
#[pyfunction]
#[allow(clippy::needless_pass_by_value)] // taken from a Python list
pub fn position_of(commits: Placed<'_>, events: &Bound<'_, PyAny>) -> PyResult<Option<u64>> {
    let wanted = handles(events)?;
    let mut stored =
        commits.iter().flat_map(|(position, commit)| commit.get().data.events.iter().map(|event| (*position, event)));
    // Both run in version order, so one pass finds them all.
    let mut last = None;
    for event in &wanted {
        match stored.find(|(_, held)| held.version() >= event.version()) {
            Some((position, held)) if held == event => last = Some(position),
            _ => return Ok(None),
        }
    }
    Ok(last)
}

/// Gives new events an actor and the versions from `first_version` on.
///
/// Args:
///     actor_id: whose events they become.
///     events: one `NewEvent` or an iterable of them.
///     first_version: the version of the first, from 1.
///
/// Raises:
///     TypeError: something else than `NewEvent`.
///     ValueError: the versions would pass 2**64 - 1.
#[pyfunction]
pub fn number_events<'py>(
    py: Python<'py>,
    actor_id: &Bound<'py, PyString>,
    events: &Bound<'py, PyAny>,
    first_version: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyList>> {
    let actor = name("actor_id", actor_id)?;
    let drafts = drafts(events)?;
    let first_version = version(first_version)?;
    commit::check_room(first_version - 1, drafts.len()).map_err(|error| raise(error, actor))?;
    let numbered = drafts.iter().zip(0..).map(|(draft, step)| Arc::new(draft.numbered(actor, first_version + step))).collect();
    events_of(py, numbered)
}
