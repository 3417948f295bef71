//! A model of everything around the bookkeeping: a server that keeps guards, a network that loses, delays and repeats, and a
//! driver that resolves trouble from the log. Whatever the course: one commit in flight per actor, nothing lost, nothing twice.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::num::NonZeroUsize;

use proptest::prelude::*;

use super::sending::{GUARD, header_bytes};
use super::*;
use crate::acks::acked;
use crate::commit::Commit;
use crate::event::{Id, Parts};
use crate::frames::publish;
use crate::heads::Heads;
use crate::msgpack::write;
use crate::roots::Root;
use crate::shard::shard_of;
use crate::token;

const BOUNDS: Bounds = Bounds {
    pending: 40,
    pending_bytes: 1 << 20,
    in_flight: 3,
    in_flight_bytes: 1 << 20,
    commit_events: 4,
    group_bytes: 1 << 20,
    commit_bytes: 1 << 20,
    frames_bytes: 1 << 18,
};

fn event(actor: &str, version: u64, id: &str, size: usize) -> Arc<EventData> {
    let mut payload = Vec::new();
    write::str(&mut payload, &"x".repeat(size));
    Arc::new(EventData::new(&Parts {
        id: Id::parse(id),
        actor,
        kind: "Happened",
        version,
        time_ns: 1,
        payload: &payload,
        meta: &[],
        extra: &[],
        extra_pairs: 0,
    }))
}

fn heads(capacity: usize) -> Heads {
    Heads::new(NonZeroUsize::new(capacity).unwrap())
}

/// What the server holds: every commit in order.
#[derive(Default)]
struct Server {
    log: Vec<Commit>,
}

impl Server {
    fn head(&self, actor: &str) -> Option<Head> {
        let (at, commit) = self.log.iter().enumerate().rfind(|(_, commit)| commit.actor == actor)?;
        Some(Head::of(commit, at as u64 + 1))
    }

    /// Stores the commit if the guard holds, and answers.
    fn publish(&mut self, guard: u64, commit: Commit) -> String {
        if self.head(&commit.actor).map_or(0, |head| head.sequence) != guard {
            return r#"{"error":{"code":400,"err_code":10071},"stream":"S","seq":0}"#.to_owned();
        }
        self.log.push(commit);
        format!(r#"{{"stream":"S", "seq":{}}}"#, self.log.len())
    }

    fn holds(&self, event: &EventData) -> usize {
        self.log.iter().flat_map(|commit| &commit.events).filter(|stored| ***stored == *event).count()
    }
}

/// A copy of a commit on its way.
#[derive(Clone)]
struct Copy {
    token: u64,
    guard: u64,
    body: Vec<u8>,
}

/// How a pipeline treats what it meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Plain,
    Renumber,
    SkipKnown(usize),
}

struct World {
    mode: Mode,
    pending: Pending,
    heads: Heads,
    server: Server,
    network: Vec<Copy>,
    /// Copies that were taken for lost; they may still arrive.
    late: Vec<Copy>,
    /// What was put, in order, with its actor.
    put: Vec<(String, Arc<EventData>)>,
    ended: Vec<Outcome>,
    busy: HashMap<String, u64>,
}

