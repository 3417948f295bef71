#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::event::{Id, Parts};

const NAMES: [&str; 14] =
    ["order-1", "a.b", "*", ">", "a b", "=", "=2E", "a=2Eb", "é", "$SYS", "\u{0}", "\r\nPUB x 0\r\n\r\n", ".", "order.*.>"];

fn event(actor: &str, kind: &str, meta: &[u8]) -> Arc<EventData> {
    let (id, payload) = (Id::parse("59679dbb-4e81-5039-952e-0842fb6bc8bf"), &[0xa2, b'h', b'i'][..]);
    Arc::new(EventData::new(&Parts { id, actor, kind, version: 3, time_ns: -5, payload, meta, ..Parts::EXAMPLE }))
}

fn body_of(event: &Arc<EventData>) -> Vec<u8> {
    let mut body = Vec::new();
    write_body(&mut body, event);
    body
}

fn subject_of(namespace: &str, event: &EventData) -> String {
    let mut subject = String::new();
    write_subject(&mut subject, namespace, event);
    subject
}

fn read_at(subject: &str, body: &[u8]) -> Result<EventData> {
    read(&Place::of(subject.as_bytes()).unwrap(), body)
}

#[test]
fn an_event_comes_back_from_its_subject_whatever_its_names() {
    let long = "x.".repeat(127) + "x";
    for actor in NAMES.into_iter().chain([long.as_str()]) {
        for kind in NAMES.into_iter().chain([long.as_str()]) {
            let event = event(actor, kind, &[]);
            let subject = subject_of("shop", &event);
            assert_eq!(subject.split('.').count(), 4, "{subject}");
            assert!(!subject.contains(['*', '>', ' ', '\r', '\n', '$', '\0']) && subject.len() < 2000, "{subject}");
            assert_eq!(read_at(&subject, &body_of(&event)).unwrap(), *event);
        }
    }
}

#[test]
fn an_event_is_read_only_from_its_own_subject() {
    for (actor, kind) in NAMES.iter().zip(NAMES.iter().rev()) {
        let stored = event(actor, kind, &[]);
        for other in NAMES {
            let body = body_of(&stored);
            let other_actor = subject_of("shop", &event(other, kind, &[]));
            assert_eq!(read_at(&other_actor, &body).is_ok(), other == *actor, "{actor} at {other_actor}");
            let other_kind = subject_of("shop", &event(actor, other, &[]));
            assert_eq!(read_at(&other_kind, &body).is_ok(), other == *kind, "{kind} at {other_kind}");
        }
    }
}

#[test]
fn a_subject_has_four_words_and_the_first_is_ours() {
    let place = Place::of(b"aether-bus.shop-eu.a=2Eb.T").unwrap();
    assert_eq!((place.namespace, place.actor, place.kind), ("shop-eu", "a=2Eb", "T"));
    for subject in [
        &b""[..],
        b"aether-bus",
        b"aether-bus.",
        b"aether-bus.n",
        b"aether-bus.n.a",
        b"aether-bus.n.a.",
        b"aether-bus.n..t",
        b"aether-bus..a.t",
        b"aether-bus.n.a.t.x",
        b"aether.n.a.t",
        b"aether-bus.n.a.\xff",
    ] {
        assert_eq!(Place::of(subject), None, "{}", String::from_utf8_lossy(subject));
    }
}

#[test]
fn a_message_has_exactly_one_event() {
    let one = event("a", "T", &[]);
    let place = "aether-bus.n.a.T";
    let commit =
        |events: Vec<Arc<EventData>>| crate::commit::Commit { actor: "a".into(), version: 3, events, ..Default::default() };
    assert!(read_at(place, &commit(vec![Arc::clone(&one)]).encode()).is_ok());
    assert!(read_at(place, &commit(vec![]).encode()).is_err());
    assert!(read_at(place, &commit(vec![Arc::clone(&one), Arc::new(one.numbered("a", 4))]).encode()).is_err());
    let later = crate::commit::Commit { spine: Some(vec![]), epoch: Some(4), ..commit(vec![one]) };
    assert!(read_at(place, &later.encode()).is_ok(), "keys of a commit are passed over");
    let mut bare = Vec::new();
    frame::begin(&mut bare, 0);
    frame::close(&mut bare);
    assert!(read_at(place, &bare).is_err());
    assert!(read_at(place, &Reply::Value(&[0xc0]).encode()).is_err(), "a reply is no event");
}

