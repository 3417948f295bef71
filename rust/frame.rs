//! The frame of every message: one msgpack map whose first key is `format` and whose last is `crc`.
//!
//! `crc` is the CRC-32 (as zlib computes it, so that any reader can check it) of every byte before that key.

use crate::error::{Error, Result};
use crate::msgpack::{read::Reader, write};
use crate::token::check_id;

/// The format this code writes, and the only one released so far.
pub const FORMAT: u64 = 1;

/// The longest message that is read: lengths within one fit 32 bits.
pub const BODY_BYTES_MAX: usize = u32::MAX as usize;

const CRC_KEY: &str = "crc";

/// Begins a message of `keys` keys beside `format` and `crc`.
pub fn begin(out: &mut Vec<u8>, keys: usize) {
    write::map(out, keys + 2);
    write::str(out, "format");
    write::uint(out, FORMAT);
}

/// Appends the checksum, always in five bytes.
pub fn close(out: &mut Vec<u8>) {
    let crc = crc32fast::hash(out);
    write::str(out, CRC_KEY);
    out.push(0xce);
    out.extend_from_slice(&crc.to_be_bytes());
}

/// Reads a whole message: `pair` takes each key between `format` and `crc`, with the offset where it starts, and reads its
/// value. `format` comes first, so a later format is told apart at once. Returns the message's length.
pub fn open<'a>(body: &'a [u8], pair: &mut dyn FnMut(&str, usize, &mut Reader<'a>) -> Result<()>) -> Result<usize> {
    if body.len() > BODY_BYTES_MAX {
        return Err(Error::decode(0, format!("{} bytes, a message has at most {BODY_BYTES_MAX}", body.len())));
    }
    let mut reader = Reader::new(body);
    let pairs = reader.map()?;
    for index in 0..pairs {
        let start = reader.offset();
        match (index, reader.str()?) {
            (0, "format") => check_format(&mut reader)?,
            (0, _) => return Err(Error::decode(start, "this is no message of Aether: its first key is not \"format\"")),
            (_, CRC_KEY) => {
                check_crc(reader.uint()?, &body[..start], start)?;
                if index + 1 != pairs {
                    return Err(Error::decode(start, "the checksum is not the last key"));
                }
                reader.end()?;
                return Ok(body.len());
            }
            (_, key) => pair(key, start, &mut reader)?,
        }
    }
    Err(Error::decode(reader.offset(), "the message has no checksum"))
}

fn check_format(reader: &mut Reader<'_>) -> Result<()> {
    let start = reader.offset();
    match reader.uint()? {
        FORMAT => Ok(()),
        found => Err(Error::Format { offset: start, found }),
    }
}

fn check_crc(stored: u64, bytes: &[u8], start: usize) -> Result<()> {
    let counted = crc32fast::hash(bytes);
    if stored == u64::from(counted) {
        return Ok(());
    }
    Err(Error::decode(start, format!("the checksum is {counted:#010x}, {stored:#010x} is written: the bytes were altered")))
}

/// Fills a key's place; a key that is there twice is refused, because two readers could choose differently.
pub fn once<T>(place: &mut Option<T>, value: T, key: &str, start: usize) -> Result<()> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Error::decode(start, format!("the key {key:?} is there twice"))),
    }
}

/// Keeps the pair of a key that this code does not know, as it stands.
pub fn keep(extra: &mut Vec<u8>, pairs: &mut u16, start: usize, reader: &mut Reader<'_>) -> Result<()> {
    reader.skip(&crate::msgpack::Limits::STORED)?;
    extra.extend_from_slice(reader.since(start));
    *pairs = pairs.checked_add(1).ok_or_else(|| Error::decode(start, "more than 65,535 unknown keys"))?;
    Ok(())
}

/// A name of 1 to 255 bytes.
pub fn name<'a>(reader: &mut Reader<'a>, what: &'static str) -> Result<&'a str> {
    let start = reader.offset();
    let text = reader.str()?;
    check_id(what, text).map_err(|error| Error::decode(start, error.to_string()))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(keys: &[&str]) -> Vec<u8> {
        let mut body = Vec::new();
        begin(&mut body, keys.len());
        for key in keys {
            write::str(&mut body, key);
            write::nil(&mut body);
        }
        close(&mut body);
        body
    }

    fn keys(body: &[u8]) -> Result<Vec<String>> {
        let mut found = Vec::new();
        open(body, &mut |key, _, reader| {
            found.push(key.to_owned());
            reader.skip(&crate::msgpack::Limits::STORED)
        })?;
        Ok(found)
    }

    #[test]
    fn the_keys_between_come_in_order() {
        assert_eq!(keys(&framed(&["a", "b"])), Ok(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(keys(&framed(&[])), Ok(vec![]));
    }

    #[test]
    fn what_is_no_message_is_told_with_its_place() {
        let offset = |body: &[u8]| match keys(body) {
            Err(Error::Decode { offset, .. } | Error::Format { offset, found: 2 }) => Some(offset),
            _ => None,
        };
        assert_eq!(offset(b""), Some(0));
        assert_eq!(offset(b"hello"), Some(0));
        assert_eq!(offset(&[0x81, 0xa1, b'a', 0xc0]), Some(1), "another first key");
        assert_eq!(offset(&[0x81, 0xa6, b'f', b'o', b'r', b'm', b'a', b't', 2]), Some(8), "another format");
        assert_eq!(offset(&[0x81, 0xa6, b'f', b'o', b'r', b'm', b'a', b't', 1]), Some(9), "no checksum");
        let mut behind = framed(&["a"]);
        behind.push(0xc0);
        assert_eq!(offset(&behind), Some(behind.len() - 1), "a byte behind");
        let mut early = Vec::new();
        begin(&mut early, 1);
        close(&mut early);
        let crc = early.len() - 9;
        early.extend_from_slice(&[0xa1, b'a', 0xc0]);
        assert_eq!(offset(&early), Some(crc), "a key behind the checksum");
    }
}
