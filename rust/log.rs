//! The in-memory store's index: events by actor, versions, positions, their order, and the latest snapshot of each actor.

use std::collections::HashMap;
use std::sync::Arc;

use crate::commit::{Commit, check_events, check_room};
use crate::error::{Error, Result};
use crate::event::EventData;
use crate::filter::Filter;
use crate::snapshot::SnapshotData;

/// What one commit may take beside its events in bytes: the frame, the longest actor id and a full spine.
const FRAME_BYTES: usize = 400;

/// How many commits one page looks at, so that no caller holds the log for long.
const PAGE_COMMITS: usize = 1 << 16;

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

    /// The index of the first event behind `position`.
    fn behind(&self, position: u64) -> usize {
        self.entries.partition_point(|entry| entry.position <= position)
    }

    /// The events of the commit whose first is at `index`.
    fn commit(&self, index: usize) -> &[Entry] {
        let rest = &self.entries[index..];
        rest.chunk_by(|one, next| one.position == next.position).next().unwrap_or_default()
    }

    /// The position of an equal event.
    fn stored(&self, event: &EventData) -> Option<u64> {
        let entry = self.entries.get(self.from(event.version()))?;
        (*entry.event == *event).then_some(entry.position)
    }
}

/// Where a commit's events are: 8 bytes for each position. Numbers of 32 bits are enough, as so many events fill 900 GB.
#[derive(Debug, Clone, Copy)]
struct Place {
    actor: u32,
    entry: u32,
}

/// Events of whole commits in position order, and the position up to which that is everything.
#[derive(Debug, PartialEq, Eq)]
pub struct Page<T> {
    pub events: Vec<T>,
    pub position: u64,
}

#[derive(Debug)]
pub struct Log {
    numbers: HashMap<Box<str>, u32>,
    actors: Vec<Actor>,
    /// By position, from 1 on.
    order: Vec<Place>,
    events: usize,
    max_events: usize,
    commit_bytes_max: usize,
}

impl Log {
    pub fn new(max_events: usize, commit_bytes_max: usize) -> Self {
        let max_events = max_events.min(u32::MAX as usize);
        Self { numbers: HashMap::new(), actors: Vec::new(), order: Vec::new(), events: 0, max_events, commit_bytes_max }
    }

    pub fn len(&self) -> usize {
        self.events
    }

    pub fn is_empty(&self) -> bool {
        self.events == 0
    }

    pub fn actors(&self) -> usize {
        self.actors.len()
    }

    /// The position of the last commit; 0: there is none.
    pub fn position(&self) -> u64 {
        self.order.len() as u64
    }

    fn actor(&self, actor: &str) -> Option<&Actor> {
        self.numbers.get(actor).map(|&number| &self.actors[number as usize])
    }

    /// Stores events of one actor, versions strictly increasing, as one commit; returns its position.
    pub fn save(&mut self, events: &[Arc<EventData>]) -> Result<u64> {
        let first = check_events(events)?;
        self.check_size(events)?;
        if let Some(actor) = self.actor(first.actor())
            && first.version() <= actor.latest()
        {
            let stored: Option<Vec<u64>> = events.iter().map(|event| actor.stored(event)).collect();
            let position = stored.and_then(|positions| positions.last().copied());
            return position.ok_or(Error::Conflict { expected: first.version() - 1, actual: actor.latest() });
        }
        self.add(first.actor(), events)
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
        Ok((latest + events.len() as u64, self.add(actor, &events)?))
    }

    /// Adds a commit, if there is room for it, and returns its position.
    #[allow(clippy::cast_possible_truncation)] // `max_events` fits 32 bits, and there are no more actors or entries than events
    fn add(&mut self, name: &str, events: &[Arc<EventData>]) -> Result<u64> {
        if events.len() > self.max_events - self.events {
            return Err(Error::Full { max_events: self.max_events });
        }
        let number = self.numbers.get(name).copied().unwrap_or_else(|| {
            self.actors.push(Actor::default());
            let number = self.actors.len() as u32 - 1;
            self.numbers.insert(name.into(), number);
            number
        });
        let (actor, position) = (&mut self.actors[number as usize], self.order.len() as u64 + 1);
        self.order.push(Place { actor: number, entry: actor.entries.len() as u32 });
        actor.extend(events, position);
        self.events += events.len();
        Ok(position)
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
        self.actor(actor).map_or(0, Actor::latest)
    }

