//! `Commit` read from a message, and the bytes of one to send.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString};

use super::event::{drafts, events_of, handles};
use super::heads::Head;
use super::names::name;
use super::raise;
use crate::commit::{self, Commit as CommitData};
use crate::error::Error;
use crate::heads::Head as HeadData;

#[pyclass(frozen, module = "aether._native")]
pub struct Commit {
    pub data: CommitData,
}

#[pymethods]
impl Commit {
    /// Reads a message's body.
    #[staticmethod]
    fn decode(body: &[u8]) -> PyResult<Self> {
        let data = CommitData::decode(body).map_err(|error| raise(error, ""))?;
        Ok(Self { data })
    }

    #[getter]
    fn actor_id<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        PyString::new(py, &self.data.actor)
    }

    #[getter]
    fn version(&self) -> u64 {
        self.data.version
    }

    #[getter]
    fn version_before(&self) -> u64 {
        self.data.version_before()
    }

    #[getter]
    fn spine(&self) -> Option<Vec<(u64, u64)>> {
        let roots = self.data.spine.as_ref()?;
        Some(roots.iter().map(|root| (root.sequence, root.size)).collect())
    }

    #[getter]
    fn epoch(&self) -> Option<u64> {
        self.data.epoch
    }

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
#[pyfunction]
pub fn check_events<'py>(py: Python<'py>, events: &Bound<'py, PyAny>) -> PyResult<(Bound<'py, PyString>, u64, u64)> {
    let handles = handles(events)?;
    let first = commit::check_events(&handles).map_err(|error| raise(error, ""))?;
    let last = handles.last().map_or(0, |event| event.version());
    Ok((PyString::new(py, first.actor()), first.version(), last))
}

/// The body of a commit on top of `head`; with `header_bytes` beside it, it fits `bytes_max`.
#[pyfunction]
#[pyo3(signature = (actor_id, events, head, *, header_bytes, bytes_max, passed=Vec::new()))]
pub fn encode_commit<'py>(
    actor_id: &Bound<'py, PyString>,
    events: &Bound<'py, PyAny>,
    head: &Bound<'py, Head>,
    header_bytes: usize,
    bytes_max: usize,
    passed: Vec<u64>,
) -> PyResult<Bound<'py, PyBytes>> {
    let actor = name("actor_id", actor_id)?;
    let head = &head.get().data;
    let commit = CommitData {
        actor: actor.to_owned(),
        events: handles(events)?,
        version: head.version,
        spine: head.spine.clone(),
        passed,
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
#[pyfunction]
pub fn number_events<'py>(
    py: Python<'py>,
    actor_id: &Bound<'py, PyString>,
    events: &Bound<'py, PyAny>,
    first_version: u64,
) -> PyResult<Bound<'py, PyList>> {
    let actor = name("actor_id", actor_id)?;
    let numbered =
        drafts(events)?.iter().zip(first_version..).map(|(draft, version)| Arc::new(draft.numbered(actor, version))).collect();
    events_of(py, numbered)
}
