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

struct World {
    pending: Pending,
    heads: Heads,
    server: Server,
    network: Vec<Copy>,
    /// Copies that were taken for lost; they may still arrive.
    late: Vec<Copy>,
    put: Vec<Arc<EventData>>,
    busy: HashMap<String, u64>,
}

impl World {
    fn new(heads_max: usize) -> Self {
        Self {
            pending: Pending::new("n", "S", BOUNDS),
            heads: heads(heads_max),
            server: Server::default(),
            network: Vec::new(),
            late: Vec::new(),
            put: Vec::new(),
            busy: HashMap::new(),
        }
    }

    fn put(&mut self, actor: u8, version: u64) {
        if self.pending.room().0 > 0 {
            let event = event(&format!("a{actor}"), version, &format!("id-{}", self.put.len()), 3);
            self.put.push(Arc::clone(&event));
            self.pending.put(event);
        }
    }

    /// The same event again.
    fn put_again(&mut self, index: usize) {
        if self.pending.room().0 > 0 && !self.put.is_empty() {
            let event = Arc::clone(&self.put[index % self.put.len()]);
            self.put.push(Arc::clone(&event));
            self.pending.put(event);
        }
    }

    fn send(&mut self) {
        for (subject, token, guard, body) in self.pending.messages(&mut self.heads) {
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

    /// Somebody else writes to an actor.
    fn intrude(&mut self, actor: u8, version: u64) {
        let name = format!("a{actor}");
        let head = self.server.head(&name).unwrap_or_else(Head::new_actor);
        if version > head.version {
            let events = vec![event(&name, version, &format!("theirs-{}", self.server.log.len()), 1)];
            let commit = Commit { actor: name, events, version, spine: head.spine, ..Commit::default() };
            self.server.publish(head.sequence, commit);
        }
    }

    fn read_heads(&mut self, readable: bool) {
        for actor in self.pending.headless(2) {
            let head = self.server.head(&actor).or_else(|| Some(Head::new_actor()));
            self.pending.found(&actor, head.filter(|_| readable));
        }
    }

    /// The driver: asks the log about each event, and writes what belongs there.
    fn resolve(&mut self, max: usize) {
        for trouble in self.pending.troubles(max) {
            let mut tally = Tally::default();
            let actor = trouble.events[0].actor().to_owned();
            for event in &trouble.events {
                let head = self.server.head(&actor).unwrap_or_else(Head::new_actor);
                if self.server.holds(event) > 0 {
                    tally.already_stored += 1;
                } else if event.version() > head.version {
                    let events = vec![Arc::clone(event)];
                    let commit =
                        Commit { actor: actor.clone(), events, version: event.version(), spine: head.spine, ..Commit::default() };
                    assert!(acked(self.server.publish(head.sequence, commit).as_bytes(), b"S").is_some());
                    tally.saved += 1;
                } else {
                    tally.conflicts += 1;
                }
                if let Some(head) = self.server.head(&actor) {
                    self.heads.put(&actor, head);
                }
            }
            assert!(!self.pending.settle(trouble.ticket, &Tally::default()), "every event has an end");
            assert!(self.pending.settle(trouble.ticket, &tally));
            assert!(!self.pending.settle(trouble.ticket, &tally), "only once");
            self.busy.remove(&actor);
        }
    }

    fn check(&mut self) {
        let counts = self.pending.counts();
        assert_eq!(counts.put, self.put.len() as u64);
        assert_eq!(counts.put, counts.settled.total() + self.pending.pending());
        assert!(self.pending.pending() <= BOUNDS.pending as u64);
        let mut versions: HashMap<&str, u64> = HashMap::new();
        for event in self.server.log.iter().flat_map(|commit| &commit.events) {
            assert!(versions.insert(event.actor(), event.version()).unwrap_or(0) < event.version());
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
            if self.pending.is_settled(mark) {
                break;
            }
        }
        assert!(self.pending.is_settled(mark));
        assert_eq!((self.pending.pending(), self.pending.queued(), self.pending.counts().in_flight), (0, 0, 0));
        assert_eq!((self.pending.held_bytes, self.pending.in_flight_bytes, self.pending.index.len()), (0, 0, 0));
    }
}

#[derive(Debug, Clone)]
enum Step {
    Put(u8, u64),
    PutAgain(usize),
    Send,
    Deliver(usize, bool),
    Late(usize),
    Lose,
    Tick,
    Intrude(u8, u64),
    ReadHeads(bool),
    Resolve(usize),
    Drop,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..4_u8, 1..9_u64).prop_map(|(actor, version)| Step::Put(actor, version)),
        1 => (0..40_usize).prop_map(Step::PutAgain),
        4 => Just(Step::Send),
        4 => (0..4_usize, proptest::bool::weighted(0.8)).prop_map(|(at, heard)| Step::Deliver(at, heard)),
        2 => (0..20_usize).prop_map(Step::Late),
        1 => Just(Step::Lose),
        1 => Just(Step::Tick),
        1 => (0..4_u8, 1..9_u64).prop_map(|(actor, version)| Step::Intrude(actor, version)),
        2 => proptest::bool::weighted(0.8).prop_map(Step::ReadHeads),
        2 => (1..3_usize).prop_map(Step::Resolve),
    ];
    proptest::collection::vec(prop_oneof![60 => step, 1 => Just(Step::Drop)], 0..120)
}

