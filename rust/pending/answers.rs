//! What comes back: plain acks settle their commits here, all else is trouble for the driver.

use std::sync::Arc;

use super::lines::{Lent, Lines, Mark};
use super::sending::fenced_name;
use super::{Actor, End, Fate, Flight, HeadSource, Item, PLACE_BITS, Pending, State, Status, Trouble, Troubled, Why};
use crate::acks::{acked, error_code};
use crate::event::EventData;
use crate::shard::SHARDS;
use crate::token;

/// An event that was not sent: its actor, the event as it was put, its tag.
pub type Dropped = (Arc<str>, Arc<EventData>, u64);

impl Pending {
    /// Takes the answer to a commit; one that is settled or in trouble already is beyond it.
    pub fn answer(&mut self, heads: &mut impl HeadSource, token: u64, status: u16, body: &[u8]) {
        (self.answered, self.heard) = (self.answered.max(token), self.round);
        let Some(flight) = self.flight(token).filter(|flight| flight.trouble.is_none()) else { return };
        let (guard, round) = (flight.guard, flight.round);
        self.window.answered(self.round - round, self.counts.in_flight);
        if status == 0
            && let Some(position) = acked(body, &self.stream)
            && position > guard
        {
            self.stored(heads, token, position);
        } else {
            self.trouble(token, if status == 503 { Why::Unheard } else { Why::Refused(error_code(body)) });
        }
    }

    pub(super) fn stored(&mut self, heads: &mut impl HeadSource, token: u64, position: u64) {
        let Some(flight) = self.land(token) else { return };
        self.counts.commits += 1;
        self.counts.bytes += flight.body_bytes as u64;
        self.counts.reached = self.counts.reached.max(position);
        let (slot, shard) = (flight.actor, self.actors[flight.actor].shard);
        let head = flight.head.after(flight.items.last().map_or(0, |item| item.version), position);
        for item in flight.items {
            self.end(slot, item, End { position, ..End::new(Status::Saved) });
        }
        let actor = &mut self.actors[slot];
        actor.beaten = 0;
        if let Some(known) = &mut self.known {
            known.stored(&actor.name, head.version, position);
        }
        if let Some(lent) = &flight.lent {
            lent.mark.set_last(position);
            heads.keep_seen(&actor.name, head.clone());
            heads.keep(&fenced_name(lent, &actor.name), head);
            self.release(slot, None);
        } else {
            let own = (!actor.queue.is_empty()).then(|| head.clone());
            heads.keep(&actor.name, head);
            self.release(slot, own);
        }
        self.end_in_line(shard);
    }

    /// A commit in trouble was found at this position. False: there is none of this ticket.
    pub fn found_at(&mut self, heads: &mut impl HeadSource, ticket: u64, position: u64) -> bool {
        let is_there = self.troubled(ticket).is_some();
        if is_there {
            self.stored(heads, ticket, position);
        }
        is_there
    }

    /// The shard's next commit may go out.
    fn end_in_line(&mut self, shard: u32) {
        if let Some(lines) = &mut self.lines {
            lines.end(shard);
        }
    }

    // Shards that are lent.

    /// Takes the fence of a shard that was wanted; `once`: for one commit.
    pub fn lend(&mut self, shard: u32, mark: Arc<Mark>, epoch: u64, once: bool) {
        if let Some(lines) = &mut self.lines {
            lines.lend(shard, Lent { mark, epoch }, once);
        }
    }

    /// Gives a shard back as soon as nothing of it is on its way; None: all of them.
    pub fn recall(&mut self, shard: Option<u32>) {
        match (&mut self.lines, shard) {
            (None, _) => {}
            (Some(lines), None) => lines.recall_all(),
            (Some(lines), Some(shard)) => lines.recall(shard),
        }
    }

    /// Gives back what others wait for and what could not be sent by now.
    pub fn let_go_unsent(&mut self) {
        if let Some(lines) = &mut self.lines {
            lines.let_go_unsent();
        }
    }

    /// Gives the shard of a commit in trouble back; nothing more of it goes out before that is settled.
    pub fn take_back(&mut self, shard: u32) {
        if let Some(lines) = &mut self.lines {
            lines.take_back(shard);
        }
    }

    /// Shards that should be lent; each is told of once, until it was lent or its line was dropped.
    pub fn wanted(&mut self) -> Vec<u32> {
        self.lines.as_mut().map_or_else(Vec::new, Lines::wanted)
    }

    /// Shards that are given back; each is told of once.
    pub fn returned(&mut self) -> Vec<u32> {
        self.lines.as_mut().map_or_else(Vec::new, Lines::returned)
    }

    pub(super) fn trouble(&mut self, token: u64, why: Why) {
        if let Some(flight) = self.flight(token) {
            flight.trouble = Some(why);
            self.troubles.push_back(token);
        }
    }

