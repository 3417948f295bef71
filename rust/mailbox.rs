//! What waits for one subscriber: events in order, and between them marks that say what is missing there, and why.
//!
//! A mailbox has two bounds, events and bytes, and a policy for what comes when one is reached; each event that is offered is
//! given out, waits, or is counted as missed. A mark stands exactly where something is missing: behind the events that came
//! before, ahead of those that come after. An interruption is held until it is over: the subscriber hears of it when events flow
//! again, so that who then reads the store has everything, and what comes meanwhile waits behind the mark.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::Error;
use crate::event::EventData;
use crate::filter::Filter;

mod marks;
use marks::Marks;
pub use marks::{Damage, Mark};

/// How many events `take_one` gives in a row before it lets others have their turn.
pub const AT_ONCE: u32 = 256;
/// No event is smaller, so a mailbox with less room than that is full.
const EVENT_BYTES_MIN: usize = 99;
/// A queue that was longer gives back its memory when it is empty.
const KEPT_EVENTS: usize = 1 << 16;

/// What to do with an event when there is no room for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// It is missed, and a mark says so.
    Error,
    /// The oldest events are missed in its place, and only counted.
    DropOldest,
    /// Its publisher waits; who cannot wait is treated as under `Error`.
    Block,
}

/// What may wait at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub events: usize,
    pub bytes: usize,
}

/// What came with an event, where there is anything.
#[derive(Debug, PartialEq, Eq)]
pub struct Context {
    /// Its namespace, where events of several come together.
    pub namespace: Option<Arc<str>>,
    /// Where an answer is expected.
    pub reply: Option<Box<str>>,
}

#[derive(Debug, Clone)]
pub struct Delivery {
    pub event: Arc<EventData>,
    pub context: Option<Arc<Context>>,
}

/// What comes next.
#[derive(Debug)]
pub enum Next<T> {
    Given(T),
    Mark(Mark),
    Nothing,
}

#[derive(Debug)]
pub struct Mailbox {
    pub filter: Filter,
    pub policy: Policy,
    bounds: Bounds,
    /// Whether an exchange has it.
    attached: AtomicBool,
    queue: Mutex<Queue>,
}

impl Mailbox {
    pub fn new(filter: Filter, bounds: Bounds, policy: Policy) -> Self {
        let queue = Queue { bounds, policy, ..Queue::default() };
        Self { filter, policy, bounds, attached: AtomicBool::new(false), queue: Mutex::new(queue) }
    }

    pub fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an event of that size can ever have room.
    pub fn fits(&self, size: usize) -> bool {
        size <= self.bounds.bytes
    }

    /// Claims it for one exchange; false: another one has it.
    pub fn claim(&self) -> bool {
        !self.attached.swap(true, Ordering::AcqRel)
    }

    pub fn release(&self) {
        self.attached.store(false, Ordering::Release);
    }
}

#[derive(Debug)]
pub struct Queue {
    bounds: Bounds,
    policy: Policy,
    events: VecDeque<Delivery>,
    /// Their bytes.
    bytes: usize,
    /// The number of the first of them, counted from the first ever.
    first: u64,
    marks: Marks,
    in_a_row: u32,
    closed: bool,
    /// The namespace of what comes without one.
    pub home: Option<Arc<str>>,
    /// Events given out.
    pub delivered: u64,
    /// Events that had no room.
    pub missed: u64,
    /// Damaged and foreign messages.
    pub damaged: u64,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            bounds: Bounds { events: 1, bytes: 1 },
            policy: Policy::Error,
            events: VecDeque::new(),
            bytes: 0,
            first: 0,
            marks: Marks::default(),
            in_a_row: 0,
            closed: false,
            home: None,
            delivered: 0,
            missed: 0,
            damaged: 0,
        }
    }
}

impl Queue {
    /// How many events wait.
    pub fn pending(&self) -> usize {
        self.events.len()
    }

    pub fn pending_bytes(&self) -> usize {
        self.bytes
    }

    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether nothing will come out any more.
    pub fn is_ended(&self) -> bool {
        self.closed && self.events.is_empty() && self.marks.is_empty()
    }

    /// Whether `take_one` has something to give or to tell.
    pub fn has_next(&self) -> bool {
        self.marks.due(self.first).unwrap_or(!self.events.is_empty())
    }

