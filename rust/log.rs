//! The in-memory store's index: events by actor, versions, positions, and the latest snapshot of each actor.

use std::collections::HashMap;
use std::sync::Arc;

use crate::commit::{Commit, check_events, check_room};
use crate::error::{Error, Result};
use crate::event::EventData;
use crate::snapshot::SnapshotData;

/// What one commit may take beside its events in bytes: the frame, the longest actor id and a full spine.
const FRAME_BYTES: usize = 400;

#[derive(Debug)]
struct Entry {
    event: Arc<EventData>,
    position: u64,
}

#[derive(Debug, Default)]
struct Actor {
    entries: Vec<Entry>,
    snapshot: Option<Arc<SnapshotData>>,
}

impl Actor {
    fn latest(&self) -> u64 {
        self.entries.last().map_or(0, |entry| entry.event.version())
    }

    fn extend(&mut self, events: &[Arc<EventData>], position: u64) {
        self.entries.extend(events.iter().map(|event| Entry { event: Arc::clone(event), position }));
    }

    /// The index of the first event at `version` or beyond.
    fn from(&self, version: u64) -> usize {
        self.entries.partition_point(|entry| entry.event.version() < version)
    }

    /// The position of an equal event.
    fn stored(&self, event: &EventData) -> Option<u64> {
        let entry = self.entries.get(self.from(event.version()))?;
        (*entry.event == *event).then_some(entry.position)
    }
}

#[derive(Debug)]
pub struct Log {
    actors: HashMap<Box<str>, Actor>,
    position: u64,
    events: usize,
    max_events: usize,
    commit_bytes_max: usize,
}

impl Log {
    pub fn new(max_events: usize, commit_bytes_max: usize) -> Self {
        Self { actors: HashMap::new(), position: 0, events: 0, max_events, commit_bytes_max }
    }

    pub fn len(&self) -> usize {
        self.events
    }

    pub fn is_empty(&self) -> bool {
        self.events == 0
    }

    pub fn actors(&self) -> usize {
        self.actors.values().filter(|actor| !actor.entries.is_empty()).count()
    }

    /// Stores events of one actor, versions strictly increasing, as one commit; returns its position.
    pub fn save(&mut self, events: &[Arc<EventData>]) -> Result<u64> {
        let first = check_events(events)?;
        self.check_size(events)?;
        let room = self.room(events.len());
        match self.actors.get_mut(first.actor()) {
            Some(actor) if first.version() <= actor.latest() => {
                let stored: Option<Vec<u64>> = events.iter().map(|event| actor.stored(event)).collect();
                let position = stored.and_then(|positions| positions.last().copied());
                return position.ok_or(Error::Conflict { expected: first.version() - 1, actual: actor.latest() });
            }
            Some(actor) => actor.extend(events, room?),
            None => self.actors.entry(first.actor().into()).or_default().extend(events, room?),
        }
        Ok(self.added(events.len()))
    }

    /// Numbers `drafts` from the latest version on and stores them as one commit; returns version and position.
    pub fn append(&mut self, actor: &str, drafts: &[Arc<EventData>], expected: Option<u64>) -> Result<(u64, u64)> {
        if drafts.is_empty() {
            return Err(Error::Misuse("a commit has at least one event"));
        }
        let latest = self.latest(actor);
        if let Some(expected) = expected
            && expected != latest
        {
            return Err(Error::Conflict { expected, actual: latest });
        }
        check_room(latest, drafts.len())?;
        let events: Vec<_> = drafts.iter().zip(1..).map(|(draft, step)| Arc::new(draft.numbered(actor, latest + step))).collect();
        self.check_size(&events)?;
        let position = self.room(events.len())?;
        self.actors.entry(actor.into()).or_default().extend(&events, position);
        Ok((latest + events.len() as u64, self.added(events.len())))
    }

    /// The position of the next commit, if there is room for so many events.
    fn room(&self, events: usize) -> Result<u64> {
        if self.events + events > self.max_events {
            return Err(Error::Full { max_events: self.max_events });
        }
        Ok(self.position + 1)
    }

    /// Counts a commit of so many events, and returns its position.
    fn added(&mut self, events: usize) -> u64 {
        self.events += events;
        self.position += 1;
        self.position
    }

    /// The commit as `JetStream` would hold it must fit; the exact size is counted only when it may not.
    fn check_size(&self, events: &[Arc<EventData>]) -> Result<()> {
        let bound = FRAME_BYTES + events.iter().map(|event| event.wire_size_bound()).sum::<usize>();
        if bound <= self.commit_bytes_max {
            return Ok(());
        }
        let commit = Commit {
            actor: events.first().map_or("", |event| event.actor()).to_owned(),
            events: events.to_vec(),
            spine: Some(Vec::new()),
            ..Commit::default()
        };
        let size = commit.encode().len();
        if size > self.commit_bytes_max {
            return Err(Error::TooLarge { size, limit: self.commit_bytes_max });
        }
        Ok(())
    }

