//! The bookkeeping by itself: commits one by one, shards in line, and a storm of everything that can happen around it.

#![allow(clippy::unwrap_used)]

mod commits;
mod driver;
mod lines;
mod roster;
mod storm;
mod world;

use std::num::NonZeroUsize;

use super::*;
use crate::event::{Id, Parts};
use crate::heads::Heads;
use crate::msgpack::write;

const BOUNDS: Bounds = Bounds {
    pending: 40,
    pending_bytes: 1 << 20,
    in_flight: 3,
    in_flight_bytes: 1 << 20,
    commit_events: 4,
    group_bytes: 1 << 20,
    commit_bytes: 1 << 20,
    frames_bytes: 1 << 18,
};

fn event(actor: &str, version: u64, id: &str, size: usize) -> Arc<EventData> {
    let mut payload = Vec::new();
    write::str(&mut payload, &"x".repeat(size));
    Arc::new(EventData::new(&Parts { id: Id::parse(id), actor, version, time_ns: 1, payload: &payload, ..Parts::EXAMPLE }))
}

fn heads(capacity: usize) -> Heads {
    Heads::new(NonZeroUsize::new(capacity).unwrap())
}

fn ack(position: u64) -> Vec<u8> {
    format!(r#"{{"stream":"S","seq":{position}}}"#).into_bytes()
}
