//! Whatever the course: one commit in flight per actor, nothing lost, nothing twice.

use std::collections::HashMap;

use proptest::prelude::*;

use super::world::{Mode, World, shown};
use super::*;
use crate::commit::Commit;

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
        no_id_is_stored_twice(&world);
        what_outcomes_say_is_so(&world);
        drafts_are_stored_in_the_order_in_which_they_were_put(&world);
        where_only_drafts_are_put_there_are_no_gaps(&world);
    }
}

fn no_id_is_stored_twice(world: &World) {
    let mut ids: HashMap<_, u64> = HashMap::new();
    for event in world.server.log.iter().flat_map(|commit| &commit.events) {
        *ids.entry((event.actor(), event.parts().id)).or_default() += 1;
    }
    assert!(ids.values().all(|count| *count == 1), "an id is stored twice");
}

/// Each time that an event was put ended in one way.
fn what_outcomes_say_is_so(world: &World) {
    for Outcome { actor, event, end } in &world.ended {
        match end.status {
            Status::Saved | Status::AlreadyStored => {
                assert_eq!(world.server.holds(event), 1, "{event:?} {end:?}");
                if end.position > 0 {
                    let commit = &world.server.log[usize::try_from(end.position).unwrap() - 1];
                    assert!(commit.events.contains(event));
                }
            }
            Status::Conflict => assert_eq!(world.server.holds(event), 0),
            // What is put several times may be stored by another time.
            Status::Failed | Status::Unknown => {
                let times = world.put.iter().filter(|(its, other)| *its == **actor && shown(other) == shown(event)).count();
                assert!(times > 1 || world.stored(actor, event).is_none() || matches!(world.mode, Mode::SkipKnown(_)));
            }
        }
    }
}

fn drafts_are_stored_in_the_order_in_which_they_were_put(world: &World) {
    // Others store some of those, in an order of their own.
    if matches!(world.mode, Mode::SkipKnown(_)) {
        return;
    }
    for number in 0..6 {
        let actor = format!("a{number}");
        let drafts = world.put.iter().filter(|(its, event)| *its == actor && event.version() == 0);
        let versions: Vec<u64> = drafts.filter_map(|(_, event)| world.stored(&actor, event)).collect();
        assert!(versions.is_sorted(), "{actor} {versions:?}");
    }
}

fn where_only_drafts_are_put_there_are_no_gaps(world: &World) {
    for actor in ["a4", "a5"] {
        let head = world.head(actor).version;
        let count: usize = world.server.log.iter().filter(|commit| commit.actor == actor).map(|commit| commit.events.len()).sum();
        assert_eq!(head, count as u64);
    }
}