    pub fn latest(&self, actor: &str) -> u64 {
        self.actors.get(actor).map_or(0, Actor::latest)
    }

    /// The events from `from_version` on, at most `limit`.
    pub fn events(&self, actor: &str, from_version: u64, limit: usize) -> Vec<Arc<EventData>> {
        let Some(actor) = self.actors.get(actor) else { return Vec::new() };
        let entries = &actor.entries[actor.from(from_version)..];
        entries.iter().take(limit).map(|entry| Arc::clone(&entry.event)).collect()
    }

    /// Keeps the snapshot unless a later one is kept; refuses one that runs ahead of the actor's events.
    pub fn save_snapshot(&mut self, snapshot: Arc<SnapshotData>) -> Result<()> {
        let latest = self.latest(&snapshot.actor);
        let size = snapshot.payload.len() + FRAME_BYTES;
        if size > self.commit_bytes_max {
            return Err(Error::TooLarge { size, limit: self.commit_bytes_max });
        }
        match self.actors.get_mut(snapshot.actor.as_str()) {
            Some(actor) if snapshot.version <= latest => {
                if actor.snapshot.as_ref().is_none_or(|kept| kept.version <= snapshot.version) {
                    actor.snapshot = Some(snapshot);
                }
                Ok(())
            }
            _ => Err(Error::Conflict { expected: snapshot.version, actual: latest }),
        }
    }

    pub fn snapshot(&self, actor: &str) -> Option<Arc<SnapshotData>> {
        self.actors.get(actor)?.snapshot.clone()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::event::{Id, Parts};

    fn event(actor: &str, version: u64, id: &str) -> Arc<EventData> {
        Arc::new(EventData::new(&Parts {
            id: Id::Text(id),
            actor,
            kind: "T",
            version,
            time_ns: 0,
            payload: &[0xc0],
            meta: &[],
            extra: &[],
            extra_pairs: 0,
        }))
    }

    #[test]
    fn versions_increase_and_equal_events_are_recognised() {
        let mut log = Log::new(usize::MAX, 1 << 20);
        assert_eq!(log.save(&[event("a", 1, "x")]), Ok(1));
        assert_eq!(log.save(&[event("a", 5, "y"), event("a", 7, "z")]), Ok(2));
        assert_eq!(log.save(&[event("a", 1, "x")]), Ok(1));
        assert_eq!(log.save(&[event("a", 7, "z")]), Ok(2));
        assert_eq!(log.save(&[event("a", 7, "other")]), Err(Error::Conflict { expected: 6, actual: 7 }));
        assert_eq!(log.save(&[event("a", 6, "z")]), Err(Error::Conflict { expected: 5, actual: 7 }));
        assert_eq!(log.save(&[event("a", 7, "z"), event("a", 8, "new")]), Err(Error::Conflict { expected: 6, actual: 7 }));
        assert_eq!(log.append("a", &[event("", 0, "w")], Some(7)), Ok((8, 3)));
        assert_eq!(log.append("a", &[event("", 0, "w")], Some(7)), Err(Error::Conflict { expected: 7, actual: 8 }));
        assert_eq!(log.events("a", 5, 2).iter().map(|event| event.version()).collect::<Vec<_>>(), [5, 7]);
    }

    #[test]
    fn an_append_never_numbers_past_the_last_version() {
        let mut log = Log::new(usize::MAX, 1 << 20);
        log.save(&[event("a", u64::MAX - 1, "x")]).unwrap();
        let draft = || event("", 0, "w");
        assert!(matches!(log.append("a", &[draft(), draft()], None), Err(Error::Misuse(_))));
        assert_eq!(log.append("a", &[draft()], None), Ok((u64::MAX, 2)));
        assert!(matches!(log.append("a", &[draft()], None), Err(Error::Misuse(_))));
        assert_eq!(log.latest("a"), u64::MAX);
    }

    #[test]
    fn bounds_refuse_and_leave_everything_as_it_was() {
        let mut log = Log::new(2, 600);
        log.save(&[event("a", 1, "x")]).unwrap();
        assert_eq!(log.save(&[event("a", 2, "y"), event("a", 3, "z")]), Err(Error::Full { max_events: 2 }));
        let large = Arc::new(EventData::new(&Parts { payload: &[0; 600], ..event("b", 1, "x").parts() }));
        assert!(matches!(log.save(&[large]), Err(Error::TooLarge { limit: 600, .. })));
        assert_eq!((log.len(), log.latest("a"), log.latest("b")), (1, 1, 0));
    }
}
