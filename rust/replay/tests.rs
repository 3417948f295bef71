#![allow(clippy::unwrap_used)]

use super::*;
use crate::commit::Commit;
use crate::epoch::EpochRecord;
use crate::event::Parts;
use crate::roots::Root;
use crate::shard::shard_of;
use crate::token;
use proptest::prelude::*;

const NAMESPACE: &str = "shop";

fn subject(actor: &str) -> String {
    let token = token::encode(actor);
    format!("aether.{NAMESPACE}.{}.{token}", shard_of(&token))
}

/// A commit of `count` events up to `version`, which names `before` as the actor's last commit.
fn body(actor: &str, version: u64, count: u64, before: u64) -> Vec<u8> {
    let event = |version| {
        let kind = if version % 2 == 0 { "Even" } else { "Odd" };
        Arc::new(EventData::new(&Parts { actor, kind, version, ..Parts::EXAMPLE }))
    };
    let spine = Some(if before == 0 { vec![] } else { vec![Root { sequence: before, size: 1 }] });
    let events = (version + 1 - count..=version).map(event).collect();
    Commit { actor: actor.to_owned(), events, version, spine, ..Commit::default() }.encode()
}

/// What a server has: (position, subject, body), positions rising.
type Stored = Vec<(u64, String, Vec<u8>)>;

/// Commits of 1 to 3 events of three actors in turn.
fn stored(count: u64) -> Stored {
    let (mut versions, mut last) = ([0; 3], [0; 3]);
    let commit = |position: u64| {
        let who = usize::try_from(position * position % 3).unwrap();
        let size = 1 + position % 3;
        versions[who] += size;
        let before = std::mem::replace(&mut last[who], position);
        let actor = ["a", "b", "c.d"][who];
        (position, subject(actor), body(actor, versions[who], size, before))
    };
    (1..=count).map(commit).collect()
}

fn field(payload: &str, name: &str) -> Option<u64> {
    let rest = payload.split_once(&format!("\"{name}\":"))?.1;
    rest.split([',', '}']).next()?.parse().ok()
}

/// Answers as a server would that has these messages.
fn answer(replay: &mut Replay, stored: &Stored, request: &Request, messages: usize) {
    let (from, count) = (field(&request.payload, "seq").unwrap(), field(&request.payload, "batch").unwrap());
    let wanted = request.payload.split_once("next_by_subj\":\"").map(|(_, rest)| rest.trim_end_matches("\"}"));
    let fits = |subject: &str| {
        wanted
            .is_none_or(|wanted| subject == wanted || wanted.ends_with('*') && subject.starts_with(wanted.trim_end_matches('*')))
    };
    let found = stored.iter().filter(|(position, subject, _)| *position >= from && fits(subject));
    for (position, subject, body) in found.take(messages.min(usize::try_from(count).unwrap())) {
        replay.take_answer(&Answer { token: request.token, status: 0, position: *position, subject, body });
    }
    replay.take_answer(&Answer { token: request.token, status: 204, position: 0, subject: "", body: b"" });
}

/// Answers a pull as a consumer would that stands at `at`, and goes on from there.
fn deliver(replay: &mut Replay, stored: &Stored, request: &Request, at: &mut u64, messages: usize) {
    let count = usize::try_from(field(&request.payload, "batch").unwrap()).unwrap();
    let found: Vec<_> = stored.iter().filter(|(position, ..)| *position >= *at).take(messages.min(count)).collect();
    for (position, subject, body) in &found {
        *at = position + 1;
        replay.take_answer(&Answer { token: 0, status: 0, position: *position, subject, body });
    }
    if found.len() < count {
        replay.take_answer(&Answer { token: request.token, status: 409, position: 0, subject: "", body: b"" });
    }
}

/// Reads as `read` does, with a consumer wherever one may be made; each pull has at most `messages` answers.
fn pull(replay: &mut Replay, stored: &Stored, limit: usize, messages: usize, lost: &[usize]) -> Vec<(u64, Vec<(String, u64)>)> {
    let (mut batches, mut at, mut turn) = (Vec::new(), 0, 0);
    let mut asked = VecDeque::new();
    loop {
        // The bound is for the sake of servers; here every read may pull.
        if !replay.pulling && replay.next <= replay.through {
            at = replay.next;
            assert!(replay.pull(at));
            assert!(!replay.pull(at + 1) && replay.pull(at));
        }
        asked.extend(replay.requests());
        turn += 1;
        if lost.contains(&turn) {
            replay.lose();
            asked.clear();
        } else if let Some((events, position)) = replay.take(limit) {
            batches.push((position, events.iter().map(|event| (event.actor().to_owned(), event.version())).collect()));
        } else if replay.is_done() || replay.fault().is_some() {
            return batches;
        } else if let Some(position) = replay.stuck() {
            let Some((at, subject, body)) = stored.iter().find(|(at, ..)| *at == position) else { return batches };
            assert!(replay.put(*at, subject, body));
        } else {
            match asked.pop_front() {
                Some(request) if request.pull => deliver(replay, stored, &request, &mut at, messages),
                Some(request) => answer(replay, stored, &request, messages),
                // What a consumer passed over at a run's end was counted against the next run, so nothing closes this one.
                None => replay.lose(),
            }
        }
    }
}

