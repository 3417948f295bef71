//! What actors hold, for `skip_known`: for each stored id its version and a hash of its content.
//!
//! An actor's ids are read once, before its first commit, and its own commits are added. Each is kept as 32 bytes, whatever the
//! event holds: that two ids, or two contents under one id, are taken for equal has a chance of 1 in 2^128 and 1 in 2^64.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::Arc;

use lru::LruCache;

use crate::event::{EventData, Id};

#[derive(Debug, Clone, Copy)]
struct Entry {
    version: u64,
    content: u64,
}

#[derive(Debug, Default)]
struct Holdings {
    ids: HashMap<u128, Entry>,
    /// Everything up to this version is here.
    version: u64,
    /// The position of the commit up to which everything is here; None: it must be read first.
    through: Option<u64>,
    reading: bool,
}

/// An id that is held, and whether the content under it is that of the event in question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match {
    pub version: u64,
    pub equal: bool,
}

#[derive(Debug)]
pub struct Known {
    actors: LruCache<Arc<str>, Holdings>,
    count: usize,
    ids_max: usize,
    states: [RandomState; 3],
}

impl Known {
    /// Keeps at most so many ids, beside those of the actors that are just being read.
    pub fn new(ids_max: usize) -> Self {
        let states = [RandomState::new(), RandomState::new(), RandomState::new()];
        Self { actors: LruCache::unbounded(), count: 0, ids_max, states }
    }

    /// Whether everything of the actor up to this position is here.
    pub fn is_complete(&mut self, actor: &str, position: u64) -> bool {
        self.actors.get(actor).is_some_and(|held| !held.reading && held.through.is_some_and(|through| through >= position))
    }

    /// Reading begins; returns the first version that is not here.
    pub fn begin(&mut self, actor: &Arc<str>) -> u64 {
        let held = self.actors.get_or_insert_mut(Arc::clone(actor), Holdings::default);
        held.reading = true;
        held.version.saturating_add(1)
    }

    /// Takes events that were read, in the order of their versions; false: this actor alone has more than may be kept.
    pub fn learn(&mut self, actor: &str, events: &[Arc<EventData>]) -> bool {
        for event in events {
            self.add(actor, event, event.version());
        }
        let ids_max = self.ids_max;
        let fits = self.actors.get_mut(actor).is_none_or(|held| {
            held.version = events.last().map_or(held.version, |event| event.version());
            held.ids.len() <= ids_max
        });
        self.make_room(actor);
        fits
    }

    /// Reading has ended: everything up to this position is here; None: it could not be read, and nothing is.
    pub fn finish(&mut self, actor: &str, position: Option<u64>) {
        if position.is_none() {
            self.forget(actor);
        } else if let Some(held) = self.actors.get_mut(actor) {
            (held.reading, held.through) = (false, position);
        }
    }

    /// The actor holds nothing.
    pub fn learn_new(&mut self, actor: &Arc<str>) {
        self.begin(actor);
        self.finish(actor, Some(0));
    }

    /// What is held under the event's id.
    pub fn find(&mut self, actor: &str, event: &EventData) -> Option<Match> {
        let key = self.key(event);
        let entry = *self.actors.get(actor)?.ids.get(&key)?;
        Some(Match { version: entry.version, equal: entry.content == self.content(event) })
    }

    /// Notes an event at a version, on its way or stored.
    pub fn add(&mut self, actor: &str, event: &EventData, version: u64) {
        let (key, entry) = (self.key(event), Entry { version, content: self.content(event) });
        if let Some(held) = self.actors.get_mut(actor) {
            self.count += usize::from(held.ids.insert(key, entry).is_none());
        }
    }

    /// The actor's commit is stored: it is at this version and position.
    pub fn stored(&mut self, actor: &str, version: u64, position: u64) {
        if let Some(held) = self.actors.get_mut(actor) {
            (held.version, held.through) = (version, Some(position));
        }
        self.make_room(actor);
    }

    /// An event that was on its way is not stored.
    pub fn remove(&mut self, actor: &str, event: &EventData) {
        let key = self.key(event);
        if let Some(held) = self.actors.get_mut(actor) {
            self.count -= usize::from(held.ids.remove(&key).is_some());
        }
    }

    /// Others may have written: what lies behind the version that is known must be read.
    pub fn distrust(&mut self, actor: &str) {
        if let Some(held) = self.actors.get_mut(actor) {
            held.through = None;
        }
    }

    fn forget(&mut self, actor: &str) {
        if let Some(held) = self.actors.pop(actor) {
            self.count -= held.ids.len();
        }
    }

    /// Lets go of the actors used longest ago, but of none that is being read, and not of the one in hand.
    fn make_room(&mut self, but: &str) {
        let mut kept = Vec::new();
        while self.count > self.ids_max {
            let Some((actor, held)) = self.actors.pop_lru() else { break };
            if held.reading || *actor == *but {
                kept.push((actor, held));
            } else {
                self.count -= held.ids.len();
            }
        }
        for (actor, held) in kept {
            self.actors.put(actor, held);
        }
    }

    fn key(&self, event: &EventData) -> u128 {
        let id = event.parts().id;
        let half = |state: &RandomState| {
            let mut hasher = state.build_hasher();
            match id {
                Id::Uuid(uuid) => hasher.write(&uuid),
                Id::Text(text) => text.hash(&mut hasher),
            }
            u128::from(hasher.finish())
        };
        half(&self.states[0]) << 64 | half(&self.states[1])
    }

    fn content(&self, event: &EventData) -> u64 {
        let parts = event.parts();
        self.states[2].hash_one((parts.id, parts.kind, parts.time_ns, parts.payload, parts.meta, parts.extra))
    }
}
