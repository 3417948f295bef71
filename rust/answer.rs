//! An answer on an inbox of ours: which request it answers, its status, and where a stored message lies.

use crate::frames::{Message, number, status};

/// What came for one request; a request may have several answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The number that the request's reply subject ended in.
    pub token: u64,
    /// The status line's number, as 404 or 204; 0 where there is none.
    pub status: u16,
    /// For a stored message its stream sequence. For the end of an answer (204) how far the server that gave it had got, where
    /// it says so, as it does when asked for the last messages of several subjects. 0 for any other answer.
    pub position: u64,
    /// For a stored message where it was published; empty for any other answer.
    pub subject: &'a str,
    pub body: &'a [u8],
}

impl<'a> Answer<'a> {
    /// None: the message belongs to no request under the inbox `prefix`.
    ///
    /// A consumer delivers a message under the message's own subject, so its token is 0.
    pub fn of(message: &Message<'a>, prefix: &[u8]) -> Option<Self> {
        if let Some(position) = message.reply.and_then(delivered) {
            let subject = std::str::from_utf8(message.subject).unwrap_or(UNREADABLE);
            return Some(Self { token: 0, status: 0, position, subject, body: message.payload });
        }
        let token = number(message.subject.strip_prefix(prefix)?).ok()?;
        let (position, subject) = if message.headers.is_empty() { (0, "") } else { stored(message.headers) };
        // A stored message may have been published with a status line; it ends no answer for that.
        let status = if position == 0 { status(message.headers).unwrap_or(0) } else { 0 };
        let position = if status == END { reached(message.headers) } else { position };
        Some(Self { token, status, position, subject, body: message.payload })
    }
}

/// Where answers go, beside Python: natively, without an object for each.
pub trait Sink: Send + Sync {
    fn take(&self, answer: &Answer<'_>);
}

/// The position of a message that a consumer delivers, from where its ack would go:
/// `$JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<deliveries>.<position>.<number>.<time>.<pending>[.<token>]`.
fn delivered(reply: &[u8]) -> Option<u64> {
    let words = reply.strip_prefix(b"$JS.ACK.")?.split(|&byte| byte == b'.');
    let place = if words.clone().count() == 7 { 3 } else { 5 };
    number(words.clone().nth(place)?).ok().filter(|&position| position > 0)
}

/// The status of the last of several answers, which holds no message.
const END: u16 = 204;

/// How far the server says that it had got; 0: it does not say.
fn reached(headers: &[u8]) -> u64 {
    let value = headers.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"Nats-UpTo-Sequence:"));
    value.map_or(0, |value| number(value.trim_ascii()).unwrap_or(0))
}

/// What stands for a subject that is no UTF-8; it is nobody's subject, so whoever reads it finds a foreign message.
const UNREADABLE: &str = "\u{fffd}";