/// Reads to the end or to what stops it; answers have at most `messages` each, and `order` says which request is answered next.
fn read(replay: &mut Replay, stored: &Stored, limit: usize, messages: usize, order: &[usize]) -> Vec<(u64, Vec<(String, u64)>)> {
    let (mut batches, mut asked, mut turn) = (Vec::new(), Vec::new(), 0);
    loop {
        asked.extend(replay.requests());
        if let Some((events, position)) = replay.take(limit) {
            batches.push((position, events.iter().map(|event| (event.actor().to_owned(), event.version())).collect()));
        } else if replay.is_done() || replay.fault().is_some() {
            return batches;
        } else if let Some(position) = replay.stuck() {
            let found = stored.iter().find(|(at, ..)| *at == position);
            match (found, replay.subject().is_some()) {
                (Some((at, subject, body)), false) => assert!(replay.put(*at, subject, body)),
                (None, false) => return batches,
                (_, true) => assert!(replay.put(u64::MAX - 1, "", b"")),
            }
        } else {
            let request = asked.remove(order.get(turn).map_or(0, |index| index % asked.len()));
            turn += 1;
            answer(replay, stored, &request, messages);
        }
    }
}

fn expected(stored: &Stored, after: u64, takes: impl Fn(&str) -> bool) -> Vec<(String, u64)> {
    let commits = stored.iter().filter(|(position, ..)| *position > after).map(|(.., body)| Commit::decode(body).unwrap());
    let events = commits.filter(|commit| takes(&commit.actor)).flat_map(|commit| commit.events);
    events.map(|event| (event.actor().to_owned(), event.version())).collect()
}

