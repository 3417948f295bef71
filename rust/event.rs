//! One event in memory: fixed fields, and one allocation that holds all its text.
//!
//! Six separate strings would cost six allocations and 96 bytes of pointers; the in-memory store keeps millions of these.

use std::hash::{Hash, Hasher};

use uuid::Uuid;

/// Versions run from 1 to this; who numbers events must not pass it.
pub const VERSION_MAX: u64 = u64::MAX;

/// An id: a canonical lower-case hyphenated UUID takes 16 bytes, anything else stays the string it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Id<'a> {
    Uuid([u8; 16]),
    Text(&'a str),
}

impl<'a> Id<'a> {
    pub fn parse(text: &'a str) -> Self {
        match Uuid::try_parse(text) {
            Ok(uuid) if text == uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer()) => Self::Uuid(uuid.into_bytes()),
            _ => Self::Text(text),
        }
    }
}

/// What an event is made of. `meta` is an encoded msgpack map with sorted keys, empty when there is none;
/// `extra` are the encoded pairs of keys that a later writer added, kept so that copying loses nothing.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    pub id: Id<'a>,
    pub actor: &'a str,
    pub kind: &'a str,
    pub version: u64,
    pub time_ns: i64,
    pub payload: &'a [u8],
    pub meta: &'a [u8],
    pub extra: &'a [u8],
    pub extra_pairs: u16,
}

#[cfg(test)]
impl Parts<'static> {
    /// An event of which a test says only what matters to it.
    pub const EXAMPLE: Self = Self {
        id: Id::Uuid([7; 16]),
        actor: "a",
        kind: "T",
        version: 1,
        time_ns: 0,
        payload: &[0xc0],
        meta: &[],
        extra: &[],
        extra_pairs: 0,
    };
}

#[derive(Debug)]
pub struct EventData {
    uuid: [u8; 16],
    version: u64,
    time_ns: i64,
    /// id text, actor, kind, payload, meta, extra, one after the other.
    blob: Box<[u8]>,
    payload_len: u32,
    meta_len: u32,
    extra_pairs: u16,
    /// 0: the id is `uuid`.
    id_len: u8,
    actor_len: u8,
    kind_len: u8,
}

impl EventData {
    /// Ids and type were checked to have at most 255 bytes, the payload to have at most 4 GiB.
    #[allow(clippy::cast_possible_truncation)]
    pub fn new(parts: &Parts<'_>) -> Self {
        let (uuid, id) = match parts.id {
            Id::Uuid(uuid) => (uuid, ""),
            Id::Text(text) => ([0; 16], text),
        };
        let pieces = [id.as_bytes(), parts.actor.as_bytes(), parts.kind.as_bytes(), parts.payload, parts.meta, parts.extra];
        let mut blob = Vec::with_capacity(pieces.iter().map(|piece| piece.len()).sum());
        for piece in pieces {
            if !piece.is_empty() {
                blob.extend_from_slice(piece); // most events have three of the six, and each is a call
            }
        }
        Self {
            uuid,
            version: parts.version,
            time_ns: parts.time_ns,
            blob: blob.into_boxed_slice(),
            payload_len: parts.payload.len() as u32,
            meta_len: parts.meta.len() as u32,
            extra_pairs: parts.extra_pairs,
            id_len: id.len() as u8,
            actor_len: parts.actor.len() as u8,
            kind_len: parts.kind.len() as u8,
        }
    }

    /// The same event with an actor and a version: how a store numbers what has none yet.
    #[must_use]
    pub fn numbered(&self, actor: &str, version: u64) -> Self {
        Self::new(&Parts { actor, version, ..self.parts() })
    }

    /// The same event without actor and version: how two are compared whatever their place.
    #[must_use]
    pub fn draft(&self) -> Self {
        self.numbered("", 0)
    }

