//! A message of a bus: where it goes, its bytes, and how it is read back; and the reply to a request.
//!
//! Subject: `aether-bus.<namespace>.<actor token>.<type token>`. Body: a commit of exactly one event, without a spine. The subject
//! says who may want it before anything is decoded, so a reader checks that the event is the one that the subject names.

use std::borrow::Cow;

use crate::commit::encode_plain;
use crate::error::{Error, Result};
use crate::event::EventData;
use crate::event_map;
use crate::frame::{self, name, once};
use crate::msgpack::{Limits, read::Reader, write};
use crate::token;
use std::sync::Arc;

/// What every subject of every bus begins with.
pub const SUBJECT_PREFIX: &str = "aether-bus.";

/// What is kept of the text of an error in a reply; the rest is cut off.
pub const ERROR_BYTES_MAX: usize = 8192;

/// A subject's parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    pub namespace: &'a str,
    /// The actor's token.
    pub actor: &'a str,
    /// The event type's token.
    pub kind: &'a str,
}

impl<'a> Place<'a> {
    /// None: nothing of a bus lies there.
    pub fn of(subject: &'a [u8]) -> Option<Self> {
        let rest = std::str::from_utf8(subject).ok()?.strip_prefix(SUBJECT_PREFIX)?;
        let (namespace, rest) = rest.split_once('.')?;
        let (actor, kind) = rest.split_once('.')?;
        let whole = !namespace.is_empty() && !actor.is_empty() && !kind.is_empty() && !kind.contains('.');
        whole.then_some(Self { namespace, actor, kind })
    }
}

/// Appends the subject of an event.
pub fn write_subject(out: &mut String, namespace: &str, event: &EventData) {
    let parts = event.parts();
    out.push_str(SUBJECT_PREFIX);
    out.push_str(namespace);
    out.push('.');
    token::write(out, parts.actor);
    out.push('.');
    token::write(out, parts.kind);
}

/// Appends the body of an event's message; `out` is empty before.
pub fn write_body(out: &mut Vec<u8>, event: &Arc<EventData>) {
    encode_plain(out, event.actor(), std::iter::once(event.parts()), None, None);
}

/// The event of a message that came to `place`.
///
/// Keys that it has beside those of an event are checked and passed over.
pub fn read(place: &Place<'_>, body: &[u8]) -> Result<EventData> {
    let (mut actor, mut event) = (None, None);
    let end = frame::open(body, &mut |key, start, reader| match key {
        "actor" => once(&mut actor, name(reader, "actor_id")?, key, start),
        "events" => {
            let actor = actor.ok_or_else(|| Error::decode(start, "the actor must stand before its events"))?;
            once(&mut event, only_event(reader, actor)?, key, start)
        }
        _ => reader.skip(&Limits::STORED),
    })?;
    let event = event.ok_or_else(|| Error::decode(end, "the message lacks its actor or its event"))?;
    let parts = event.parts();
    if !token::is_of(place.actor, parts.actor) {
        return Err(Error::decode(0, format!("it is an event of the actor {:?}, which its subject does not name", parts.actor)));
    }
    if !token::is_of(place.kind, parts.kind) {
        return Err(Error::decode(0, format!("it is an event of the type {:?}, which its subject does not name", parts.kind)));
    }
    Ok(event)
}

fn only_event(reader: &mut Reader<'_>, actor: &str) -> Result<EventData> {
    let start = reader.offset();
    match reader.array()? {
        1 => {}
        other => return Err(Error::decode(start, format!("a message of a bus has one event, this one has {other}"))),
    }
    let (_, event) = event_map::read(reader, actor, &|_| true)?;
    event.ok_or_else(|| Error::decode(start, "an event that nobody asked for"))
}

/// What a request is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply<'a> {
    /// An encoded msgpack value.
    Value(&'a [u8]),
    /// Why there is none.
    Error(Cow<'a, str>),
}

impl<'a> Reply<'a> {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        frame::begin(&mut out, 1);
        match self {
            Self::Value(payload) => {
                write::str(&mut out, "value");
                out.extend_from_slice(payload);
            }
            Self::Error(text) => {
                write::str(&mut out, "error");
                write::str(&mut out, cut(text));
            }
        }
        frame::close(&mut out);
        out
    }

    pub fn decode(body: &'a [u8]) -> Result<Self> {
        let (mut value, mut error) = (None, None);
        let end = frame::open(body, &mut |key, start, reader| match key {
            "value" => {
                let from = reader.offset();
                reader.skip(&Limits::STORED)?;
                once(&mut value, reader.since(from), key, start)
            }
            "error" => once(&mut error, reader.str()?, key, start),
            _ => reader.skip(&Limits::STORED),
        })?;
        match (value, error) {
            (Some(value), None) => Ok(Self::Value(value)),
            (None, Some(error)) => Ok(Self::Error(Cow::Borrowed(error))),
            _ => Err(Error::decode(end, "a reply has a value or an error, and not both")),
        }
    }
}

/// The beginning of a text that fits, in whole characters.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(ERROR_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests;