impl World {
    fn new(heads_max: usize, mode: Mode) -> Self {
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
    fn put(&mut self, actor: u8, version: u64) {
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
    fn put_again(&mut self, index: usize, changed: bool) {
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

    fn send(&mut self) {
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
    fn deliver(&mut self, at: usize, heard: bool) {
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
    fn deliver_late(&mut self, at: usize) {
        if !self.late.is_empty() {
            let copy = self.late[at % self.late.len()].clone();
            let answer = self.server.publish(copy.guard, Commit::decode(&copy.body).unwrap());
            self.answered(copy.token, &answer);
        }
    }

    fn lose(&mut self) {
        self.late.append(&mut self.network);
        self.pending.lose(None, false);
    }

    fn head(&self, actor: &str) -> Head {
        self.server.head(actor).unwrap_or_else(Head::new_actor)
    }

    /// Stores a commit on top of what there is, as another writer does.
    fn write(&mut self, actor: &str, events: Vec<Arc<EventData>>) -> u64 {
        let head = self.head(actor);
        let version = events.last().unwrap().version();
        let commit = Commit { actor: actor.to_owned(), events, version, spine: head.spine, ..Commit::default() };
        acked(self.server.publish(head.sequence, commit).as_bytes(), b"S").unwrap()
    }

    /// Somebody else writes to an actor: something of their own, or with another run of the same input, what was put here.
    fn intrude(&mut self, actor: u8, version: u64) {
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
    fn stored(&self, actor: &str, event: &EventData) -> Option<u64> {
        let of = |commit: &&Commit| commit.actor == actor;
        let mut events = self.server.log.iter().filter(of).flat_map(|commit| &commit.events);
        events.find(|stored| stored.parts().id == event.parts().id).map(|stored| stored.version())
    }

    fn read_heads(&mut self, readable: bool) {
        for (actor, from_version) in self.pending.headless(2) {
            let of = |commit: &&Commit| *commit.actor == *actor;
            let events = self.server.log.iter().filter(of).flat_map(|commit| commit.events.clone());
            let events: Vec<_> = events.filter(|event| event.version() >= from_version).collect();
            let fits = self.pending.learn(&actor, &events);
            assert!(fits || matches!(self.mode, Mode::SkipKnown(max) if max < self.server.log.len()));
            let head = self.head(&actor);
            self.pending.found(&actor, Some(head).filter(|_| readable && fits));
        }
    }

    /// The driver: asks the log about a commit, and writes what belongs there.
    fn resolve(&mut self, max: usize) {
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

    fn check(&mut self) {
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
    fn listen(&mut self, max: usize) {
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
    fn settle(&mut self) {
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
fn shown(event: &EventData) -> String {
    let parts = event.parts();
    format!("{:?} {}", parts.id, parts.time_ns)
}

#[derive(Debug, Clone)]
enum Step {
    Put(u8, u64),
    PutAgain(usize, bool),
    Send,
    Deliver(usize, bool),
    Late(usize),
    Lose,
    Tick,
    Intrude(u8, u64),
    ReadHeads(bool),
    Resolve(usize),
    Listen(usize),
    Drop,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..4_u8, 1..9_u64).prop_map(|(actor, version)| Step::Put(actor, version)),
        4 => (0..6_u8).prop_map(|actor| Step::Put(actor, 0)),
        1 => (0..40_usize, proptest::bool::weighted(0.2)).prop_map(|(index, changed)| Step::PutAgain(index, changed)),
        4 => Just(Step::Send),
        4 => (0..4_usize, proptest::bool::weighted(0.8)).prop_map(|(at, heard)| Step::Deliver(at, heard)),
        2 => (0..20_usize).prop_map(Step::Late),
        1 => Just(Step::Lose),
        1 => Just(Step::Tick),
        1 => (0..4_u8, 1..9_u64).prop_map(|(actor, version)| Step::Intrude(actor, version)),
        2 => proptest::bool::weighted(0.8).prop_map(Step::ReadHeads),
        2 => (1..3_usize).prop_map(Step::Resolve),
        1 => (1..9_usize).prop_map(Step::Listen),
    ];
    proptest::collection::vec(prop_oneof![60 => step, 1 => Just(Step::Drop)], 0..120)
}

fn modes() -> impl Strategy<Value = Mode> {
    prop_oneof![Just(Mode::Plain), Just(Mode::Renumber), (1..20_usize).prop_map(Mode::SkipKnown), Just(Mode::SkipKnown(1000))]
}

proptest! {
    #[test]
    fn every_event_ends_once_and_is_stored_at_most_once(steps in steps(), heads_max in 1..6_usize, mode in modes()) {
        let mut world = World::new(heads_max, mode);
        for step in steps {
            match step {
                Step::Put(actor, version) => world.put(actor, version),
                Step::PutAgain(index, changed) => world.put_again(index, changed),
                Step::Send => world.send(),
                Step::Deliver(at, heard) => world.deliver(at, heard),
                Step::Late(at) => world.deliver_late(at),
                Step::Lose => world.lose(),
                Step::Tick => { world.pending.tick(1); }
                Step::Intrude(actor, version) => world.intrude(actor, version),
                Step::ReadHeads(readable) => world.read_heads(readable),
                Step::Resolve(max) => world.resolve(max),
                Step::Listen(max) => world.listen(max),
                Step::Drop => { world.pending.drop_queued(0); }
            }
            world.check();
        }
        world.settle();
        world.check();
        while let Some(copy) = world.late.pop() {
            world.server.publish(copy.guard, Commit::decode(&copy.body).unwrap());
        }
        world.check();
        let mut ids: HashMap<_, u64> = HashMap::new();
        for event in world.server.log.iter().flat_map(|commit| &commit.events) {
            *ids.entry((event.actor(), event.parts().id)).or_default() += 1;
        }
        prop_assert!(ids.values().all(|count| *count == 1), "an id is stored twice");
        // Each time that an event was put ended in one way, and what that says is so.
        for Outcome { actor, event, end } in &world.ended {
            match end.status {
                Status::Saved | Status::AlreadyStored => {
                    prop_assert_eq!(world.server.holds(event), 1, "{:?} {:?}", event, end);
                    if end.position > 0 {
                        let commit = &world.server.log[usize::try_from(end.position).unwrap() - 1];
                        prop_assert!(commit.events.contains(event));
                    }
                }
                Status::Conflict => prop_assert_eq!(world.server.holds(event), 0),
                // What is put several times may be stored by another time.
                Status::Failed | Status::Unknown => {
                    let times = world.put.iter().filter(|(its, other)| *its == **actor && shown(other) == shown(event)).count();
                    prop_assert!(times > 1 || world.stored(actor, event).is_none() || matches!(mode, Mode::SkipKnown(_)));
                }
            }
        }
        // Drafts of one actor are stored in the order in which they were put.
        if !matches!(mode, Mode::SkipKnown(_)) {
            for number in 0..6 {
                let actor = format!("a{number}");
                let drafts = world.put.iter().filter(|(its, event)| *its == actor && event.version() == 0);
                let versions: Vec<u64> = drafts.filter_map(|(_, event)| world.stored(&actor, event)).collect();
                prop_assert!(versions.is_sorted(), "{actor} {versions:?}");
            }
        }
        // Where only drafts are put there are no gaps.
        for actor in ["a4", "a5"] {
            let head = world.head(actor).version;
            let count = world.server.log.iter().filter(|commit| commit.actor == actor).map(|commit| commit.events.len()).sum::<usize>();
            prop_assert_eq!(head, count as u64);
        }
    }
}

#[test]
fn a_frame_holds_guard_reply_and_the_commit_as_it_is_encoded() {
    let (mut pending, mut heads) = (Pending::new("n", "S", BOUNDS), heads(4));
    heads.put("a b", Head { version: 4, sequence: 77, spine: Some(vec![Root { sequence: 77, size: 1 }]) });
    let event = event("a b", 5, "e", 2);
    pending.put(Arc::clone(&event), 0);
    let mut out = Vec::new();
    pending.frames(&mut heads, "in.", &mut out);
    let spine = Some(vec![Root { sequence: 77, size: 1 }]);
    let body = Commit { actor: "a b".into(), events: vec![event], version: 5, spine, ..Commit::default() }.encode();
    let mut expected = Vec::new();
    let (token, shard) = (1 << PLACE_BITS, shard_of("a=20b"));
    publish(&mut expected, &format!("aether.n.{shard}.a=20b"), &format!("in.{token}"), &[(GUARD, "77")], &body);
    assert_eq!(out, expected);
    pending.answer(&mut heads, token, 0, br#"{"stream":"S","seq":90}"#);
    assert_eq!(pending.counts().settled, Tally { saved: 1, ..Tally::default() });
    assert_eq!(heads.get("a b").map(|head| (head.version, head.sequence)), Some((5, 90)));
}

#[test]
fn what_is_no_plain_ack_is_trouble() {
    for (status, answer, why) in [
        (0, r#"{"error":{"code":400,"err_code":10071}}"#, Why::Refused(10071)),
        (0, r#"{"error":{"code":503,"err_code":10077}}"#, Why::Refused(10077)),
        (0, r#"{"stream":"other","seq":9}"#, Why::Refused(0)),
        (0, r#"{"stream":"S","seq":5}"#, Why::Refused(0)),
        (0, "garbage", Why::Refused(0)),
        (503, "", Why::Unheard),
    ] {
        let (mut pending, mut heads) = (Pending::new("n", "S", BOUNDS), heads(4));
        heads.put("a", Head { version: 1, sequence: 5, spine: None });
        pending.put(event("a", 2, "e", 1), 0);
        let token = pending.messages(&mut heads)[0].1;
        pending.answer(&mut heads, token, status, answer.as_bytes());
        pending.answer(&mut heads, token, 0, br#"{"stream":"S","seq":9}"#);
        let troubles = pending.troubles(9);
        assert_eq!(troubles.iter().map(|trouble| (trouble.why, trouble.guard)).collect::<Vec<_>>(), [(why, 5)], "{answer}");
        assert_eq!(pending.counts().settled, Tally::default());
    }
}

#[test]
fn a_commit_is_split_before_it_is_too_large() {
    let (mut pending, mut heads) = (Pending::new("n", "S", BOUNDS), heads(4));
    pending.set_commit_bytes(2000);
    for (version, size) in [(1, 600), (2, 600), (3, 600), (4, 3000), (5, 10)] {
        pending.put(event("a", version, "e", size), 0);
    }
    let mut versions = Vec::new();
    while pending.pending() > 0 {
        for (_, token, guard, body, _) in pending.messages(&mut heads) {
            assert!(body.len() + header_bytes(guard) <= 2000);
            versions.push(Commit::decode(&body).unwrap().events.iter().map(|event| event.version()).collect::<Vec<_>>());
            pending.answer(&mut heads, token, 0, format!(r#"{{"stream":"S","seq":{}}}"#, guard + 1).as_bytes());
        }
        for trouble in pending.troubles(9) {
            assert!(matches!(trouble.why, Why::TooLarge(size) if size > 3000));
            versions.push(vec![0]);
            assert!(pending.settle(trouble.ticket, &[Fate::Ended(End::new(Status::Failed))]));
        }
    }
    assert_eq!(versions, [vec![1, 2], vec![3], vec![0], vec![5]]);
}

#[test]
fn a_denied_subject_loses_what_was_sent_there() {
    let (mut pending, mut heads) = (Pending::new("n", "S", BOUNDS), heads(4));
    pending.put(event("A", 1, "e", 1), 0);
    pending.put(event("b", 1, "e", 1), 0);
    let subject = pending.messages(&mut heads)[0].0.to_ascii_lowercase();
    for other in ["", "aether.n.", "aether.n.1.a", "aether.m.1.a", &subject[..subject.len() - 1], &format!("{subject}b")] {
        assert_eq!(pending.lose(Some(other), true), 0, "{other}");
    }
    assert_eq!(pending.lose(Some(&subject), true), 1);
    assert_eq!(pending.troubles(9).iter().map(|trouble| trouble.why).collect::<Vec<_>>(), [Why::Unheard]);
    assert_eq!(pending.lose(None, false), 1);
}

#[test]
fn a_commit_is_not_silent_while_earlier_ones_are_answered() {
    let (mut pending, mut heads) = (Pending::new("n", "S", BOUNDS), heads(4));
    for actor in ["a", "b", "c"] {
        pending.put(event(actor, 1, "e", 1), 0);
    }
    let tokens: Vec<u64> = pending.messages(&mut heads).iter().map(|message| message.1).collect();
    let answer = |pending: &mut Pending, heads: &mut Heads, at: usize| {
        pending.answer(heads, tokens[at], 0, format!(r#"{{"stream":"S","seq":{}}}"#, at + 1).as_bytes());
    };
    for _ in 0..4 {
        assert_eq!(pending.tick(4), 0);
    }
    answer(&mut pending, &mut heads, 0);
    for _ in 0..4 {
        assert_eq!(pending.tick(4), 0);
    }
    answer(&mut pending, &mut heads, 2);
    assert_eq!(pending.tick(4), 1, "a later one is answered");
    assert_eq!(pending.troubles(9).iter().map(|trouble| trouble.ticket).collect::<Vec<_>>(), [tokens[1]]);
}

#[test]
fn a_commit_is_silent_where_nothing_is_answered() {
    let (mut pending, mut heads) = (Pending::new("n", "S", BOUNDS), heads(4));
    pending.put(event("a", 1, "e", 1), 0);
    pending.messages(&mut heads);
    assert_eq!((0..6).map(|_| pending.tick(4)).collect::<Vec<_>>(), [0, 0, 0, 0, 1, 0]);
}

/// A bookkeeping that goes in line, and the mark of one shard's fence.
fn in_line() -> (Pending, Heads, Arc<Mark>) {
    let mut pending = Pending::new("n", "S", Bounds { in_flight: 100, ..BOUNDS });
    pending.go_in_line();
    let mark = Arc::new(Mark::default());
    mark.set_last(9);
    mark.set_key(1);
    mark.set_open(true);
    (pending, heads(100), mark)
}

/// Ids of so many actors of one shard.
fn neighbours(shard: u32, count: usize) -> Vec<String> {
    (0..).map(|number| format!("a{number}")).filter(|name| shard_of(name) == shard).take(count).collect()
}

fn ack(position: u64) -> Vec<u8> {
    format!(r#"{{"stream":"S","seq":{position}}}"#).into_bytes()
}

#[test]
fn a_shard_has_one_commit_on_its_way_and_its_fence_moves_with_each_ack() {
    let (mut pending, mut heads, mark) = in_line();
    let names = neighbours(5, 3);
    for name in &names {
        heads.put(&format!("1 {name}"), Head::new_actor());
        pending.put(event(name, 1, "e", 1), 0);
    }
    assert!(pending.messages(&mut heads).is_empty(), "nothing goes out without the fence");
    assert_eq!((pending.wanted(), pending.wanted()), (vec![5], vec![]));
    pending.lend(5, Arc::clone(&mark), 4, false);
    for position in 10..13 {
        let mut sent = pending.messages(&mut heads);
        assert_eq!(sent.len(), 1);
        let (_, token, guard, body, guarded) = sent.remove(0);
        assert_eq!((guard, guarded.as_deref()), (position - 1, Some("aether.n.5.>")));
        assert_eq!(Commit::decode(&body).unwrap().epoch, Some(4));
        assert!(pending.messages(&mut heads).is_empty());
        pending.answer(&mut heads, token, 0, &ack(position));
        assert_eq!(mark.last(), position);
    }
    assert_eq!((pending.returned(), pending.pending()), (vec![5], 0));
}

#[test]
fn a_shard_that_is_recalled_or_lent_for_one_commit_goes_back_and_is_wanted_again() {
    for once in [true, false] {
        let (mut pending, mut heads, mark) = in_line();
        for name in &neighbours(5, 2) {
            heads.put(&format!("1 {name}"), Head::new_actor());
            pending.put(event(name, 1, "e", 1), 0);
        }
        pending.wanted();
        pending.lend(5, Arc::clone(&mark), 4, once);
        let token = pending.messages(&mut heads)[0].1;
        if !once {
            pending.recall(Some(5));
        }
        assert!(pending.returned().is_empty(), "a commit is on its way");
        pending.answer(&mut heads, token, 0, &ack(10));
        assert_eq!((pending.returned(), pending.wanted()), (vec![5], vec![5]));
        assert!(pending.messages(&mut heads).is_empty());
        assert_eq!(pending.drop_shard(5, 0).len(), 1);
        assert_eq!((pending.pending(), pending.queued()), (0, 0));
        pending.put(event(&neighbours(5, 1)[0], 1, "later", 1), 0);
        assert_eq!(pending.wanted(), [5], "what was refused is asked for again");
    }
}

#[test]
fn what_is_recalled_before_it_was_used_sends_one_commit_first_unless_that_cannot_go_out() {
    let (mut pending, mut heads, mark) = in_line();
    for name in &neighbours(5, 3) {
        heads.put(&format!("1 {name}"), Head::new_actor());
        pending.put(event(name, 1, "e", 1), 0);
    }
    pending.wanted();
    pending.lend(5, Arc::clone(&mark), 4, false);
    pending.recall(Some(5));
    assert!(pending.returned().is_empty(), "two who recall each other at once would never send");
    let token = pending.messages(&mut heads)[0].1;
    pending.answer(&mut heads, token, 0, &ack(10));
    assert_eq!((pending.returned(), pending.wanted()), (vec![5], vec![5]));
    for all in [false, true] {
        pending.lend(5, Arc::clone(&mark), 4, false);
        pending.let_go_unsent();
        assert!(pending.returned().is_empty(), "nobody else wants it");
        pending.recall((!all).then_some(5));
        pending.let_go_unsent();
        assert_eq!((pending.returned(), pending.wanted()), (vec![5], vec![5]));
    }
}

#[test]
fn a_fence_that_closes_lets_nothing_more_out_and_another_key_finds_no_head() {
    let (mut pending, mut heads, mark) = in_line();
    let name = neighbours(5, 1).remove(0);
    heads.put(&format!("1 {name}"), Head::new_actor());
    pending.put(event(&name, 1, "e", 1), 0);
    pending.wanted();
    pending.lend(5, Arc::clone(&mark), 4, false);
    mark.set_open(false);
    assert!(pending.messages(&mut heads).is_empty());
    assert_eq!((pending.returned(), pending.wanted()), (vec![5], vec![5]));
    mark.set_open(true);
    mark.set_key(2);
    pending.lend(5, mark, 4, false);
    assert!(pending.messages(&mut heads).is_empty());
    assert_eq!(pending.headless(9).len(), 1);
}

#[test]
fn a_shard_in_trouble_keeps_its_line_and_a_commit_that_is_found_counts_as_stored() {
    let (mut pending, mut heads, mark) = in_line();
    let names = neighbours(5, 2);
    for name in &names {
        heads.put(&format!("1 {name}"), Head::new_actor());
        pending.put(event(name, 1, "e", 1), 0);
    }
    pending.wanted();
    pending.lend(5, Arc::clone(&mark), 4, false);
    let (subject, token, guard, body, _) = pending.messages(&mut heads).remove(0);
    pending.answer(&mut heads, token, 0, br#"{"error":{"code":400,"err_code":10071},"stream":"S","seq":0}"#);
    let ticket = pending.troubles(9)[0].ticket;
    assert_eq!(pending.copy(ticket), Some((subject, guard, body)), "the very bytes that were sent");
    assert!(pending.messages(&mut heads).is_empty());
    assert!(pending.found_at(&mut heads, ticket, 10));
    assert_eq!((pending.counts().settled.saved, mark.last()), (1, 10));
    assert_eq!(pending.messages(&mut heads)[0].2, 10);
    assert!(!pending.found_at(&mut heads, ticket, 11));
}