proptest! {
    #[test]
    fn every_event_ends_once_and_is_stored_at_most_once(steps in steps(), heads_max in 1..6_usize) {
        let mut world = World::new(heads_max);
        let mut dropped = Vec::new();
        for step in steps {
            match step {
                Step::Put(actor, version) => world.put(actor, version),
                Step::PutAgain(index) => world.put_again(index),
                Step::Send => world.send(),
                Step::Deliver(at, heard) => world.deliver(at, heard),
                Step::Late(at) => world.deliver_late(at),
                Step::Lose => world.lose(),
                Step::Tick => { world.pending.tick(1); }
                Step::Intrude(actor, version) => world.intrude(actor, version),
                Step::ReadHeads(readable) => world.read_heads(readable),
                Step::Resolve(max) => world.resolve(max),
                Step::Drop => dropped.append(&mut world.pending.drop_queued()),
            }
            world.check();
        }
        world.settle();
        world.check();
        while let Some(copy) = world.late.pop() {
            world.server.publish(copy.guard, Commit::decode(&copy.body).unwrap());
        }
        world.check();
        let tally = world.pending.counts().settled;
        prop_assert_eq!((tally.failed, tally.unknown), (dropped.len() as u64, 0));
        // Each time that an event was put ended in one way, and a late copy of a conflict is never stored.
        let there = |events: &[Arc<EventData>]| events.iter().filter(|event| world.server.holds(event) > 0).count() as u64;
        prop_assert!(world.put.iter().all(|event| world.server.holds(event) <= 1));
        prop_assert_eq!(tally.saved + tally.already_stored, there(&world.put) - there(&dropped));
    }
}

#[test]
fn a_frame_holds_guard_reply_and_the_commit_as_it_is_encoded() {
    let (mut pending, mut heads) = (Pending::new("n", "S", BOUNDS), heads(4));
    heads.put("a b", Head { version: 4, sequence: 77, spine: Some(vec![Root { sequence: 77, size: 1 }]) });
    let event = event("a b", 5, "e", 2);
    pending.put(Arc::clone(&event));
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
        pending.put(event("a", 2, "e", 1));
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
        pending.put(event("a", version, "e", size));
    }
    let mut versions = Vec::new();
    while pending.pending() > 0 {
        for (_, token, guard, body) in pending.messages(&mut heads) {
            assert!(body.len() + header_bytes(guard) <= 2000);
            versions.push(Commit::decode(&body).unwrap().events.iter().map(|event| event.version()).collect::<Vec<_>>());
            pending.answer(&mut heads, token, 0, format!(r#"{{"stream":"S","seq":{}}}"#, guard + 1).as_bytes());
        }
        for trouble in pending.troubles(9) {
            assert!(matches!(trouble.why, Why::TooLarge(size) if size > 3000));
            versions.push(vec![0]);
            assert!(pending.settle(trouble.ticket, &Tally { failed: 1, ..Tally::default() }));
        }
    }
    assert_eq!(versions, [vec![1, 2], vec![3], vec![0], vec![5]]);
}

#[test]
fn a_denied_subject_loses_what_was_sent_there() {
    let (mut pending, mut heads) = (Pending::new("n", "S", BOUNDS), heads(4));
    pending.put(event("A", 1, "e", 1));
    pending.put(event("b", 1, "e", 1));
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
        pending.put(event(actor, 1, "e", 1));
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
    pending.put(event("a", 1, "e", 1));
    pending.messages(&mut heads);
    assert_eq!((0..6).map(|_| pending.tick(4)).collect::<Vec<_>>(), [0, 0, 0, 0, 1, 0]);
}
