//! What goes out: the next commit of each actor that is ready, under its guard.

use std::fmt::Write;

use super::lines::Lent;
use super::{End, Flight, HeadSource, Item, PLACE_BITS, Pending, State, Status, Why};
use crate::commit::encode_plain;
use crate::event::{Parts, VERSION_MAX};
use crate::frames::publish;
use crate::heads::Head;
use crate::shard::shard_of;
use crate::token;

/// The header of every publish: the actor's last message is at this position.
pub(super) const GUARD: &str = "Nats-Expected-Last-Subject-Sequence";

/// The header of a publish under a fence: the subject of which the guard speaks.
const GUARD_SUBJECT: &str = "Nats-Expected-Last-Subject-Sequence-Subject";

/// No fewer bytes than a commit takes more under a fence: its epoch, and this header with the longest namespace.
const FENCED_BYTES: usize = 150;

/// No fewer bytes than a commit takes beside its events and roots: marks, keys, the longest actor id, and the guard's header.
const FRAME_BYTES: usize = 420;

/// No fewer bytes than a root of the spine takes.
const ROOT_BYTES: usize = 19;

/// A message to send.
struct Message {
    subject: String,
    token: u64,
    guard: u64,
    /// Of what the guard speaks; None: of the subject.
    guarded: Option<String>,
}

