//! What comes back: plain acks settle their commits here, all else is trouble for the driver.

use super::sending::fenced_name;
use super::{End, Flight, HeadSource, PLACE_BITS, Pending, Status, Why};
use crate::acks::{acked, error_code};
use crate::token as tokens;

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
            lent.mark.pass(position, &tokens::encode(&actor.name));
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
    pub(super) fn end_in_line(&mut self, shard: u32) {
        if let Some(lines) = &mut self.lines {
            lines.end(shard);
        }
    }

    pub(super) fn flight(&mut self, token: u64) -> Option<&mut Flight> {
        self.flights.get_mut(place(token))?.as_mut().filter(|flight| flight.token == token)
    }

    /// Frees the commit's place.
    pub(super) fn land(&mut self, token: u64) -> Option<Flight> {
        let flight = self.flights.get_mut(place(token))?.take_if(|flight| flight.token == token)?;
        self.free_flights.push(place(token));
        self.counts.in_flight -= 1;
        self.in_flight_bytes -= flight.body_bytes;
        self.held_bytes -= flight.event_bytes;
        Some(flight)
    }
}

#[allow(clippy::cast_possible_truncation)] // the low bits alone
pub(super) fn place(token: u64) -> usize {
    (token & ((1 << PLACE_BITS) - 1)) as usize
}
