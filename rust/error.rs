//! What the core refuses, and why. The bindings turn each into one Python exception.

use std::fmt;

/// A refusal of the core, with its facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// Bytes that are not what they should be; `offset` counts from 0.
    Decode { offset: usize, reason: String },
    /// A message of another format than this code reads, most likely a later one.
    Format { offset: usize, found: u64 },
    /// A name that cannot be one.
    InvalidId { what: &'static str, reason: &'static str },
    /// A commit of `size` bytes where `limit` fit.
    TooLarge { size: usize, limit: usize },
    /// The actor is at `actual`, the write counted on `expected`.
    Conflict { expected: u64, actual: u64 },
    /// The actor has no more versions.
    VersionsUsedUp,
    /// The log holds as many events as it may.
    Full { max_events: usize },
    /// Arguments that make no commit.
    Misuse(&'static str),
}

impl Error {
    pub fn decode(offset: usize, reason: impl Into<String>) -> Self {
        Self::Decode { offset, reason: reason.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decode { offset, reason } => write!(f, "byte {offset}: {reason}"),
            Self::Format { offset, found } => write!(f, "byte {offset}: format {found}"),
            Self::InvalidId { what, reason } => write!(f, "{what}: {reason}"),
            Self::TooLarge { size, limit } => write!(f, "{size} bytes, the limit is {limit}"),
            Self::Conflict { expected, actual } => write!(f, "version is {actual}, not {expected}"),
            Self::VersionsUsedUp => f.write_str("the versions of this actor are used up"),
            Self::Full { max_events } => write!(f, "full: max_events={max_events}"),
            Self::Misuse(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for Error {}

pub type Result<T> = std::result::Result<T, Error>;