fn events(batches: &[(u64, Vec<(String, u64)>)]) -> Vec<(String, u64)> {
    batches.iter().flat_map(|(_, events)| events.clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_the_answers_order_and_size_every_event_comes_once_in_order(
        count in 1_u64..300, after in 0_u64..40, limit in 1_usize..200, messages in 1_usize..100, order: Vec<usize>
    ) {
        let stored = stored(count);
        let mut replay = Replay::new(NAMESPACE, after, count, Filter::default());
        let batches = read(&mut replay, &stored, limit, messages, &order);
        prop_assert_eq!(events(&batches), expected(&stored, after, |_| true));
        prop_assert!(replay.is_done());
        prop_assert_eq!(replay.held, 0);
        for (position, batch) in &batches {
            prop_assert!(batch.len() <= limit.max(3) && *position <= count);
        }
    }

    #[test]
    fn what_a_consumer_delivers_comes_once_in_order_whatever_is_lost(
        count in 1_u64..600, after in 0_u64..40, limit in 1_usize..200, messages in 1_usize..200, lost: [u8; 3]
    ) {
        let stored = stored(count);
        let mut replay = Replay::new(NAMESPACE, after, count, Filter::default());
        let batches = pull(&mut replay, &stored, limit, messages, &lost.map(usize::from));
        prop_assert_eq!(events(&batches), expected(&stored, after, |_| true));
        prop_assert!(replay.is_done());
        prop_assert_eq!(replay.held, 0);
    }

    #[test]
    fn a_position_that_a_consumer_passes_over_stops_the_read_there(count in 2_u64..400, gone in 1_u64..400, messages in 1_usize..200) {
        let gone = 1 + gone % count;
        let all = stored(count);
        let left: Stored = all.iter().filter(|(position, ..)| *position != gone).cloned().collect();
        let mut replay = Replay::new(NAMESPACE, 0, count, Filter::default());
        let batches = pull(&mut replay, &left, 7, messages, &[]);
        prop_assert_eq!(replay.stuck(), Some(gone));
        prop_assert_eq!(events(&batches), expected(&all[..usize::try_from(gone).unwrap() - 1].to_vec(), 0, |_| true));
    }

    #[test]
    fn what_one_subject_names_comes_through_the_servers_search(count in 1_u64..200, limit in 1_usize..50, messages in 1_usize..9) {
        let stored = stored(count);
        let filter = Filter::new(Some("b".to_owned()), None, None, None);
        let mut replay = Replay::new(NAMESPACE, 0, count, filter);
        let batches = read(&mut replay, &stored, limit, messages, &[]);
        prop_assert_eq!(events(&batches), expected(&stored, 0, |actor| actor == "b"));
        prop_assert!(replay.is_done());
    }

    #[test]
    fn a_position_without_a_message_stops_the_read_there(count in 2_u64..200, gone in 1_u64..200, messages in 1_usize..90, order: Vec<usize>) {
        let gone = 1 + gone % count;
        let all = stored(count);
        let left: Stored = all.iter().filter(|(position, ..)| *position != gone).cloned().collect();
        let mut replay = Replay::new(NAMESPACE, 0, count, Filter::default());
        let batches = read(&mut replay, &left, 7, messages, &order);
        prop_assert_eq!(replay.stuck(), Some(gone));
        prop_assert_eq!(events(&batches), expected(&all[..usize::try_from(gone).unwrap() - 1].to_vec(), 0, |_| true));
    }

    #[test]
    fn no_answers_make_it_panic(answers: Vec<(u8, u16, u8, u8, Vec<u8>)>) {
        let all = stored(20);
        let mut replay = Replay::new(NAMESPACE, 3, 17, Filter::default());
        for (token, status, position, index, bytes) in &answers {
            replay.requests();
            let (_, subject, body) = &all[usize::from(index % 20)];
            let (token, position) = (u64::from(token % 8), u64::from(position % 24));
            if status % 3 == 0 { replay.pull(position); }
            let body = if bytes.len() % 2 == 0 { body } else { bytes };
            replay.take_answer(&Answer { token, status: status % 2, position, subject, body });
            if status % 5 == 0 { replay.lose(); }
            if status % 7 == 0 { replay.put(position, subject, body); }
            if status % 11 == 0 { replay.step_over(); }
            replay.take(3);
        }
    }
}

#[test]
fn a_consumer_is_made_for_long_reads_of_all_subjects_and_small_messages() {
    let of = |through, filter| Replay::new(NAMESPACE, 9, through, filter).pull_start();
    assert_eq!(of(9 + PULL_MESSAGES_MIN, Filter::default()), Some(10));
    assert_eq!(of(8 + PULL_MESSAGES_MIN, Filter::default()), None);
    assert_eq!(of(9 + PULL_MESSAGES_MIN, Filter::new(Some("a".to_owned()), None, None, None)), None);
}

#[test]
fn a_message_that_is_gone_is_noticed_by_the_next_of_its_actor_where_positions_have_gaps() {
    let all = stored(40);
    let of_b: Vec<u64> =
        all.iter().filter(|(_, subject, _)| *subject == self::subject("b")).map(|(position, ..)| *position).collect();
    let gone = of_b[4];
    let left: Stored = all.iter().filter(|(position, ..)| *position != gone).cloned().collect();
    let filter = Filter::new(Some("b".to_owned()), None, None, None);
    let mut replay = Replay::new(NAMESPACE, 0, 40, filter.clone());
    let batches = read(&mut replay, &left, 100, 50, &[]);
    assert_eq!(replay.fault(), Some(&Fault::Absent { position: gone, actor: Some("b".to_owned()) }));
    assert_eq!(events(&batches), expected(&all[..usize::try_from(gone).unwrap() - 1].to_vec(), 0, |actor| actor == "b"));
    let (_, subject, body) = &all[usize::try_from(gone).unwrap() - 1];
    assert!(replay.put(gone, subject, body), "another replica may have it");
    let rest = read(&mut replay, &left, 100, 50, &[]);
    assert_eq!([events(&batches), events(&rest)].concat(), expected(&all, 0, |actor| actor == "b"));
    let mut behind = Replay::new(NAMESPACE, gone, 40, filter);
    assert_eq!(events(&read(&mut behind, &left, 100, 50, &[])), expected(&all, gone, |actor| actor == "b"));
}

#[test]
fn a_commit_that_names_what_never_was_is_believed_once_it_is_disproved() {
    let all: Stored = vec![(1, subject("a"), body("a", 1, 1, 0)), (5, subject("a"), body("a", 2, 1, 3))];
    let mut replay = Replay::new(NAMESPACE, 0, 9, Filter::new(Some("a".to_owned()), None, None, None));
    assert_eq!(events(&read(&mut replay, &all, 9, 9, &[])).len(), 1);
    replay.disprove(3);
    assert_eq!(events(&read(&mut replay, &all, 9, 9, &[])), [("a".to_owned(), 2)]);
    assert!(replay.is_done());
}

#[test]
fn what_is_no_commit_of_its_subjects_actor_is_at_fault_and_can_be_stepped_over() {
    let foreign = [
        (subject("a"), b"hello".to_vec()),
        (subject("a"), body("b", 1, 1, 0)),
        (format!("aether.{NAMESPACE}.1.a"), body("a", 1, 1, 0)),
        (format!("aether.{NAMESPACE}.x.a"), body("a", 1, 1, 0)),
        ("else.where".to_owned(), body("a", 1, 1, 0)),
    ];
    for (subject, damage) in foreign {
        let mut all = stored(9);
        all[3] = (4, subject.clone(), damage);
        let mut replay = Replay::new(NAMESPACE, 0, 9, Filter::default());
        let before = events(&read(&mut replay, &all, 100, 100, &[]));
        assert_eq!(before, expected(&stored(9)[..3].to_vec(), 0, |_| true), "{subject}");
        assert!(matches!(replay.fault(), Some(Fault::Damaged { position: 4, .. })), "{subject}");
        replay.step_over();
        assert_eq!(events(&read(&mut replay, &all, 100, 100, &[])), expected(&stored(9), 4, |_| true), "{subject}");
    }
}

#[test]
fn what_a_filter_leaves_out_is_not_looked_at() {
    let mut all = stored(12);
    all[0].1 = format!("aether.{NAMESPACE}.7.=epoch");
    for message in &mut all {
        if message.1.ends_with('a') || message.1.ends_with("=epoch") {
            message.2 = b"damaged".to_vec();
        }
    }
    let mut replay = Replay::new(NAMESPACE, 0, 12, Filter::new(None, Some("b".to_owned()), None, Some(vec!["Odd".to_owned()])));
    let odd: Vec<_> =
        expected(&stored(12), 1, |actor| actor == "b").into_iter().filter(|(_, version)| version % 2 == 1).collect();
    assert_eq!(events(&read(&mut replay, &all, 100, 100, &[])), odd);
}

#[test]
fn records_of_epochs_are_stepped_over_and_bear_no_damage() {
    let sound = EpochRecord::new("node-1", 9).unwrap().encode();
    let mut flipped = sound.clone();
    flipped[20] ^= 1;
    let on = |shard: &str, body: &[u8]| {
        let mut all = stored(9);
        all[3] = (4, format!("aether.{NAMESPACE}.{shard}"), body.to_vec());
        all
    };
    for all in [on("7.=epoch", &sound), on("1020.=epoch", &sound)] {
        let mut replay = Replay::new(NAMESPACE, 0, 9, Filter::default());
        let mut wanted = expected(&stored(9)[..3].to_vec(), 0, |_| true);
        wanted.extend(expected(&stored(9), 4, |_| true));
        assert_eq!(events(&read(&mut replay, &all, 100, 100, &[])), wanted);
        assert!(replay.is_done());
    }
    let commit = body("a", 1, 1, 0);
    for all in [
        on("7.=epoch", &flipped),
        on("7.=epoch", &commit),
        on("7.=epoch", b""),
        on("1021.=epoch", &sound),
        on("x.=epoch", &sound),
        on("7.=later", &sound),
        on(&format!("{}.a", shard_of("a")), &sound),
    ] {
        let mut replay = Replay::new(NAMESPACE, 0, 9, Filter::default());
        read(&mut replay, &all, 100, 100, &[]);
        assert!(matches!(replay.fault(), Some(Fault::Damaged { position: 4, .. })), "{}", all[3].1);
    }
}

#[test]
fn what_is_asked_for_and_held_has_a_bound() {
    let mut replay = Replay::new(NAMESPACE, 0, 1_000_000, Filter::default());
    let large = body(&"x".repeat(255), 2000, 2000, 0);
    let subject = subject(&"x".repeat(255));
    let (mut asked, mut open) = (replay.requests(), 0);
    while let Some(request) = asked.pop() {
        open = open.max(replay.runs.iter().filter(|run| run.open).count());
        let from = field(&request.payload, "seq").unwrap();
        for position in from..from + field(&request.payload, "batch").unwrap() {
            replay.take_answer(&Answer { token: request.token, status: 0, position, subject: &subject, body: &large });
        }
        asked.extend(replay.requests());
    }
    assert!(open <= DEPTH);
    assert!(replay.held > BUDGET_BYTES / 2, "a slow reader leaves it full");
    assert!(replay.held <= BUDGET_BYTES + DEPTH * 64 * large.len(), "{}", replay.held);
    let (events, _) = replay.take(usize::MAX).unwrap();
    assert!(!events.is_empty(), "a batch that would hold more than the budget ends early");
}
