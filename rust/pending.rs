//! Ingestion's bookkeeping: many actors in flight, one commit in flight per actor. No I/O, no clock, no Python.
//!
//! Events wait in a queue of their actor. When the actor's turn comes, what has queued up becomes one commit (group commit, as
//! databases and Kafka's producer do it), guarded by the actor's head, and the actor stands still until that commit is settled.
//! Only this order makes pipelining safe: a guard names the position of the commit before, so two commits of one actor cannot
//! be on their way at once.
//!
//! A plain ack settles a commit here. Whatever else happens to it (a refusal, an error, silence, a loss) is *trouble*: it is
//! told to the driver, which finds out from the log and says how it ended; until then the actor stands still and the commit
//! keeps its place among those in flight, so trouble is bounded as they are.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::acks::{acked, error_code};
use crate::commit::encode_plain;
use crate::event::EventData;
use crate::frames::publish;
use crate::heads::{Head, Heads};
use crate::shard::shard_of;
use crate::token;

/// The header of every publish: the actor's last message is at this position.
const GUARD: &str = "Nats-Expected-Last-Subject-Sequence";

/// No fewer bytes than a commit takes beside its events and roots: marks, keys, the longest actor id, and the guard's header.
const FRAME_BYTES: usize = 420;

/// No fewer bytes than a root of the spine takes.
const ROOT_BYTES: usize = 19;

/// A token is a serial number and, in these low bits, the place of its commit.
const PLACE_BITS: u32 = 20;

/// What this holds and sends at most.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Events put and not settled yet.
    pub pending: usize,
    /// Their bytes; the event that passes it is still taken.
    pub pending_bytes: usize,
    /// Commits in flight.
    pub in_flight: usize,
    /// Their bytes; the commit that passes it is still sent.
    pub in_flight_bytes: usize,
    /// Events of one commit.
    pub commit_events: usize,
    /// Bytes of one message, headers included.
    pub commit_bytes: usize,
    /// Bytes of frames made at once; the frame that passes it is still made.
    pub frames_bytes: usize,
}

/// Why a commit needs the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Sent, and not answered.
    Silent,
    /// Sent, and answered with an error of this number; 0: with something that is neither ack nor error.
    Refused(u64),
    /// Sent, and nobody listens: nothing was stored.
    Unheard,
    /// Not sent: the actor is at these versions already, or its head cannot be read.
    Behind,
    /// Not sent: this event alone takes so many bytes.
    TooLarge(usize),
}

/// A commit that needs the driver.
#[derive(Debug)]
pub struct Trouble {
    /// Its name for `settle`.
    pub ticket: u64,
    pub why: Why,
    /// The position it was sent on top of; what is stored behind it may be its copy.
    pub guard: u64,
    pub events: Vec<Arc<EventData>>,
}

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

    fn add(&mut self, other: &Self) {
        self.saved += other.saved;
        self.already_stored += other.already_stored;
        self.conflicts += other.conflicts;
        self.failed += other.failed;
        self.unknown += other.unknown;
    }
}

/// Where everything stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub settled: Tally,
    /// Events put.
    pub put: u64,
    /// Commits acked, and the bytes of their bodies.
    pub commits: u64,
    pub bytes: u64,
    /// Commits in flight or in trouble.
    pub in_flight: usize,
    /// The largest position acked.
    pub reached: u64,
}

#[derive(Debug)]
struct Queued {
    event: Arc<EventData>,
    /// Which `mark` it was put after.
    mark: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It stands in `ready`.
    Ready,
    /// Its head must be read first.
    Headless,
    /// A commit of it is in flight or in trouble.
    Busy,
}

#[derive(Debug)]
struct Actor {
    name: Arc<str>,
    queue: VecDeque<Queued>,
    state: State,
    head: Option<Head>,
}

/// A commit in flight or in trouble.
#[derive(Debug)]
struct Flight {
    token: u64,
    actor: usize,
    events: Vec<Arc<EventData>>,
    head: Head,
    event_bytes: usize,
    body_bytes: usize,
    mark: u64,
    round: u64,
    /// None: an ack may still come.
    trouble: Option<Why>,
}

