//! Shards in line: their fences are lent, recalled and given back, and each moves with the acks.

use super::*;
use crate::commit::Commit;
use crate::shard::shard_of;

/// Ids of so many actors of shard 5.
fn neighbours(count: usize) -> Vec<String> {
    (0..).map(|number| format!("a{number}")).filter(|name| shard_of(name) == 5).take(count).collect()
}

/// A bookkeeping that goes in line, where an event waits for each of so many neighbours, and the mark of their shard's fence.
fn waiting(count: usize) -> (Pending, Heads, Arc<Mark>) {
    let (mut pending, mut heads) = (Pending::new("n", "S", Bounds { in_flight: 100, ..BOUNDS }), heads(100));
    pending.go_in_line();
    for name in &neighbours(count) {
        heads.put(&format!("1 {name}"), Head::new_actor());
        pending.put(event(name, 1, "e", 1), 0);
    }
    let mark = Arc::new(Mark::default());
    mark.set_last(9);
    mark.set_key(1);
    mark.set_open(true);
    (pending, heads, mark)
}

#[test]
fn a_shard_has_one_commit_on_its_way_and_its_fence_moves_with_each_ack() {
    let (mut pending, mut heads, mark) = waiting(3);
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
        let (mut pending, mut heads, mark) = waiting(2);
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
        pending.put(event(&neighbours(1)[0], 1, "later", 1), 0);
        assert_eq!(pending.wanted(), [5], "what was refused is asked for again");
    }
}

#[test]
fn what_is_recalled_before_it_was_used_sends_one_commit_first_unless_that_cannot_go_out() {
    let (mut pending, mut heads, mark) = waiting(3);
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
    let (mut pending, mut heads, mark) = waiting(1);
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
    let (mut pending, mut heads, mark) = waiting(2);
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
