//! `JetStream`'s answer to a publish, read without an allocation: a plain ack, or the number of its error.

use crate::frames::number;

/// The position that a plain ack of `stream` names; None for any other answer.
pub fn acked(body: &[u8], stream: &[u8]) -> Option<u64> {
    let mut rest = body.strip_prefix(b"{")?;
    let (mut position, mut ours) = (None, false);
    loop {
        let (key, after) = text(rest.trim_ascii_start())?;
        rest = after.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
        match key {
            b"stream" => {
                let (name, after) = text(rest)?;
                ours = name == stream;
                rest = after;
            }
            b"seq" => {
                let (digits, after) = word(rest);
                position = Some(number(digits).ok()?);
                rest = after;
            }
            b"error" => return None,
            _ => rest = text(rest).unwrap_or_else(|| word(rest)).1,
        }
        rest = rest.trim_ascii_start();
        match rest.split_first()? {
            (b',', tail) => rest = tail,
            (b'}', tail) if tail.trim_ascii().is_empty() => return position.filter(|_| ours),
            _ => return None,
        }
    }
}

/// `JetStream`'s number for its error; 0: the answer names none.
pub fn error_code(body: &[u8]) -> u64 {
    const KEY: &[u8] = b"\"err_code\":";
    let found = body.windows(KEY.len()).position(|window| window == KEY);
    found.map_or(0, |at| number(word(body[at + KEY.len()..].trim_ascii_start()).0).unwrap_or(0))
}

/// A string without escapes, and what stands behind it.
fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let inner = bytes.strip_prefix(b"\"")?;
    let end = inner.iter().position(|&byte| byte == b'"' || byte == b'\\')?;
    (inner[end] == b'"').then(|| (&inner[..end], &inner[end + 1..]))
}

/// A number, true, false or null, and what stands behind it.
fn word(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| !byte.is_ascii_alphanumeric() && !b"+-.".contains(byte)).unwrap_or(bytes.len());
    bytes.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn plain_acks_name_their_position() {
        for body in [
            r#"{"stream":"S","seq":42}"#,
            r#"{"stream":"S", "seq":42}"#,
            r#"{"stream":"S", "domain":"hub", "seq":42, "duplicate": true}"#,
            " {\"seq\" : 42 , \"stream\" : \"S\" , \"val\":\"7\" }\n".trim_start(),
        ] {
            assert_eq!(acked(body.as_bytes(), b"S"), Some(42), "{body}");
            assert_eq!(acked(body.as_bytes(), b"T"), None, "of another stream: {body}");
        }
    }

    #[test]
    fn what_is_no_plain_ack_is_none() {
        for body in [
            "",
            "{}",
            "null",
            r#"{"stream":"S"}"#,
            r#"{"seq":42}"#,
            r#"{"stream":"S","seq":-1}"#,
            r#"{"stream":"S","seq":42"#,
            r#"{"stream":"S","seq":42}x"#,
            r#"{"stream":"S","seq":"42"}"#,
            r#"{"stream":"S","seq":42,"error":{"code":400}}"#,
            r#"{"error":{"code":400,"err_code":10071},"stream":"S","seq":0}"#,
            r#"{"stream":"S","batch":{"a":1},"seq":42}"#,
        ] {
            assert_eq!(acked(body.as_bytes(), b"S"), None, "{body}");
        }
    }

    #[test]
    fn an_error_has_its_number() {
        assert_eq!(error_code(br#"{"error":{"code":400,"err_code":10071,"description":"x"},"stream":"S","seq":0}"#), 10071);
        assert_eq!(error_code(br#"{"error":{"code":400,"err_code": 10164}}"#), 10164);
        assert_eq!(error_code(br#"{"error":{"code":400}}"#), 0);
        assert_eq!(error_code(br#"{"err_code":"#), 0);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body: Vec<u8>, text in "[{}\":, a-z0-9\\\\]{0,60}") {
            for bytes in [&body[..], text.as_bytes(), &[b"{\"stream\":\"S\",", text.as_bytes()].concat()] {
                acked(bytes, b"S");
                error_code(bytes);
            }
        }
    }
}
