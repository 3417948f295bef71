#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::event::Parts;
use crate::mailbox::{Bounds, Mark, Next};

fn event(actor: &str, kind: &str, version: u64) -> Arc<EventData> {
    Arc::new(EventData::new(&Parts { actor, kind, version, ..Parts::EXAMPLE }))
}

fn mailbox(filter: Filter, events: usize, policy: Policy) -> Arc<Mailbox> {
    Arc::new(Mailbox::new(filter, Bounds { events, bytes: 1 << 20 }, policy))
}

fn every(events: usize, policy: Policy) -> Arc<Mailbox> {
    mailbox(Filter::default(), events, policy)
}

fn taken(mailbox: &Mailbox) -> Vec<Delivery> {
    match mailbox.lock().take(usize::MAX) {
        Next::Given(taken) => taken,
        _ => Vec::new(),
    }
}

fn versions(mailbox: &Mailbox) -> Vec<u64> {
    taken(mailbox).iter().map(|delivery| delivery.event.version()).collect()
}

/// Waiting, missed, damaged.
fn counts(mailbox: &Mailbox) -> (usize, u64, u64) {
    let queue = mailbox.lock();
    (queue.pending(), queue.missed, queue.damaged)
}

/// A message as it comes from a server.
fn send(exchange: &mut Exchange, namespace: &str, event: &Arc<EventData>, reply: Option<&str>) {
    let (mut subject, mut body) = (String::new(), Vec::new());
    bus_message::write_subject(&mut subject, namespace, event);
    bus_message::write_body(&mut body, event);
    exchange.take_message(subject.as_bytes(), reply.map(str::as_bytes), &body);
}

fn filters() -> impl Strategy<Value = (Option<String>, bool, Option<String>)> {
    (proptest::option::of("[ab.*]{1,2}"), any::<bool>(), proptest::option::of("[XY]{1}"))
}

fn filter((name, beginning, kind): (Option<String>, bool, Option<String>)) -> Filter {
    let (actor, prefix) = if beginning { (None, name) } else { (name, None) };
    Filter::new(actor, prefix, None, kind.map(|kind| vec![kind]))
}

proptest! {
    #[test]
    fn a_message_reaches_whom_the_event_itself_would(
        wanted in proptest::collection::vec((filters(), 0_usize..3), 1..8),
        events in proptest::collection::vec(("[ab.*]{1,3}", "[XYZ]{1}"), 1..20)
    ) {
        let mut both = [Exchange::new(Some("n")), Exchange::new(Some("n"))];
        let boxes = [(); 2].map(|()| -> Vec<_> {
            wanted.iter().map(|(wanted, _)| mailbox(filter(wanted.clone()), 100, Policy::Error)).collect()
        });
        for (exchange, boxes) in both.iter_mut().zip(&boxes) {
            for (mailbox, (_, group)) in boxes.iter().zip(&wanted) {
                exchange.attach(mailbox, [None, Some("g"), Some("h")][*group]).unwrap();
            }
        }
        let events: Vec<_> = events.iter().zip(1..).map(|((actor, kind), version)| event(actor, kind, version)).collect();
        let [local, remote] = &mut both;
        for event in &events {
            prop_assert_eq!(local.takers(event), remote.takers(event));
            let before: u64 = boxes[0].iter().map(|mailbox| mailbox.lock().pending() as u64).sum();
            prop_assert_eq!(local.publish(std::slice::from_ref(event), None), (1, None));
            let after: u64 = boxes[0].iter().map(|mailbox| mailbox.lock().pending() as u64).sum();
            prop_assert_eq!(after - before, local.takers(event) as u64);
            send(remote, "n", event, None);
        }
        for (one, other) in boxes[0].iter().zip(&boxes[1]) {
            prop_assert_eq!(versions(one), versions(other));
        }
    }

    #[test]
    fn each_event_goes_to_exactly_one_of_a_group(members in 1_usize..5, count in 0_u64..40, room in 1_usize..12) {
        let mut exchange = Exchange::new(Some("n"));
        let boxes: Vec<_> = (0..members).map(|_| every(room, Policy::Error)).collect();
        for mailbox in &boxes {
            exchange.attach(mailbox, Some("workers")).unwrap();
        }
        let events: Vec<_> = (1..=count).map(|version| event("a", "T", version)).collect();
        exchange.publish(&events, None);
        let missed: u64 = boxes.iter().map(|mailbox| mailbox.lock().missed).sum();
        let waiting: Vec<usize> = boxes.iter().map(|mailbox| mailbox.lock().pending()).collect();
        let mut all: Vec<u64> = boxes.iter().flat_map(|mailbox| versions(mailbox)).collect();
        all.sort_unstable();
        prop_assert!(all.windows(2).all(|two| two[0] != two[1]));
        prop_assert_eq!(all.len() as u64, count.min((members * room) as u64));
        prop_assert_eq!(all.len() as u64 + missed, count);
        prop_assert!(waiting.iter().max().unwrap() - waiting.iter().min().unwrap() <= 1, "in turn: {:?}", waiting);
    }

    #[test]
    fn a_publisher_that_must_wait_has_reached_all_or_none(
        rooms in proptest::collection::vec((1_usize..6, 0_usize..4), 1..6), count in 1_u64..12
    ) {
        let mut exchange = Exchange::new(Some("n"));
        let boxes: Vec<_> = rooms.iter().map(|&(room, policy)| {
            let policy = [Policy::Block, Policy::Block, Policy::Error, Policy::DropOldest][policy];
            let mailbox = every(room, policy);
            exchange.attach(&mailbox, None).unwrap();
            mailbox
        }).collect();
        let events: Vec<_> = (1..=count).map(|version| event("a", "T", version)).collect();
        let (mut at, mut got) = (0, vec![0; boxes.len()]);
        while at < events.len() {
            let (more, blocked) = exchange.publish(&events[at..], None);
            at += more;
            for mailbox in &boxes {
                let queue = mailbox.lock();
                prop_assert_eq!(queue.delivered + queue.missed + queue.pending() as u64, at as u64);
                prop_assert!(mailbox.policy != Policy::Block || queue.missed == 0);
            }
            prop_assert_eq!(blocked.is_some(), at < events.len());
            if let Some(id) = blocked {
                let index = usize::try_from(id).unwrap() - 1;
                prop_assert!(boxes[index].policy == Policy::Block && !boxes[index].lock().has_room(1, 0));
                got[index] += versions(&boxes[index]).len();
            }
        }
        for (mailbox, got) in boxes.iter().zip(got).filter(|(mailbox, _)| mailbox.policy == Policy::Block) {
            prop_assert_eq!(got + versions(mailbox).len(), events.len());
        }
    }
}

