//! Commits that did not end by a plain ack: who finds them out, and what becomes of them.

use std::sync::Arc;

use super::answers::place;
use super::{Actor, End, Fate, Flight, Item, Pending, Status};
use crate::event::EventData;
use crate::token;

/// Why a commit needs the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Sent, and not answered.
    Silent,
    /// Sent, and answered with an error of this number; 0: with something that is neither ack nor error.
    Refused(u64),
    /// Sent, and nobody listens: nothing was stored.
    Unheard,
    /// Not sent: the actor is at these versions already, or its head cannot be read. Drafts among them have version 0.
    Behind,
    /// Not sent: this event alone takes so many bytes.
    TooLarge(usize),
    /// Not sent: this event's id is stored at this version, with other content.
    Taken(u64),
    /// Not sent: this event is stored already, at this version instead of its own.
    Elsewhere(u64),
    /// Not sent: what the actor holds cannot be read.
    Unread,
}

/// An event of a commit in trouble.
#[derive(Debug)]
pub struct Troubled {
    /// As it was sent, with actor and version; version 0: a draft that was not.
    pub event: Arc<EventData>,
    /// It was put without a version.
    pub is_draft: bool,
    pub tag: u64,
}

/// A commit that needs the driver.
#[derive(Debug)]
pub struct Trouble {
    /// Its name for `settle`.
    pub ticket: u64,
    pub why: Why,
    /// The position it was sent on top of; what is stored behind it may be its copy.
    pub guard: u64,
    /// The actor's version there.
    pub version: u64,
    /// How often in a row others came first at this actor.
    pub beaten: u32,
    pub events: Vec<Troubled>,
}

impl Pending {
    /// Whether a commit needs the driver.
    pub fn is_troubled(&self) -> bool {
        !self.troubles.is_empty()
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
}

fn is_stored(fate: Fate) -> bool {
    matches!(fate, Fate::Ended(End { status: Status::Saved | Status::AlreadyStored, .. }))
}
