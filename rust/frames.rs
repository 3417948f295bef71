//! Frames of the NATS client protocol, without I/O: what a client sends as bytes, what a server sends as frames.
//!
//! The parser takes chunks cut anywhere. A frame that lies whole in a chunk is parsed where it is; only what a chunk leaves
//! unfinished is copied, once. It remembers how far it has looked for a line's end and how many bytes a payload still
//! lacks, so a peer that sends byte by byte makes it look at each byte once. Every length is checked against its limit
//! before anything waits for it, and what is no frame is an error, after which the connection is of no use any more.

use crate::error::{Error, Result};

/// What a peer may send at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A control line without its end; INFO's is the longest.
    pub line: usize,
    /// A message's headers.
    pub headers: usize,
    /// A message's headers and payload together.
    pub message: usize,
}

impl Limits {
    /// The server's own: headers of 64 KiB, messages of at most 64 MiB, and room for an INFO that names many servers.
    pub const DEFAULT: Self = Self { line: 1 << 20, headers: 1 << 16, message: 64 << 20 };
}

/// A message as it came, borrowed from the bytes it came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    pub subject: &'a [u8],
    pub sid: u64,
    pub reply: Option<&'a [u8]>,
    /// The header block with its first line and its closing empty line; empty where there is none.
    pub headers: &'a [u8],
    pub payload: &'a [u8],
}

/// One frame from the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// The JSON of an INFO.
    Info(&'a [u8]),
    Message(Message<'a>),
    Ping,
    Pong,
    Ok,
    /// The text of a -ERR, without its quotes.
    Err(&'a [u8]),
}

/// What is kept for what chunks leave unfinished; a larger message gives back what it took.
const KEPT_BYTES: usize = 1 << 20;

/// Takes chunks, gives frames. After an error it is of no use any more.
#[derive(Debug)]
pub struct Parser {
    limits: Limits,
    /// What earlier chunks left unfinished; it begins at a frame.
    held: Vec<u8>,
    /// How far `held` was searched for the end of its line.
    scanned: usize,
    /// How many bytes the frame in `held` takes in all; 0 while its line is unfinished.
    needed: usize,
    /// Bytes of finished frames, for errors.
    taken: usize,
}

/// What the bytes at hand amount to.
enum Step<'a> {
    /// A frame, and the bytes it takes.
    Whole(Frame<'a>, usize),
    /// The frame takes so many bytes in all.
    Needs(usize),
    /// The line has no end yet.
    Line,
}

pub type Broken = &'static str;

impl Parser {
    pub fn new(limits: Limits) -> Self {
        Self { limits, held: Vec::new(), scanned: 0, needed: 0, taken: 0 }
    }

    /// How many bytes wait for the rest of their frame.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Takes a chunk and calls `sink` for each frame that it completes, in order.
    pub fn feed(&mut self, chunk: &[u8], sink: &mut dyn FnMut(Frame<'_>)) -> Result<()> {
        if self.held.is_empty() {
            let used = self.frames(chunk, sink)?;
            self.held.extend_from_slice(&chunk[used..]);
            return Ok(());
        }
        self.held.extend_from_slice(chunk);
        if self.held.len() < self.needed {
            return Ok(());
        }
        let held = std::mem::take(&mut self.held);
        let used = self.frames(&held, sink)?;
        self.held = held;
        self.held.drain(..used);
        if self.held.capacity() > KEPT_BYTES && self.held.len() <= KEPT_BYTES {
            self.held.shrink_to(KEPT_BYTES); // one large message does not occupy its size for ever
        }
        Ok(())
    }

    /// Gives every whole frame of `bytes`; returns how many bytes they take.
    fn frames(&mut self, bytes: &[u8], sink: &mut dyn FnMut(Frame<'_>)) -> Result<usize> {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            match step(rest, self.scanned, &self.limits).map_err(|reason| Error::decode(self.taken, reason))? {
                Step::Whole(frame, size) => {
                    sink(frame);
                    at += size;
                    self.taken += size;
                    (self.scanned, self.needed) = (0, 0);
                }
                Step::Needs(needed) => {
                    (self.scanned, self.needed) = (0, needed);
                    break;
                }
                Step::Line => {
                    (self.scanned, self.needed) = (rest.len(), 0);
                    break;
                }
            }
        }
        Ok(at)
    }
}

/// Looks at one frame; the first `scanned` bytes hold no line's end.
fn step<'a>(bytes: &'a [u8], scanned: usize, limits: &Limits) -> std::result::Result<Step<'a>, Broken> {
    let Some(end) = memchr(&bytes[scanned..]).map(|at| scanned + at) else {
        return if bytes.len() > limits.line + 1 { Err("a line longer than its limit") } else { Ok(Step::Line) };
    };
    if end > limits.line + 1 {
        return Err("a line longer than its limit");
    }
    let line = bytes[..end].strip_suffix(b"\r").ok_or("a line that does not end in CR LF")?;
    let (verb, rest) =
        line.iter().position(|&byte| byte == b' ' || byte == b'\t').map_or((line, &[][..]), |at| line.split_at(at));
    let rest = rest.trim_ascii();
    // Servers send capitals; the protocol says that case does not matter.
    let verb = match verb {
        b"MSG" | b"HMSG" => verb,
        _ => VERBS.into_iter().find(|known| verb.eq_ignore_ascii_case(known)).ok_or("a line that no server sends")?,
    };
    let frame = match verb {
        b"MSG" => return message(bytes, end + 1, rest, false, limits),
        b"HMSG" => return message(bytes, end + 1, rest, true, limits),
        b"PING" => Frame::Ping,
        b"PONG" => Frame::Pong,
        b"INFO" => Frame::Info(rest),
        b"-ERR" => Frame::Err(rest.strip_prefix(b"'").and_then(|text| text.strip_suffix(b"'")).unwrap_or(rest)),
        _ => Frame::Ok,
    };
    Ok(Step::Whole(frame, end + 1))
}

