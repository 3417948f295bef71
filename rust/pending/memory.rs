//! The same bookkeeping in front of the in-memory log: what is put is stored at once, with no network and no guard in between.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{End, Fate, HeadSource, Pending, Status, Why};
use crate::error::Error;
use crate::heads::Head;
use crate::log::Log;

impl HeadSource for Log {
    fn later(&mut self, actor: &str, _: Option<&Head>) -> Option<Head> {
        let (version, sequence) = self.head(actor);
        Some(Head { version, sequence, spine: None })
    }

    fn keep(&mut self, _: &str, _: Head) {}
}

impl Pending {
    /// Stores what waits. What the log refuses is trouble.
    pub fn write_to(&mut self, log: &mut Log) {
        loop {
            while let Some((slot, head)) = self.next_actor(log) {
                let (items, event_bytes) = self.cut(slot, &head);
                let name = &self.actors[slot].name;
                let events: Vec<_> = items.iter().map(|item| item.numbered(name)).collect();
                let flight = self.flight_of(slot, items, head, event_bytes);
                let token = self.fly(flight);
                match log.save(&events) {
                    Ok(position) => self.stored(log, token, position),
                    Err(error) => self.trouble(token, why(&error)),
                }
            }
            self.recognise(log);
            if !self.read_from(log) {
                return;
            }
        }
    }

    /// Ends events that the log has already.
    fn recognise(&mut self, log: &mut Log) {
        let mut others = VecDeque::new();
        while let Some(trouble) = self.troubles(1).pop() {
            let events: Vec<_> = trouble.events.iter().map(|troubled| Arc::clone(&troubled.event)).collect();
            let behind = trouble.why == Why::Behind && trouble.events.iter().all(|troubled| !troubled.is_draft);
            // They are behind, so this only looks for them.
            if behind && let Ok(position) = log.save(&events) {
                let end = Fate::Ended(End { position, ..End::new(Status::AlreadyStored) });
                self.settle(trouble.ticket, &vec![end; events.len()]);
            } else {
                others.push_back(trouble.ticket);
            }
        }
        self.troubles = others;
    }

    /// Reads what actors hold that were not known; false: there were none.
    fn read_from(&mut self, log: &mut Log) -> bool {
        let names = self.headless(usize::MAX);
        for (name, from_version) in &names {
            let fits = self.learn(name, &log.events(name, *from_version, usize::MAX));
            let head = log.later(name, None);
            self.found(name, head.filter(|_| fits));
        }
        !names.is_empty()
    }
}

fn why(error: &Error) -> Why {
    match error {
        Error::TooLarge { size, .. } => Why::TooLarge(*size),
        _ => Why::Refused(0),
    }
}
