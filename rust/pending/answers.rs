//! What comes back: plain acks settle their commits here, all else is trouble for the driver.

use std::sync::Arc;

use super::{Actor, Flight, PLACE_BITS, Pending, Queued, State, Tally, Trouble, Why};
use crate::acks::{acked, error_code};
use crate::event::EventData;
use crate::heads::Heads;
use crate::token;

impl Pending {
    /// Takes the answer to a commit; one that is settled or in trouble already is beyond it.
    pub fn answer(&mut self, heads: &mut Heads, token: u64, status: u16, body: &[u8]) {
        (self.answered, self.heard) = (self.answered.max(token), self.round);
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
}

#[allow(clippy::cast_possible_truncation)] // the low bits alone
fn place(token: u64) -> usize {
    (token & ((1 << PLACE_BITS) - 1)) as usize
}
