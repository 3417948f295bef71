//! Commits one by one: what goes out, and what each answer makes of it.

use super::super::sending::{GUARD, header_bytes};
use super::*;
use crate::commit::Commit;
use crate::frames::publish;
use crate::roots::Root;
use crate::shard::shard_of;

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
