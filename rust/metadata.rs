//! Metadata in its one form: an encoded map of str to str with sorted keys, no bytes at all when it is empty.

use crate::error::{Error, Result};
use crate::msgpack::{read::Reader, write};

/// Encodes metadata; None if a key is there twice.
pub fn encode(pairs: &mut [(&str, &str)]) -> Option<Vec<u8>> {
    if pairs.is_empty() {
        return Some(Vec::new());
    }
    pairs.sort_unstable();
    if pairs.windows(2).any(|two| two[0].0 == two[1].0) {
        return None;
    }
    let mut out = Vec::new();
    write::map(&mut out, pairs.len());
    for (key, value) in pairs {
        write::str(&mut out, key);
        write::str(&mut out, value);
    }
    Some(out)
}

/// Reads a map that any writer made, its keys in any order, and encodes it in the one form.
pub fn read(reader: &mut Reader<'_>) -> Result<Vec<u8>> {
    let start = reader.offset();
    let mut pairs = Vec::new();
    for _ in 0..reader.map()? {
        pairs.push((reader.str()?, reader.str()?));
    }
    encode(&mut pairs).ok_or_else(|| Error::decode(start, "metadata has a key twice"))
}

/// One entry's value, without building the rest.
pub fn entry<'a>(meta: &'a [u8], wanted: &str) -> Result<Option<&'a str>> {
    if meta.is_empty() {
        return Ok(None);
    }
    let mut reader = Reader::new(meta);
    for _ in 0..reader.map()? {
        let (key, value) = (reader.str()?, reader.str()?);
        if key == wanted {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

/// Whether these bytes are the one form of some metadata.
pub fn is_canonical(meta: &[u8]) -> bool {
    let mut reader = Reader::new(meta);
    meta.is_empty() || read(&mut reader).is_ok_and(|again| again == meta && reader.left() == 0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_order_given_does_not_matter() {
        let one = encode(&mut [("b", "2"), ("a", "1")]).unwrap();
        assert_eq!(one, encode(&mut [("a", "1"), ("b", "2")]).unwrap());
        assert!(is_canonical(&one));
        assert_eq!(entry(&one, "b"), Ok(Some("2")));
        assert_eq!(entry(&one, "c"), Ok(None));
        assert_eq!(read(&mut Reader::new(&[0x82, 0xa1, b'b', 0xa1, b'2', 0xa1, b'a', 0xa1, b'1'])), Ok(one));
    }

    #[test]
    fn a_key_twice_is_refused() {
        assert_eq!(encode(&mut [("a", "1"), ("a", "2")]), None);
        assert!(read(&mut Reader::new(&[0x82, 0xa1, b'a', 0xa0, 0xa1, b'a', 0xa0])).is_err());
    }

    #[test]
    fn other_bytes_are_not_canonical() {
        assert!(is_canonical(&[]));
        for other in
            [&[0x80][..], &[0xc0], &[0x81, 0xa1, b'a', 0x01], &[0x81, 0xa1, b'a', 0xa0, 0xc0], &[0x81, 0xd9, 1, b'a', 0xa0]]
        {
            assert!(!is_canonical(other), "{other:?}");
        }
    }
}
