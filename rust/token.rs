//! Actor id to subject token and back: total, injective, and safe in any NATS subject.
//!
//! `[A-Za-z0-9_-]` stay, every other byte of the UTF-8 becomes `=XX` (upper-case hex), as quoted-printable does.
//! An id can therefore never contain a dot, a wildcard or a space in a subject, and no id yields a token such as `=epoch`.

use crate::error::{Error, Result};

/// Ids, event types: 1 to 255 bytes of UTF-8.
pub const ID_BYTES_MAX: usize = 255;

const HEX: &[u8; 16] = b"0123456789ABCDEF";

fn stays(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

fn escaped(byte: u8) -> [u8; 3] {
    [b'=', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]
}

/// Refuses what is no id; `what` names it in the error.
pub fn check_id(what: &'static str, id: &str) -> Result<()> {
    match id.len() {
        0 => Err(Error::InvalidId { what, reason: "is empty; any string of 1 to 255 UTF-8 bytes will do" }),
        1..=ID_BYTES_MAX => Ok(()),
        _ => Err(Error::InvalidId { what, reason: "is longer than 255 UTF-8 bytes" }),
    }
}

/// The token of an id.
pub fn encode(id: &str) -> String {
    let mut out = String::with_capacity(id.len() + 8);
    write(&mut out, id);
    out
}

/// Appends the token of an id.
pub fn write(out: &mut String, id: &str) {
    let mut rest = id;
    // What stays is ASCII, so the text may be cut at either end of it.
    while let Some(at) = rest.bytes().position(|byte| !stays(byte)) {
        out.push_str(&rest[..at]);
        let next = rest[at..].char_indices().nth(1).map_or(rest.len(), |(len, _)| at + len);
        for byte in rest[at..next].bytes() {
            out.extend(escaped(byte).map(char::from));
        }
        rest = &rest[next..];
    }
    out.push_str(rest);
}

/// Gives the token of an id piece by piece, without making it.
pub fn pieces(id: &str, mut take: impl FnMut(&[u8])) {
    for &byte in id.as_bytes() {
        if stays(byte) { take(&[byte]) } else { take(&escaped(byte)) }
    }
}

/// Whether this is the token of that id; as `encode` would tell, without making it.
pub fn is_of(token: &str, id: &str) -> bool {
    let mut rest = token.as_bytes();
    for &byte in id.as_bytes() {
        let expected = escaped(byte);
        let expected = if stays(byte) { &[byte][..] } else { &expected[..] };
        let Some(left) = rest.strip_prefix(expected) else { return false };
        rest = left;
    }
    rest.is_empty()
}

/// The id of a token; None where `encode` would not have made it.
pub fn decode(token: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(token.len());
    let mut rest = token.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        if byte == b'=' {
            let (high, low) = (*tail.first()?, *tail.get(1)?);
            let value = HEX.iter().position(|&h| h == high)? << 4 | HEX.iter().position(|&h| h == low)?;
            let value = u8::try_from(value).ok()?;
            if stays(value) {
                return None;
            }
            bytes.push(value);
            rest = &tail[2..];
        } else if stays(byte) {
            bytes.push(byte);
            rest = tail;
        } else {
            return None;
        }
    }
    let id = String::from_utf8(bytes).ok()?;
    (1..=ID_BYTES_MAX).contains(&id.len()).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_id_returns_from_its_token(id in "\\PC{1,60}|[ -~]{1,60}") {
            let token = encode(&id);
            prop_assert!(token.bytes().all(|b| stays(b) || b == b'='));
            let back = decode(&token);
            prop_assert_eq!(back.as_deref(), Some(id.as_str()));
            prop_assert!(is_of(&token, &id) && token != crate::epoch::TOKEN);
        }

        #[test]
        fn only_its_own_token_is_of_an_id(id in "[ab.=é]{1,3}", other in "[ab.=é]{1,3}") {
            prop_assert_eq!(is_of(&encode(&other), &id), id == other);
        }

        #[test]
        fn a_token_that_decodes_is_the_one_encode_makes(token in "[A-Za-z0-9_=-]{1,40}") {
            if let Some(id) = decode(&token) {
                prop_assert_eq!(encode(&id), token);
            }
        }
    }

    #[test]
    fn reserved_tokens_are_no_ids() {
        assert_eq!(decode("=epoch"), None);
        assert_eq!(decode(""), None);
        assert_eq!(decode("=2e"), None);
        assert_eq!(decode("=41"), None);
    }

    #[test]
    fn ids_have_1_to_255_bytes() {
        assert!(check_id("actor_id", "").is_err());
        assert!(check_id("actor_id", &"a".repeat(255)).is_ok());
        assert!(check_id("actor_id", &"é".repeat(128)).is_err());
    }
}
