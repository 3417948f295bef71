//! `MessagePack`, the part of it that events need: writing in the shortest form, reading whatever any writer made.

pub mod read;
mod skip;
pub mod write;

/// Bounds on one payload. Depth is also bounded by [`DEPTH_CEILING`], whatever is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Encoded bytes.
    pub payload_bytes: usize,
    /// Containers within containers; a scalar has depth 0.
    pub depth: usize,
    /// Items of all lists plus entries of all maps.
    pub elements: usize,
}

/// Recursion never goes deeper than this: a thread's stack is bounded too.
pub const DEPTH_CEILING: usize = 512;

impl Limits {
    pub const DEFAULT: Self = Self { payload_bytes: 1_000_000, depth: 32, elements: 100_000 };
    /// For bytes that a message's own size already bounds.
    pub const STORED: Self = Self { payload_bytes: u32::MAX as usize, depth: DEPTH_CEILING, elements: usize::MAX };
}

/// The ext type of a timestamp, as the specification assigns it.
pub const TIMESTAMP: i8 = -1;