    pub(super) fn troubled(&self, ticket: u64) -> Option<&Flight> {
        self.flights.get(place(ticket))?.as_ref().filter(|flight| flight.token == ticket && flight.trouble.is_some())
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

    // Trouble.

    /// A round has passed: what was sent more than `rounds` ago and is silent is in trouble. Returns how many those are.
    ///
    /// Over a slow link a commit may wait long before it even leaves, while the ones before it are answered. As answers come in
    /// the order of sending, a commit is silent where a later one was answered, or none at all was for as many rounds.
    pub fn tick(&mut self, rounds: u64) -> usize {
        self.round += 1;
        let oldest = self.round.saturating_sub(rounds);
        let (answered, quiet) = (self.answered, self.heard < oldest);
        self.all(Why::Silent, |flight, _| flight.round < oldest && (quiet || flight.token < answered))
    }

    /// The connection is lost, or only what was sent to `subject` (in lower case) is denied.
    pub fn lose(&mut self, subject: Option<&str>, denied: bool) -> usize {
        let Some(subject) = subject else { return self.all(Why::Silent, |_, _| true) };
        // A refusal comes for each message, so it must not cost the writing of every subject in flight: the shard chooses.
        let Some((shard, name)) = self.parts_of(subject) else { return 0 };
        let why = if denied { Why::Unheard } else { Why::Silent };
        self.all(why, |flight, actors| {
            flight.shard == shard && token::encode(&actors[flight.actor].name).eq_ignore_ascii_case(name)
        })
    }

    /// The shard and the last token of one of our subjects, in whatever case.
    fn parts_of<'a>(&self, subject: &'a str) -> Option<(u32, &'a str)> {
        let (prefix, rest) = subject.split_at_checked(self.prefix.len())?;
        let (shard, name) = rest.split_once('.')?;
        prefix.eq_ignore_ascii_case(&self.prefix).then_some((shard.parse().ok()?, name))
    }

    fn all(&mut self, why: Why, which: impl Fn(&Flight, &[Actor]) -> bool) -> usize {
        let mut tokens: Vec<u64> = self
            .flights
            .iter()
            .flatten()
            .filter(|flight| flight.trouble.is_none() && which(flight, &self.actors))
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
            let Some(flight) = self.flights.get(place(token)).and_then(Option::as_ref) else { continue };
            if let Some(why) = flight.trouble.filter(|_| flight.token == token) {
                let actor = &self.actors[flight.actor];
                let troubled = |item: &Item| Troubled {
                    event: item.numbered(&actor.name),
                    is_draft: item.is_draft(),
                    tag: self.ring.tag(item.serial),
                };
                let events = flight.items.iter().map(troubled).collect();
                let (guard, version) = (flight.guard, flight.head.version);
                out.push(Trouble { ticket: token, why, guard, version, beaten: actor.beaten, events });
            }
        }
        out
    }

    /// Says what becomes of each event of a commit in trouble, in their order. False: there is no such commit, or not so many.
    ///
    /// Once one goes back to the queue, none behind it may be told to be stored later than it: the driver keeps the order.
    pub fn settle(&mut self, ticket: u64, fates: &[Fate]) -> bool {
        let fits = self.flight(ticket).is_some_and(|flight| flight.trouble.is_some() && flight.items.len() == fates.len());
        if !fits {
            return false;
        }
        if let Some(flight) = self.land(ticket) {
            let (slot, mut back) = (flight.actor, Vec::new());
            if let Some(known) = &mut self.known {
                known.distrust(&self.actors[slot].name);
            }
            for (mut item, fate) in flight.items.into_iter().zip(fates) {
                if flight.noted && !is_stored(*fate) {
                    self.unnote(slot, &item);
                }
                match fate {
                    Fate::Ended(end) => {
                        self.end(slot, item, *end);
                        continue;
                    }
                    Fate::Again => {}
                    Fate::Renumber => item.event = Arc::new(item.event.draft()),
                }
                item.version = item.event.version();
                back.push(item);
            }
            let actor = &mut self.actors[slot];
            actor.beaten = if back.is_empty() { 0 } else { actor.beaten.saturating_add(1) };
            self.queued += back.len();
            for item in back.into_iter().rev() {
                let bytes = item.event.wire_size_bound();
                self.held_bytes += bytes;
                actor.queue_bytes += bytes;
                actor.queue.push_front(item);
            }
            let shard = self.actors[slot].shard;
            self.release(slot, None);
            self.end_in_line(shard);
        }
        true
    }

    fn unnote(&mut self, slot: usize, item: &Item) {
        if let Some(known) = &mut self.known {
            known.remove(&self.actors[slot].name, &item.event);
        }
    }

    /// Gives back every event that was not sent yet; they count as failed, `key` being the driver's name for why.
    pub fn drop_queued(&mut self, key: u64) -> Vec<Dropped> {
        let slots = self.index.values().copied().collect();
        self.ready.clear();
        self.headless.clear();
        let dropped = self.drop_of(slots, key);
        if let Some(lines) = &mut self.lines {
            (0..SHARDS).for_each(|shard| lines.clear(shard, false));
        }
        dropped
    }

    /// The same for the events of one shard that was wanted and cannot be lent.
    pub fn drop_shard(&mut self, shard: u32, key: u64) -> Vec<Dropped> {
        let of_it = |slot: &usize| self.actors[*slot].shard == shard;
        let slots = self.index.values().copied().filter(of_it).collect();
        let actors = &self.actors;
        self.headless.retain(|slot| actors[*slot].shard != shard);
        let dropped = self.drop_of(slots, key);
        if let Some(lines) = &mut self.lines {
            lines.clear(shard, true);
        }
        dropped
    }

    fn drop_of(&mut self, mut slots: Vec<usize>, key: u64) -> Vec<Dropped> {
        let mut dropped = Vec::new();
        slots.sort_unstable();
        for slot in slots {
            while let Some(item) = self.actors[slot].pop() {
                self.held_bytes -= item.event.wire_size_bound();
                self.queued -= 1;
                dropped.push((Arc::clone(&self.actors[slot].name), Arc::clone(&item.event), self.ring.tag(item.serial)));
                self.end(slot, item, End { key, ..End::new(Status::Failed) });
            }
            if self.actors[slot].state != State::Busy {
                self.release(slot, None);
            }
        }
        dropped
    }
}

fn is_stored(fate: Fate) -> bool {
    matches!(fate, Fate::Ended(End { status: Status::Saved | Status::AlreadyStored, .. }))
}

#[allow(clippy::cast_possible_truncation)] // the low bits alone
fn place(token: u64) -> usize {
    (token & ((1 << PLACE_BITS) - 1)) as usize
}
