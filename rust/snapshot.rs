//! A snapshot as bytes: the commit's frame around one state.

use crate::error::{Error, Result};
use crate::event::VERSION_MAX;
use crate::frame::{self, name, once};
use crate::msgpack::{Limits, write};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SnapshotData {
    pub actor: String,
    pub version: u64,
    pub time_ns: i64,
    /// The state, encoded.
    pub payload: Vec<u8>,
}

impl SnapshotData {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.payload.len() + self.actor.len() + 80);
        frame::begin(&mut out, 4);
        write::str(&mut out, "actor");
        write::str(&mut out, &self.actor);
        write::str(&mut out, "version");
        write::uint(&mut out, self.version);
        write::str(&mut out, "time");
        write::int(&mut out, self.time_ns);
        write::str(&mut out, "state");
        out.extend_from_slice(&self.payload);
        frame::close(&mut out);
        out
    }

    /// Unknown keys are stepped over, not kept: a snapshot is replaced as a whole, never copied.
    pub fn decode(body: &[u8]) -> Result<Self> {
        let (mut actor, mut version, mut time_ns, mut payload) = (None, None, None, None);
        let end = frame::open(body, &mut |key, start, reader| match key {
            "actor" => once(&mut actor, name(reader, "actor_id")?, key, start),
            "version" => once(&mut version, reader.uint()?, key, start),
            "time" => once(&mut time_ns, reader.int()?, key, start),
            "state" => {
                let value = reader.offset();
                reader.skip(&Limits::STORED)?;
                once(&mut payload, reader.since(value), key, start)
            }
            _ => reader.skip(&Limits::STORED),
        })?;
        match (actor, version, time_ns, payload) {
            (Some(actor), Some(version @ 1..=VERSION_MAX), Some(time_ns), Some(payload)) => {
                Ok(Self { actor: actor.to_owned(), version, time_ns, payload: payload.to_vec() })
            }
            _ => Err(Error::decode(end, "a snapshot lacks actor, version (from 1), time or state")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_comes_back_and_damage_is_noticed() {
        let snapshot = SnapshotData { actor: "a".into(), version: 3, time_ns: 1, payload: vec![0x91, 0xc0] };
        let body = snapshot.encode();
        assert_eq!(SnapshotData::decode(&body), Ok(snapshot));
        for bit in 0..body.len() * 8 {
            let mut altered = body.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(SnapshotData::decode(&altered).is_err());
        }
    }
}
