//! A line of NDJSON to an event: the quick way for what nearly every line is.
//!
//! Python's parser (`aether.ingest.records`) says what a record is, and what is wrong with a line that is none. This one takes a
//! line only where both would make the same event of it, and else leaves it to that one, whatever the reason: a fault, a key
//! twice, a number or a date that is written in a rare way. So errors are worded in one place, and a doubt costs time alone.

mod data;
pub mod format;
mod moment;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::{Deserializer, Error as _, MapAccess, Visitor};

use crate::event::{EventData, Id, Parts};
use crate::msgpack::Limits;
use crate::{metadata, token};
use data::Data;

/// Versions of records run from 1 to this.
const VERSION_MAX: u64 = i64::MAX as u64;
/// What a commit has around its events, actor id, spine and headers included.
pub const COMMIT_OVERHEAD_BYTES: usize = 1024;
/// What an event has around its names, data and metadata: keys, marks and numbers.
const EVENT_OVERHEAD_BYTES: usize = 96;
/// What stands before a text, at most.
const TEXT_MARK_BYTES: usize = 5;
/// Metadata, encoded.
const META_BYTES_MAX: usize = 65_536;

/// A record of the input.
#[derive(Debug)]
pub struct Record {
    /// The event; its version is 0 where the record has none.
    pub event: EventData,
    /// About how many bytes it takes in a commit, never fewer.
    pub size: usize,
}

/// Reads lines, one after the other.
#[derive(Debug)]
pub struct Parser {
    limits: Limits,
    record_bytes_max: usize,
    payload: Vec<u8>,
    /// Where the keys of the containers that are being read stand in `payload`.
    keys: Vec<(usize, usize)>,
}

impl Parser {
    /// A parser for data within `limits`, and for commits of at most so many bytes.
    pub fn new(limits: Limits, commit_bytes_max: usize) -> Self {
        let record_bytes_max = commit_bytes_max.saturating_sub(COMMIT_OVERHEAD_BYTES);
        Self { limits, record_bytes_max, payload: Vec::new(), keys: Vec::new() }
    }

    /// The record that this line is; None: the line is for Python to judge.
    pub fn parse(&mut self, line: &[u8]) -> Option<Record> {
        let text = simdutf8::basic::from_utf8(line).ok()?;
        self.payload.clear();
        self.keys.clear();
        let mut json = serde_json::Deserializer::from_str(text);
        let fields = json.deserialize_map(FieldsVisitor { parser: self }).ok()?;
        json.end().ok()?;
        self.record(&fields)
    }

    fn record(&self, fields: &Fields<'_>) -> Option<Record> {
        let (id, actor, kind) = (&**fields.id.as_ref()?, &**fields.actor.as_ref()?, &**fields.kind.as_ref()?);
        let version = fields.version.unwrap_or(0);
        if !fields.has_data || self.payload.len() > self.limits.payload_bytes || fields.meta.len() > META_BYTES_MAX {
            return None;
        }
        for (what, name) in [("actor_id", actor), ("id", id), ("event_type", kind)] {
            token::check_id(what, name).ok()?;
        }
        let names = 2 * TEXT_MARK_BYTES + id.len() + kind.len();
        let size = EVENT_OVERHEAD_BYTES + self.payload.len() + names + fields.meta_bytes;
        if size > self.record_bytes_max {
            return None;
        }
        let event = EventData::new(&Parts {
            id: Id::parse(id),
            actor,
            kind,
            version,
            time_ns: moment::nanoseconds(fields.timestamp.as_ref()?)?,
            payload: &self.payload,
            meta: &fields.meta,
            extra: &[],
            extra_pairs: 0,
        });
        Some(Record { event, size })
    }
}

/// A line of a chunk.
#[derive(Debug)]
pub enum Line {
    /// What it holds.
    Record(Record),
    /// Where it stands in the chunk: it is for Python to judge.
    Odd(Range<usize>),
}

/// Goes through a chunk of lines.
#[derive(Debug)]
pub struct Walk {
    parser: Parser,
    at: usize,
    number: u64,
}

impl Walk {
    /// From the chunk's first line, which has this number.
    pub fn new(parser: Parser, number: u64) -> Self {
        Self { parser, at: 0, number }
    }

