//! `Pending`: ingestion's bookkeeping, between Python's pipeline and the lane.

mod objects;
mod shared;

use std::collections::VecDeque;
use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyIterator, PyList};

use self::objects::{DroppedObject, FateObject, MessageObject, OutcomeObject, TroubleObject, checked};
use self::shared::Shared;
use super::fence_mark::FenceMark;
use super::handles::{given, handles};
use super::heads::{Head, HeadCache};
use crate::pending::{Bounds, Counts, Fate, Pending as PendingData, Tally};

/// A place of a commit takes 20 bits of its token.
const PLACES_MAX: usize = 1_000_000;

/// How many bytes of frames are made at once.
const FRAMES_BYTES: usize = 1 << 18;

/// Ingestion's bookkeeping: events by actor, one commit in flight per actor, many actors in flight. Safe from many threads.
///
/// It is an outbox and a sink of `aether.nats.transport`: what to send comes out of it, and the answers go into it.
///
/// Args:
///     namespace: where the events belong.
///     stream: the stream whose acks count.
///     heads: what the store knows of its actors; shared with its other writers.
///     pending_max: events put and not settled, 1 to 1,000,000.
///     pending_bytes_max: their bytes.
///     in_flight_max: commits sent and not settled.
///     in_flight_bytes_max: their bytes.
///     commit_events_max: events of one commit.
///     commit_bytes_max: bytes of a message, headers included, that events share; one alone may pass it. None: what the server
///         takes.
///
/// Raises:
///     ValueError: a bound of 0, or a `pending_max` that is too large.
#[pyclass(frozen, module = "aether._native")]
pub struct Pending {
    pub shared: Arc<Shared>,
}

