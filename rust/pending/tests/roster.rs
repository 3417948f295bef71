//! Rosters: who is in a shard is never taken for new, whatever was begun, filled and dropped meanwhile.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::token;

const ROOM: usize = 1 << 20;

fn open_mark() -> Arc<Mark> {
    let mark = Arc::new(Mark::default());
    mark.set_last(9);
    mark.set_key(1);
    mark.set_open(true);
    mark
}

/// What can happen to a shard, by the number of an actor.
#[derive(Debug, Clone)]
enum Step {
    Begin,
    Fill,
    End,
    Pass(u8),
    Key,
    Foreign(u8),
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Begin),
        3 => Just(Step::Fill),
        1 => Just(Step::End),
        8 => any::<u8>().prop_map(Step::Pass),
        1 => Just(Step::Key),
        1 => any::<u8>().prop_map(Step::Foreign),
        1 => Just(Step::Close),
    ]
}

proptest! {
    #[test]
    fn who_is_in_the_shard_is_never_new_and_who_is_not_is_new_once_it_was_listed(steps in prop::collection::vec(step(), 0..60)) {
        let (mark, budget) = (open_mark(), Arc::new(Budget::new(ROOM)));
        // Who is there; a listing that is under way: its serial number, and who was there when it began.
        let (mut there, mut listing, mut whole) = (HashSet::new(), None, false);
        let token = |number: u8| token::encode(&format!("ä {number}"));
        for (at, step) in (10..).zip(steps) {
            let held = mark.has_roster();
            match step {
                Step::Begin => {
                    listing = Some((mark.begin_roster(&budget), there.clone()));
                    whole = false;
                }
                Step::Fill => if let Some((serial, names)) = listing.take() {
                    let tokens: Vec<String> = names.iter().copied().map(token).collect();
                    whole = mark.fill_roster(serial, tokens.iter().map(String::as_str));
                    prop_assert_eq!(whole, held);
                },
                Step::End => if let Some((serial, _)) = listing.take() {
                    mark.end_roster(serial);
                },
                Step::Pass(number) => {
                    mark.pass(at, &token(number));
                    there.insert(number);
                }
                Step::Key => mark.set_key(at),
                Step::Foreign(number) => {
                    mark.set_last(at);
                    there.insert(number);
                }
                Step::Close => {
                    mark.set_open(false);
                    mark.set_open(true);
                }
            }
            whole &= mark.has_roster();
            for number in 0..=u8::MAX {
                // 256 hashes of 64 bits: two that are equal would be a wonder.
                prop_assert_eq!(mark.is_new(&format!("ä {number}")), whole && !there.contains(&number), "{}", number);
            }
        }
        drop(mark);
        prop_assert_eq!(budget.bytes(), 0);
    }
}

#[test]
fn an_answer_to_an_earlier_question_fills_no_later_roster() {
    let (mark, budget) = (open_mark(), Arc::new(Budget::new(ROOM)));
    let earlier = mark.begin_roster(&budget);
    mark.set_key(2);
    let later = mark.begin_roster(&budget);
    assert!(!mark.fill_roster(earlier, ["a"]));
    mark.end_roster(earlier);
    assert!(mark.has_roster() && !mark.is_new("b"));
    assert!(mark.fill_roster(later, ["a"]));
    assert!(mark.is_new("b") && !mark.is_new("a"));
}

#[test]
fn a_roster_that_passes_the_room_is_dropped_and_none_should_be_begun_before_half_of_it_is_free() {
    let budget = Arc::new(Budget::new(18_000));
    let marks: Vec<_> = (0..4).map(|_| open_mark()).collect();
    let names: Vec<String> = (0..400).map(|number| format!("a{number}")).collect();
    let fill = |mark: &Mark| mark.fill_roster(mark.begin_roster(&budget), names.iter().map(String::as_str));
    assert!(fill(&marks[0]) && fill(&marks[1]) && fill(&marks[2]));
    assert!(budget.bytes() > 3 * 400 * 10 && !budget.is_spent(), "{}", budget.bytes());
    assert!(!fill(&marks[3]));
    assert!(budget.is_spent() && !marks[3].has_roster() && !marks[3].is_new("b"), "{}", budget.bytes());
    marks[0].set_open(false);
    assert!(budget.is_spent());
    marks[1].set_open(false);
    assert!(!budget.is_spent());
    // One that grows by what is written passes it too.
    assert!(fill(&marks[0]) && fill(&marks[1]));
    for (at, name) in (10..).zip((0..4000).map(|number| format!("b{number}"))) {
        marks[2].pass(at, &name);
    }
    assert!(!marks[2].has_roster() && marks[2].last() == 4009);
}

#[test]
fn a_new_actor_of_a_shard_with_a_roster_goes_out_without_a_question_and_its_next_event_on_top_of_it() {
    for skip_known in [false, true] {
        // The memory of heads holds one: what was written is forgotten with the next.
        let (mut pending, mut heads) = (Pending::new("n", "S", BOUNDS), heads(1));
        pending.go_in_line();
        if skip_known {
            pending.skip_known(100);
        }
        let (mark, budget) = (open_mark(), Arc::new(Budget::new(ROOM)));
        assert!(mark.fill_roster(mark.begin_roster(&budget), ["=epoch"]));
        let names: Vec<String> =
            (0..).map(|number| format!("a{number}")).filter(|name| crate::shard::shard_of(name) == 5).take(2).collect();
        for (at, name) in (10..).zip(&names) {
            pending.put(event(name, 1, "e", 1), 0);
            assert_eq!(pending.wanted(), [5]);
            pending.lend(5, Arc::clone(&mark), 4, false);
            let sent = pending.messages(&mut heads);
            assert_eq!((sent.len(), pending.headless(9).len()), (1, 0));
            pending.answer(&mut heads, sent[0].1, 0, &ack(at));
            assert!(!mark.is_new(name));
            pending.returned();
        }
        pending.put(event(&names[0], 2, "f", 1), 0);
        pending.wanted();
        pending.lend(5, mark, 4, false);
        assert_eq!((pending.messages(&mut heads).len(), pending.headless(9).len()), (0, 1), "its head must be read");
    }
}
