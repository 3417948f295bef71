//! Lines of an import to events.

use std::sync::Arc;

use pyo3::prelude::*;

use super::codec::default_limits;
use super::new_event::NewEvent;
use crate::records::Parser;

/// Actor, event, version, size.
type RecordObject = (String, NewEvent, Option<u64>, usize);

/// Reads one line as `aether.ingest.records.parse_record` would: (actor id, event, version, size).
///
/// None: it is no record, or written in a rare way; `parse_record` says which.
#[pyfunction]
#[pyo3(signature = (line, commit_bytes_max, /))]
pub fn read_record(line: &[u8], commit_bytes_max: usize) -> Option<RecordObject> {
    let record = Parser::new(default_limits(), commit_bytes_max).parse(line)?;
    let (actor, version) = (record.event.actor().to_owned(), record.event.version());
    Some((actor, NewEvent { data: Arc::new(record.event.draft()) }, (version > 0).then_some(version), record.size))
}
