//! A commit as bytes: one msgpack map that any msgpack library can read, closed by a checksum.
//!
//! `format`, `actor`, `events`, `spine`, then `epoch` and `passed` where they apply, and last `crc`: the CRC-32 of every
//! byte before that key. A commit without events (a repair) says the actor's latest version as `version`.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::event::{EventData, Parts, VERSION_MAX};
use crate::event_map;
use crate::frame::{self, keep, name, once};
use crate::msgpack::{read::Reader, write};
use crate::roots::{ROOTS_MAX, Root};

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
        frame::begin(&mut out, 2 + optional.into_iter().filter(|&given| given).count() + usize::from(self.extra_pairs));
        write_events(&mut out, &self.actor, self.events.iter().map(|event| event.parts()));
        if let Some(roots) = &self.spine {
            write_spine(&mut out, roots);
        }
        if let Some(epoch) = self.epoch {
            write_epoch(&mut out, epoch);
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
        frame::close(&mut out);
        out
    }

    pub fn decode(body: &[u8]) -> Result<Self> {
        Self::decode_where(body, &|_| true)
    }

    /// The commit with those of its events whose type `takes` wants; the others are checked, and not built.
    pub fn decode_where(body: &[u8], takes: &dyn Fn(&str) -> bool) -> Result<Self> {
        let (mut actor, mut events, mut spine, mut epoch, mut passed, mut version) = (None, None, None, None, None, None);
        let (mut extra, mut extra_pairs) = (Vec::new(), 0);
        let end = frame::open(body, &mut |key, start, reader| match key {
            "actor" => once(&mut actor, name(reader, "actor_id")?, key, start),
            "events" => {
                let actor = actor.ok_or_else(|| Error::decode(start, "the actor must stand before its events"))?;
                once(&mut events, read_events(reader, actor, takes)?, key, start)
            }
            "spine" => once(&mut spine, read_spine(reader)?, key, start),
            "epoch" => once(&mut epoch, reader.uint()?, key, start),
            "passed" => once(&mut passed, read_positions(reader)?, key, start),
            "version" => once(&mut version, reader.uint()?, key, start),
            _ => keep(&mut extra, &mut extra_pairs, start, reader),
        })?;
        let (Some(actor), Some((events, last))) = (actor, events) else {
            return Err(Error::decode(end, "the commit lacks its actor or its events"));
        };
        let version = latest(last, version).map_err(|reason| Error::decode(end, reason))?;
        Ok(Self {
            actor: actor.to_owned(),
            events,
            version,
            spine,
            epoch,
            passed: passed.unwrap_or_default(),
            extra,
            extra_pairs,
        })
    }
}

/// Appends the bytes of a commit that has events and nothing out of the ordinary; `out` is empty before.
pub fn encode_plain<'a>(
    out: &mut Vec<u8>,
    actor: &str,
    events: impl ExactSizeIterator<Item = Parts<'a>>,
    spine: Option<&[Root]>,
    epoch: Option<u64>,
) {
    frame::begin(out, 2 + usize::from(spine.is_some()) + usize::from(epoch.is_some()));
    write_events(out, actor, events);
    if let Some(roots) = spine {
        write_spine(out, roots);
    }
    if let Some(epoch) = epoch {
        write_epoch(out, epoch);
    }
    frame::close(out);
}

fn write_events<'a>(out: &mut Vec<u8>, actor: &str, events: impl ExactSizeIterator<Item = Parts<'a>>) {
    write::str(out, "actor");
    write::str(out, actor);
    write::str(out, "events");
    write::array(out, events.len());
    for event in events {
        event_map::write(out, &event);
    }
}

fn write_epoch(out: &mut Vec<u8>, epoch: u64) {
    write::str(out, "epoch");
    write::uint(out, epoch);
}

fn write_spine(out: &mut Vec<u8>, roots: &[Root]) {
    write::str(out, "spine");
    write::array(out, roots.len());
    for root in roots {
        write::array(out, 2);
        write::uint(out, root.sequence);
        write::uint(out, root.size);
    }
}

/// The actor's version after a commit, as its last event (0: it has none) or, where it has none, the commit itself says.
fn latest(last: u64, stated: Option<u64>) -> std::result::Result<u64, String> {
    match stated {
        None if last == 0 => Err("the commit has neither events nor a version".to_owned()),
        Some(stated) if last != 0 && stated != last => {
            Err(format!("the commit states version {stated}, its last event has {last}"))
        }
        _ => Ok(stated.unwrap_or(last)),
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

/// Refuses to number `count` events from `version` + 1 on where versions end.
pub fn check_room(version: u64, count: usize) -> Result<()> {
    match VERSION_MAX.checked_sub(version) {
        Some(left) if count as u64 <= left => Ok(()),
        _ => Err(Error::VersionsUsedUp),
    }
}

/// The events that `takes` wants, and the version of the last of all; 0: there is none.
fn read_events(reader: &mut Reader<'_>, actor: &str, takes: &dyn Fn(&str) -> bool) -> Result<(Vec<Arc<EventData>>, u64)> {
    let len = reader.array()?;
    // An event takes 20 bytes or more, so a false length cannot reserve much.
    let (mut events, mut last) = (Vec::with_capacity(len.min(reader.left() / 20)), 0);
    for _ in 0..len {
        let start = reader.offset();
        let (version, event) = event_map::read(reader, actor, takes)?;
        if version <= last {
            return Err(Error::decode(start, format!("version {version} follows {last}")));
        }
        last = version;
        events.extend(event.map(Arc::new));
    }
    Ok((events, last))
}

fn read_positions(reader: &mut Reader<'_>) -> Result<Vec<u64>> {
    (0..reader.array()?).map(|_| reader.uint()).collect()
}

fn read_spine(reader: &mut Reader<'_>) -> Result<Vec<Root>> {
    let start = reader.offset();
    let mut roots = Vec::new();
    for _ in 0..reader.array()? {
        if reader.array()? != 2 {
            return Err(Error::decode(start, "a root of the spine is [sequence, size]"));
        }
        roots.push(Root { sequence: reader.uint()?, size: reader.uint()? });
        if roots.len() > ROOTS_MAX {
            return Err(Error::decode(start, format!("the spine has more than {ROOTS_MAX} roots")));
        }
    }
    Ok(roots)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::event::Id;
    use proptest::prelude::*;

    fn event(version: u64, text: &str) -> Arc<EventData> {
        let mut payload = Vec::new();
        write::str(&mut payload, text);
        let meta = crate::metadata::encode(&mut [("b", "2"), ("a", "1")]).unwrap();
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