#[test]
fn an_event_that_can_never_have_room_makes_nobody_wait() {
    let mut exchange = Exchange::new(Some("n"));
    let small = Arc::new(Mailbox::new(Filter::default(), Bounds { events: 9, bytes: 50 }, Policy::Block));
    exchange.attach(&small, None).unwrap();
    assert_eq!(exchange.publish(&[event("a", "T", 1)], None), (1, None));
    assert!(matches!(small.lock().take_one(), Next::Mark(Mark::Lagged(1))));
}

#[test]
fn what_fans_out_is_decoded_once_and_shared() {
    let mut exchange = Exchange::new(Some("n"));
    let boxes = [(); 10].map(|()| every(5, Policy::Error));
    for mailbox in &boxes {
        exchange.attach(mailbox, None).unwrap();
    }
    send(&mut exchange, "n", &event("a", "T", 1), None);
    let events: Vec<_> = boxes.iter().flat_map(|mailbox| taken(mailbox)).map(|delivery| delivery.event).collect();
    assert_eq!(events.len(), 10);
    assert!(events.iter().all(|event| Arc::ptr_eq(event, &events[0])));
}

#[test]
fn what_nobody_has_room_for_is_not_looked_at() {
    let mut exchange = Exchange::new(Some("n"));
    let full = every(1, Policy::Error);
    exchange.attach(&full, None).unwrap();
    send(&mut exchange, "n", &event("a", "T", 1), None);
    exchange.take_message(b"aether-bus.n.a.T", None, b"no event at all");
    assert_eq!(counts(&full), (1, 1, 0));
    let roomy = every(9, Policy::Error);
    exchange.attach(&roomy, None).unwrap();
    exchange.take_message(b"aether-bus.n.a.T", None, b"no event at all");
    assert_eq!(counts(&full), (1, 2, 0));
    assert_eq!(counts(&roomy), (0, 0, 1));
}

