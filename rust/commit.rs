//! A commit as bytes: one msgpack map that any msgpack library can read, closed by a checksum.
//!
//! `format`, `actor`, `events`, `spine`, then `epoch` and `passed` where they apply, and last `crc`: the CRC-32 of every
//! byte before that key. A commit without events (a repair) says the actor's latest version as `version`.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::event::{EventData, Id, Parts};
use crate::msgpack::{
    Limits,
    read::{Mark, Reader},
    write,
};
use crate::spine::{self, Root};
use crate::token::check_id;

/// The format this code writes, and the only one released so far.
pub const FORMAT: u64 = 1;

const CRC_KEY: &str = "crc";

/// One append of 1..n events of one actor (or none, when it repairs).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Commit {
    pub actor: String,
    pub events: Vec<Arc<EventData>>,
    /// The actor's latest version after this commit.
    pub version: u64,
    /// Roots over the actor's earlier commits; None where the writer gave none.
    pub spine: Option<Vec<Root>>,
    pub epoch: Option<u64>,
    /// Positions that readers of this actor step over.
    pub passed: Vec<u64>,
    /// Encoded pairs of keys that a later writer added.
    pub extra: Vec<u8>,
    pub extra_pairs: u16,
}

impl Commit {
    /// The version before the first event here; for a repair, its own.
    pub fn version_before(&self) -> u64 {
        self.events.first().map_or(self.version, |event| event.version() - 1)
    }

    pub fn encode(&self) -> Vec<u8> {
        let bound = self.events.iter().map(|event| event.wire_size_bound()).sum::<usize>();
        let mut out = Vec::with_capacity(bound + 320);
        let optional = [self.spine.is_some(), self.epoch.is_some(), !self.passed.is_empty(), self.events.is_empty()];
        let keys = 4 + optional.into_iter().filter(|&given| given).count() + usize::from(self.extra_pairs);
        write::map(&mut out, keys);
        write::str(&mut out, "format");
        write::uint(&mut out, FORMAT);
        write::str(&mut out, "actor");
        write::str(&mut out, &self.actor);
        write::str(&mut out, "events");
        write::array(&mut out, self.events.len());
        for event in &self.events {
            write_event(&mut out, &event.parts());
        }
        if let Some(roots) = &self.spine {
            write::str(&mut out, "spine");
            write::array(&mut out, roots.len());
            for root in roots {
                write::array(&mut out, 2);
                write::uint(&mut out, root.sequence);
                write::uint(&mut out, root.size);
            }
        }
        if let Some(epoch) = self.epoch {
            write::str(&mut out, "epoch");
            write::uint(&mut out, epoch);
        }
        if !self.passed.is_empty() {
            write::str(&mut out, "passed");
            write::array(&mut out, self.passed.len());
            self.passed.iter().for_each(|&position| write::uint(&mut out, position));
        }
        if self.events.is_empty() {
            write::str(&mut out, "version");
            write::uint(&mut out, self.version);
        }
        out.extend_from_slice(&self.extra);
        close(&mut out);
        out
    }

    pub fn decode(body: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(body);
        let mut commit = Self::default();
        let mut stated_version = None;
        let keys = open(&mut reader, &mut |key, start, reader| {
            match key {
                "actor" => name(reader, "actor_id")?.clone_into(&mut commit.actor),
                "events" => {
                    let len = reader.array()?;
                    // An event takes 20 bytes or more, so a false length cannot reserve much.
                    commit.events.reserve_exact(len.min(reader.left() / 20));
                    for _ in 0..len {
                        let event = read_event(reader, &commit.actor)?;
                        commit.events.push(Arc::new(event));
                    }
                }
                "spine" => commit.spine = Some(read_spine(reader)?),
                "epoch" => commit.epoch = Some(reader.uint()?),
                "passed" => {
                    for _ in 0..reader.array()? {
                        commit.passed.push(reader.uint()?);
                    }
                }
                "version" => stated_version = Some(reader.uint()?),
                _ => {
                    reader.skip(&Limits::STORED)?;
                    commit.extra.extend_from_slice(reader.since(start));
                    commit.extra_pairs += 1;
                }
            }
            Ok(())
        })?;
        commit.check(stated_version, keys)?;
        Ok(commit)
    }

