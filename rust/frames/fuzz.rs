//! Hostile conversations in great number: made of sound frames, altered, cut anywhere, and judged by a second reading.
//!
//! `AETHER_SIZE` (quick, ci, full) says how many; a failure prints its seed, and `AETHER_SEED` runs that one alone.
#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use crate::dice::{Dice, each_seed};

/// Small, so that conversations reach them.
const LIMITS: Limits = Limits { line: 60, headers: 40, message: 90 };

fn pick<'a>(dice: &mut Dice, from: &[&'a [u8]]) -> &'a [u8] {
    dice.pick(from)
}

/// What a frame said, with bytes of its own, to compare.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    Text(&'static str, Vec<u8>),
    Message { subject: Vec<u8>, sid: u64, reply: Option<Vec<u8>>, headers: Vec<u8>, payload: Vec<u8> },
}

fn said(frame: Frame<'_>) -> Said {
    match frame {
        Frame::Info(json) => Said::Text("INFO", json.to_vec()),
        Frame::Err(text) => Said::Text("-ERR", text.to_vec()),
        Frame::Ping => Said::Text("PING", Vec::new()),
        Frame::Pong => Said::Text("PONG", Vec::new()),
        Frame::Ok => Said::Text("+OK", Vec::new()),
        Frame::Message(Message { subject, sid, reply, headers, payload }) => Said::Message {
            subject: subject.to_vec(),
            sid,
            reply: reply.map(<[u8]>::to_vec),
            headers: headers.to_vec(),
            payload: payload.to_vec(),
        },
    }
}

/// Appends a sound frame in one of the ways in which it can be written; returns what it says.
fn speak(dice: &mut Dice, out: &mut Vec<u8>) -> Said {
    let gap = [&b" "[..], b"  ", b"\t", b" \t "][dice.roll(8).saturating_sub(4)];
    let text = match dice.roll(12) {
        0 => Said::Text("PING", Vec::new()),
        1 => Said::Text("PONG", Vec::new()),
        2 => Said::Text("+OK", Vec::new()),
        3 => Said::Text("INFO", pick(dice, &[b"{}", b"{\"server_id\":\"x\"}", b"", b"{\"a b\": 1}"]).to_vec()),
        4 => Said::Text("-ERR", pick(dice, &[b"Stale Connection", b"it's", b"a \"b\" \xff", b""]).to_vec()),
        _ => return deliver(dice, out, gap),
    };
    let Said::Text(verb, words) = &text else { return text };
    let lower = verb.to_ascii_lowercase();
    out.extend_from_slice(if dice.roll(8) == 0 { lower.as_bytes() } else { verb.as_bytes() });
    if *verb == "-ERR" {
        out.extend_from_slice(gap);
        out.extend_from_slice(&[b"'", &words[..], b"'"].concat());
    } else if !words.is_empty() {
        out.extend_from_slice(gap);
        out.extend_from_slice(words);
    }
    out.extend_from_slice(pick(dice, &[b"\r\n", b"\r\n", b" \r\n"]));
    text
}

fn deliver(dice: &mut Dice, out: &mut Vec<u8>, gap: &[u8]) -> Said {
    let subject = pick(dice, &[b"a", b"_INBOX.x.7", b"a.\xff\x00", b"PING", b"'"]).to_vec();
    let reply = pick(dice, &[b"", b"", b"r", b"7", b"_INBOX.\xc3"]).to_vec();
    let sid = [0, 1, 22, 999_999_999_999_999_999][dice.roll(4)];
    let headers =
        pick(dice, &[b"", b"", b"NATS/1.0\r\n\r\n", b"NATS/1.0 404 None\r\n\r\n", b"NATS/1.0\r\nA:\r\nB: c\r\n\r\n"]).to_vec();
    let payload = match dice.roll(4) {
        0 => Vec::new(),
        1 => pick(dice, &[b"\r\n", b"PING\r\n", b"MSG a 1 1\r\n", b"-ERR 'x'\r\n"]).to_vec(),
        _ => (0..dice.roll(40)).map(|at| u8::try_from(at * 6).unwrap()).collect(),
    };
    out.extend_from_slice(if headers.is_empty() { b"MSG" } else { b"HMSG" });
    let mut words = vec![subject.clone(), sid.to_string().into_bytes()];
    if !reply.is_empty() {
        words.push(reply.clone());
    }
    if !headers.is_empty() {
        words.push(headers.len().to_string().into_bytes());
    }
    words.push((headers.len() + payload.len()).to_string().into_bytes());
    for word in words {
        out.extend_from_slice(gap);
        out.extend_from_slice(&word);
    }
    out.extend_from_slice(&[b"\r\n", &headers[..], &payload[..], b"\r\n"].concat());
    Said::Message { subject, sid, reply: (!reply.is_empty()).then_some(reply), headers, payload }
}

