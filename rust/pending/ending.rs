//! How events end: each in one way, counted once, told once to whoever asked for outcomes.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Actor, Item, Pending, State};
use crate::event::EventData;
use crate::shard::SHARDS;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Saved,
    AlreadyStored,
    Conflict,
    Failed,
    Unknown,
}

/// How an event ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    pub status: Status,
    /// At which version it is stored; 0: at its own, or it is not.
    pub version: u64,
    /// Where its commit lies; 0: that is not known, or there is none.
    pub position: u64,
    /// The driver's name for what went wrong.
    pub key: u64,
}

impl End {
    pub fn new(status: Status) -> Self {
        Self { status, version: 0, position: 0, key: 0 }
    }
}

/// What becomes of an event of a commit in trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Ended(End),
    /// It goes back to the front of its actor's queue, as it was put; it certainly is not stored and cannot come to be.
    Again,
    /// The same, but it goes on without its version.
    Renumber,
}

/// An event that ended.
#[derive(Debug)]
pub struct Outcome {
    pub actor: Arc<str>,
    /// As it is stored; where it is not, as it was put.
    pub event: Arc<EventData>,
    pub end: End,
}

/// An event that was not sent: its actor, the event as it was put, its tag.
pub type Dropped = (Arc<str>, Arc<EventData>, u64);

/// What became of events; the sum of all is what was put.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub saved: u64,
    pub already_stored: u64,
    pub conflicts: u64,
    pub failed: u64,
    pub unknown: u64,
}

impl Tally {
    pub fn total(&self) -> u64 {
        self.saved + self.already_stored + self.conflicts + self.failed + self.unknown
    }

    pub(super) fn add(&mut self, status: Status, count: u64) {
        *match status {
            Status::Saved => &mut self.saved,
            Status::AlreadyStored => &mut self.already_stored,
            Status::Conflict => &mut self.conflicts,
            Status::Failed => &mut self.failed,
            Status::Unknown => &mut self.unknown,
        } += count;
    }
}

/// Every event put, in that order, from the first that is not settled on: what `flush` and imports ask for.
#[derive(Debug, Default)]
pub(super) struct Ring {
    places: VecDeque<Place>,
    /// The serial number of the first place.
    first: u64,
    /// The tag of the last event before it.
    tag: u64,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    tag: u64,
    settled: bool,
}

impl Ring {
    /// Takes an event; returns its serial number.
    pub fn push(&mut self, tag: u64) -> u64 {
        self.places.push_back(Place { tag, settled: false });
        self.next() - 1
    }

    pub fn settle(&mut self, serial: u64) {
        if let Some(place) = usize::try_from(serial - self.first).ok().and_then(|at| self.places.get_mut(at)) {
            place.settled = true;
        }
        while let Some(place) = self.places.front().filter(|place| place.settled) {
            (self.tag, self.first) = (place.tag, self.first + 1);
            self.places.pop_front();
        }
    }

    /// The tag of an event that is not settled.
    pub fn tag(&self, serial: u64) -> u64 {
        usize::try_from(serial - self.first).ok().and_then(|at| self.places.get(at)).map_or(0, |place| place.tag)
    }

    /// The serial number that the next event gets.
    pub fn next(&self) -> u64 {
        self.first + self.places.len() as u64
    }

    pub fn first(&self) -> u64 {
        self.first
    }

    pub fn settled_tag(&self) -> u64 {
        self.tag
    }
}

/// Outcomes that nobody has read yet.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub outcomes: VecDeque<Outcome>,
    pub bytes: usize,
}

impl Pending {
    /// Keeps the outcome of every event from now on, for `outcomes`; what is not read counts as pending where room is asked for.
    pub fn tell_outcomes(&mut self) {
        self.told.get_or_insert_default();
    }

    /// Takes outcomes, in the order in which they came to be.
    pub fn outcomes(&mut self, max: usize) -> Vec<Outcome> {
        let Some(told) = &mut self.told else { return Vec::new() };
        let count = max.min(told.outcomes.len());
        let taken: Vec<Outcome> = told.outcomes.drain(..count).collect();
        told.bytes -= taken.iter().map(|outcome| outcome.event.wire_size_bound()).sum::<usize>();
        taken
    }

    /// A mark behind everything put so far.
    pub fn mark(&self) -> u64 {
        self.ring.next()
    }

    /// Whether everything put before the mark is settled.
    pub fn is_settled(&self, mark: u64) -> bool {
        self.ring.first() >= mark
    }

    /// Everything put up to and with this tag is settled.
    pub fn settled_tag(&self) -> u64 {
        self.ring.settled_tag()
    }

    /// Counts an event that has left the queues and flights. Its bytes are the caller's to give back.
    pub(super) fn end(&mut self, slot: usize, item: Item, end: End) {
        self.counts.settled.add(end.status, 1);
        self.ring.settle(item.serial);
        if let Some(told) = &mut self.told {
            let actor = &self.actors[slot].name;
            let stored = matches!(end.status, Status::Saved | Status::AlreadyStored);
            let version = if end.version == 0 { item.version } else { end.version };
            let event = if stored && version != item.event.version() {
                Arc::new(item.event.numbered(actor, version))
            } else {
                item.event
            };
            told.bytes += event.wire_size_bound();
            told.outcomes.push_back(Outcome { actor: Arc::clone(actor), event, end });
        }
    }

    /// Gives back every event that was not sent yet; they count as failed, `key` being the driver's name for why.
    pub fn drop_queued(&mut self, key: u64) -> Vec<Dropped> {
        let slots = self.index.values().copied().collect();
        self.ready.clear();
        self.headless.clear();
        let dropped = self.drop_of(slots, key);
        if let Some(lines) = &mut self.lines {
            (0..SHARDS).for_each(|shard| lines.clear(shard, false));
        }
        dropped
    }

    /// The same for the events of one shard that was wanted and cannot be lent.
    pub fn drop_shard(&mut self, shard: u32, key: u64) -> Vec<Dropped> {
        let of_it = |slot: &usize| self.actors[*slot].shard == shard;
        let slots = self.index.values().copied().filter(of_it).collect();
        let actors = &self.actors;
        self.headless.retain(|slot| actors[*slot].shard != shard);
        let dropped = self.drop_of(slots, key);
        if let Some(lines) = &mut self.lines {
            lines.clear(shard, true);
        }
        dropped
    }

    fn drop_of(&mut self, mut slots: Vec<usize>, key: u64) -> Vec<Dropped> {
        let mut dropped = Vec::new();
        slots.sort_unstable();
        for slot in slots {
            while let Some(item) = self.actors[slot].pop() {
                self.held_bytes -= item.event.wire_size_bound();
                self.queued -= 1;
                dropped.push((Arc::clone(&self.actors[slot].name), Arc::clone(&item.event), self.ring.tag(item.serial)));
                self.end(slot, item, End { key, ..End::new(Status::Failed) });
            }
            if self.actors[slot].state != State::Busy {
                self.release(slot, None);
            }
        }
        dropped
    }
}

impl Actor {
    /// Takes the first event off the queue.
    pub(super) fn pop(&mut self) -> Option<Item> {
        let item = self.queue.pop_front()?;
        self.queue_bytes -= item.event.wire_size_bound();
        Some(item)
    }
}