    /// The actor's latest version and the position of its last commit; 0 and 0: it has none.
    pub fn head(&self, actor: &str) -> (u64, u64) {
        let last = self.actor(actor).and_then(|actor| actor.entries.last());
        last.map_or((0, 0), |entry| (entry.event.version(), entry.position))
    }

    /// The events from `from_version` on, at most `limit`.
    pub fn events(&self, actor: &str, from_version: u64, limit: usize) -> Vec<Arc<EventData>> {
        let Some(actor) = self.actor(actor) else { return Vec::new() };
        let entries = &actor.entries[actor.from(from_version)..];
        entries.iter().take(limit).map(|entry| Arc::clone(&entry.event)).collect()
    }

    /// The events that `filter` takes of whole commits behind `after`, up to and with the one at `through`: at most `limit`
    /// events, unless the first commit alone has more, and of a bounded number of commits.
    pub fn page(&self, after: u64, through: u64, limit: usize, filter: &Filter) -> Page<Arc<EventData>> {
        self.page_of(after, through, limit, filter, |_, event| Arc::clone(event))
    }

    /// The same page, each event with its position.
    pub fn placed_page(&self, after: u64, through: u64, limit: usize, filter: &Filter) -> Page<(u64, Arc<EventData>)> {
        self.page_of(after, through, limit, filter, |position, event| (position, Arc::clone(event)))
    }

    fn page_of<T>(
        &self,
        after: u64,
        through: u64,
        limit: usize,
        filter: &Filter,
        item: impl Fn(u64, &Arc<EventData>) -> T,
    ) -> Page<T> {
        if let Some(name) = filter.actor() {
            let Some(actor) = self.actor(name).filter(|_| filter.takes_actor(name)) else {
                return Page { events: Vec::new(), position: through };
            };
            let mut index = actor.behind(after);
            let commits = std::iter::from_fn(|| {
                let commit = actor.commit(index);
                index += commit.len();
                commit.first().map(|entry| (entry.position, commit))
            });
            return page(commits, after, through, limit, filter, item);
        }
        let after_index = usize::try_from(after).unwrap_or(usize::MAX).min(self.order.len());
        let commits = self.order[after_index..].iter().zip(after.saturating_add(1)..).map(|(place, position)| {
            let commit = self.actors[place.actor as usize].commit(place.entry as usize);
            let taken = commit.first().is_some_and(|entry| filter.takes_actor(entry.event.actor()));
            (position, if taken { commit } else { &[] })
        });
        page(commits, after, through, limit, filter, item)
    }

    /// Keeps the snapshot unless a later one is kept; refuses one that runs ahead of the actor's events.
    pub fn save_snapshot(&mut self, snapshot: Arc<SnapshotData>) -> Result<()> {
        let latest = self.latest(&snapshot.actor);
        let size = snapshot.payload.len() + FRAME_BYTES;
        if size > self.commit_bytes_max {
            return Err(Error::TooLarge { size, limit: self.commit_bytes_max });
        }
        match self.numbers.get(snapshot.actor.as_str()) {
            Some(&number) if snapshot.version <= latest => {
                let actor = &mut self.actors[number as usize];
                if actor.snapshot.as_ref().is_none_or(|kept| kept.version <= snapshot.version) {
                    actor.snapshot = Some(snapshot);
                }
                Ok(())
            }
            _ => Err(Error::Conflict { expected: snapshot.version, actual: latest }),
        }
    }

    pub fn snapshot(&self, actor: &str) -> Option<Arc<SnapshotData>> {
        self.actor(actor)?.snapshot.clone()
    }
}

/// Fills a page from commits in position order.
fn page<'a, T>(
    commits: impl Iterator<Item = (u64, &'a [Entry])>,
    after: u64,
    through: u64,
    limit: usize,
    filter: &Filter,
    item: impl Fn(u64, &Arc<EventData>) -> T,
) -> Page<T> {
    let (mut events, mut read_to) = (Vec::new(), after);
    for (index, (position, commit)) in commits.take_while(|(position, _)| *position <= through).enumerate() {
        let before = events.len();
        let wanted = commit.iter().map(|entry| &entry.event).filter(|event| filter.takes_event(event));
        events.extend(wanted.map(|event| item(position, event)));
        if before > 0 && events.len() > limit {
            events.truncate(before);
            return Page { events, position: read_to };
        }
        read_to = position;
        if events.len() >= limit || index + 1 == PAGE_COMMITS {
            return Page { events, position: read_to };
        }
    }
    Page { events, position: through }
}

#[cfg(test)]
mod tests;
