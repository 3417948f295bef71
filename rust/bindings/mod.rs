//! The Python face of the core, one file per class. The only folder that names pyo3.
//!
//! While a Rust lock is held here no Python object is made or released: that can run the garbage collector and so user
//! code, which may come back for the same lock. Handles are cloned, the lock is let go, then objects are built.

// The comments on what Python sees become its docstrings, where names stand as Python's own documentation writes them.
#![allow(clippy::doc_markdown)]

mod arrow;
mod assign;
mod bus_message;
mod clock;
mod codec;
mod commit;
mod decode;
mod encode;
mod epoch;
mod event;
mod exchange;
mod fence_mark;
mod filter;
mod frames;
mod handles;
mod heads;
#[cfg(not(any(Py_LIMITED_API, Py_GIL_DISABLED)))]
mod lean;
mod log;
mod mailbox;
mod making;
mod metadata;
mod names;
mod new_event;
mod pending;
mod pickling;
mod reading;
mod records;
mod replay;
mod shard_table;
mod snapshot;
mod spine;
mod tally;
mod text;

use pyo3::prelude::*;

use crate::error::Error;

pyo3::import_exception!(aether.errors, CommitTooLargeError);
pyo3::import_exception!(aether.errors, CorruptEventError);
pyo3::import_exception!(aether.errors, DecodeError);
pyo3::import_exception!(aether.errors, EncodeError);
pyo3::import_exception!(aether.errors, InvalidIdError);
pyo3::import_exception!(aether.errors, StoreFullError);
pyo3::import_exception!(aether.errors, SubscriptionInterruptedError);
pyo3::import_exception!(aether.errors, SubscriptionLaggedError);
pyo3::import_exception!(aether.errors, UnknownFormatError);
pyo3::import_exception!(aether.errors, VersionConflictError);
pyo3::import_exception!(aether.errors, VersionsUsedUpError);

const SHOWN_CHARS: usize = 40;

/// A value for a message, cut short; "?" where it cannot be shown, as an int of very many digits.
fn shown(value: &Bound<'_, PyAny>) -> String {
    let text = value.repr().map_or_else(|_| "?".to_owned(), |text| text.to_string_lossy().into_owned());
    text.chars().take(SHOWN_CHARS).collect()
}

/// The exception for a refusal; `name` is the actor or the refused name.
fn raise(error: Error, name: &str) -> PyErr {
    match error {
        Error::Decode { offset, reason } => DecodeError::new_err((offset, reason)),
        Error::Format { offset, found } => UnknownFormatError::new_err((offset, found)),
        Error::InvalidId { what, reason } => InvalidIdError::new_err((what, name.to_owned(), reason)),
        Error::TooLarge { size, limit } => CommitTooLargeError::new_err((name.to_owned(), size, limit)),
        Error::Conflict { expected, actual } => VersionConflictError::new_err((name.to_owned(), expected, actual)),
        Error::VersionsUsedUp => VersionsUsedUpError::new_err((name.to_owned(),)),
        Error::Full { max_events } => StoreFullError::new_err((
            "the in-memory store",
            format!("max_events={max_events}"),
            "give it a larger max_events, or use a JetStreamEventStore",
        )),
        Error::Misuse(reason) => pyo3::exceptions::PyValueError::new_err(reason),
    }
}

/// The native core of Aether; import these names from `aether`.
#[pymodule(gil_used = false)]
mod _native {
    #[pymodule_export]
    use super::arrow::{ArrowBatch, ArrowRows, ArrowTable, arrow_stream, batch_schema};
    #[pymodule_export]
    use super::assign::assign;
    #[pymodule_export]
    use super::bus_message::{bus_body, bus_subject, decode_reply, encode_error, encode_reply, publish_events};
    #[pymodule_export]
    use super::codec::{Limits, decode, encode, get_default_limits, set_default_limits};
    #[pymodule_export]
    use super::commit::{Commit, check_events, encode_commit, events_in, number_events, position_of};
    #[pymodule_export]
    use super::epoch::{EpochRecord, encode_epoch};
    #[pymodule_export]
    use super::event::Event;
    #[pymodule_export]
    use super::exchange::Exchange;
    #[pymodule_export]
    use super::fence_mark::{FenceMark, RosterBudget};
    #[pymodule_export]
    use super::filter::EventFilter;
    #[pymodule_export]
    use super::frames::{FrameReader, publish_frame, request_frames};
    #[pymodule_export]
    use super::heads::{Head, HeadCache};
    #[pymodule_export]
    use super::log::MemoryLog;
    #[pymodule_export]
    use super::mailbox::Mailbox;
    #[pymodule_export]
    use super::names::{actor_subject, check_actor_id, shard_of, token_decode, token_encode};
    #[pymodule_export]
    use super::new_event::NewEvent;
    #[pymodule_export]
    use super::pending::Pending;
    #[pymodule_export]
    use super::records::{Records, format_records, payload_json, read_record};
    #[pymodule_export]
    use super::replay::Replay;
    #[pymodule_export]
    use super::shard_table::ShardTable;
    #[pymodule_export]
    use super::snapshot::Snapshot;
    #[pymodule_export]
    use super::spine::{SpineSearch, SpineWalk, commit_count};
    #[pymodule_export]
    use super::tally::Tally;

    #[pymodule_init]
    fn init(module: &pyo3::Bound<'_, pyo3::types::PyModule>) -> pyo3::PyResult<()> {
        #[cfg(not(any(Py_LIMITED_API, Py_GIL_DISABLED)))]
        super::lean::install(&module.py().get_type::<Event>())?;
        super::clock::reseed_after_fork(module)
    }
}
