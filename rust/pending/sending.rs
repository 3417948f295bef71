//! What goes out: the next commit of each actor that is ready, under its guard.

use std::fmt::Write;
use std::sync::Arc;

use super::{Flight, PLACE_BITS, Pending, Queued, State, Why};
use crate::commit::encode_plain;
use crate::event::EventData;
use crate::frames::publish;
use crate::heads::{Head, Heads};
use crate::shard::shard_of;
use crate::token;

/// The header of every publish: the actor's last message is at this position.
pub(super) const GUARD: &str = "Nats-Expected-Last-Subject-Sequence";

/// No fewer bytes than a commit takes beside its events and roots: marks, keys, the longest actor id, and the guard's header.
const FRAME_BYTES: usize = 420;

/// No fewer bytes than a root of the spine takes.
const ROOT_BYTES: usize = 19;

/// A message to send.
struct Message {
    subject: String,
    token: u64,
    guard: u64,
}

impl Pending {
    /// Appends the next commits as frames, a bounded number of bytes; nothing: there are no more for now.
    pub fn frames(&mut self, heads: &mut Heads, inbox: &str, out: &mut Vec<u8>) {
        let (mut reply, mut guard) = (String::with_capacity(inbox.len() + 20), String::with_capacity(20));
        while out.len() < self.bounds.frames_bytes {
            let Some(message) = self.next(heads) else { break };
            reply.clear();
            guard.clear();
            reply.push_str(inbox);
            // Writing to a String cannot fail.
            let _ = write!(reply, "{}", message.token);
            let _ = write!(guard, "{}", message.guard);
            publish(out, &message.subject, &reply, &[(GUARD, &guard)], &self.body);
        }
    }

    /// The next commits as (subject, token, guard, body).
    pub fn messages(&mut self, heads: &mut Heads) -> Vec<(String, u64, u64, Vec<u8>)> {
        let (mut out, mut bytes) = (Vec::new(), 0);
        while bytes < self.bounds.frames_bytes {
            let Some(message) = self.next(heads) else { break };
            bytes += self.body.len();
            out.push((message.subject, message.token, message.guard, self.body.clone()));
        }
        out
    }

    /// The next commit that can go out, its body in `self.body`.
    fn next(&mut self, heads: &mut Heads) -> Option<Message> {
        while self.counts.in_flight < self.bounds.in_flight && self.in_flight_bytes < self.bounds.in_flight_bytes {
            let slot = self.ready.pop_front()?;
            let Some(head) = self.head(slot, heads) else {
                self.actors[slot].state = State::Headless;
                self.headless.push_back(slot);
                continue;
            };
            if self.actors[slot].queue.front().is_none_or(|first| first.event.version() <= head.version) {
                self.doubt(slot, head);
                continue;
            }
            let (events, event_bytes, mark) = self.cut(slot, &head, u64::MAX);
            self.body.clear();
            encode_plain(&mut self.body, &self.actors[slot].name, &events, head.spine.as_deref());
            let size = self.body.len() + header_bytes(head.sequence);
            let trouble = (size > self.bounds.commit_bytes).then_some(Why::TooLarge(size));
            let guard = head.sequence;
            let body_bytes = if trouble.is_none() { self.body.len() } else { 0 };
            let name = token::encode(&self.actors[slot].name);
            let shard = shard_of(&name);
            let token = self.fly(Flight {
                token: 0,
                actor: slot,
                events,
                head,
                event_bytes,
                body_bytes,
                mark,
                round: self.round,
                shard,
                trouble,
            });
            if trouble.is_none() {
                return Some(Message { subject: format!("{}{shard}.{name}", self.prefix), token, guard });
            }
            self.troubles.push_back(token);
        }
        None
    }

    /// What is known of the actor; the cache may have learnt more, from others who write through the same store.
    fn head(&mut self, slot: usize, heads: &mut Heads) -> Option<Head> {
        let actor = &mut self.actors[slot];
        let own = actor.head.take();
        match (own, heads.get(&actor.name)) {
            (Some(own), Some(shared)) if shared.sequence > own.sequence => Some(shared.clone()),
            (None, Some(shared)) => Some(shared.clone()),
            (Some(own), _) => Some(own),
            // Only an event of version 1 is likely to be the first; should the guess be wrong, the guard tells.
            (None, None) => (actor.queue.front()?.event.version() == 1).then(Head::new_actor),
        }
    }

    /// Takes the events of the actor's next commit off its queue: versions that increase, up to `version_max`, within the bounds.
    fn cut(&mut self, slot: usize, head: &Head, version_max: u64) -> (Vec<Arc<EventData>>, usize, u64) {
        let roots = head.spine.as_ref().map_or(0, Vec::len);
        let room = self.bounds.commit_bytes.saturating_sub(FRAME_BYTES + roots * ROOT_BYTES);
        let queue = &mut self.actors[slot].queue;
        let mark = queue.front().map_or(0, |first| first.mark);
        let (mut count, mut bytes, mut last) = (0, 0, 0);
        for Queued { event, mark: its } in queue.iter().take(self.bounds.commit_events) {
            let more = bytes + event.wire_size_bound();
            let fits = *its == mark && event.version() > last && event.version() <= version_max && more <= room;
            if count > 0 && !fits {
                break;
            }
            (count, bytes, last) = (count + 1, more, event.version());
        }
        self.queued -= count;
        (queue.drain(..count).map(|queued| queued.event).collect(), bytes, mark)
    }

    /// Takes what the actor may hold already, to be looked for in the log.
    pub(super) fn doubt(&mut self, slot: usize, head: Head) {
        let (events, event_bytes, mark) = self.cut(slot, &head, head.version);
        let trouble = Some(Why::Behind);
        let token = self.fly(Flight {
            token: 0,
            actor: slot,
            events,
            head,
            event_bytes,
            body_bytes: 0,
            mark,
            round: self.round,
            shard: 0,
            trouble,
        });
        self.troubles.push_back(token);
    }

    /// Gives the commit a place among those in flight, and a token.
    fn fly(&mut self, mut flight: Flight) -> u64 {
        self.actors[flight.actor].state = State::Busy;
        self.counts.in_flight += 1;
        self.in_flight_bytes += flight.body_bytes;
        self.serial += 1;
        let place = self.free_flights.pop().unwrap_or(self.flights.len());
        let token = self.serial << PLACE_BITS | place as u64;
        flight.token = token;
        if place == self.flights.len() {
            self.flights.push(Some(flight));
        } else {
            self.flights[place] = Some(flight);
        }
        token
    }
}

/// What the guard's header takes in a message.
pub(super) fn header_bytes(guard: u64) -> usize {
    "NATS/1.0\r\n\r\n".len() + GUARD.len() + ": \r\n".len() + guard.checked_ilog10().unwrap_or(0) as usize + 1
}
