//! What the bookkeeping tells, as Python sees it, and what Python says of it.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::bindings::handles::{as_put, event_or_draft, events_of};
use crate::pending::{Dropped, End, Fate, Outcome, Sendable, Status, Trouble, Why};
use crate::shard::SHARDS;

/// A message to send: subject, token, guard, body, of what the guard speaks if not of the subject.
pub type MessageObject<'py> = (String, u64, u64, Bound<'py, PyBytes>, Option<String>);

/// A commit in trouble: ticket, why, a number, guard, version there, how often others came first, events, which are drafts, tags.
pub type TroubleObject<'py> = (u64, &'static str, u64, u64, u64, u32, Bound<'py, PyList>, Vec<bool>, Vec<u64>);

/// An event that ended: actor, event, status, position, the driver's key of what went wrong.
pub type OutcomeObject<'py> = (String, Bound<'py, PyAny>, &'static str, u64, u64);

/// An event that was not sent, as it was put, and its tag.
pub type DroppedObject<'py> = (Bound<'py, PyAny>, u64);

/// What becomes of an event: status, version, position, key.
pub type FateObject = (String, u64, u64, u64);

pub fn message(py: Python<'_>, (subject, token, guard, body, guarded): Sendable) -> MessageObject<'_> {
    (subject, token, guard, PyBytes::new(py, &body), guarded)
}

pub fn trouble(py: Python<'_>, Trouble { ticket, why, guard, version, beaten, events }: Trouble) -> PyResult<TroubleObject<'_>> {
    let (why, number) = shown(why);
    let (drafts, tags) = events.iter().map(|event| (event.is_draft, event.tag)).unzip();
    let events = events_of(py, events.into_iter().map(|troubled| troubled.event).collect())?;
    Ok((ticket, why, number, guard, version, beaten, events, drafts, tags))
}

pub fn outcome(py: Python<'_>, Outcome { actor, event, end }: Outcome) -> PyResult<OutcomeObject<'_>> {
    Ok((actor.to_string(), event_or_draft(py, event)?, name_of(end.status), end.position, end.key))
}

pub fn dropped(py: Python<'_>, (actor, event, tag): Dropped) -> PyResult<DroppedObject<'_>> {
    Ok((as_put(py, &actor, event)?, tag))
}

/// A shard that there is.
pub fn checked(shard: u32) -> PyResult<u32> {
    if shard < SHARDS { Ok(shard) } else { Err(PyValueError::new_err(format!("there is no shard {shard}"))) }
}

fn shown(why: Why) -> (&'static str, u64) {
    match why {
        Why::Silent => ("silent", 0),
        Why::Refused(number) => ("refused", number),
        Why::Unheard => ("unheard", 0),
        Why::Behind => ("behind", 0),
        Why::TooLarge(size) => ("large", size as u64),
        Why::Taken(version) => ("taken", version),
        Why::Elsewhere(version) => ("elsewhere", version),
        Why::Unread => ("unread", 0),
    }
}

fn name_of(status: Status) -> &'static str {
    match status {
        Status::Saved => "saved",
        Status::AlreadyStored => "already_stored",
        Status::Conflict => "conflict",
        Status::Failed => "failed",
        Status::Unknown => "unknown",
    }
}

/// What somebody says becomes of an event.
pub fn fate((name, version, position, key): FateObject) -> PyResult<Fate> {
    let status = match name.as_str() {
        "again" => return Ok(Fate::Again),
        "renumber" => return Ok(Fate::Renumber),
        "saved" => Status::Saved,
        "already_stored" => Status::AlreadyStored,
        "conflict" => Status::Conflict,
        "failed" => Status::Failed,
        "unknown" => Status::Unknown,
        _ => return Err(PyValueError::new_err(format!("{name:?} is no status"))),
    };
    Ok(Fate::Ended(End { status, version, position, key }))
}