const VERBS: [&[u8]; 7] = [b"MSG", b"HMSG", b"PING", b"PONG", b"INFO", b"-ERR", b"+OK"];

fn memchr(bytes: &[u8]) -> Option<usize> {
    memchr::memchr(b'\n', bytes)
}

/// `<subject> <sid> [reply] [<header bytes>] <all bytes>`, then the bytes and CR LF.
fn message<'a>(
    bytes: &'a [u8],
    start: usize,
    arguments: &'a [u8],
    with_headers: bool,
    limits: &Limits,
) -> std::result::Result<Step<'a>, Broken> {
    let mut words = [&[][..]; 5];
    let mut count = 0;
    for word in arguments.split(|&byte| byte == b' ' || byte == b'\t').filter(|word| !word.is_empty()) {
        *words.get_mut(count).ok_or("a message's line with too many words")? = word;
        count += 1;
    }
    let fixed = if with_headers { 4 } else { 3 };
    let (sizes, reply) = match count - count.min(fixed) {
        0 if count == fixed => (&words[2..fixed], None),
        1 => (&words[3..=fixed], Some(words[2])),
        _ => return Err("a message's line with too few or too many words"),
    };
    let size = length(sizes[sizes.len() - 1])?;
    let header_size = if with_headers { length(sizes[0])? } else { 0 };
    if header_size > limits.headers {
        return Err("headers larger than their limit");
    }
    if size > limits.message {
        return Err("a message larger than its limit");
    }
    if header_size > size {
        return Err("headers larger than their message");
    }
    let sid = number(words[1])?;
    let needed = start + size + 2;
    if bytes.len() < needed {
        return Ok(Step::Needs(needed));
    }
    if bytes[needed - 2..needed] != *b"\r\n" {
        return Err("a message that does not end in CR LF");
    }
    let (headers, payload) = bytes[start..start + size].split_at(header_size);
    Ok(Step::Whole(Frame::Message(Message { subject: words[0], sid, reply, headers, payload }), needed))
}

/// A decimal number of at most 18 digits, so that it cannot overflow.
pub fn number(digits: &[u8]) -> std::result::Result<u64, Broken> {
    if digits.is_empty() || digits.len() > 18 {
        return Err("a number with no or too many digits");
    }
    digits.iter().try_fold(0, |value, &digit| match digit {
        b'0'..=b'9' => Ok(value * 10 + u64::from(digit - b'0')),
        _ => Err("a number with something else than digits"),
    })
}

fn length(digits: &[u8]) -> std::result::Result<usize, Broken> {
    usize::try_from(number(digits)?).map_err(|_| "a size that this machine cannot count")
}

const VERSION: &[u8] = b"NATS/1.0";

/// The status of a header block, as 404 or 503: three digits that end there; None where it has none.
pub fn status(headers: &[u8]) -> Option<u16> {
    let rest = headers.strip_prefix(VERSION)?.strip_prefix(b" ")?;
    let (digits, after) = rest.split_at_checked(3)?;
    if !matches!(after.first(), None | Some(b' ' | b'\r' | b'\n')) {
        return None;
    }
    number(digits).ok().and_then(|value| u16::try_from(value).ok())
}

/// The first value of a header, without the white space around it.
pub fn header<'a>(headers: &'a [u8], name: &str) -> Option<&'a [u8]> {
    headers.split(|&byte| byte == b'\n').skip(1).find_map(|line| {
        let value = line.strip_prefix(name.as_bytes())?.strip_prefix(b":")?;
        Some(value.trim_ascii())
    })
}

/// Appends a message to send; with headers as HPUB. `headers` are whole lines without the first and the closing one.
///
/// The caller vouches for subject and reply: they hold no white space.
pub fn publish(out: &mut Vec<u8>, subject: &str, reply: &str, headers: &[(&str, &str)], payload: &[u8]) {
    let header_size = if headers.is_empty() {
        0
    } else {
        VERSION.len() + 4 + headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum::<usize>()
    };
    out.extend_from_slice(if header_size == 0 { b"PUB " } else { b"HPUB " });
    out.extend_from_slice(subject.as_bytes());
    out.push(b' ');
    if !reply.is_empty() {
        out.extend_from_slice(reply.as_bytes());
        out.push(b' ');
    }
    if header_size != 0 {
        decimal(out, header_size);
        out.push(b' ');
    }
    decimal(out, header_size + payload.len());
    out.extend_from_slice(b"\r\n");
    if header_size != 0 {
        out.extend_from_slice(VERSION);
        out.extend_from_slice(b"\r\n");
        for (name, value) in headers {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(payload);
    out.extend_from_slice(b"\r\n");
}

fn decimal(out: &mut Vec<u8>, value: usize) {
    let mut digits = [0; 20];
    let (mut at, mut rest) = (digits.len(), value);
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
