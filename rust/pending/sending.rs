//! What goes out: the next commit of each actor that is ready, under its guard.

use std::fmt::Write;

use super::{End, Flight, HeadSource, Item, PLACE_BITS, Pending, State, Status, Why};
use crate::commit::encode_plain;
use crate::event::{Parts, VERSION_MAX};
use crate::frames::publish;
use crate::heads::Head;
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
    pub fn frames(&mut self, heads: &mut impl HeadSource, inbox: &str, out: &mut Vec<u8>) {
        self.full = false;
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
    pub fn messages(&mut self, heads: &mut impl HeadSource) -> Vec<(String, u64, u64, Vec<u8>)> {
        self.full = false;
        let (mut out, mut bytes) = (Vec::new(), 0);
        while bytes < self.bounds.frames_bytes {
            let Some(message) = self.next(heads) else { break };
            bytes += self.body.len();
            out.push((message.subject, message.token, message.guard, self.body.clone()));
        }
        out
    }

    /// The next commit that can go out, its body in `self.body`.
    fn next(&mut self, heads: &mut impl HeadSource) -> Option<Message> {
        while let Some((slot, head)) = self.next_actor(heads) {
            let (items, event_bytes) = self.cut(slot, &head);
            self.body.clear();
            let events = items.iter().map(|item| Parts { version: item.version, ..item.event.parts() });
            encode_plain(&mut self.body, &self.actors[slot].name, events, head.spine.as_deref());
            let (guard, size) = (head.sequence, self.body.len() + header_bytes(head.sequence));
            let trouble = (size > self.bounds.commit_bytes).then_some(Why::TooLarge(size));
            let body_bytes = if trouble.is_none() { self.body.len() } else { 0 };
            let name = token::encode(&self.actors[slot].name);
            let shard = shard_of(&name);
            let token = self.fly(Flight { body_bytes, shard, trouble, ..self.flight_of(slot, items, head, event_bytes) });
            if trouble.is_none() {
                return Some(Message { subject: format!("{}{shard}.{name}", self.prefix), token, guard });
            }
            self.troubles.push_back(token);
        }
        None
    }

    /// The next actor that has something to send, and its head.
    pub(super) fn next_actor(&mut self, heads: &mut impl HeadSource) -> Option<(usize, Head)> {
        while self.counts.in_flight < self.window.commits() && self.in_flight_bytes < self.bounds.in_flight_bytes {
            let slot = self.ready.pop_front()?;
            let Some(head) = self.head(slot, heads) else {
                self.actors[slot].state = State::Headless;
                self.headless.push_back(slot);
                continue;
            };
            if self.known.is_some() && !self.pass_known(slot, &head) {
                continue;
            }
            let first = self.actors[slot].queue.front();
            if first.is_none_or(|first| !first.is_draft() && first.version <= head.version) || head.version == VERSION_MAX {
                self.set_aside(slot, head, Why::Behind);
                continue;
            }
            return Some((slot, head));
        }
        None
    }

    /// What is known of the actor; others who write through the same store may have learnt more.
    fn head(&mut self, slot: usize, heads: &mut impl HeadSource) -> Option<Head> {
        let actor = &mut self.actors[slot];
        let own = actor.head.take();
        let head = heads.later(&actor.name, own.as_ref()).or(own);
        let Some(known) = &mut self.known else {
            // Only an event of version 1 is likely to be the first; should the guess be wrong, the guard tells.
            return head.or_else(|| (actor.queue.front()?.version == 1).then(Head::new_actor));
        };
        head.filter(|head| known.is_complete(&actor.name, head.sequence))
    }

    /// Ends events at the front of the queue that are stored already; false: the actor has nothing to send for now.
    fn pass_known(&mut self, slot: usize, head: &Head) -> bool {
        loop {
            let actor = &self.actors[slot];
            let Some(item) = actor.queue.front() else {
                self.release(slot, None);
                return false;
            };
            let Some(found) = self.known.as_mut().and_then(|known| known.find(&actor.name, &item.event)) else { return true };
            let why = match (found.equal, item.is_draft() || item.version == found.version) {
                (true, true) => None,
                (true, false) => Some(Why::Elsewhere(found.version)),
                (false, _) => Some(Why::Taken(found.version)),
            };
            let Some(item) = self.actors[slot].pop() else { return false };
            self.queued -= 1;
            let bytes = item.event.wire_size_bound();
            if let Some(why) = why {
                let flight = self.flight_of(slot, vec![item], head.clone(), bytes);
                let token = self.fly(Flight { trouble: Some(why), noted: false, ..flight });
                self.troubles.push_back(token);
                return false;
            }
            self.held_bytes -= bytes;
            self.end(slot, item, End { version: found.version, ..End::new(Status::AlreadyStored) });
        }
    }

    /// Takes the events of the actor's next commit off its queue, numbers the drafts, and stays within the bounds.
    pub(super) fn cut(&mut self, slot: usize, head: &Head) -> (Vec<Item>, usize) {
        let roots = head.spine.as_ref().map_or(0, Vec::len);
        let room = self.bounds.commit_bytes.min(self.bounds.group_bytes).saturating_sub(FRAME_BYTES + roots * ROOT_BYTES);
        let actor = &mut self.actors[slot];
        let (mut count, mut bytes, mut last) = (0, 0, head.version);
        for item in actor.queue.iter_mut().take(self.bounds.commit_events) {
            let more = bytes + item.event.wire_size_bound();
            let version =
                if item.is_draft() { last.checked_add(1) } else { Some(item.version).filter(|version| *version > last) };
            let Some(version) = version.filter(|_| count == 0 || more <= room) else { break };
            if let Some(known) = &mut self.known {
                // It is stored, or comes a second time: it is judged when what is on its way is settled.
                if count > 0 && known.find(&actor.name, &item.event).is_some() {
                    break;
                }
                known.add(&actor.name, &item.event, version);
            }
            (item.version, count, bytes, last) = (version, count + 1, more, version);
        }
        self.queued -= count;
        actor.queue_bytes -= bytes;
        (actor.queue.drain(..count).collect(), bytes)
    }

    /// Takes what the actor may hold already, or what cannot be numbered, for the driver: of one kind, and within the bounds.
    pub(super) fn set_aside(&mut self, slot: usize, head: Head, why: Why) {
        let (mut items, mut bytes, mut last): (Vec<Item>, usize, u64) = (Vec::new(), 0, 0);
        while items.len() < self.bounds.commit_events {
            let Some(item) = self.actors[slot].queue.front() else { break };
            let more = bytes + item.event.wire_size_bound();
            let fits = match items.first() {
                None => true,
                Some(first) if first.is_draft() => item.is_draft(),
                Some(_) => item.version > last && item.version <= head.version,
            };
            if !fits || (!items.is_empty() && more > self.bounds.commit_bytes.min(self.bounds.group_bytes)) {
                break;
            }
            (bytes, last) = (more, item.version);
            items.extend(self.actors[slot].pop());
        }
        self.queued -= items.len();
        let flight = self.flight_of(slot, items, head, bytes);
        let token = self.fly(Flight { trouble: Some(why), noted: false, ..flight });
        self.troubles.push_back(token);
    }

    pub(super) fn flight_of(&self, slot: usize, items: Vec<Item>, head: Head, event_bytes: usize) -> Flight {
        let (round, noted) = (self.round, self.known.is_some());
        Flight { token: 0, actor: slot, items, head, event_bytes, body_bytes: 0, round, noted, shard: 0, trouble: None }
    }

    /// Gives the commit a place among those in flight, and a token.
    pub(super) fn fly(&mut self, mut flight: Flight) -> u64 {
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
