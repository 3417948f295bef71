//! `SpineWalk` and `SpineSearch`: which sequences to fetch next, decided from the commits fetched so far.

use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;

use super::commit::Commit;
use super::{DecodeError, raise};
use crate::commit::Commit as CommitData;
use crate::spine::{Broken, Walk, commits};
use crate::spine_search::Search;

fn broken(Broken(reason): Broken) -> PyErr {
    DecodeError::new_err((-1, reason))
}

fn used_up() -> PyErr {
    pyo3::exceptions::PyRuntimeError::new_err("the walk has ended")
}

/// How many commits the actor of this head has.
///
/// Raises:
///     DecodeError: the head carries no spine that can be followed.
#[pyfunction]
#[pyo3(signature = (head, sequence, /))]
pub fn commit_count(head: &Bound<'_, Commit>, sequence: u64) -> PyResult<u64> {
    commits(&head.get().data, sequence).map_err(broken)
}

/// Reaches an actor's earlier commits from its head: says what to fetch next, all at once, from what was fetched so far.
///
/// Args:
///     head: the actor's last commit.
///     sequence: where it lies.
///     from_version: commits that do not reach this version are not fetched.
///     first: the ordinal of the first commit wanted; the actor's first has 0.
///     end: the ordinal behind the last one wanted; None: all.
///
/// Raises:
///     DecodeError: the spine cannot be followed; here and by `feed` and `commits`.
#[pyclass(frozen, module = "aether._native")]
pub struct SpineWalk {
    walk: Mutex<Option<Walk>>,
}

#[pymethods]
impl SpineWalk {
    #[new]
    #[pyo3(signature = (head, sequence, from_version=0, first=0, end=None))]
    fn new(head: &Bound<'_, Commit>, sequence: u64, from_version: u64, first: u64, end: Option<u64>) -> PyResult<Self> {
        let end = end.unwrap_or(u64::MAX);
        let walk = Walk::new(head.get().data.clone(), sequence, from_version, first, end).map_err(broken)?;
        Ok(Self { walk: Mutex::new(Some(walk)) })
    }

    /// The sequences to fetch now, all at once, ascending; none when the walk is done.
    fn wanted(&self) -> PyResult<Vec<u64>> {
        let walk = self.walk.lock().unwrap_or_else(PoisonError::into_inner);
        walk.as_ref().map(Walk::wanted).ok_or_else(used_up)
    }

    /// Takes a message's body that was wanted.
    #[pyo3(signature = (sequence, body, /))]
    fn feed(&self, sequence: u64, body: &[u8]) -> PyResult<()> {
        let commit = CommitData::decode(body).map_err(|error| raise(error, ""))?;
        let mut walk = self.walk.lock().unwrap_or_else(PoisonError::into_inner);
        walk.as_mut().ok_or_else(used_up)?.feed(sequence, commit).map_err(broken)
    }

    /// Ends the walk: the commits with their sequences, oldest first.
    fn commits(&self) -> PyResult<Vec<(u64, Commit)>> {
        let walk = self.walk.lock().unwrap_or_else(PoisonError::into_inner).take();
        let commits = walk.ok_or_else(used_up)?.finish().map_err(broken)?;
        Ok(commits.into_iter().map(|(sequence, data)| (sequence, Commit { data })).collect())
    }
}

/// Finds the first commit that reaches a version, by fetching a few commits; used as `SpineWalk`.
///
/// Args:
///     head: the actor's last commit.
///     sequence: where it lies.
///     from_version: the version to reach.
///
/// Raises:
///     DecodeError: the spine cannot be followed; here and by `feed`.
#[pyclass(frozen, module = "aether._native")]
pub struct SpineSearch {
    search: Mutex<Search>,
}

#[pymethods]
impl SpineSearch {
    #[new]
    fn new(head: &Bound<'_, Commit>, sequence: u64, from_version: u64) -> PyResult<Self> {
        let search = Search::new(&head.get().data, sequence, from_version).map_err(broken)?;
        Ok(Self { search: Mutex::new(search) })
    }

    /// The sequences to fetch now, all at once, ascending; none when the search is done.
    fn wanted(&self) -> Vec<u64> {
        self.search.lock().unwrap_or_else(PoisonError::into_inner).wanted()
    }

    /// Takes a message's body that was wanted.
    #[pyo3(signature = (sequence, body, /))]
    fn feed(&self, sequence: u64, body: &[u8]) -> PyResult<()> {
        let commit = CommitData::decode(body).map_err(|error| raise(error, ""))?;
        self.search.lock().unwrap_or_else(PoisonError::into_inner).feed(sequence, &commit).map_err(broken)
    }

    /// The ordinal of the first commit that reaches the version; the number of commits where none does.
    fn found(&self) -> u64 {
        self.search.lock().unwrap_or_else(PoisonError::into_inner).found()
    }
}
