//! Where actors' heads come from: their own commits, who else knows them, and reading.

use std::sync::Arc;

use super::{Pending, State};
use crate::event::EventData;
use crate::heads::{Head, Heads};

/// Who knows heads beside the actors' own commits.
pub trait HeadSource {
    /// The actor's head where it is later than `own`, or there is no own.
    fn later(&mut self, actor: &str, own: Option<&Head>) -> Option<Head>;

    /// Keeps the head of an actor's own commit.
    fn keep(&mut self, actor: &str, head: Head);

    /// Keeps it under the actor's own name too, where `keep` was given another.
    fn keep_seen(&mut self, _actor: &str, _head: Head) {}
}

impl HeadSource for Heads {
    fn later(&mut self, actor: &str, own: Option<&Head>) -> Option<Head> {
        self.get(actor).filter(|shared| own.is_none_or(|own| shared.sequence > own.sequence)).cloned()
    }

    fn keep(&mut self, actor: &str, head: Head) {
        self.put(actor, head);
    }
}

impl Pending {
    /// Actors whose head must be read before they go on, at most `max`; each is told of once. Where known ids are skipped, its
    /// events must be given to `learn` too, from the version that comes with it.
    pub fn headless(&mut self, max: usize) -> Vec<(Arc<str>, u64)> {
        let count = max.min(self.headless.len());
        let names: Vec<Arc<str>> = self.headless.drain(..count).map(|slot| Arc::clone(&self.actors[slot].name)).collect();
        let mut begin = |name: &Arc<str>| self.known.as_mut().map_or(0, |known| known.begin(name));
        names.into_iter().map(|name| (Arc::clone(&name), begin(&name))).collect()
    }

    /// Takes what an actor holds, in order; false: it is more than may be kept.
    pub fn learn(&mut self, actor: &str, events: &[Arc<EventData>]) -> bool {
        self.known.as_mut().is_none_or(|known| known.learn(actor, events))
    }

    /// Takes a head that was read; None: it cannot be read, so the actor's next events are the driver's.
    pub fn found(&mut self, actor: &str, head: Option<Head>) {
        if let Some(known) = &mut self.known {
            known.finish(actor, head.as_ref().map(|head| head.sequence));
        }
        let Some(&slot) = self.index.get(actor) else { return };
        if self.actors[slot].state != State::Headless {
            return;
        }
        match (head, &self.lines) {
            (None, None) => self.set_unread_aside(slot),
            (head, None) => self.release(slot, head),
            // Its trouble, too, waits for its shard's turn; and what it is written on top of stands among the proven heads alone.
            (head, Some(_)) => {
                self.actors[slot].unreadable = head.is_none();
                self.release(slot, None);
            }
        }
    }
}
