//! One event as the map it is within a commit.

use crate::error::{Error, Result};
use crate::event::{EventData, Id, Parts, VERSION_MAX};
use crate::frame::{keep, name, once};
use crate::metadata;
use crate::msgpack::{
    Limits,
    read::{Mark, Reader, text},
    write,
};
use crate::token::check_id;

const KEYS: [&str; 6] = ["id", "type", "version", "time", "data", "meta"];

pub fn write(out: &mut Vec<u8>, event: &Parts<'_>) {
    write::map(out, KEYS.len() + usize::from(event.extra_pairs));
    write::str(out, "id");
    match event.id {
        Id::Uuid(uuid) => write::bin(out, &uuid),
        Id::Text(text) => write::str(out, text),
    }
    write::str(out, "type");
    write::str(out, event.kind);
    write::str(out, "version");
    write::uint(out, event.version);
    write::str(out, "time");
    write::int(out, event.time_ns);
    write::str(out, "data");
    out.extend_from_slice(event.payload);
    write::str(out, "meta");
    if event.meta.is_empty() {
        write::map(out, 0);
    } else {
        out.extend_from_slice(event.meta);
    }
    out.extend_from_slice(event.extra);
}

/// Reads an event; checks one whose type `takes` refuses as any other, but gives only its version.
pub fn read(reader: &mut Reader<'_>, actor: &str, takes: &dyn Fn(&str) -> bool) -> Result<(u64, Option<EventData>)> {
    let start = reader.offset();
    let (mut id, mut kind, mut version, mut time_ns, mut payload, mut meta) = (None, None, None, None, None, None);
    let (mut extra, mut extra_pairs) = (Vec::new(), 0);
    for _ in 0..reader.map()? {
        let at = reader.offset();
        match reader.str()? {
            key @ "id" => once(&mut id, read_id(reader)?, key, at)?,
            key @ "type" => once(&mut kind, name(reader, "event_type")?, key, at)?,
            key @ "version" => once(&mut version, read_version(reader)?, key, at)?,
            key @ "time" => once(&mut time_ns, reader.int()?, key, at)?,
            key @ "data" => {
                let value = reader.offset();
                reader.skip(&Limits::STORED)?;
                once(&mut payload, reader.since(value), key, at)?;
            }
            key @ "meta" => once(&mut meta, metadata::read(reader)?, key, at)?,
            _ => keep(&mut extra, &mut extra_pairs, at, reader)?,
        }
    }
    let (Some(id), Some(kind), Some(version), Some(time_ns), Some(payload)) = (id, kind, version, time_ns, payload) else {
        return Err(Error::decode(start, "an event lacks id, type, version, time or data"));
    };
    let meta = meta.unwrap_or_default();
    let build = || EventData::new(&Parts { id, actor, kind, version, time_ns, payload, meta: &meta, extra: &extra, extra_pairs });
    Ok((version, takes(kind).then(build)))
}

/// Whether these bytes are exactly `pairs` pairs whose keys an event could keep without knowing them.
pub fn is_extra(bytes: &[u8], pairs: u16) -> bool {
    let mut reader = Reader::new(bytes);
    let unknown = (0..pairs).all(|_| reader.str().is_ok_and(|key| !KEYS.contains(&key)) && reader.skip(&Limits::STORED).is_ok());
    unknown && reader.left() == 0
}

fn read_id<'a>(reader: &mut Reader<'a>) -> Result<Id<'a>> {
    let start = reader.offset();
    match reader.mark()? {
        Mark::Bin(bytes) => {
            let uuid = bytes.try_into().map_err(|_| Error::decode(start, "an id of bytes has 16 of them"))?;
            Ok(Id::Uuid(uuid))
        }
        Mark::Str(bytes) => {
            let text = text(bytes, start)?;
            check_id("id", text).map_err(|error| Error::decode(start, error.to_string()))?;
            Ok(Id::parse(text))
        }
        _ => Err(Error::decode(start, "an id is a string or 16 bytes")),
    }
}

