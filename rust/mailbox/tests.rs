#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::marks::{DAMAGED_MAX, REASON_BYTES_MAX};
use super::*;
use crate::event::Parts;

/// An event with a payload of so many bytes.
fn event(version: u64, bytes: usize) -> Arc<EventData> {
    let payload = vec![0; bytes];
    Arc::new(EventData::new(&Parts { version, payload: &payload, ..Parts::EXAMPLE }))
}

fn delivery(version: u64, bytes: usize) -> Delivery {
    Delivery { event: event(version, bytes), context: None }
}

fn queue(events: usize, bytes: usize, policy: Policy) -> Queue {
    Queue { bounds: Bounds { events, bytes }, policy, ..Queue::default() }
}

fn error() -> Error {
    Error::decode(3, "altered")
}

/// What came out, as the tests compare it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Out {
    Event(u64),
    Lagged(u64),
    Interrupted(String),
    Damaged(u64),
}

fn told(mark: Mark) -> Out {
    match mark {
        Mark::Lagged(count) => Out::Lagged(count),
        Mark::Interrupted(interruption) => Out::Interrupted(interruption.reason),
        Mark::Damaged(damage) => Out::Damaged(damage.more),
    }
}

/// One thing, or nothing.
fn one(queue: &mut Queue) -> Option<Out> {
    queue.rest();
    match queue.take_one() {
        Next::Given(delivery) => Some(Out::Event(delivery.event.version())),
        Next::Mark(mark) => Some(told(mark)),
        Next::Nothing => None,
    }
}

fn batch(queue: &mut Queue, limit: usize) -> Vec<Out> {
    match queue.take(limit) {
        Next::Given(taken) => taken.iter().map(|delivery| Out::Event(delivery.event.version())).collect(),
        Next::Mark(mark) => vec![told(mark)],
        Next::Nothing => Vec::new(),
    }
}

fn all(queue: &mut Queue) -> Vec<Out> {
    std::iter::from_fn(|| one(queue)).collect()
}

/// What a mailbox does, told as plainly as it can be: one list, searched from its beginning.
#[derive(Debug, Default)]
struct Model {
    /// What waits; an event with its size, an interruption with its reasons' holders.
    items: Vec<(Out, usize, Vec<u64>)>,
    missed: u64,
}

impl Model {
    fn is_event(item: &(Out, usize, Vec<u64>)) -> bool {
        matches!(item.0, Out::Event(_))
    }

    fn has_room(&self, bounds: Bounds, size: usize) -> bool {
        let events = self.items.iter().filter(|item| Self::is_event(item));
        events.clone().count() < bounds.events && events.map(|item| item.1).sum::<usize>() + size <= bounds.bytes
    }

    fn offer(&mut self, bounds: Bounds, policy: Policy, version: u64, size: usize) {
        while policy == Policy::DropOldest && size <= bounds.bytes && !self.has_room(bounds, size) {
            let oldest = self.items.iter().position(Self::is_event).unwrap();
            self.items.remove(oldest);
            self.missed += 1;
        }
        if self.has_room(bounds, size) {
            self.items.push((Out::Event(version), size, vec![]));
            return;
        }
        self.missed += 1;
        match self.items.last_mut() {
            _ if policy == Policy::DropOldest => {}
            Some((Out::Lagged(count), ..)) => *count += 1,
            _ => self.items.push((Out::Lagged(1), 0, vec![])),
        }
    }

    fn interrupt(&mut self, token: u64) {
        let first = self.items.iter().position(Self::is_event).unwrap_or(self.items.len());
        let mut index = 1;
        while index < self.items.iter().position(Self::is_event).unwrap_or(self.items.len()) {
            let both = [index - 1, index].map(|at| matches!(self.items[at].0, Out::Interrupted(_)));
            if both == [true, true] {
                let (_, _, holders) = self.items.remove(index);
                self.items[index - 1].2.extend(holders);
            } else {
                index += 1;
            }
        }
        assert!(index <= first.max(1));
        match self.items.last_mut() {
            Some((Out::Interrupted(_), _, holders)) => holders.push(token),
            _ => self.items.push((Out::Interrupted("lost".to_owned()), 0, vec![token])),
        }
    }

    fn one(&mut self) -> Option<Out> {
        let is_held = self.items.first().is_none_or(|(_, _, holders)| !holders.is_empty());
        (!is_held).then(|| self.items.remove(0).0)
    }

    fn batch(&mut self, limit: usize) -> Vec<Out> {
        let events = self.items.iter().take_while(|item| Self::is_event(item)).count().min(limit);
        if events > 0 {
            return self.items.drain(..events).map(|item| item.0).collect();
        }
        if self.items.first().is_some_and(|item| !Self::is_event(item)) { self.one().into_iter().collect() } else { vec![] }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Offer(usize),
    Damage,
    Interrupt,
    Resume(u64),
    One,
    Batch(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0_usize..120).prop_map(Step::Offer),
        1 => Just(Step::Damage),
        2 => Just(Step::Interrupt),
        2 => (1_u64..12).prop_map(Step::Resume),
        4 => Just(Step::One),
        2 => (0_usize..5).prop_map(Step::Batch),
    ]
}