#[pymethods]
impl Pending {
    #[new]
    #[allow(clippy::too_many_arguments)] // Python gives them by keyword
    #[pyo3(signature = (namespace, stream, heads, *, pending_max, pending_bytes_max, in_flight_max, in_flight_bytes_max, commit_events_max, commit_bytes_max=None))]
    fn new(
        namespace: &str,
        stream: &str,
        heads: &Bound<'_, HeadCache>,
        pending_max: usize,
        pending_bytes_max: usize,
        in_flight_max: usize,
        in_flight_bytes_max: usize,
        commit_events_max: usize,
        commit_bytes_max: Option<usize>,
    ) -> PyResult<Self> {
        let group_bytes = commit_bytes_max.unwrap_or(usize::MAX);
        let bounds = [pending_max, pending_bytes_max, in_flight_max, in_flight_bytes_max, commit_events_max, group_bytes];
        if pending_max > PLACES_MAX || bounds.contains(&0) {
            return Err(PyValueError::new_err("bounds are 1 or more, and pending_max is at most 1,000,000"));
        }
        let bounds = Bounds {
            pending: pending_max,
            pending_bytes: pending_bytes_max,
            in_flight: in_flight_max,
            in_flight_bytes: in_flight_bytes_max,
            commit_events: commit_events_max,
            group_bytes,
            commit_bytes: usize::MAX,
            frames_bytes: FRAMES_BYTES,
        };
        let shared = Shared::new(PendingData::new(namespace, stream, bounds), Arc::clone(&heads.get().heads));
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Takes one event if there is room for it; says whether it did.
    ///
    /// Raises:
    ///     TypeError: it is neither an `Event` nor an actor id with a `NewEvent`.
    #[pyo3(signature = (event, /))]
    fn put(&self, event: &Bound<'_, PyAny>) -> PyResult<bool> {
        let given = given(event)?;
        let mut pending = self.shared.lock();
        let (events, bytes) = pending.room();
        let fits = events > 0 && bytes > 0;
        if fits {
            given.put(&mut pending, 0);
        }
        Ok(fits)
    }

    /// Takes events off the iterator as long as there is room, at most `count`.
    ///
    /// Returns how many, and whether that was the end.
    ///
    /// What came before an error is taken.
    ///
    /// Raises:
    ///     TypeError: an item is neither an `Event` nor an actor id with a `NewEvent`; what the iterator itself raises comes
    ///         through.
    #[pyo3(signature = (iterator, count, /))]
    fn pull(&self, iterator: &Bound<'_, PyIterator>, count: usize) -> PyResult<(usize, bool)> {
        let (events, bytes) = self.shared.lock().room();
        let count = count.min(events);
        let (mut taken, mut size, mut end) = (Vec::with_capacity(count), 0, Ok(false));
        let mut items = iterator.clone();
        while taken.len() < count && size < bytes {
            match items.next() {
                None => end = Ok(true),
                Some(item) => match item.and_then(|item| given(&item)) {
                    Ok(given) => {
                        size += given.event().wire_size_bound();
                        taken.push(given);
                        continue;
                    }
                    Err(error) => end = Err(error),
                },
            }
            break;
        }
        let number = taken.len();
        if number > 0 {
            let mut pending = self.shared.lock();
            for given in taken {
                given.put(&mut pending, 0);
            }
        }
        end.map(|end| (number, end))
    }

    /// Takes the first of these (tag, event) as long as there is room, and returns how many; tags increase.
    ///
    /// Raises:
    ///     TypeError: an item is neither an `Event` nor an actor id with a `NewEvent`; none is taken.
    #[pyo3(signature = (events, /))]
    fn put_tagged(&self, events: &Bound<'_, PyList>) -> PyResult<usize> {
        let tagged = |item: Bound<'_, PyAny>| {
            let (tag, event): (u64, Bound<'_, PyAny>) = item.extract()?;
            Ok((given(&event)?.into_event(), tag))
        };
        let mut batch: VecDeque<_> = events.iter().map(tagged).collect::<PyResult<_>>()?;
        Ok(self.shared.pour(&mut batch))
    }

    /// Everything put up to and with this tag is settled; 0: nothing is.
    fn settled_tag(&self) -> u64 {
        self.shared.lock().settled_tag()
    }

    /// Reads what an actor holds before its first commit, and skips what is there; keeps at most so many ids.
    #[pyo3(signature = (ids_max, /))]
    fn skip_known(&self, ids_max: usize) {
        self.shared.lock().skip_known(ids_max);
    }

    /// Keeps every outcome from now on until it is taken; what is not taken counts as pending where room is asked for.
    fn tell_outcomes(&self) {
        self.shared.lock().tell_outcomes();
    }

    /// Takes outcomes in the order in which they came to be, at most `count`, as (actor, event, status, position, key).
    ///
    /// An event that is stored is an `Event`; one that is not is as it was put, without the actor.
    #[pyo3(signature = (count, /))]
    fn outcomes<'py>(&self, py: Python<'py>, count: usize) -> PyResult<Vec<OutcomeObject<'py>>> {
        let outcomes = self.shared.lock().outcomes(count);
        outcomes.into_iter().map(|outcome| objects::outcome(py, outcome)).collect()
    }

    /// Whether an actor has a commit's worth of events that has not been sent.
    fn is_full(&self) -> bool {
        self.shared.lock().is_full()
    }

    /// Whether an event could be put now.
    pub fn has_room(&self) -> bool {
        let (events, bytes) = self.shared.lock().room();
        events > 0 && bytes > 0
    }

    /// Returns the next commits as frames, a bounded number of bytes; none: there are no more for now.
    #[pyo3(signature = (inbox, /))]
    fn frames<'py>(&self, py: Python<'py>, inbox: &str) -> Bound<'py, PyBytes> {
        let mut out = Vec::with_capacity(FRAMES_BYTES);
        {
            let mut pending = self.shared.lock();
            pending.frames(&mut self.shared.heads(), inbox, &mut out);
        }
        PyBytes::new(py, &out)
    }

    /// Returns the next commits one by one, as (subject, token, guard, body, guarded); none: there are no more for now.
    ///
    /// Guarded: the subject of which the guard speaks, where that is another.
    fn messages<'py>(&self, py: Python<'py>) -> Vec<MessageObject<'py>> {
        let messages = {
            let mut pending = self.shared.lock();
            pending.messages(&mut self.shared.heads())
        };
        messages.into_iter().map(|message| objects::message(py, message)).collect()
    }

    /// Takes one answer, where they come one by one.
    #[allow(unused_variables)] // of the protocol
    fn accept(&self, token: u64, status: u16, position: u64, subject: &str, body: &[u8]) {
        let mut pending = self.shared.lock();
        pending.answer(&mut self.shared.heads(), token, status, body);
    }

    /// Sets what one message may take, headers included: the server says it anew with each connection.
    #[pyo3(signature = (commit_bytes_max, /))]
    fn set_commit_bytes_max(&self, commit_bytes_max: usize) {
        self.shared.lock().set_commit_bytes(commit_bytes_max);
    }

    /// Actors whose head must be read before they go on, at most `count`; each is told of once.
    ///
    /// Where known ids are skipped, its events must be given to `learn` first, from the version that comes with it.
    #[pyo3(signature = (count, /))]
    fn headless(&self, count: usize) -> Vec<(String, u64)> {
        let names = self.shared.lock().headless(count);
        names.iter().map(|(name, from_version)| (name.to_string(), *from_version)).collect()
    }

    /// Takes what an actor holds, in order; False: it is more than may be kept.
    ///
    /// Raises:
    ///     TypeError: an item is no `Event`.
    #[pyo3(signature = (actor_id, events, /))]
    fn learn(&self, actor_id: &str, events: &Bound<'_, PyAny>) -> PyResult<bool> {
        let handles = handles(events)?;
        Ok(self.shared.lock().learn(actor_id, &handles))
    }

    /// Takes a head that was read; None: it cannot be read, and the actor's next events are in trouble.
    #[pyo3(signature = (actor_id, head, /))]
    fn found(&self, actor_id: &str, head: Option<&Bound<'_, Head>>) {
        let head = head.map(|head| head.get().data.clone());
        self.shared.lock().found(actor_id, head);
    }

    /// Says that everything sent is lost, or what was sent to `subject` (in lower case); returns how many commits that hits.
    ///
    /// `denied`: the server says that it took nothing of it.
    #[pyo3(signature = (subject=None, *, denied=false))]
    fn lose(&self, subject: Option<&str>, denied: bool) -> usize {
        self.shared.lock().lose(subject, denied)
    }

    /// Says that a round has passed: what was sent more than `rounds` ago is in trouble; returns how many commits are.
    #[pyo3(signature = (rounds, /))]
    fn tick(&self, rounds: u64) -> usize {
        self.shared.lock().tick(rounds)
    }

    /// Commits that need somebody, at most `count`; each is told of once.
    ///
    /// As (ticket, why, number, guard, version, beaten, events, drafts, tags).
    ///
    /// Why: "silent", "refused" (number: JetStream's), "unheard"; and not sent: "behind" (a draft among them has version 0),
    /// "large" (number: its bytes), "taken" and "elsewhere" (number: the version at which the id is stored, with other or with
    /// equal content), "unread". Version: that of the actor at the guard. Beaten: how often in a row others came first.
    #[pyo3(signature = (count, /))]
    fn troubles<'py>(&self, py: Python<'py>, count: usize) -> PyResult<Vec<TroubleObject<'py>>> {
        let troubles = self.shared.lock().troubles(count);
        troubles.into_iter().map(|trouble| objects::trouble(py, trouble)).collect()
    }

    /// Says what becomes of each event of a commit in trouble, as (status, version, position, key).
    ///
    /// Status: "saved", "already_stored", "conflict", "failed", "unknown"; "again": it goes back to the front of its queue, as
    /// it was put; "renumber": the same, without its version. What goes back is surely not stored and cannot come to be.
    /// Version 0: its own. Position 0: not known. Key: yours, for what went wrong.
    ///
    /// Raises:
    ///     ValueError: there is no such commit in trouble, or it has another number of events.
    #[pyo3(signature = (ticket, fates, /))]
    fn settle(&self, ticket: u64, fates: Vec<FateObject>) -> PyResult<()> {
        let fates: Vec<Fate> = fates.into_iter().map(objects::fate).collect::<PyResult<_>>()?;
        let settled = self.shared.lock().settle(ticket, &fates);
        if settled { Ok(()) } else { Err(PyValueError::new_err("no commit in trouble with so many events has this ticket")) }
    }

    /// Gives back every event that was not sent yet, as (event, tag); they count as failed, with your key for why.
    ///
    /// What had no version is the pair that was put.
    #[pyo3(signature = (key=0, /))]
    fn drop_queued<'py>(&self, py: Python<'py>, key: u64) -> PyResult<Vec<DroppedObject<'py>>> {
        let dropped = self.shared.lock().drop_queued(key);
        dropped.into_iter().map(|dropped| objects::dropped(py, dropped)).collect()
    }

    /// Sends under the fences of shards that are lent, one commit at a time in each; before anything is put.
    ///
    /// Heads are then found and kept under `"KEY ACTOR"`, with the key of the fence, and only what `heads` holds is written on;
    /// `seen` gets them under the actors' own names.
    #[pyo3(signature = (seen, /))]
    fn go_in_line(&self, seen: &Bound<'_, HeadCache>) {
        self.shared.keep_seen(&seen.get().heads);
        self.shared.lock().go_in_line();
    }

    /// Takes shards in which something waits, to be lent; each is told of once, until it was lent or dropped.
    fn wanted(&self) -> Vec<u32> {
        self.shared.lock().wanted()
    }

    /// Lends the fence of a shard: what waits there goes out under it. `once`: it comes back after one commit.
    ///
    /// Raises:
    ///     ValueError: there is no such shard.
    #[pyo3(signature = (shard, mark, epoch, *, once=false))]
    fn lend(&self, shard: u32, mark: &Bound<'_, FenceMark>, epoch: u64, once: bool) -> PyResult<()> {
        let mark = Arc::clone(&mark.get().mark);
        self.shared.lock().lend(checked(shard)?, mark, epoch, once);
        Ok(())
    }

    /// Asks for a shard back, as soon as nothing of it is on its way; without a shard, for all of them.
    ///
    /// One that was lent and not used yet is for one commit first, or until `let_go_unsent`; without a shard it goes back now.
    ///
    /// Raises:
    ///     ValueError: there is no such shard.
    #[pyo3(signature = (shard=None))]
    fn recall(&self, shard: Option<u32>) -> PyResult<()> {
        let shard = shard.map(checked).transpose()?;
        self.shared.lock().recall(shard);
        Ok(())
    }

    /// Gives shards back that others wait for, where what they were lent for could not be sent by now.
    fn let_go_unsent(&self) {
        self.shared.lock().let_go_unsent();
    }

    /// Takes the shard of a commit in trouble back; nothing more of it goes out before that is settled.
    ///
    /// Raises:
    ///     ValueError: there is no such shard.
    #[pyo3(signature = (shard, /))]
    fn take_back(&self, shard: u32) -> PyResult<()> {
        self.shared.lock().take_back(checked(shard)?);
        Ok(())
    }

    /// Takes shards that are not needed any more, or were asked for; each is told of once.
    fn returned(&self) -> Vec<u32> {
        self.shared.lock().returned()
    }

    /// Gives back every event of a shard that was not sent yet, as `drop_queued`; the shard was wanted, and cannot be lent.
    ///
    /// Raises:
    ///     ValueError: there is no such shard.
    #[pyo3(signature = (shard, key=0, /))]
    fn drop_shard<'py>(&self, py: Python<'py>, shard: u32, key: u64) -> PyResult<Vec<DroppedObject<'py>>> {
        let dropped = self.shared.lock().drop_shard(checked(shard)?, key);
        dropped.into_iter().map(|dropped| objects::dropped(py, dropped)).collect()
    }

    /// Returns a commit in trouble as it was sent, as (subject, guard, body); None: it was not.
    #[pyo3(signature = (ticket, /))]
    fn copy<'py>(&self, py: Python<'py>, ticket: u64) -> Option<(String, u64, Bound<'py, PyBytes>)> {
        let (subject, guard, body) = self.shared.lock().copy(ticket)?;
        Some((subject, guard, PyBytes::new(py, &body)))
    }

    /// Says that a commit in trouble is stored at this position.
    ///
    /// Raises:
    ///     ValueError: there is no such commit in trouble.
    #[pyo3(signature = (ticket, position, /))]
    fn found_at(&self, ticket: u64, position: u64) -> PyResult<()> {
        let is_there = {
            let mut pending = self.shared.lock();
            pending.found_at(&mut self.shared.heads(), ticket, position)
        };
        if is_there { Ok(()) } else { Err(PyValueError::new_err("no commit in trouble has this ticket")) }
    }

    /// Returns a mark behind everything put so far.
    fn mark(&self) -> u64 {
        self.shared.lock().mark()
    }

    /// Whether everything put before the mark is settled.
    #[pyo3(signature = (mark, /))]
    fn is_settled(&self, mark: u64) -> bool {
        self.shared.lock().is_settled(mark)
    }

    /// The numbers of `IngestStats`, in its order.
    #[allow(clippy::type_complexity)] // eleven numbers
    fn counts(&self) -> (u64, u64, u64, u64, u64, u64, u64, usize, u64, u64, usize) {
        let (counts, pending, unread) = {
            let shared = self.shared.lock();
            (shared.counts(), shared.pending(), shared.unread())
        };
        let Counts { settled, put, commits, bytes, in_flight, reached: _ } = counts;
        let Tally { saved, already_stored, conflicts, failed, unknown } = settled;
        (put, saved, already_stored, conflicts, failed, unknown, pending, in_flight, commits, bytes, unread)
    }

    /// How many events wait to be sent.
    #[getter]
    fn queued(&self) -> usize {
        self.shared.lock().queued()
    }

    /// The largest position acked.
    #[getter]
    fn reached(&self) -> u64 {
        self.shared.lock().counts().reached
    }
}