/// A message to send.
struct Message {
    subject: String,
    token: u64,
    guard: u64,
}

#[derive(Debug)]
pub struct Pending {
    prefix: String,
    stream: Vec<u8>,
    bounds: Bounds,
    index: HashMap<Arc<str>, usize>,
    actors: Vec<Actor>,
    free_actors: Vec<usize>,
    ready: VecDeque<usize>,
    headless: VecDeque<usize>,
    flights: Vec<Option<Flight>>,
    free_flights: Vec<usize>,
    troubles: VecDeque<u64>,
    counts: Counts,
    queued: usize,
    held_bytes: usize,
    in_flight_bytes: usize,
    serial: u64,
    round: u64,
    /// Events not settled, by the mark they were put after; the first is that of `first_mark`.
    marks: VecDeque<u64>,
    first_mark: u64,
    body: Vec<u8>,
}

impl Pending {
    pub fn new(namespace: &str, stream: &str, bounds: Bounds) -> Self {
        Self {
            prefix: format!("aether.{namespace}."),
            stream: stream.as_bytes().to_vec(),
            bounds,
            index: HashMap::new(),
            actors: Vec::new(),
            free_actors: Vec::new(),
            ready: VecDeque::new(),
            headless: VecDeque::new(),
            flights: Vec::new(),
            free_flights: Vec::new(),
            troubles: VecDeque::new(),
            counts: Counts::default(),
            queued: 0,
            held_bytes: 0,
            in_flight_bytes: 0,
            serial: 0,
            round: 0,
            marks: VecDeque::from([0]),
            first_mark: 0,
            body: Vec::new(),
        }
    }