#[test]
fn a_later_format_is_told_apart() {
    let later = [0x81, 0xa6, b'f', b'o', b'r', b'm', b'a', b't', 2];
    assert_eq!(read_at("aether-bus.n.a.T", &later), Err(Error::Format { offset: 8, found: 2 }));
    assert_eq!(Reply::decode(&later), Err(Error::Format { offset: 8, found: 2 }));
}

#[test]
fn every_flipped_bit_and_every_truncation_is_noticed() {
    let meta = crate::metadata::encode(&mut [("b", "2")]).unwrap();
    let body = body_of(&event("a", "T", &meta));
    let replies = [Reply::Value(&[0xa1, b'x']).encode(), Reply::Error("no stock".into()).encode()];
    for bit in 0..body.len() * 8 {
        let mut damaged = body.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(read_at("aether-bus.n.a.T", &damaged).is_err(), "bit {bit}");
    }
    for reply in &replies {
        for bit in 0..reply.len() * 8 {
            let mut damaged = reply.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Reply::decode(&damaged).is_err(), "bit {bit} of a reply");
        }
        assert!((0..reply.len()).all(|len| Reply::decode(&reply[..len]).is_err()));
    }
    assert!((0..body.len()).all(|len| read_at("aether-bus.n.a.T", &body[..len]).is_err()));
}

proptest! {
    #[test]
    fn no_bytes_make_reading_panic(subject: Vec<u8>, body: Vec<u8>, flip in proptest::collection::vec((0_usize..400, any::<u8>()), 0..6)) {
        let mut near = body_of(&event("a", "T", &[]));
        let len = near.len();
        for (at, byte) in flip {
            near[at % len] = byte;
        }
        for bytes in [&body, &near] {
            let _ = Place::of(&subject).map(|place| read(&place, bytes));
            let _ = read_at("aether-bus.n.a.T", bytes);
            let _ = Reply::decode(bytes);
        }
    }

    #[test]
    fn a_subject_is_that_of_one_event_alone(names in proptest::array::uniform4("[ab.=*]{1,3}")) {
        let [actor, kind, other_actor, other_kind] = &names;
        let same = subject_of("n", &event(actor, kind, &[])) == subject_of("n", &event(other_actor, other_kind, &[]));
        prop_assert_eq!(same, (actor, kind) == (other_actor, other_kind));
    }

    #[test]
    fn a_reply_comes_back(text in ".{0,60}", number: i64) {
        let mut payload = Vec::new();
        write::int(&mut payload, number);
        let value = Reply::Value(&payload).encode();
        prop_assert_eq!(Reply::decode(&value).unwrap(), Reply::Value(&payload));
        let error = Reply::Error(Cow::Borrowed(&text)).encode();
        prop_assert_eq!(Reply::decode(&error).unwrap(), Reply::Error(text.into()));
    }
}

#[test]
fn a_long_error_is_cut_within_no_character() {
    let text = "é".repeat(ERROR_BYTES_MAX);
    let body = Reply::Error(format!("x{text}").into()).encode();
    let cut = format!("x{}", "é".repeat(ERROR_BYTES_MAX / 2 - 1));
    assert_eq!(Reply::decode(&body).unwrap(), Reply::Error(cut.into()));
}

#[test]
fn a_reply_is_a_value_or_an_error() {
    let mut both = Vec::new();
    frame::begin(&mut both, 2);
    for key in ["value", "error"] {
        write::str(&mut both, key);
        write::str(&mut both, "x");
    }
    frame::close(&mut both);
    assert!(Reply::decode(&both).is_err());
    let mut neither = Vec::new();
    frame::begin(&mut neither, 0);
    frame::close(&mut neither);
    assert!(Reply::decode(&neither).is_err());
}