    fn check(&mut self, stated_version: Option<u64>, end: usize) -> Result<()> {
        if self.actor.is_empty() {
            return Err(Error::decode(end, "the commit names no actor"));
        }
        let mut last = 0;
        for event in &self.events {
            if event.version() <= last {
                return Err(Error::decode(end, format!("version {} follows {last}", event.version())));
            }
            last = event.version();
        }
        self.version = match (self.events.is_empty(), stated_version) {
            (false, _) => last,
            (true, Some(version)) => version,
            (true, None) => return Err(Error::decode(end, "the commit has neither events nor a version")),
        };
        Ok(())
    }
}

/// What makes events one commit: at least one, all of one actor, versions that strictly increase.
pub fn check_events(events: &[Arc<EventData>]) -> Result<&Arc<EventData>> {
    let first = events.first().ok_or(Error::Misuse("a commit has at least one event"))?;
    if events.windows(2).any(|two| two[0].version() >= two[1].version()) {
        return Err(Error::Misuse("the versions of a commit's events must strictly increase"));
    }
    if events.iter().any(|event| event.actor() != first.actor()) {
        return Err(Error::Misuse(
            "the events of a commit belong to one actor; save those of another actor in a call of their own",
        ));
    }
    Ok(first)
}

/// Reads the map's pairs up to the checksum, and checks it. `format` comes first, so a later format is told apart at once.
/// Returns the offset behind the last byte.
pub(crate) fn open<'a>(
    reader: &mut Reader<'a>,
    pair: &mut dyn FnMut(&str, usize, &mut Reader<'a>) -> Result<()>,
) -> Result<usize> {
    let body_start = reader.clone();
    let pairs = reader.map()?;
    for index in 0..pairs {
        let start = reader.offset();
        let key = reader.str()?;
        match (index, key) {
            (0, "format") => match reader.uint()? {
                FORMAT => {}
                other => {
                    return Err(Error::decode(
                        start,
                        format!("format {other}; this version of Aether reads format {FORMAT}, upgrade it"),
                    ));
                }
            },
            (0, _) => return Err(Error::decode(start, "this is no message of Aether: its first key is not \"format\"")),
            (_, CRC_KEY) => {
                let stored = reader.uint()?;
                let counted = crc32fast::hash(body_start.ahead(start));
                if stored != u64::from(counted) {
                    return Err(Error::decode(
                        start,
                        format!("the checksum is {counted:#010x}, {stored:#010x} is written: the bytes were altered"),
                    ));
                }
                if index + 1 != pairs {
                    return Err(Error::decode(start, "the checksum is not the last key"));
                }
                reader.end()?;
                return Ok(reader.offset());
            }
            _ => pair(key, start, reader)?,
        }
    }
    Err(Error::decode(reader.offset(), "the message has no checksum"))
}

/// Appends the checksum, always in five bytes.
pub(crate) fn close(out: &mut Vec<u8>) {
    let crc = crc32fast::hash(out);
    write::str(out, CRC_KEY);
    out.push(0xce);
    out.extend_from_slice(&crc.to_be_bytes());
}

fn write_event(out: &mut Vec<u8>, event: &Parts<'_>) {
    write::map(out, 6 + usize::from(event.extra_pairs));
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

fn read_event(reader: &mut Reader<'_>, actor: &str) -> Result<EventData> {
    let start = reader.offset();
    let (mut id, mut kind, mut version, mut time_ns, mut payload, mut meta) = (None, None, None, None, None, None);
    let mut extra = Vec::new();
    let mut extra_pairs = 0;
    for _ in 0..reader.map()? {
        let pair = reader.offset();
        match reader.str()? {
            "id" => id = Some(read_id(reader)?),
            "type" => kind = Some(name(reader, "event_type")?),
            "version" => version = Some(reader.uint()?),
            "time" => time_ns = Some(reader.int()?),
            "data" => {
                let value = reader.offset();
                reader.skip(&Limits::STORED)?;
                payload = Some(reader.since(value));
            }
            "meta" => meta = Some(read_meta(reader)?),
            _ => {
                reader.skip(&Limits::STORED)?;
                extra.extend_from_slice(reader.since(pair));
                extra_pairs += 1;
            }
        }
    }
    let (Some(id), Some(kind), Some(version @ 1..), Some(time_ns), Some(payload)) = (id, kind, version, time_ns, payload) else {
        return Err(Error::decode(start, "an event lacks id, type, version (from 1), time or data"));
    };
    let meta = meta.unwrap_or_default();
    Ok(EventData::new(&Parts { id, actor, kind, version, time_ns, payload, meta: &meta, extra: &extra, extra_pairs }))
}

fn read_id<'a>(reader: &mut Reader<'a>) -> Result<Id<'a>> {
    let start = reader.offset();
    match reader.mark()? {
        Mark::Bin(bytes) => {
            let uuid = bytes.try_into().map_err(|_| Error::decode(start, "an id of bytes has 16 of them"))?;
            Ok(Id::Uuid(uuid))
        }
        Mark::Str(bytes) => {
            let text = crate::msgpack::read::text(bytes, start)?;
            check_id("id", text).map_err(|error| Error::decode(start, error.to_string()))?;
            Ok(Id::parse(text))
        }
        _ => Err(Error::decode(start, "an id is a string or 16 bytes")),
    }
}

