//! The driver: reads what an actor holds, asks the log about commits in trouble, and writes what belongs there.

use super::world::{Mode, World};
use super::*;
use crate::commit::Commit;

impl World {
    pub fn read_heads(&mut self, readable: bool) {
        for (actor, from_version) in self.pending.headless(2) {
            let of = |commit: &&Commit| *commit.actor == *actor;
            let events = self.server.log.iter().filter(of).flat_map(|commit| commit.events.clone());
            let events: Vec<_> = events.filter(|event| event.version() >= from_version).collect();
            let fits = self.pending.learn(&actor, &events);
            let stored: usize = self.server.log.iter().map(|commit| commit.events.len()).sum();
            assert!(fits || matches!(self.mode, Mode::SkipKnown(max) if max < stored));
            let head = self.head(&actor);
            self.pending.found(&actor, Some(head).filter(|_| readable && fits));
        }
    }

    /// The driver: asks the log about a commit, and writes what belongs there.
    pub fn resolve(&mut self, max: usize) {
        for trouble in self.pending.troubles(max) {
            let events: Vec<Arc<EventData>> = trouble.events.iter().map(|troubled| Arc::clone(&troubled.event)).collect();
            let actor = events[0].actor().to_owned();
            let fates = match trouble.why {
                Why::Taken(_) | Why::Elsewhere(_) => vec![Fate::Ended(End::new(Status::Conflict))],
                Why::Unread | Why::TooLarge(_) => vec![Fate::Ended(End::new(Status::Failed)); events.len()],
                Why::Behind => self.one_by_one(&actor, &events),
                Why::Silent | Why::Refused(_) | Why::Unheard => self.judge(&actor, &trouble, &events),
            };
            self.heads.put(&actor, self.server.head(&actor).unwrap_or_default());
            assert!(!self.pending.settle(trouble.ticket, &[]), "every event has a fate");
            assert!(self.pending.settle(trouble.ticket, &fates));
            assert!(!self.pending.settle(trouble.ticket, &fates), "only once");
            self.busy.remove(&actor);
        }
    }

    /// A commit that was sent: found, written again, or in conflict.
    fn judge(&mut self, actor: &str, trouble: &Trouble, events: &[Arc<EventData>]) -> Vec<Fate> {
        let head = self.head(actor);
        if events.iter().all(|event| self.server.holds(event) > 0) {
            return vec![Fate::Ended(End::new(Status::AlreadyStored)); events.len()];
        }
        let is_strict = trouble.events[0].is_draft || matches!(self.mode, Mode::SkipKnown(_));
        if events[0].version() > head.version && (!is_strict || head.version == trouble.version) {
            let position = self.write(actor, events.to_vec());
            return vec![Fate::Ended(End { position, ..End::new(Status::Saved) }); events.len()];
        }
        assert!(head.sequence > trouble.guard, "its copies are dead");
        if matches!(self.mode, Mode::SkipKnown(_)) || trouble.events.iter().any(|troubled| troubled.is_draft) {
            return vec![Fate::Again; events.len()];
        }
        self.one_by_one(actor, events)
    }

    fn one_by_one(&mut self, actor: &str, events: &[Arc<EventData>]) -> Vec<Fate> {
        let mut fates = Vec::new();
        for event in events {
            let head = self.head(actor);
            let renumber = self.mode == Mode::Renumber;
            fates.push(if renumber && fates.contains(&Fate::Renumber) {
                Fate::Again
            } else if event.version() == 0 {
                let numbered = Arc::new(event.numbered(actor, head.version + 1));
                let position = self.write(actor, vec![numbered]);
                Fate::Ended(End { status: Status::Saved, version: head.version + 1, position, key: 0 })
            } else if self.server.holds(event) > 0 {
                Fate::Ended(End::new(Status::AlreadyStored))
            } else if event.version() > head.version {
                let position = self.write(actor, vec![Arc::clone(event)]);
                Fate::Ended(End { position, ..End::new(Status::Saved) })
            } else if renumber {
                Fate::Renumber
            } else {
                Fate::Ended(End::new(Status::Conflict))
            });
        }
        fates
    }
}