    /// The next line that is not blank, and its number; the chunk is the same in every call.
    pub fn next(&mut self, chunk: &[u8]) -> Option<(u64, Line)> {
        while self.at < chunk.len() {
            let (start, number) = (self.at, self.number);
            let end = memchr::memchr(b'\n', &chunk[start..]).map_or(chunk.len(), |len| start + len);
            (self.at, self.number) = (end + 1, number.saturating_add(1));
            let line = &chunk[start..end];
            if let Some(record) = self.parser.parse(line) {
                return Some((number, Line::Record(record)));
            }
            if !line.iter().all(|byte| matches!(byte, b' ' | b'\t'..=b'\r')) {
                return Some((number, Line::Odd(start..end)));
            }
        }
        None
    }
}

#[derive(Default)]
struct Fields<'a> {
    id: Option<Cow<'a, str>>,
    actor: Option<Cow<'a, str>>,
    kind: Option<Cow<'a, str>>,
    timestamp: Option<Cow<'a, str>>,
    version: Option<u64>,
    /// Encoded; and what it takes in a commit, at most.
    meta: Vec<u8>,
    meta_bytes: usize,
    has_data: bool,
}

/// The fields of a line, its data already encoded into the parser's payload.
struct FieldsVisitor<'p> {
    parser: &'p mut Parser,
}

impl<'a> Visitor<'a> for FieldsVisitor<'_> {
    type Value = Fields<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Fields<'a>, A::Error> {
        let mut fields = Fields::default();
        let mut seen = 0_u8;
        while let Some(Text(key)) = map.next_key()? {
            let bit = match &*key {
                "id" => set(&mut fields.id, &mut map, 0)?,
                "actor_id" => set(&mut fields.actor, &mut map, 1)?,
                "event_type" => set(&mut fields.kind, &mut map, 2)?,
                "timestamp" => set(&mut fields.timestamp, &mut map, 3)?,
                "data" => {
                    let Parser { limits, payload, keys, .. } = &mut *self.parser;
                    map.next_value_seed(Data { out: payload, keys, left: &mut { limits.elements }, depth: limits.depth })?;
                    fields.has_data = true;
                    4
                }
                "metadata" => {
                    (fields.meta, fields.meta_bytes) =
                        map.next_value::<Option<Meta>>()?.map_or_else(Default::default, |m| (m.encoded, m.bytes));
                    5
                }
                "version" => {
                    fields.version = map.next_value()?;
                    if fields.version.is_some_and(|version| !(1..=VERSION_MAX).contains(&version)) {
                        return Err(A::Error::custom("version"));
                    }
                    6
                }
                _ => return Err(A::Error::custom("field")),
            };
            if seen & 1 << bit != 0 {
                return Err(A::Error::custom("twice"));
            }
            seen |= 1 << bit;
        }
        Ok(fields)
    }
}

fn set<'a, A: MapAccess<'a>>(field: &mut Option<Cow<'a, str>>, map: &mut A, bit: u32) -> Result<u32, A::Error> {
    *field = Some(map.next_value::<Text<'a>>()?.0);
    Ok(bit)
}

/// A text, borrowed from the line where it has no escapes.
struct Text<'a>(Cow<'a, str>);

impl<'a> serde::Deserialize<'a> for Text<'a> {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'a> Visitor<'a> for TextVisitor {
            type Value = Text<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_borrowed_str<E>(self, text: &'a str) -> Result<Text<'a>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'a>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(TextVisitor)
    }
}

/// Metadata in its one form.
struct Meta {
    encoded: Vec<u8>,
    bytes: usize,
}

impl<'a> serde::Deserialize<'a> for Meta {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
        struct MetaVisitor;

        impl<'a> Visitor<'a> for MetaVisitor {
            type Value = Meta;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("metadata")
            }

            fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Meta, A::Error> {
                let mut owned = Vec::new();
                while let Some((Text(key), Text(value))) = map.next_entry()? {
                    owned.push((key, value));
                }
                let mut pairs: Vec<(&str, &str)> = owned.iter().map(|(key, value)| (&**key, &**value)).collect();
                let bytes = pairs.iter().map(|(key, value)| 2 * TEXT_MARK_BYTES + key.len() + value.len()).sum();
                let encoded = metadata::encode(&mut pairs).ok_or_else(|| A::Error::custom("twice"))?;
                Ok(Meta { encoded, bytes })
            }
        }

        deserializer.deserialize_map(MetaVisitor)
    }
}

#[cfg(test)]
mod tests;
