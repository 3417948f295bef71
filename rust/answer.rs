//! An answer on an inbox of ours: which request it answers, its status, and where a stored message lies.

use crate::frames::{Message, number, status};

/// What came for one request; a request may have several answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The number that the request's reply subject ended in.
    pub token: u64,
    /// The status line's number, as 404 or 204; 0 where there is none.
    pub status: u16,
    /// For a stored message its stream sequence; 0 for any other answer.
    pub position: u64,
    /// For a stored message where it was published; empty for any other answer.
    pub subject: &'a str,
    pub body: &'a [u8],
}

impl<'a> Answer<'a> {
    /// None: the message belongs to no request under the inbox `prefix`.
    pub fn of(message: &Message<'a>, prefix: &[u8]) -> Option<Self> {
        let token = number(message.subject.strip_prefix(prefix)?).ok()? as u64;
        let (position, subject) = if message.headers.is_empty() { (0, "") } else { stored(message.headers)? };
        Some(Self { token, status: status(message.headers).unwrap_or(0), position, subject, body: message.payload })
    }
}

/// Where answers go, beside Python: natively, without an object for each.
pub trait Sink: Send + Sync {
    fn take(&self, answer: &Answer<'_>);
}

/// The position and subject of a stored message, from its headers; (0, "") where they name none, None where they are broken.
fn stored(headers: &[u8]) -> Option<(u64, &str)> {
    let (mut position, mut subject) = (0, "");
    for line in headers.split(|&byte| byte == b'\n').skip(1) {
        if let Some(value) = line.strip_prefix(b"Nats-Sequence:") {
            position = number(value.trim_ascii()).ok()? as u64;
        } else if let Some(value) = line.strip_prefix(b"Nats-Subject:") {
            subject = std::str::from_utf8(value.trim_ascii()).ok()?;
        }
    }
    Some((position, subject))
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
    fn what_answers_no_request_is_none() {
        for (subject, headers) in [("in.x", ""), ("in.", ""), ("out.7", ""), ("in.7", "NATS/1.0\r\nNats-Sequence: x\r\n\r\n")] {
            assert_eq!(Answer::of(&message(subject, headers), b"in."), None, "{subject} {headers}");
        }
    }
}