fn policy() -> impl Strategy<Value = Policy> {
    prop_oneof![Just(Policy::Error), Just(Policy::DropOldest), Just(Policy::Block)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_mailbox_does_as_its_model(
        steps in proptest::collection::vec(step(), 1..80), events in 1_usize..6, bytes in 100_usize..900, policy in policy()
    ) {
        let (mut real, mut model) = (queue(events, bytes, policy), Model::default());
        let (mut offered, mut given, mut damaged) = (0, 0, 0);
        for step in steps {
            match step {
                Step::Offer(size) => {
                    offered += 1;
                    let delivery = delivery(offered, size);
                    model.offer(real.bounds, policy, offered, delivery.event.wire_size_bound());
                    real.offer(delivery);
                }
                Step::Damage => {
                    damaged += 1;
                    real.damage("s", &error());
                    model.items.push((Out::Damaged(0), 0, vec![]));
                }
                Step::Interrupt => model.interrupt(real.interrupt("lost")),
                Step::Resume(token) => {
                    real.resume(token);
                    model.items.iter_mut().for_each(|(_, _, holders)| holders.retain(|&holder| holder != token));
                }
                Step::One => {
                    let next = real.has_next();
                    let out = one(&mut real);
                    prop_assert_eq!(next, out.is_some());
                    given += u64::from(matches!(out, Some(Out::Event(_))));
                    prop_assert_eq!(out, model.one());
                }
                Step::Batch(limit) => {
                    let out = batch(&mut real, limit);
                    given += out.iter().filter(|out| matches!(out, Out::Event(_))).count() as u64;
                    prop_assert_eq!(out, model.batch(limit));
                }
            }
            let waiting: Vec<_> = model.items.iter().filter(|item| Model::is_event(item)).collect();
            prop_assert_eq!((real.delivered, real.missed, real.damaged), (given, model.missed, damaged));
            prop_assert_eq!(offered, real.delivered + real.missed + real.pending() as u64);
            prop_assert_eq!(real.pending(), waiting.len());
            prop_assert_eq!(real.pending_bytes(), waiting.iter().map(|item| item.1).sum::<usize>());
            prop_assert!(real.pending() <= events && real.pending_bytes() <= bytes);
        }
    }

    #[test]
    fn what_lags_is_missing_exactly_where_its_mark_stands(
        takes in proptest::collection::vec((0_u64..9, 0_usize..9), 1..40), events in 1_usize..6
    ) {
        let mut queue = queue(events, 1 << 20, Policy::Error);
        let (mut offered, mut reached) = (0, 0);
        for (offer, take) in takes {
            for _ in 0..offer {
                offered += 1;
                queue.offer(delivery(offered, 1));
            }
            for out in std::iter::repeat_with(|| one(&mut queue)).take(take).flatten() {
                match out {
                    Out::Event(version) => {
                        prop_assert_eq!(version, reached + 1);
                        reached += 1;
                    }
                    Out::Lagged(count) => reached += count,
                    other => prop_assert!(false, "{:?}", other),
                }
            }
        }
        for out in all(&mut queue) {
            match out {
                Out::Lagged(count) => reached += count,
                _ => reached += 1,
            }
        }
        prop_assert_eq!(reached, offered);
    }
}

#[test]
fn an_event_larger_than_the_mailbox_is_missed_under_every_policy() {
    for (policy, marks) in [(Policy::Error, 1), (Policy::Block, 1), (Policy::DropOldest, 0)] {
        let mut queue = queue(10, 300, policy);
        queue.offer(delivery(1, 10));
        queue.offer(delivery(2, 400));
        queue.offer(delivery(3, 10));
        let expected = [Out::Event(1), Out::Lagged(1), Out::Event(3)];
        let expected: Vec<Out> = expected.into_iter().filter(|out| marks == 1 || *out != Out::Lagged(1)).collect();
        assert_eq!((all(&mut queue), queue.missed), (expected, 1), "{policy:?}");
    }
}

#[test]
fn nothing_comes_out_behind_an_interruption_until_all_who_hold_it_let_go() {
    let mut queue = queue(10, 1 << 20, Policy::Error);
    queue.offer(delivery(1, 1));
    let (first, second) = (queue.interrupt("the connection"), queue.interrupt("a server"));
    queue.offer(delivery(2, 1));
    assert_eq!(all(&mut queue), [Out::Event(1)]);
    assert!(!queue.has_next() && batch(&mut queue, 9).is_empty());
    queue.resume(first);
    assert_eq!(all(&mut queue), []);
    queue.resume(second);
    assert!(queue.has_next());
    assert_eq!(all(&mut queue), [Out::Interrupted("the connection; a server".to_owned()), Out::Event(2)]);
}

#[test]
fn interruptions_with_events_between_are_told_each_in_its_place() {
    let mut queue = queue(10, 1 << 20, Policy::Error);
    let first = queue.interrupt("one");
    queue.offer(delivery(1, 1));
    let second = queue.interrupt("two");
    queue.resume(second);
    assert_eq!(all(&mut queue), []);
    queue.resume(first);
    let expected = [Out::Interrupted("one".to_owned()), Out::Event(1), Out::Interrupted("two".to_owned())];
    assert_eq!(all(&mut queue), expected);
}

#[test]
fn marks_stay_few_whatever_happens_while_nobody_reads() {
    let mut queue = queue(2, 1 << 20, Policy::DropOldest);
    for version in 1..=1000 {
        let token = queue.interrupt(&format!("reason {version}"));
        queue.resume(token);
        queue.damage("s", &error());
        queue.offer(delivery(version, 1));
    }
    let marks = queue.marks.list.len();
    assert!(marks <= 2 * DAMAGED_MAX + 5, "{marks} marks");
    let told = all(&mut queue);
    let damaged: u64 = told.iter().map(|out| if let Out::Damaged(more) = out { more + 1 } else { 0 }).sum();
    assert_eq!((damaged, queue.damaged, queue.missed, queue.delivered), (1000, 1000, 998, 2));
    assert!(told.iter().all(|out| !matches!(out, Out::Interrupted(reason) if reason.len() > REASON_BYTES_MAX + 20)));
}

#[test]
fn what_was_told_makes_room_for_further_damage() {
    let mut queue = queue(2, 1 << 20, Policy::Error);
    (0..=DAMAGED_MAX).for_each(|_| queue.damage("s", &error()));
    let told = all(&mut queue);
    assert_eq!((told.len(), told.last()), (DAMAGED_MAX, Some(&Out::Damaged(1))));
    queue.damage("s", &error());
    assert_eq!(all(&mut queue), [Out::Damaged(0)]);
}

#[test]
fn others_have_their_turn_after_so_many_in_a_row() {
    let mut queue = queue(2000, 1 << 20, Policy::Error);
    (1..=600).for_each(|version| queue.offer(delivery(version, 1)));
    let mut run = || std::iter::from_fn(|| matches!(queue.take_one(), Next::Given(_)).then_some(())).count();
    assert_eq!([run(), run(), run(), run()], [256, 256, 88, 0]);
}

#[test]
fn a_closed_mailbox_gives_what_waits_and_takes_nothing() {
    let mut queue = queue(2, 1 << 20, Policy::Error);
    queue.offer(delivery(1, 1));
    queue.interrupt("lost");
    queue.close();
    queue.offer(delivery(2, 1));
    queue.damage("s", &error());
    queue.miss();
    queue.interrupt("again");
    assert!(!queue.is_ended());
    assert_eq!(all(&mut queue), [Out::Event(1), Out::Interrupted("lost".to_owned())]);
    assert!(queue.is_ended() && !queue.has_next());
    assert_eq!((queue.delivered, queue.missed, queue.damaged), (1, 0, 0));
}

#[test]
fn what_is_cleared_is_not_counted() {
    let mut queue = queue(2, 1 << 20, Policy::Error);
    (1..=3).for_each(|version| queue.offer(delivery(version, 1)));
    queue.damage("s", &error());
    queue.clear();
    assert_eq!((queue.pending(), queue.pending_bytes(), queue.missed, queue.has_next()), (0, 0, 1, false));
    queue.offer(delivery(4, 1));
    assert_eq!(all(&mut queue), [Out::Event(4)]);
}

#[test]
fn an_empty_mailbox_keeps_no_memory_of_its_longest_day() {
    let mut queue = queue(1 << 20, 1 << 30, Policy::Error);
    (1..=100_000).for_each(|version| queue.offer(delivery(version, 1)));
    while !batch(&mut queue, 1000).is_empty() {}
    assert!(queue.events.capacity() <= KEPT_EVENTS);
}

#[test]
fn a_full_mailbox_is_known_without_the_event() {
    for policy in [Policy::Error, Policy::Block] {
        let mut queue = queue(1, 1 << 20, policy);
        assert!(!queue.refuses_all());
        queue.offer(delivery(1, 1));
        assert!(queue.refuses_all());
    }
    let mut dropping = queue(1, 1 << 20, Policy::DropOldest);
    dropping.offer(delivery(1, 1));
    assert!(!dropping.refuses_all());
    assert_eq!(event(1, 1).wire_size_bound(), EVENT_BYTES_MIN, "the smallest event");
}