/// The position and subject of a stored message, from its headers; (0, "") where they name none.
///
/// The server writes its own lines behind those that a message was published with, so the last ones count: what somebody
/// planted neither moves a message nor hides it.
fn stored(headers: &[u8]) -> (u64, &str) {
    let (mut position, mut subject) = (&[][..], None);
    for line in headers.split(|&byte| byte == b'\n').skip(1) {
        if let Some(value) = line.strip_prefix(b"Nats-Sequence:") {
            position = value;
        } else if let Some(value) = line.strip_prefix(b"Nats-Subject:") {
            subject = Some(value);
        }
    }
    match number(position.trim_ascii()) {
        Ok(position) if position > 0 => {
            let subject = subject.map(|value| std::str::from_utf8(value.trim_ascii()).unwrap_or(UNREADABLE));
            (position, subject.unwrap_or(""))
        }
        _ => (0, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message<'a>(subject: &'a str, headers: &'a str) -> Message<'a> {
        Message { subject: subject.as_bytes(), sid: 1, reply: None, headers: headers.as_bytes(), payload: b"body" }
    }

    #[test]
    fn an_answer_names_its_request_and_where_the_message_lies() {
        let headers = "NATS/1.0\r\nNats-Stream: S\r\nNats-Subject: a.b\r\nNats-Sequence: 42\r\n\r\n";
        let expected = Answer { token: 7, status: 0, position: 42, subject: "a.b", body: b"body" };
        assert_eq!(Answer::of(&message("in.7", headers), b"in."), Some(expected));
        let none = Answer { token: 7, status: 404, position: 0, subject: "", body: b"body" };
        assert_eq!(Answer::of(&message("in.7", "NATS/1.0 404 Message Not Found\r\n\r\n"), b"in."), Some(none));
        assert_eq!(Answer::of(&message("in.7", ""), b"in."), Some(Answer { status: 0, ..none }));
    }

    #[test]
    fn the_end_of_an_answer_says_how_far_the_server_had_got() {
        for (headers, status, position) in [
            ("NATS/1.0 204 EOB\r\nNats-Num-Pending: 0\r\nNats-UpTo-Sequence: 42\r\n\r\n", 204, 42),
            ("NATS/1.0 204 EOB\r\nNats-Num-Pending: 0\r\n\r\n", 204, 0),
            ("NATS/1.0 204 EOB\r\nNats-UpTo-Sequence: x\r\n\r\n", 204, 0),
            ("NATS/1.0 404 Message Not Found\r\nNats-UpTo-Sequence: 42\r\n\r\n", 404, 0),
            ("NATS/1.0\r\nNats-UpTo-Sequence: 42\r\n\r\n", 0, 0),
            ("NATS/1.0 204\r\nNats-UpTo-Sequence: 42\r\nNats-Subject: a\r\nNats-Sequence: 7\r\n\r\n", 0, 7),
        ] {
            let answer = Answer::of(&message("in.7", headers), b"in.").map(|answer| (answer.status, answer.position));
            assert_eq!(answer, Some((status, position)), "{headers}");
        }
    }

    #[test]
    fn what_a_consumer_delivers_says_where_it_lies_in_its_reply() {
        let planted = "NATS/1.0 404\r\nNats-Sequence: 9\r\n\r\n";
        for reply in
            ["$JS.ACK.S.C.1.42.7.1795553529338201437.499", "$JS.ACK.D.H.S.C.1.42.7.17.499", "$JS.ACK.D.H.S.C.1.42.7.17.499.x"]
        {
            let message = Message { reply: Some(reply.as_bytes()), ..message("a.b", planted) };
            let expected = Answer { token: 0, status: 0, position: 42, subject: "a.b", body: b"body" };
            assert_eq!(Answer::of(&message, b"in."), Some(expected), "{reply}");
        }
        for reply in ["$JS.ACK.S.C.1.x.7.17.499", "$JS.ACK.S.C", "$JS.ACK.S.C.1.0.7.17.499", "else"] {
            assert_eq!(Answer::of(&Message { reply: Some(reply.as_bytes()), ..message("a.b", "") }, b"in."), None, "{reply}");
        }
    }

    #[test]
    fn what_answers_no_request_is_none() {
        for subject in ["in.x", "in.", "out.7", "in.7.8", "in.-7", "in.99999999999999999999"] {
            assert_eq!(Answer::of(&message(subject, ""), b"in."), None, "{subject}");
        }
    }

    #[test]
    fn what_a_message_was_published_with_neither_moves_nor_hides_it() {
        let servers = "Nats-Subject: a.b\r\nNats-Sequence: 42\r\n\r\n";
        for planted in
            ["NATS/1.0 404\r\n", "NATS/1.0\r\nNats-Sequence: 7\r\nNats-Subject: x\r\n", "NATS/1.0\r\nNats-Sequence: x\r\n"]
        {
            let headers = format!("{planted}{servers}");
            let answer =
                Answer::of(&message("in.7", &headers), b"in.").map(|answer| (answer.status, answer.position, answer.subject));
            assert_eq!(answer, Some((0, 42, "a.b")), "{planted}");
        }
        let foreign =
            Message { headers: b"NATS/1.0\r\nNats-Subject: a.\xff\r\nNats-Sequence: 42\r\n\r\n", ..message("in.7", "") };
        assert_eq!(Answer::of(&foreign, b"in.").map(|answer| (answer.position, answer.subject)), Some((42, UNREADABLE)));
    }

    #[test]
    fn a_position_that_is_none_is_no_stored_message() {
        for headers in [
            "NATS/1.0\r\nNats-Sequence: x\r\n\r\n",
            "NATS/1.0\r\nNats-Sequence: 0\r\nNats-Subject: a\r\n\r\n",
            "NATS/1.0\r\nNats-Sequence:\r\n\r\n",
        ] {
            let answer = Answer::of(&message("in.7", headers), b"in.").map(|answer| (answer.position, answer.subject));
            assert_eq!(answer, Some((0, "")), "{headers}");
        }
    }
}