/// A message as it is given away one by one: subject, token, guard, body, of what the guard speaks.
pub type Sendable = (String, u64, u64, Vec<u8>, Option<String>);

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
            match &message.guarded {
                None => publish(out, &message.subject, &reply, &[(GUARD, &guard)], &self.body),
                Some(filter) => {
                    publish(out, &message.subject, &reply, &[(GUARD, &guard), (GUARD_SUBJECT, filter)], &self.body);
                }
            }
        }
    }

    /// The next commits as (subject, token, guard, body, of what the guard speaks if not of the subject).
    pub fn messages(&mut self, heads: &mut impl HeadSource) -> Vec<Sendable> {
        self.full = false;
        let (mut out, mut bytes) = (Vec::new(), 0);
        while bytes < self.bounds.frames_bytes {
            let Some(message) = self.next(heads) else { break };
            bytes += self.body.len();
            let Message { subject, token, guard, guarded } = message;
            out.push((subject, token, guard, self.body.clone(), guarded));
        }
        out
    }

    /// The next commit that can go out, its body in `self.body`.
    fn next(&mut self, heads: &mut impl HeadSource) -> Option<Message> {
        loop {
            let (slot, head, lent) = match &self.lines {
                None => self.next_actor(heads).map(|(slot, head)| (slot, head, None))?,
                Some(_) => self.next_in_line(heads).map(|(slot, head, lent)| (slot, head, Some(lent)))?,
            };
            let (items, event_bytes) = self.cut(slot, &head);
            let mut body = std::mem::take(&mut self.body);
            body.clear();
            self.encode(&mut body, slot, &items, &head, lent.as_ref());
            self.body = body;
            let guard = lent.as_ref().map_or(head.sequence, |lent| lent.mark.last());
            let name = token::encode(&self.actors[slot].name);
            let shard = shard_of(&name);
            let guarded = lent.is_some().then(|| format!("{}{shard}.>", self.prefix));
            let more = guarded.as_ref().map_or(0, |filter| GUARD_SUBJECT.len() + filter.len() + 4);
            let size = self.body.len() + header_bytes(guard) + more;
            let trouble = (size > self.bounds.commit_bytes).then_some(Why::TooLarge(size));
            let body_bytes = if trouble.is_none() { self.body.len() } else { 0 };
            let flight = self.flight_of(slot, items, head, event_bytes);
            let token = self.fly(Flight { guard, lent, body_bytes, shard, trouble, ..flight });
            if trouble.is_none() {
                return Some(Message { subject: format!("{}{shard}.{name}", self.prefix), token, guard, guarded });
            }
            self.troubles.push_back(token);
        }
    }

    fn encode(&self, body: &mut Vec<u8>, slot: usize, items: &[Item], head: &Head, lent: Option<&Lent>) {
        let events = items.iter().map(|item| Parts { version: item.version, ..item.event.parts() });
        encode_plain(body, &self.actors[slot].name, events, head.spine.as_deref(), lent.map(|lent| lent.epoch));
    }

    /// A commit in trouble as it was sent: subject, guard, body; None: it was not, or there is none.
    pub fn copy(&self, ticket: u64) -> Option<(String, u64, Vec<u8>)> {
        let flight = self.troubled(ticket).filter(|flight| flight.body_bytes > 0)?;
        let (mut body, name) = (Vec::with_capacity(flight.body_bytes), token::encode(&self.actors[flight.actor].name));
        self.encode(&mut body, flight.actor, &flight.items, &flight.head, flight.lent.as_ref());
        Some((format!("{}{}.{name}", self.prefix, flight.shard), flight.guard, body))
    }

    fn has_window(&self) -> bool {
        self.counts.in_flight < self.window.commits() && self.in_flight_bytes < self.bounds.in_flight_bytes
    }

    /// The next actor that has something to send, of a shard that is lent, and its head as that was proven under the fence.
    fn next_in_line(&mut self, heads: &mut impl HeadSource) -> Option<(usize, Head, Lent)> {
        while self.has_window() {
            let (shard, lent, slot) = self.lines.as_mut()?.next()?;
            if let Some(head) = self.next_of_line(slot, &lent, heads) {
                return Some((slot, head, lent));
            }
            self.lines.as_mut()?.rest(shard);
        }
        None
    }

    /// The head on top of which the actor sends; None: it has nothing to send for now.
    fn next_of_line(&mut self, slot: usize, lent: &Lent, heads: &mut impl HeadSource) -> Option<Head> {
        if std::mem::take(&mut self.actors[slot].unreadable) {
            self.set_unread_aside(slot);
            return None;
        }
        let name = &self.actors[slot].name;
        let mut head = heads.later(&fenced_name(lent, name), None);
        if head.is_none() && lent.mark.is_new(name) {
            head = Some(Head::new_actor());
            if let Some(known) = &mut self.known {
                known.learn_new(name);
            }
        }
        if let Some(known) = &mut self.known {
            head = head.filter(|head| known.is_complete(name, head.sequence));
        }
        let Some(head) = head else {
            self.actors[slot].state = State::Headless;
            self.headless.push_back(slot);
            return None;
        };
        self.may_follow(slot, head)
    }

    /// The next actor that has something to send, and its head.
    pub(super) fn next_actor(&mut self, heads: &mut impl HeadSource) -> Option<(usize, Head)> {
        while self.has_window() {
            let slot = self.ready.pop_front()?;
            let Some(head) = self.head(slot, heads) else {
                self.actors[slot].state = State::Headless;
                self.headless.push_back(slot);
                continue;
            };
            if let Some(head) = self.may_follow(slot, head) {
                return Some((slot, head));
            }
        }
        None
    }

    /// The head, if the actor's next event goes on top of it; else what is known or behind was taken off the queue.
    fn may_follow(&mut self, slot: usize, head: Head) -> Option<Head> {
        if self.known.is_some() && !self.pass_known(slot, &head) {
            return None;
        }
        let first = self.actors[slot].queue.front();
        if first.is_none_or(|first| !first.is_draft() && first.version <= head.version) || head.version == VERSION_MAX {
            self.set_aside(slot, head, Why::Behind);
            return None;
        }
        Some(head)
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
        let frame = FRAME_BYTES + if self.lines.is_some() { FENCED_BYTES } else { 0 };
        let room = self.bounds.commit_bytes.min(self.bounds.group_bytes).saturating_sub(frame + roots * ROOT_BYTES);
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

    /// Takes what waits of an actor whose head cannot be read.
    pub(super) fn set_unread_aside(&mut self, slot: usize) {
        let why = if self.known.is_some() { Why::Unread } else { Why::Behind };
        self.set_aside(slot, Head { version: u64::MAX, ..Head::default() }, why);
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
        let guard = head.sequence;
        Flight {
            token: 0,
            actor: slot,
            items,
            head,
            guard,
            lent: None,
            event_bytes,
            body_bytes: 0,
            round,
            noted,
            shard: 0,
            trouble: None,
        }
    }

    /// Gives the commit a place among those in flight, and a token.
    pub(super) fn fly(&mut self, mut flight: Flight) -> u64 {
        let actor = &mut self.actors[flight.actor];
        actor.state = State::Busy;
        if let Some(lines) = &mut self.lines {
            lines.begin(actor.shard);
        }
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

/// The name under which a head is remembered that was made or proven under a fence: no other fence finds it.
pub(super) fn fenced_name(lent: &Lent, actor: &str) -> String {
    format!("{} {actor}", lent.mark.key())
}

/// What the guard's header takes in a message.
pub(super) fn header_bytes(guard: u64) -> usize {
    "NATS/1.0\r\n\r\n".len() + GUARD.len() + ": \r\n".len() + guard.checked_ilog10().unwrap_or(0) as usize + 1
}
