//! What the parser makes of conversations, cut and altered.
#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

/// A frame with bytes of its own, to keep.
fn shown(frame: Frame<'_>) -> String {
    format!("{frame:?}")
}

fn all(parser: &mut Parser, chunk: &[u8]) -> Result<Vec<String>> {
    let mut frames = Vec::new();
    parser.feed(chunk, &mut |frame| frames.push(shown(frame)))?;
    Ok(frames)
}

const TALK: &[u8] = b"INFO {\"server_id\":\"x\"}\r\nMSG a.b 1 5\r\nhello\r\nMSG a 22 _INBOX.1 0\r\n\r\nPING\r\nPONG\r\n+OK\r\n\
    HMSG in.box 3 16 21\r\nNATS/1.0 404\r\n\r\nworld\r\nHMSG in 3 re 22 22\r\nNATS/1.0\r\nA: b\r\nC:d\r\r\n\r\n-ERR 'Unknown Protocol Operation'\r\n";

#[test]
fn a_conversation_is_read_frame_by_frame() {
    let frames = all(&mut Parser::new(Limits::DEFAULT), TALK).unwrap();
    assert_eq!(frames.len(), 9);
    let mut parser = Parser::new(Limits::DEFAULT);
    let mut seen = Vec::new();
    let mut keep = |frame: Frame<'_>| {
        if let Frame::Message(message) = frame {
            seen.push((message.sid, message.reply.map(<[u8]>::to_vec), message.payload.to_vec(), status(message.headers)));
        }
    };
    parser.feed(TALK, &mut keep).unwrap();
    assert_eq!(seen[0], (1, None, b"hello".to_vec(), None));
    assert_eq!(seen[1], (22, Some(b"_INBOX.1".to_vec()), Vec::new(), None));
    assert_eq!(seen[2], (3, None, b"world".to_vec(), Some(404)));
}

proptest! {
    #[test]
    fn chunks_cut_anywhere_give_the_same_frames(cuts in proptest::collection::vec(0..TALK.len(), 0..12)) {
        let whole = all(&mut Parser::new(Limits::DEFAULT), TALK).unwrap();
        let mut cuts = cuts;
        cuts.extend([0, TALK.len()]);
        cuts.sort_unstable();
        let mut parser = Parser::new(Limits::DEFAULT);
        let mut frames = Vec::new();
        for two in cuts.windows(2) {
            frames.extend(all(&mut parser, &TALK[two[0]..two[1]]).unwrap());
        }
        prop_assert_eq!(frames, whole);
        prop_assert_eq!(parser.held(), 0);
    }

    #[test]
    fn what_is_published_is_what_a_server_would_deliver(payload: Vec<u8>, value in "[ -~]{0,30}", reply in "[a-z.]{0,9}") {
        let mut sent = Vec::new();
        publish(&mut sent, "a.b", &reply, &[("K", &value)], &payload);
        // HPUB subject [reply] sizes  ->  HMSG subject sid [reply] sizes
        let delivered = [b"HMSG a.b 7".as_slice(), &sent[b"HPUB a.b".len()..]].concat();
        let mut found = Vec::new();
        Parser::new(Limits::DEFAULT).feed(&delivered, &mut |frame| if let Frame::Message(message) = frame {
            found.push((message.payload.to_vec(), header(message.headers, "K").map(<[u8]>::to_vec), message.reply.map(<[u8]>::to_vec)));
        }).unwrap();
        let reply = (!reply.is_empty()).then(|| reply.into_bytes());
        prop_assert_eq!(found, vec![(payload, Some(value.trim_ascii().as_bytes().to_vec()), reply)]);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'\r'), Just(b'\n'), Just(b' '), Just(b'M'), Just(b'S'), Just(b'G'), Just(b'1')], 0..80)) {
        let _ = all(&mut Parser::new(Limits { line: 40, headers: 10, message: 20 }), &bytes);
    }

    #[test]
    fn altered_conversations_never_panic(at in 0..TALK.len(), byte: u8, cut in 0..TALK.len()) {
        let mut talk = TALK.to_vec();
        talk[at] = byte;
        let mut parser = Parser::new(Limits::DEFAULT);
        if all(&mut parser, &talk[..cut]).is_ok() {
            let _ = all(&mut parser, &talk[cut..]);
        }
    }
}

#[test]
fn what_passes_a_limit_is_refused_before_it_is_awaited() {
    let limits = Limits { line: 40, headers: 10, message: 20 };
    for (bytes, reason) in [
        (&b"MSG a 1 21\r\n"[..], "message larger"),
        (b"HMSG a 1 11 12\r\n", "headers larger than their limit"),
        (b"HMSG a 1 9 8\r\n", "headers larger than their message"),
        (&[b'x'; 50], "line longer"),
        (b"INFO {0123456789012345678901234567890123456789}\r\n", "line longer"),
        (b"MSG a 1\r\n", "too few"),
        (b"MSG a 1 r 1 1\r\n", "too many"),
        (b"MSG a 1 1x\r\n", "digits"),
        (b"MSG a 1 9999999999999999999\r\n", "digits"),
        (b"PING\n", "CR LF"),
        (b"MSG a 1 1\r\nxyz", "CR LF"),
        (b"HELLO\r\n", "no server"),
    ] {
        let error = all(&mut Parser::new(limits), bytes).unwrap_err().to_string();
        assert!(error.contains(reason), "{bytes:?}: {error}");
    }
}

#[test]
fn a_large_message_in_small_chunks_is_copied_once() {
    let size = 8 << 20;
    let mut talk = format!("MSG a 1 {size}\r\n").into_bytes();
    talk.resize(talk.len() + size, b'x');
    talk.extend_from_slice(b"\r\n");
    let mut parser = Parser::new(Limits::DEFAULT);
    let mut found = 0;
    for chunk in talk.chunks(100) {
        parser.feed(chunk, &mut |_| found += 1).unwrap();
    }
    assert_eq!(found, 1);
}
