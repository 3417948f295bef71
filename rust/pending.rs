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
//!
//! A *draft* has no version yet: it gets the one behind its actor's head when its commit is made. Should others turn out to have
//! written first, it goes back to the front of its queue and gets another.

mod answers;
mod ending;
mod heads;
mod known;
mod lines;
mod mark;
mod memory;
mod roster;
mod sending;
mod trouble;
mod window;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

pub use self::ending::{Dropped, End, Fate, Outcome, Status, Tally};
use self::ending::{Ring, Told};
pub use self::heads::HeadSource;
use self::known::Known;
use self::lines::{Lent, Lines};
pub use self::mark::Mark;
pub use self::roster::Budget;
pub use self::sending::Sendable;
pub use self::trouble::{Trouble, Troubled, Why};
use self::window::Window;
use crate::event::EventData;
use crate::heads::Head;
use crate::shard::shard_of_id;

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
    /// Bytes of one message, headers included, that events share; one alone may pass it.
    pub group_bytes: usize,
    /// Bytes of one message, headers included, that the server takes.
    pub commit_bytes: usize,
    /// Bytes of frames made at once; the frame that passes it is still made.
    pub frames_bytes: usize,
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

/// An event in a queue or in flight.
#[derive(Debug)]
struct Item {
    /// As it was put; a draft has no actor and version 0.
    event: Arc<EventData>,
    /// The version under which it goes out; 0: it has none yet.
    version: u64,
    /// Its place in the order of all that was put.
    serial: u64,
}

impl Item {
    fn is_draft(&self) -> bool {
        self.event.version() == 0
    }

    /// The event as it goes out.
    fn numbered(&self, actor: &str) -> Arc<EventData> {
        if self.is_draft() { Arc::new(self.event.numbered(actor, self.version)) } else { Arc::clone(&self.event) }
    }
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
    /// Its shard, where that has a line.
    shard: u32,
    queue: VecDeque<Item>,
    queue_bytes: usize,
    state: State,
    head: Option<Head>,
    /// How often in a row others came first.
    beaten: u32,
    /// Its head could not be read, so its next events are the driver's.
    unreadable: bool,
}

/// A commit in flight or in trouble.
#[derive(Debug)]
struct Flight {
    token: u64,
    actor: usize,
    items: Vec<Item>,
    head: Head,
    /// The position that the guard names: that of the actor's last message, or under a fence of the shard's.
    guard: u64,
    lent: Option<Lent>,
    event_bytes: usize,
    body_bytes: usize,
    round: u64,
    /// Its ids are among the known ones.
    noted: bool,
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
    window: Window,
    serial: u64,
    round: u64,
    /// The largest token answered, and the round of the latest answer.
    answered: u64,
    heard: u64,
    ring: Ring,
    told: Option<Told>,
    known: Option<Known>,
    /// One for each shard, where the namespace is one of shards' owners.
    lines: Option<Lines>,
    /// An actor has a commit's worth of events, since frames were last made.
    full: bool,
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
            window: Window::new(bounds.in_flight),
            serial: 0,
            round: 0,
            answered: 0,
            heard: 0,
            ring: Ring::default(),
            told: None,
            known: None,
            lines: None,
            full: false,
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

    /// Reads an actor's stored ids before its first commit, and skips what is there; keeps at most so many.
    pub fn skip_known(&mut self, ids_max: usize) {
        self.known = Some(Known::new(ids_max));
    }

    /// Whether an actor has a commit's worth of events that has not been sent.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// How many events may be put now, and with how many bytes.
    pub fn room(&self) -> (usize, usize) {
        let pending = usize::try_from(self.pending()).unwrap_or(usize::MAX);
        let (untold, untold_bytes) = self.told.as_ref().map_or((0, 0), |told| (told.outcomes.len(), told.bytes));
        let bytes = self.held_bytes.saturating_add(untold_bytes);
        (self.bounds.pending.saturating_sub(pending.saturating_add(untold)), self.bounds.pending_bytes.saturating_sub(bytes))
    }

    /// Outcomes that nobody has taken.
    pub fn unread(&self) -> usize {
        self.told.as_ref().map_or(0, |told| told.outcomes.len())
    }

    /// Queues an event; one of version 0 is a draft. Who puts asks for `room` first; this takes what it gets.
    pub fn put(&mut self, event: Arc<EventData>, tag: u64) {
        let slot = self.slot(event.actor());
        self.queue(slot, event, tag);
    }

    /// Queues a draft that does not say its actor.
    pub fn put_draft(&mut self, actor: &str, event: Arc<EventData>, tag: u64) {
        let slot = self.slot(actor);
        self.queue(slot, event, tag);
    }

    fn slot(&mut self, actor: &str) -> usize {
        match self.index.get(actor) {
            Some(&slot) => slot,
            None => self.admit(actor),
        }
    }

    fn queue(&mut self, slot: usize, event: Arc<EventData>, tag: u64) {
        let bytes = event.wire_size_bound();
        self.held_bytes += bytes;
        self.counts.put += 1;
        self.queued += 1;
        let (serial, version) = (self.ring.push(tag), event.version());
        let actor = &mut self.actors[slot];
        actor.queue_bytes += bytes;
        actor.queue.push_back(Item { event, version, serial });
        self.full |= actor.queue.len() >= self.bounds.commit_events || actor.queue_bytes >= self.bounds.group_bytes;
    }

    /// A new entry for an actor, ready.
    fn admit(&mut self, name: &str) -> usize {
        let name: Arc<str> = name.into();
        let shard = if self.lines.is_some() { shard_of_id(&name) } else { 0 };
        let slot = if let Some(slot) = self.free_actors.pop() {
            let actor = &mut self.actors[slot];
            (actor.name, actor.state, actor.beaten) = (Arc::clone(&name), State::Ready, 0);
            (actor.shard, actor.unreadable) = (shard, false);
            slot
        } else {
            let (name, queue) = (Arc::clone(&name), VecDeque::new());
            let (state, head) = (State::Ready, None);
            self.actors.push(Actor { name, shard, queue, queue_bytes: 0, state, head, beaten: 0, unreadable: false });
            self.actors.len() - 1
        };
        self.index.insert(name, slot);
        self.line_up(slot);
        slot
    }

    /// An actor's commit is settled: it goes on with what waits, or is forgotten.
    fn release(&mut self, slot: usize, head: Option<Head>) {
        let actor = &mut self.actors[slot];
        if actor.queue.is_empty() {
            (actor.head, actor.queue_bytes) = (None, 0);
            // A burst of one actor leaves no large queue behind in the place of the next.
            actor.queue.shrink_to(64);
            self.index.remove(&*actor.name);
            self.free_actors.push(slot);
        } else {
            (actor.head, actor.state) = (head, State::Ready);
            self.line_up(slot);
        }
    }

    fn line_up(&mut self, slot: usize) {
        match &mut self.lines {
            None => self.ready.push_back(slot),
            Some(lines) => lines.join(self.actors[slot].shard, slot),
        }
    }
}

#[cfg(test)]
mod tests;
