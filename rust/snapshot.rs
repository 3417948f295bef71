//! A snapshot as bytes: the commit's frame around one state.

use crate::commit::{FORMAT, close, name, open};
use crate::error::{Error, Result};
use crate::msgpack::{Limits, read::Reader, write};

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
        write::map(&mut out, 6);
        write::str(&mut out, "format");
        write::uint(&mut out, FORMAT);
        write::str(&mut out, "actor");
        write::str(&mut out, &self.actor);
        write::str(&mut out, "version");
        write::uint(&mut out, self.version);
        write::str(&mut out, "time");
        write::int(&mut out, self.time_ns);
        write::str(&mut out, "state");
        out.extend_from_slice(&self.payload);
        close(&mut out);
        out
    }

    pub fn decode(body: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(body);
        let (mut actor, mut version, mut time_ns, mut payload) = (None, None, None, None);
        let end = open(&mut reader, &mut |key, _, reader| {
            match key {
                "actor" => actor = Some(name(reader, "actor_id")?.to_owned()),
                "version" => version = Some(reader.uint()?),
                "time" => time_ns = Some(reader.int()?),
                "state" => {
                    let start = reader.offset();
                    reader.skip(&Limits::STORED)?;
                    payload = Some(reader.since(start).to_vec());
                }
                _ => reader.skip(&Limits::STORED)?,
            }
            Ok(())
        })?;
        match (actor, version, time_ns, payload) {
            (Some(actor), Some(version @ 1..), Some(time_ns), Some(payload)) => Ok(Self { actor, version, time_ns, payload }),
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
