//! An event to a line of NDJSON: the quick way for what nearly every event is.
//!
//! Python (`aether.ingest.records.format_record`) says how an event is written. This one writes the same bytes, or leaves the event to
//! that one: what JSON cannot say, what another library wrote, what no limit allows to be read.

use std::fmt::Write as _;
use std::io::Write as _;

use super::moment;
use crate::event::{EventData, Id};
use crate::msgpack::read::{Mark, Reader};
use crate::msgpack::{Limits, read, write};

/// Up to so many keys are compared each with each.
const FEW_KEYS: usize = 12;
/// From here on, and below its inverse, writers differ in how they put a float.
const PLAIN_FLOATS: std::ops::Range<f64> = 1e-4..1e15;

/// Writes events, one after the other.
#[derive(Debug)]
pub struct Formatter<'a> {
    limits: Limits,
    /// The data as this crate would encode it: if that is not what it is, Python would read something else back.
    again: Vec<u8>,
    keys: Vec<&'a str>,
    text: String,
    any_float: bool,
}

impl<'a> Formatter<'a> {
    /// A formatter of data within `limits`.
    pub fn new(limits: Limits) -> Self {
        Self { limits, again: Vec::new(), keys: Vec::new(), text: String::new(), any_float: false }
    }

    /// One that writes very large and very small floats too, in its own way: it leaves nothing to Python that JSON can say.
    pub fn of_any_float(limits: Limits) -> Self {
        Self { any_float: true, ..Self::new(limits) }
    }

    /// Appends the event's line and its end; None: Python has to write it, and nothing was appended.
    pub fn line(&mut self, event: &'a EventData, out: &mut Vec<u8>) -> Option<()> {
        let start = out.len();
        let done = self.fields(event, out);
        if done.is_none() {
            out.truncate(start);
        }
        done
    }

    fn fields(&mut self, event: &'a EventData, out: &mut Vec<u8>) -> Option<()> {
        let parts = event.parts();
        self.text.clear();
        match parts.id {
            Id::Uuid(bytes) => write!(self.text, "{}", uuid::Uuid::from_bytes(bytes).hyphenated()).ok()?,
            Id::Text(text) => self.text.push_str(text),
        }
        out.extend_from_slice(b"{\"id\":");
        string(out, &self.text)?;
        out.extend_from_slice(b",\"actor_id\":");
        string(out, parts.actor)?;
        out.extend_from_slice(b",\"event_type\":");
        string(out, parts.kind)?;
        write!(out, ",\"version\":{},\"timestamp\":\"", parts.version).ok()?;
        moment::write(out, parts.time_ns);
        out.extend_from_slice(b"\",\"data\":");
        self.data(parts.payload, out)?;
        if !parts.meta.is_empty() {
            out.extend_from_slice(b",\"metadata\":");
            metadata(out, parts.meta)?;
        }
        out.extend_from_slice(b"}\n");
        Some(())
    }

    /// Appends data as JSON from which equal data is read; None: there is none, or Python has to say, and what was appended is void.
    pub fn data(&mut self, payload: &'a [u8], out: &mut Vec<u8>) -> Option<()> {
        if payload.len() > self.limits.payload_bytes {
            return None;
        }
        self.again.clear();
        self.keys.clear();
        let mut reader = Reader::new(payload);
        let mut left = self.limits.elements;
        self.value(&mut reader, out, self.limits.depth, &mut left)?;
        (reader.left() == 0 && self.again == payload).then_some(())
    }

    fn value(&mut self, reader: &mut Reader<'a>, out: &mut Vec<u8>, depth: usize, left: &mut usize) -> Option<()> {
        match reader.mark().ok()? {
            Mark::Nil => {
                write::nil(&mut self.again);
                out.extend_from_slice(b"null");
            }
            Mark::Bool(value) => {
                write::bool(&mut self.again, value);
                out.extend_from_slice(if value { b"true" } else { b"false" });
            }
            Mark::UInt(value) => {
                write::uint(&mut self.again, value);
                write!(out, "{value}").ok()?;
            }
            Mark::Int(value) => {
                write::int(&mut self.again, value);
                write!(out, "{value}").ok()?;
            }
            Mark::Float(value) => {
                let is_alike = value == 0.0 || PLAIN_FLOATS.contains(&value.abs());
                if !(is_alike || (self.any_float && value.is_finite())) {
                    return None;
                }
                write::float(&mut self.again, value);
                serde_json::to_writer(out, &value).ok()?;
            }
            Mark::Str(bytes) => {
                let text = read::text(bytes, 0).ok()?;
                write::str(&mut self.again, text);
                string(out, text)?;
            }
            Mark::Array(len) => self.items(reader, out, (len, depth.checked_sub(1)?), left)?,
            Mark::Map(len) => self.entries(reader, out, (len, depth.checked_sub(1)?), left)?,
            Mark::Bin(_) | Mark::Ext(..) => return None,
        }
        Some(())
    }

    fn items(
        &mut self,
        reader: &mut Reader<'a>,
        out: &mut Vec<u8>,
        (len, depth): (usize, usize),
        left: &mut usize,
    ) -> Option<()> {
        write::array(&mut self.again, len);
        out.push(b'[');
        for index in 0..len {
            *left = left.checked_sub(1)?;
            if index > 0 {
                out.push(b',');
            }
            self.value(reader, out, depth, left)?;
        }
        out.push(b']');
        Some(())
    }

    fn entries(
        &mut self,
        reader: &mut Reader<'a>,
        out: &mut Vec<u8>,
        (len, depth): (usize, usize),
        left: &mut usize,
    ) -> Option<()> {
        let first = self.keys.len();
        write::map(&mut self.again, len);
        out.push(b'{');
        for index in 0..len {
            *left = left.checked_sub(1)?;
            let key = reader.str().ok()?;
            self.keys.push(key);
            write::str(&mut self.again, key);
            if index > 0 {
                out.push(b',');
            }
            string(out, key)?;
            out.push(b':');
            self.value(reader, out, depth, left)?;
        }
        out.push(b'}');
        let twice = has_twice(&mut self.keys[first..]);
        self.keys.truncate(first);
        (!twice).then_some(())
    }
}

fn has_twice(keys: &mut [&str]) -> bool {
    if keys.len() <= FEW_KEYS {
        return keys.iter().enumerate().any(|(index, key)| keys[..index].contains(key));
    }
    keys.sort_unstable();
    keys.windows(2).any(|two| two[0] == two[1])
}

fn string(out: &mut Vec<u8>, text: &str) -> Option<()> {
    serde_json::to_writer(out, text).ok()
}

/// Appends metadata as JSON; None: these bytes are none.
pub fn metadata(out: &mut Vec<u8>, meta: &[u8]) -> Option<()> {
    let mut reader = Reader::new(meta);
    out.push(b'{');
    for index in 0..reader.map().ok()? {
        if index > 0 {
            out.push(b',');
        }
        string(out, reader.str().ok()?)?;
        out.push(b':');
        string(out, reader.str().ok()?)?;
    }
    out.push(b'}');
    Some(())
}