/// Does to the bytes what a broken or hostile peer would.
fn harm(dice: &mut Dice, talk: &mut Vec<u8>) {
    let (at, other) = (dice.roll(talk.len()), dice.roll(talk.len()));
    match dice.roll(8) {
        0 => talk.truncate(at),
        1 => talk[at] = *[b'\r', b'\n', b' ', b'9', b'0', b'\t', 0, 0xff].get(dice.roll(8)).unwrap(),
        2 => talk[at] ^= 1 << dice.roll(8),
        3 => drop(talk.remove(at)),
        4 => talk.insert(at, [b'\r', b'\n', b' ', b'9', b'M', b'-'][dice.roll(6)]),
        5 => drop(talk.drain(at.min(other)..at.max(other))),
        6 => talk.extend_from_within(at.min(other)..at.max(other)),
        _ => talk.splice(at..at, b"99999999999999999999".iter().copied().take(dice.roll(21))).for_each(drop),
    }
}

/// Feeds the parts; gives what was said before the end or the first error, the error, and how much waits.
fn hear<'a>(parts: impl Iterator<Item = &'a [u8]>, limits: Limits) -> (Vec<Said>, Option<String>, usize) {
    let (mut parser, mut heard) = (Parser::new(limits), Vec::new());
    for part in parts {
        if let Err(error) = parser.feed(part, &mut |frame| heard.push(said(frame))) {
            return (heard, Some(error.to_string()), 0);
        }
        assert!(parser.held() <= limits.line + limits.message + 4, "it keeps more than its limits say");
    }
    (heard, None, parser.held())
}

/// One conversation: sound, it is heard as it was said; harmed, it is heard the same however it is cut.
fn one(seed: u64) {
    let mut dice = Dice::new(seed);
    let (mut talk, mut expected) = (Vec::new(), Vec::new());
    for _ in 0..=dice.roll(4) {
        expected.push(speak(&mut dice, &mut talk));
    }
    let sound = dice.roll(4) == 0;
    for _ in 0..if sound { 0 } else { 1 + dice.roll(3) } {
        if !talk.is_empty() {
            harm(&mut dice, &mut talk);
        }
    }
    let limits = if sound { Limits::DEFAULT } else { LIMITS };
    let whole = hear(std::iter::once(&talk[..]), limits);
    if sound {
        assert_eq!(whole, (expected, None, 0), "seed {seed}: {}", talk.escape_ascii());
    }
    let mut cuts: Vec<usize> = (0..dice.roll(6)).map(|_| dice.roll(talk.len() + 1)).collect();
    cuts.extend([0, talk.len()]);
    cuts.sort_unstable();
    let cut = hear(cuts.windows(2).map(|two| &talk[two[0]..two[1]]), limits);
    assert_eq!(cut, whole, "seed {seed}: {} cut at {cuts:?}", talk.escape_ascii());
    if seed.is_multiple_of(8) {
        assert_eq!(hear(talk.chunks(1), limits), whole, "seed {seed}: {} byte by byte", talk.escape_ascii());
    }
}

#[test]
fn a_million_conversations_are_heard_the_same_however_they_are_cut() {
    each_seed(100_000, 1_200_000, 20_000_000, one);
}

#[test]
fn work_grows_with_the_bytes_and_not_with_the_chunks() {
    // Quadratic work would be 2^42 steps here: an hour or so.
    let limits = Limits { line: 2 << 20, ..Limits::DEFAULT };
    let line = [&b"INFO {"[..], &vec![b'x'; 2 << 20], b"}\r\n"].concat();
    assert!(hear(line.chunks(1), limits).1.is_some(), "it is longer than its limit");
    let pings = b"PING\r\n".repeat(1 << 18);
    assert_eq!(hear(std::iter::once(&pings[..]), limits).0.len(), 1 << 18);
    assert_eq!(hear(pings.chunks(7), limits).0.len(), 1 << 18);
    let words = [&b"MSG"[..], &b" a".repeat(1 << 18), b"\r\n"].concat();
    assert!(hear(words.chunks(3), limits).1.is_some());
}