/// A version of an event: from 1.
fn read_version(reader: &mut Reader<'_>) -> Result<u64> {
    let start = reader.offset();
    match reader.uint()? {
        version @ 1..=VERSION_MAX => Ok(version),
        other => Err(Error::decode(start, format!("{other} is no version, which is from 1 on"))),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(reader: &mut Reader<'_>, actor: &str) -> Result<EventData> {
        let start = reader.clone();
        assert!(
            super::read(&mut start.clone(), actor, &|_| false).is_ok_and(|(_, event)| event.is_none())
                == super::read(&mut start.clone(), actor, &|_| true).is_ok(),
            "an event that is not wanted is checked as well"
        );
        super::read(reader, actor, &|_| true).map(|(version, event)| {
            let event = event.unwrap();
            assert_eq!(event.version(), version);
            event
        })
    }

    fn event(pairs: &[(&str, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        write::map(&mut out, pairs.len());
        for (key, value) in pairs {
            write::str(&mut out, key);
            out.extend_from_slice(value);
        }
        out
    }

    const WHOLE: [(&str, &[u8]); 6] = [
        ("id", &[0xa1, b'i']),
        ("type", &[0xa1, b't']),
        ("version", &[7]),
        ("time", &[0xff]),
        ("data", &[0xc0]),
        ("meta", &[0x80]),
    ];

    #[test]
    fn an_event_comes_back_with_its_keys_in_any_order() {
        let mut reversed = WHOLE;
        reversed.reverse();
        let one = read(&mut Reader::new(&event(&WHOLE)), "a");
        let other = read(&mut Reader::new(&event(&reversed)), "a");
        assert!(one.is_ok());
        assert_eq!(one, other);
        let mut out = Vec::new();
        write(&mut out, &one.unwrap().parts());
        assert_eq!(out, event(&WHOLE));
    }

    #[test]
    fn a_key_twice_and_a_key_missing_are_refused() {
        for index in 0..WHOLE.len() {
            let twice = [&WHOLE[..], &WHOLE[index..=index]].concat();
            assert!(read(&mut Reader::new(&event(&twice)), "a").is_err(), "twice: {}", WHOLE[index].0);
            let missing = [&WHOLE[..index], &WHOLE[index + 1..]].concat();
            let optional = WHOLE[index].0 == "meta";
            assert_eq!(read(&mut Reader::new(&event(&missing)), "a").is_ok(), optional, "missing: {}", WHOLE[index].0);
        }
    }

    #[test]
    fn what_is_no_id_version_or_name_is_refused() {
        for (index, bad) in [(0, &[0xa0][..]), (0, &[0xc4, 1, 0]), (0, &[1]), (1, &[0xa0]), (2, &[0]), (2, &[0xff])] {
            let mut pairs = WHOLE;
            pairs[index].1 = bad;
            assert!(read(&mut Reader::new(&event(&pairs)), "a").is_err(), "{} {bad:?}", pairs[index].0);
        }
    }

    #[test]
    fn unknown_pairs_have_string_keys_that_are_unknown() {
        assert!(is_extra(&[], 0));
        assert!(is_extra(&[0xa1, b'x', 0x01], 1));
        for (bytes, pairs) in [(&[0xa1, b'x', 1][..], 0), (&[0xa1, b'x', 1], 2), (&[1, 1], 1), (&[0xa2, b'i', b'd', 1], 1)] {
            assert!(!is_extra(bytes, pairs), "{bytes:?}");
        }
    }

    #[test]
    fn unknown_keys_cannot_pass_their_count() {
        let mut out = vec![0xdf];
        out.extend_from_slice(&70_000_u32.to_be_bytes());
        for _ in 0..70_000 {
            out.extend_from_slice(&[0xa1, b'x', 0xc0]);
        }
        assert!(read(&mut Reader::new(&out), "a").is_err());
    }
}
