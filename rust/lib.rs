//! The native core of Aether. Table of contents:
//!
//! - [`msgpack`]: the wire marks: write, read, skip, limits
//! - [`event`]: one event in memory, one allocation for all its text
//! - [`frame`]: what every message has: format first, checksum last
//! - [`commit`], [`event_map`], [`metadata`]: a commit as bytes and back
//! - [`snapshot`]: a snapshot as bytes and back
//! - [`epoch`]: the record that a node has taken a shard, as bytes and back
//! - [`log`]: the in-memory store's index: actors, versions, positions, order
//! - [`filter`]: which events a reader wants, by actor, shard and type
//! - [`token`], [`shard`]: actor id to subject token to shard
//! - [`assign`], [`shard_table`]: which node owns which shard, decided with the fewest moves, and looked up
//! - [`roots`], [`spine`], [`spine_search`]: the skew-binary list that reaches every earlier commit in O(log n) steps
//! - [`heads`]: the bounded cache of what a writer knows of its actors
//! - [`frames`], [`answer`]: the NATS client protocol: frames out of chunks, messages into bytes, answers to requests
//! - [`pending`], [`acks`]: ingestion: many actors in flight, one commit in flight per actor
//! - [`records`]: a line of NDJSON to an event and back, where there is no doubt about it
//! - [`replay`]: a read of a whole stream: what to ask for, what came, what can be handed out
//! - [`arrow`]: events as Arrow record batches
//! - [`bus_message`]: a message of a bus, and the reply to a request
//! - [`mailbox`], [`exchange`]: what waits for a subscriber, and who gets what arrives
//! - [`ids`]: `UUIDv7`, strictly increasing within a process
//! - [`bindings`]: the Python classes; the only folder that names pyo3

pub mod acks;
pub mod answer;
pub mod arrow;
pub mod assign;
pub mod bus_message;
pub mod commit;
pub mod epoch;
pub mod error;
pub mod event;
pub mod event_map;
pub mod exchange;
pub mod filter;
pub mod frame;
pub mod frames;
pub mod heads;
pub mod ids;
pub mod log;
pub mod mailbox;
pub mod metadata;
pub mod msgpack;
pub mod pending;
pub mod records;
pub mod replay;
pub mod roots;
pub mod shard;
pub mod shard_table;
pub mod snapshot;
pub mod spine;
pub mod spine_search;
pub mod token;

#[cfg(feature = "python")]
mod bindings;
#[cfg(feature = "python")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
#[cfg(test)]
mod dice;
