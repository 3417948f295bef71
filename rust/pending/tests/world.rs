//! Everything around the bookkeeping: a server that keeps guards, and a network that loses, delays and repeats.

use std::collections::HashMap;

use super::*;
use crate::acks::acked;
use crate::commit::Commit;
use crate::shard::shard_of;
use crate::token;

/// What the server holds: every commit in order.
#[derive(Default)]
pub struct Server {
    pub log: Vec<Commit>,
}

impl Server {
    pub fn head(&self, actor: &str) -> Option<Head> {
        let (at, commit) = self.log.iter().enumerate().rfind(|(_, commit)| commit.actor == actor)?;
        Some(Head::of(commit, at as u64 + 1))
    }

    /// Stores the commit if the guard holds, and answers.
    pub fn publish(&mut self, guard: u64, commit: Commit) -> String {
        if self.head(&commit.actor).map_or(0, |head| head.sequence) != guard {
            return r#"{"error":{"code":400,"err_code":10071},"stream":"S","seq":0}"#.to_owned();
        }
        self.log.push(commit);
        format!(r#"{{"stream":"S", "seq":{}}}"#, self.log.len())
    }

    pub fn holds(&self, event: &EventData) -> usize {
        self.log.iter().flat_map(|commit| &commit.events).filter(|stored| ***stored == *event).count()
    }
}

/// A copy of a commit on its way.
#[derive(Clone)]
pub struct Copy {
    pub token: u64,
    pub guard: u64,
    pub body: Vec<u8>,
}

/// How a pipeline treats what it meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Plain,
    Renumber,
    SkipKnown(usize),
}

pub struct World {
    pub mode: Mode,
    pub pending: Pending,
    pub heads: Heads,
    pub server: Server,
    network: Vec<Copy>,
    /// Copies that were taken for lost; they may still arrive.
    pub late: Vec<Copy>,
    /// What was put, in order, with its actor.
    pub put: Vec<(String, Arc<EventData>)>,
    pub ended: Vec<Outcome>,
    pub busy: HashMap<String, u64>,
}

impl World {
    pub fn new(heads_max: usize, mode: Mode) -> Self {
        let mut pending = Pending::new("n", "S", BOUNDS);
        pending.tell_outcomes();
        if let Mode::SkipKnown(ids_max) = mode {
            pending.skip_known(ids_max);
        }
        Self {
            mode,
            pending,
            heads: heads(heads_max),
            server: Server::default(),
            network: Vec::new(),
            late: Vec::new(),
            put: Vec::new(),
            ended: Vec::new(),
            busy: HashMap::new(),
        }
    }

    /// Version 0: a draft.
    pub fn put(&mut self, actor: u8, version: u64) {
        let (name, id) = (format!("a{actor}"), format!("id-{}", self.put.len()));
        let event = if version == 0 { Arc::new(event("", 0, &id, 3).draft()) } else { event(&name, version, &id, 3) };
        self.put_this(&name, event);
    }

    fn put_this(&mut self, actor: &str, event: Arc<EventData>) {
        if self.pending.room().0 == 0 {
            return;
        }
        self.put.push((actor.to_owned(), Arc::clone(&event)));
        let tag = self.put.len() as u64;
        if event.version() == 0 {
            self.pending.put_draft(actor, event, tag);
        } else {
            self.pending.put(event, tag);
        }
    }

    /// The same event again; a draft only where its id tells that it is the same, and perhaps with other content.
    pub fn put_again(&mut self, index: usize, changed: bool) {
        if self.put.is_empty() {
            return;
        }
        let (actor, event) = self.put[index % self.put.len()].clone();
        if !matches!(self.mode, Mode::SkipKnown(_)) {
            if event.version() > 0 && self.mode == Mode::Plain {
                self.put_this(&actor, event);
            }
        } else if changed {
            self.put_this(&actor, Arc::new(EventData::new(&Parts { time_ns: 2, ..event.parts() })));
        } else {
            self.put_this(&actor, event);
        }
    }

    pub fn send(&mut self) {
        for (subject, token, guard, body, _) in self.pending.messages(&mut self.heads) {
            let commit = Commit::decode(&body).unwrap();
            assert!(commit.events.len() <= BOUNDS.commit_events);
            let name = token::encode(&commit.actor);
            assert_eq!(subject, format!("aether.n.{}.{name}", shard_of(&name)));
            assert!(self.busy.insert(commit.actor.clone(), token).is_none(), "two commits of one actor in flight");
            self.network.push(Copy { token, guard, body });
        }
        assert!(self.busy.len() <= BOUNDS.in_flight);
    }

    fn answered(&mut self, token: u64, answer: &str) {
        self.pending.answer(&mut self.heads, token, 0, answer.as_bytes());
        if acked(answer.as_bytes(), b"S").is_some() {
            self.busy.retain(|_, busy| *busy != token);
        }
    }

    /// A copy arrives; its answer comes back, or not.
    pub fn deliver(&mut self, at: usize, heard: bool) {
        if !self.network.is_empty() {
            let copy = self.network.remove(at % self.network.len());
            let answer = self.server.publish(copy.guard, Commit::decode(&copy.body).unwrap());
            self.late.push(copy.clone());
            if heard {
                self.answered(copy.token, &answer);
            }
        }
    }