#[test]
fn damage_is_told_to_those_who_would_have_had_the_event() {
    let mut exchange = Exchange::new(Some("n"));
    let of = |actor: &str| mailbox(Filter::new(Some(actor.to_owned()), None, None, None), 9, Policy::Error);
    let (a, b) = (of("a"), of("b"));
    exchange.attach(&a, None).unwrap();
    exchange.attach(&b, None).unwrap();
    exchange.take_message(b"aether-bus.n.a.T", None, b"\x80");
    assert_eq!((counts(&a), counts(&b)), ((0, 0, 1), (0, 0, 0)));
    for foreign in [&b"aether-bus.other.a.T"[..], b"aether-bus.n.a.T.x", b"else", b"\xff"] {
        exchange.take_message(foreign, None, b"\x80");
    }
    assert_eq!((counts(&a), counts(&b)), ((0, 0, 5), (0, 0, 4)));
    assert_eq!(exchange.touched(), [1, 2]);
}

#[test]
fn a_namespace_sees_nothing_of_another() {
    let (mut shop, mut any) = (Exchange::new(Some("shop")), Exchange::new(None));
    let (ours, operators) = (every(9, Policy::Error), every(9, Policy::Error));
    shop.attach(&ours, None).unwrap();
    any.attach(&operators, None).unwrap();
    for namespace in ["shop-eu", "shop", "shop-eu"] {
        send(&mut shop, namespace, &event("a", "T", 1), None);
        send(&mut any, namespace, &event("a", "T", 1), None);
    }
    assert_eq!(counts(&ours), (1, 0, 2));
    let seen: Vec<_> = taken(&operators).iter().map(|one| one.context.as_ref().unwrap().namespace.clone().unwrap()).collect();
    assert_eq!(seen, ["shop-eu".into(), "shop".into(), "shop-eu".into()] as [Arc<str>; 3]);
}

#[test]
fn an_event_keeps_the_reply_that_is_expected() {
    let (mut shop, mut any) = (Exchange::new(Some("shop")), Exchange::new(None));
    let boxes = [every(9, Policy::Error), every(9, Policy::Error)];
    shop.attach(&boxes[0], None).unwrap();
    any.attach(&boxes[1], None).unwrap();
    for exchange in [&mut shop, &mut any] {
        send(exchange, "shop", &event("a", "T", 1), Some("_INBOX.x.1"));
        send(exchange, "shop", &event("a", "T", 2), None);
        send(exchange, "shop", &event("a", "T", 3), Some("_INBOX.x.2"));
    }
    shop.publish(&[event("a", "T", 4)], Some("local"));
    let replies = |mailbox: &Mailbox| -> Vec<Option<String>> {
        taken(mailbox).iter().map(|one| one.context.as_ref()?.reply.as_deref().map(str::to_owned)).collect()
    };
    let expected = [Some("_INBOX.x.1".to_owned()), None, Some("_INBOX.x.2".to_owned()), Some("local".to_owned())];
    assert_eq!(replies(&boxes[0]), expected);
    assert_eq!(replies(&boxes[1]), expected[..3]);
}

#[test]
fn a_mailbox_is_attached_once() {
    let (mut one, mut other) = (Exchange::new(Some("n")), Exchange::new(Some("n")));
    let mailbox = every(9, Policy::Block);
    let id = one.attach(&mailbox, Some("g")).unwrap();
    assert!(other.attach(&mailbox, None).is_err() && one.attach(&mailbox, None).is_err());
    assert_eq!((one.len(), other.len()), (1, 0));
    one.detach(id + 7);
    one.detach(id);
    one.detach(id);
    assert!(one.is_empty() && one.blocking == 0);
    assert_eq!(other.attach(&mailbox, None).unwrap(), 1);
    one.publish(&[event("a", "T", 1)], None);
    assert_eq!(mailbox.lock().pending(), 0);
}

#[test]
fn a_group_goes_on_when_members_come_and_go() {
    let mut exchange = Exchange::new(Some("n"));
    let boxes = [(); 3].map(|()| every(9, Policy::Error));
    let ids: Vec<_> = boxes.iter().map(|mailbox| exchange.attach(mailbox, Some("g")).unwrap()).collect();
    exchange.publish(&[event("a", "T", 1), event("a", "T", 2)], None);
    exchange.detach(ids[2]);
    boxes[0].lock().close();
    exchange.publish(&[event("a", "T", 3), event("a", "T", 4)], None);
    assert_eq!(boxes.each_ref().map(|mailbox| versions(mailbox)), [vec![1], vec![2, 3, 4], vec![]]);
    assert_eq!(exchange.takers(&event("a", "T", 5)), 1);
    boxes[1].lock().close();
    assert_eq!(exchange.takers(&event("a", "T", 5)), 0);
    assert_eq!(exchange.publish(&[event("a", "T", 5)], None), (1, None));
}