    /// The same event with other metadata, encoded in its one form.
    #[must_use]
    pub fn with_meta(&self, meta: &[u8]) -> Self {
        Self::new(&Parts { meta, ..self.parts() })
    }

    pub fn parts(&self) -> Parts<'_> {
        let mut rest = &*self.blob;
        let mut cut = |len: usize| {
            let (piece, tail) = rest.split_at(len);
            rest = tail;
            piece
        };
        let id = cut(self.id_len.into());
        let actor = cut(self.actor_len.into());
        let kind = cut(self.kind_len.into());
        let payload = cut(self.payload_len as usize);
        let meta = cut(self.meta_len as usize);
        Parts {
            id: if id.is_empty() { Id::Uuid(self.uuid) } else { Id::Text(text(id)) },
            actor: text(actor),
            kind: text(kind),
            version: self.version,
            time_ns: self.time_ns,
            payload,
            meta,
            extra: rest,
            extra_pairs: self.extra_pairs,
        }
    }

    pub fn version(&self) -> u64 {
        self.version
    }

    pub fn time_ns(&self) -> i64 {
        self.time_ns
    }

    pub fn actor(&self) -> &str {
        let start = usize::from(self.id_len);
        text(&self.blob[start..start + usize::from(self.actor_len)])
    }

    pub fn payload(&self) -> &[u8] {
        self.parts().payload
    }

    /// No fewer bytes than this event takes in a commit.
    pub fn wire_size_bound(&self) -> usize {
        // Six keys, an id of 18 bytes, two numbers of 9, string and map marks.
        self.blob.len() + 96
    }
}

/// The pieces were `str` when they went in, and the blob never changes.
fn text(bytes: &[u8]) -> &str {
    debug_assert!(std::str::from_utf8(bytes).is_ok());
    // SAFETY: `new` copies these bytes from a `&str`, whole, and nothing writes to them.
    unsafe { std::str::from_utf8_unchecked(bytes) }
}

impl PartialEq for EventData {
    fn eq(&self, other: &Self) -> bool {
        self.version == other.version
            && self.uuid == other.uuid
            && self.time_ns == other.time_ns
            && (self.id_len, self.actor_len, self.kind_len) == (other.id_len, other.actor_len, other.kind_len)
            && (self.payload_len, self.meta_len) == (other.payload_len, other.meta_len)
            && self.blob == other.blob
    }
}

impl Eq for EventData {}

impl Hash for EventData {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.uuid.hash(state);
        self.version.hash(state);
        self.time_ns.hash(state);
        self.blob.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parts_come_back(id in ".{1,40}", actor in ".{1,40}", kind in ".{1,40}", version: u64, time_ns: i64, payload: Vec<u8>, meta: Vec<u8>) {
            let parts = Parts { id: Id::parse(&id), actor: &actor, kind: &kind, version, time_ns, payload: &payload, meta: &meta, extra: &[1, 2], extra_pairs: 1 };
            let event = EventData::new(&parts);
            let back = event.parts();
            prop_assert_eq!((back.id, back.actor, back.kind), (parts.id, parts.actor, parts.kind));
            prop_assert_eq!((back.version, back.time_ns), (version, time_ns));
            prop_assert_eq!((back.payload, back.meta, back.extra), (&*payload, &*meta, &[1_u8, 2][..]));
            prop_assert_eq!(&event, &EventData::new(&back));
            prop_assert_eq!(event.actor(), actor.as_str());
        }
    }

    #[test]
    fn only_the_canonical_form_of_a_uuid_takes_16_bytes() {
        let canonical = "59679dbb-4e81-5039-952e-0842fb6bc8bf";
        assert!(matches!(Id::parse(canonical), Id::Uuid(_)));
        for other in
            [&canonical.to_uppercase(), "59679dbb4e815039952e0842fb6bc8bf", "{59679dbb-4e81-5039-952e-0842fb6bc8bf}", "x", ""]
        {
            assert_eq!(Id::parse(other), Id::Text(other));
        }
    }
}