    /// A copy that was taken for lost, or was delivered before, arrives (again), and is answered.
    pub fn deliver_late(&mut self, at: usize) {
        if !self.late.is_empty() {
            let copy = self.late[at % self.late.len()].clone();
            let answer = self.server.publish(copy.guard, Commit::decode(&copy.body).unwrap());
            self.answered(copy.token, &answer);
        }
    }

    pub fn lose(&mut self) {
        self.late.append(&mut self.network);
        self.pending.lose(None, false);
    }

    pub fn head(&self, actor: &str) -> Head {
        self.server.head(actor).unwrap_or_else(Head::new_actor)
    }

    /// Stores a commit on top of what there is, as another writer does.
    pub fn write(&mut self, actor: &str, events: Vec<Arc<EventData>>) -> u64 {
        let head = self.head(actor);
        let version = events.last().unwrap().version();
        let commit = Commit { actor: actor.to_owned(), events, version, spine: head.spine, ..Commit::default() };
        acked(self.server.publish(head.sequence, commit).as_bytes(), b"S").unwrap()
    }

    /// Somebody else writes to an actor: something of their own, or with another run of the same input, what was put here.
    pub fn intrude(&mut self, actor: u8, version: u64) {
        let name = format!("a{actor}");
        let head = self.head(&name);
        let mine =
            self.put.iter().rfind(|(its, event)| *its == name && event.version() == 0 && self.stored(&name, event).is_none());
        if let (Mode::SkipKnown(_), Some((_, draft))) = (self.mode, mine) {
            let event = Arc::new(draft.numbered(&name, head.version + 1));
            self.write(&name, vec![event]);
        } else if version > head.version {
            self.write(&name, vec![event(&name, version, &format!("theirs-{}", self.server.log.len()), 1)]);
        }
    }

    /// The versions at which the event's id is stored.
    pub fn stored(&self, actor: &str, event: &EventData) -> Option<u64> {
        let of = |commit: &&Commit| commit.actor == actor;
        let mut events = self.server.log.iter().filter(of).flat_map(|commit| &commit.events);
        events.find(|stored| stored.parts().id == event.parts().id).map(|stored| stored.version())
    }

    pub fn check(&mut self) {
        let counts = self.pending.counts();
        assert_eq!(counts.put, self.put.len() as u64);
        assert_eq!(counts.put, counts.settled.total() + self.pending.pending());
        let untold = self.pending.told.as_ref().map_or(0, |told| told.outcomes.len());
        assert!(self.pending.pending() + untold as u64 <= BOUNDS.pending as u64);
        assert_eq!((untold + self.ended.len()) as u64, counts.settled.total());
        let mut versions: HashMap<&str, u64> = HashMap::new();
        for event in self.server.log.iter().flat_map(|commit| &commit.events) {
            assert!(versions.insert(event.actor(), event.version()).unwrap_or(0) < event.version());
        }
    }

    /// Reads outcomes. Everything up to the settled tag has one.
    pub fn listen(&mut self, max: usize) {
        self.ended.append(&mut self.pending.outcomes(max));
        if self.pending.told.as_ref().is_some_and(|told| told.outcomes.is_empty()) {
            let mut left: HashMap<_, i64> = HashMap::new();
            for outcome in &self.ended {
                *left.entry((outcome.actor.to_string(), shown(&outcome.event))).or_default() += 1;
            }
            let settled = usize::try_from(self.pending.settled_tag()).unwrap();
            for (actor, event) in &self.put[..settled] {
                let count = left.entry((actor.clone(), shown(event))).or_default();
                *count -= 1;
                assert!(*count >= 0, "{event:?} has no outcome");
            }
        }
    }

    /// Lets everything come to its end.
    pub fn settle(&mut self) {
        let mark = self.pending.mark();
        for _ in 0..1000 {
            self.send();
            while !self.network.is_empty() {
                self.deliver(0, true);
            }
            self.pending.tick(0);
            self.pending.tick(0);
            self.read_heads(true);
            self.resolve(usize::MAX);
            self.listen(usize::MAX);
            if self.pending.is_settled(mark) {
                break;
            }
        }
        assert!(self.pending.is_settled(mark));
        assert_eq!((self.pending.pending(), self.pending.queued(), self.pending.counts().in_flight), (0, 0, 0));
        assert_eq!((self.pending.held_bytes, self.pending.in_flight_bytes, self.pending.index.len()), (0, 0, 0));
        assert_eq!(self.pending.told.as_ref().unwrap().bytes, 0);
        assert!(self.pending.actors.iter().all(|actor| actor.queue_bytes == 0));
        assert_eq!(self.pending.settled_tag(), self.put.len() as u64);
    }
}

/// What tells two events apart wherever they are stored.
pub fn shown(event: &EventData) -> String {
    let parts = event.parts();
    format!("{:?} {}", parts.id, parts.time_ns)
}