pub(crate) fn name<'a>(reader: &mut Reader<'a>, what: &'static str) -> Result<&'a str> {
    let start = reader.offset();
    let text = reader.str()?;
    check_id(what, text).map_err(|error| Error::decode(start, error.to_string()))?;
    Ok(text)
}

/// Metadata in its one form: an encoded map with sorted keys, nothing when it is empty.
fn read_meta(reader: &mut Reader<'_>) -> Result<Vec<u8>> {
    let start = reader.offset();
    let len = reader.map()?;
    let mut pairs = Vec::with_capacity(len);
    for _ in 0..len {
        pairs.push((reader.str()?, reader.str()?));
    }
    write_meta(&mut pairs).ok_or_else(|| Error::decode(start, "metadata has a key twice"))
}

/// Encodes metadata in its one form; None if a key is there twice.
pub fn write_meta(pairs: &mut [(&str, &str)]) -> Option<Vec<u8>> {
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

fn read_spine(reader: &mut Reader<'_>) -> Result<Vec<Root>> {
    let start = reader.offset();
    let mut roots = Vec::new();
    for _ in 0..reader.array()? {
        if reader.array()? != 2 {
            return Err(Error::decode(start, "a root of the spine is [sequence, size]"));
        }
        roots.push(Root { sequence: reader.uint()?, size: reader.uint()? });
        if roots.len() > spine::ROOTS_MAX {
            return Err(Error::decode(start, format!("the spine has more than {} roots", spine::ROOTS_MAX)));
        }
    }
    Ok(roots)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(version: u64, text: &str) -> Arc<EventData> {
        let mut payload = Vec::new();
        write::str(&mut payload, text);
        let meta = write_meta(&mut [("b", "2"), ("a", "1")]).unwrap();
        Arc::new(EventData::new(&Parts {
            id: Id::parse("59679dbb-4e81-5039-952e-0842fb6bc8bf"),
            actor: "order-123",
            kind: "Placed",
            version,
            time_ns: -5,
            payload: &payload,
            meta: &meta,
            extra: &[0xa1, b'x', 0x01],
            extra_pairs: 1,
        }))
    }

    fn commit(texts: &[String]) -> Commit {
        Commit {
            actor: "order-123".into(),
            events: texts.iter().zip(3..).map(|(text, version)| event(version, text)).collect(),
            version: texts.len() as u64 + 2,
            spine: Some(vec![Root { sequence: 9, size: 1 }, Root { sequence: 5, size: 3 }]),
            epoch: Some(7),
            passed: vec![4],
            extra: vec![0xa1, b'y', 0xc0],
            extra_pairs: 1,
        }
    }

    proptest! {
        #[test]
        fn a_commit_comes_back_whole(texts in proptest::collection::vec(".{0,40}", 1..5)) {
            let commit = commit(&texts);
            prop_assert_eq!(Commit::decode(&commit.encode()).unwrap(), commit);
        }

        #[test]
        fn every_flipped_bit_is_noticed(bit in 0_usize..8 * 200) {
            let mut body = commit(&["some text".into(), "more".into()]).encode();
            let bit = bit % (body.len() * 8);
            body[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Commit::decode(&body).is_err());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            prop_assert!(Commit::decode(&bytes).is_err());
        }
    }

    #[test]
    fn every_truncation_is_noticed() {
        let body = commit(&["text".into()]).encode();
        for len in 0..body.len() {
            assert!(Commit::decode(&body[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn a_repair_has_no_events_and_states_its_version() {
        let repair = Commit { actor: "a".into(), version: 12, passed: vec![3, 4], spine: Some(vec![]), ..Commit::default() };
        assert_eq!(Commit::decode(&repair.encode()).unwrap(), repair);
    }
}