    pub fn has_room(&self, count: usize, bytes: usize) -> bool {
        self.events.len().saturating_add(count) <= self.bounds.events && self.bytes.saturating_add(bytes) <= self.bounds.bytes
    }

    /// Whether no event at all has room, so that it need not be known to be refused.
    pub fn refuses_all(&self) -> bool {
        self.policy != Policy::DropOldest && !self.has_room(1, EVENT_BYTES_MIN)
    }

    /// Takes an event, or counts it or older ones as missed.
    pub fn offer(&mut self, delivery: Delivery) {
        let size = delivery.event.wire_size_bound();
        if self.closed {
            return;
        }
        if !self.has_room(1, size) {
            if self.policy != Policy::DropOldest {
                return self.miss();
            }
            if size > self.bounds.bytes {
                self.missed += 1;
                return;
            }
            while !self.has_room(1, size) && self.pop().is_some() {
                self.missed += 1;
            }
        }
        self.bytes += size;
        self.events.push_back(delivery);
    }

    /// Counts an event that had no room, and marks the place.
    pub fn miss(&mut self) {
        if self.closed {
            return;
        }
        self.missed += 1;
        self.marks.miss(self.end());
    }

    /// Marks a message that is no event of its subject.
    pub fn damage(&mut self, subject: &str, error: &Error) {
        if self.closed {
            return;
        }
        self.damaged += 1;
        self.marks.damage(self.end(), subject, error);
    }

    /// Marks a gap that begins here; nothing behind the mark comes out until `resume` with what this returns. In a closed one
    /// nothing is held.
    pub fn interrupt(&mut self, reason: &str) -> u64 {
        if self.closed {
            return 0;
        }
        self.marks.interrupt(self.first, self.end(), reason)
    }

    /// Says that the gap is over that `interrupt` marked.
    pub fn resume(&mut self, token: u64) {
        self.marks.resume(token);
    }

    /// One event or mark; nothing too after `AT_ONCE` in a row.
    pub fn take_one(&mut self) -> Next<Delivery> {
        if self.in_a_row >= AT_ONCE {
            self.in_a_row = 0;
            return Next::Nothing;
        }
        self.in_a_row += 1;
        if let Some(is_over) = self.marks.due(self.first) {
            return self.take_mark(is_over);
        }
        if let Some(delivery) = self.pop() {
            self.delivered += 1;
            self.shrink();
            return Next::Given(delivery);
        }
        self.in_a_row = 0;
        Next::Nothing
    }

    /// Begins to count anew how many came in a row.
    pub fn rest(&mut self) {
        self.in_a_row = 0;
    }

    /// At most `limit` events up to a mark, or the mark that stands first.
    pub fn take(&mut self, limit: usize) -> Next<Vec<Delivery>> {
        if let Some(is_over) = self.marks.due(self.first) {
            return self.take_mark(is_over);
        }
        let count = self.events.len().min(limit).min(self.marks.ahead(self.first));
        if count == 0 {
            return Next::Nothing;
        }
        let taken: Vec<Delivery> = self.events.drain(..count).collect();
        self.first += count as u64;
        self.bytes -= taken.iter().map(|delivery| delivery.event.wire_size_bound()).sum::<usize>();
        self.delivered += count as u64;
        self.shrink();
        Next::Given(taken)
    }

    /// Takes nothing any more; what waits can still be had, and no gap holds it up.
    pub fn close(&mut self) {
        self.closed = true;
        self.marks.resume_all();
    }

    /// Forgets what waits, without counting it.
    pub fn clear(&mut self) {
        self.first = self.end();
        self.events = VecDeque::new();
        self.marks.clear();
        self.bytes = 0;
    }

    /// The number that the next event will have.
    fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    fn take_mark<T>(&mut self, is_over: bool) -> Next<T> {
        if is_over && let Some(mark) = self.marks.take() {
            return Next::Mark(mark);
        }
        self.in_a_row = 0;
        Next::Nothing
    }

    fn pop(&mut self) -> Option<Delivery> {
        let delivery = self.events.pop_front()?;
        self.first += 1;
        self.bytes -= delivery.event.wire_size_bound();
        Some(delivery)
    }

    fn shrink(&mut self) {
        if self.events.is_empty() && self.events.capacity() > KEPT_EVENTS {
            self.events = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests;
