//! What Python and the reader that brings answers share, and the order of its locks.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::answer::{Answer, Sink};
use crate::event::EventData;
use crate::heads::{Head, Heads};
use crate::pending::{HeadSource, Pending};

/// What both sides share: Python, and the reader that brings answers.
pub struct Shared {
    pending: Mutex<Pending>,
    heads: Arc<Mutex<Heads>>,
    /// Where heads are kept under their actors' names too, where `heads` holds those of fences.
    seen: OnceLock<Arc<Mutex<Heads>>>,
}

/// What is known of heads, while it is locked.
pub struct Known<'a> {
    heads: MutexGuard<'a, Heads>,
    seen: Option<MutexGuard<'a, Heads>>,
}

impl HeadSource for Known<'_> {
    fn later(&mut self, actor: &str, own: Option<&Head>) -> Option<Head> {
        self.heads.later(actor, own)
    }

    fn keep(&mut self, actor: &str, head: Head) {
        self.heads.keep(actor, head);
    }

    fn keep_seen(&mut self, actor: &str, head: Head) {
        if let Some(seen) = &mut self.seen {
            seen.keep(actor, head);
        }
    }
}

impl Shared {
    pub fn new(pending: Pending, heads: Arc<Mutex<Heads>>) -> Self {
        Self { pending: Mutex::new(pending), heads, seen: OnceLock::new() }
    }

    /// Keeps heads there too from now on; a second call changes nothing.
    pub fn keep_seen(&self, seen: &Arc<Mutex<Heads>>) {
        self.seen.get_or_init(|| Arc::clone(seen));
    }

    /// Locks in one order: what is pending, then the heads or the log.
    pub fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn heads(&self) -> Known<'_> {
        let heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        Known { heads, seen: self.seen.get().map(|seen| seen.lock().unwrap_or_else(PoisonError::into_inner)) }
    }

    /// Takes events with their tags off the front, as long as there is room; returns how many. One of version 0 is a draft.
    ///
    /// Tags increase from event to event; `settled_tag` speaks of them.
    pub fn pour(&self, batch: &mut VecDeque<(Arc<EventData>, u64)>) -> usize {
        let mut pending = self.lock();
        let (mut events, mut bytes) = pending.room();
        let before = batch.len();
        while events > 0
            && bytes > 0
            && let Some((event, tag)) = batch.pop_front()
        {
            (events, bytes) = (events - 1, bytes.saturating_sub(event.wire_size_bound()));
            pending.put(event, tag);
        }
        before - batch.len()
    }
}

impl Sink for Shared {
    fn take(&self, answer: &Answer<'_>) {
        let mut pending = self.lock();
        pending.answer(&mut self.heads(), answer.token, answer.status, answer.body);
    }
}
