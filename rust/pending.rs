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

mod answers;
mod sending;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::event::EventData;
use crate::heads::Head;

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
    /// The shard of its subject, once it has one: what tells most subjects apart at no cost.
    shard: u32,
    /// None: an ack may still come.
    trouble: Option<Why>,
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
    /// The largest token answered, and the round of the latest answer.
    answered: u64,
    heard: u64,
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
            answered: 0,
            heard: 0,
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

#[cfg(test)]
mod tests;