    /// What the server takes now, headers included.
    pub fn set_commit_bytes(&mut self, bytes: usize) {
        self.bounds.commit_bytes = bytes;
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Events that wait to be sent.
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// Events put and not settled.
    pub fn pending(&self) -> u64 {
        self.counts.put - self.counts.settled.total()
    }

    /// How many events may be put now, and with how many bytes.
    pub fn room(&self) -> (usize, usize) {
        let pending = usize::try_from(self.pending()).unwrap_or(usize::MAX);
        (self.bounds.pending.saturating_sub(pending), self.bounds.pending_bytes.saturating_sub(self.held_bytes))
    }

    /// Queues an event. Who puts asks for `room` first; this takes what it gets.
    pub fn put(&mut self, event: Arc<EventData>) {
        let mark = self.first_mark + self.marks.len() as u64 - 1;
        if let Some(count) = self.marks.back_mut() {
            *count += 1;
        }
        self.held_bytes += event.wire_size_bound();
        self.counts.put += 1;
        self.queued += 1;
        let slot = match self.index.get(event.actor()) {
            Some(&slot) => slot,
            None => self.admit(event.actor()),
        };
        self.actors[slot].queue.push_back(Queued { event, mark });
    }

    /// A new entry for an actor, ready.
    fn admit(&mut self, name: &str) -> usize {
        let name: Arc<str> = name.into();
        let slot = if let Some(slot) = self.free_actors.pop() {
            let actor = &mut self.actors[slot];
            (actor.name, actor.state) = (Arc::clone(&name), State::Ready);
            slot
        } else {
            self.actors.push(Actor { name: Arc::clone(&name), queue: VecDeque::new(), state: State::Ready, head: None });
            self.actors.len() - 1
        };
        self.index.insert(name, slot);
        self.ready.push_back(slot);
        slot
    }

    /// An actor's commit is settled: it goes on with what waits, or is forgotten.
    fn release(&mut self, slot: usize, head: Option<Head>) {
        let actor = &mut self.actors[slot];
        if actor.queue.is_empty() {
            actor.head = None;
            // A burst of one actor leaves no large queue behind in the place of the next.
            actor.queue.shrink_to(64);
            self.index.remove(&*actor.name);
            self.free_actors.push(slot);
        } else {
            (actor.head, actor.state) = (head, State::Ready);
            self.ready.push_back(slot);
        }
    }

    // Sending.

    /// Appends the next commits as frames, a bounded number of bytes; nothing: there are no more for now.
    pub fn frames(&mut self, heads: &mut Heads, inbox: &str, out: &mut Vec<u8>) {
        use std::fmt::Write;
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
            let token = self.fly(Flight {
                token: 0,
                actor: slot,
                events,
                head,
                event_bytes,
                body_bytes,
                mark,
                round: self.round,
                trouble,
            });
            if trouble.is_none() {
                let name = token::encode(&self.actors[slot].name);
                return Some(Message { subject: format!("{}{}.{name}", self.prefix, shard_of(&name)), token, guard });
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
    fn doubt(&mut self, slot: usize, head: Head) {
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

    // Heads that must be read.

    /// Actors whose head must be read before they go on, at most `max`; each is told of once.
    pub fn headless(&mut self, max: usize) -> Vec<Arc<str>> {
        let count = max.min(self.headless.len());
        self.headless.drain(..count).map(|slot| Arc::clone(&self.actors[slot].name)).collect()
    }

    /// Takes a head that was read; None: it cannot be read, so the actor's next events are the driver's.
    pub fn found(&mut self, actor: &str, head: Option<Head>) {
        let Some(&slot) = self.index.get(actor) else { return };
        if self.actors[slot].state != State::Headless {
            return;
        }
        match head {
            None => self.doubt(slot, Head { version: u64::MAX, ..Head::default() }),
            head => self.release(slot, head),
        }
    }

    // Answers.

    /// Takes the answer to a commit; one that is settled or in trouble already is beyond it.
    pub fn answer(&mut self, heads: &mut Heads, token: u64, status: u16, body: &[u8]) {
        let Some(flight) = self.flight(token).filter(|flight| flight.trouble.is_none()) else { return };
        let guard = flight.head.sequence;
        if status == 0
            && let Some(position) = acked(body, &self.stream)
            && position > guard
        {
            self.stored(heads, token, position);
        } else {
            self.trouble(token, if status == 503 { Why::Unheard } else { Why::Refused(error_code(body)) });
        }
    }

    fn stored(&mut self, heads: &mut Heads, token: u64, position: u64) {
        let Some(flight) = self.land(token) else { return };
        let count = flight.events.len() as u64;
        self.count(&flight, &Tally { saved: count, ..Tally::default() });
        self.counts.commits += 1;
        self.counts.bytes += flight.body_bytes as u64;
        self.counts.reached = self.counts.reached.max(position);
        let head = flight.head.after(flight.events.last().map_or(0, |event| event.version()), position);
        let actor = &self.actors[flight.actor];
        let own = (!actor.queue.is_empty()).then(|| head.clone());
        heads.put(&actor.name, head);
        self.release(flight.actor, own);
    }

    fn trouble(&mut self, token: u64, why: Why) {
        if let Some(flight) = self.flight(token) {
            flight.trouble = Some(why);
            self.troubles.push_back(token);
        }
    }

    fn flight(&mut self, token: u64) -> Option<&mut Flight> {
        self.flights.get_mut(place(token))?.as_mut().filter(|flight| flight.token == token)
    }

    /// Frees the commit's place.
    fn land(&mut self, token: u64) -> Option<Flight> {
        let flight = self.flights.get_mut(place(token))?.take_if(|flight| flight.token == token)?;
        self.free_flights.push(place(token));
        self.counts.in_flight -= 1;
        self.in_flight_bytes -= flight.body_bytes;
        self.held_bytes -= flight.event_bytes;
        Some(flight)
    }

    fn count(&mut self, flight: &Flight, tally: &Tally) {
        self.counts.settled.add(tally);
        self.unmark(flight.mark, tally.total());
    }

    // Trouble.

    /// A round has passed: what was sent more than `rounds` ago and is not answered is in trouble. Returns how many those are.
    pub fn tick(&mut self, rounds: u64) -> usize {
        self.round += 1;
        let oldest = self.round.saturating_sub(rounds);
        self.silence(|flight| flight.round < oldest)
    }

    /// The connection is lost, or only what was sent to `subject` (in lower case) is denied.
    pub fn lose(&mut self, subject: Option<&str>, denied: bool) -> usize {
        let Some(subject) = subject else { return self.silence(|_| true) };
        let actors: Vec<usize> = (self.actors.iter().enumerate())
            .filter(|(_, actor)| {
                let name = token::encode(&actor.name);
                actor.state == State::Busy && format!("{}{}.{name}", self.prefix, shard_of(&name)).eq_ignore_ascii_case(subject)
            })
            .map(|(slot, _)| slot)
            .collect();
        let why = if denied { Why::Unheard } else { Why::Silent };
        self.all(why, |flight| actors.contains(&flight.actor))
    }

    fn silence(&mut self, which: impl Fn(&Flight) -> bool) -> usize {
        self.all(Why::Silent, which)
    }

    fn all(&mut self, why: Why, which: impl Fn(&Flight) -> bool) -> usize {
        let mut tokens: Vec<u64> = self
            .flights
            .iter()
            .flatten()
            .filter(|flight| flight.trouble.is_none() && which(flight))
            .map(|flight| flight.token)
            .collect();
        tokens.sort_unstable();
        for &token in &tokens {
            self.trouble(token, why);
        }
        tokens.len()
    }

    /// Commits that need the driver, at most `max`; each is told of once and ends with `settle`.
    pub fn troubles(&mut self, max: usize) -> Vec<Trouble> {
        let count = max.min(self.troubles.len());
        let tokens: Vec<u64> = self.troubles.drain(..count).collect();
        let mut out = Vec::with_capacity(count);
        for token in tokens {
            if let Some(flight) = self.flight(token)
                && let Some(why) = flight.trouble
            {
                out.push(Trouble { ticket: token, why, guard: flight.head.sequence, events: flight.events.clone() });
            }
        }
        out
    }

    /// Says how a commit in trouble ended: what became of each of its events. False: there is no such commit, or not so many.
    pub fn settle(&mut self, ticket: u64, tally: &Tally) -> bool {
        let fits =
            self.flight(ticket).is_some_and(|flight| flight.trouble.is_some() && flight.events.len() as u64 == tally.total());
        if !fits {
            return false;
        }
        if let Some(flight) = self.land(ticket) {
            self.count(&flight, tally);
            self.release(flight.actor, None);
        }
        true
    }

    /// Gives back every event that was not sent yet; they count as failed.
    pub fn drop_queued(&mut self) -> Vec<Arc<EventData>> {
        let mut dropped = Vec::with_capacity(self.queued);
        let mut slots: Vec<usize> = self.index.values().copied().collect();
        slots.sort_unstable();
        for slot in slots {
            let queue = std::mem::take(&mut self.actors[slot].queue);
            for Queued { event, mark } in queue {
                self.held_bytes -= event.wire_size_bound();
                self.unmark(mark, 1);
                dropped.push(event);
            }
            if self.actors[slot].state != State::Busy {
                self.release(slot, None);
            }
        }
        self.ready.clear();
        self.headless.clear();
        self.queued = 0;
        self.counts.settled.failed += dropped.len() as u64;
        dropped
    }

    // Marks: what `flush` waits for.

    /// A mark behind everything put so far.
    pub fn mark(&mut self) -> u64 {
        self.marks.push_back(0);
        self.first_mark + self.marks.len() as u64 - 1
    }

    /// Whether everything put before the mark is settled.
    pub fn is_settled(&mut self, mark: u64) -> bool {
        while self.marks.len() > 1 && self.marks.front() == Some(&0) {
            self.marks.pop_front();
            self.first_mark += 1;
        }
        self.first_mark >= mark
    }

    fn unmark(&mut self, mark: u64, count: u64) {
        if let Some(left) = usize::try_from(mark - self.first_mark).ok().and_then(|at| self.marks.get_mut(at)) {
            *left -= count;
        }
    }
}

#[allow(clippy::cast_possible_truncation)] // the low bits alone
fn place(token: u64) -> usize {
    (token & ((1 << PLACE_BITS) - 1)) as usize
}

/// What the guard's header takes in a message.
fn header_bytes(guard: u64) -> usize {
    "NATS/1.0\r\n\r\n".len() + GUARD.len() + ": \r\n".len() + guard.checked_ilog10().unwrap_or(0) as usize + 1
}

#[cfg(test)]
mod tests;
