//! The record of an epoch as bytes: who has taken a shard. Its stream sequence is the epoch.
//!
//! It lies on `aether.<namespace>.<shard>.=epoch`, among the commits of the shard but under a token that no id has. It is no
//! event: whoever reads events checks it and goes on.

use crate::error::{Error, Result};
use crate::event::VERSION_MAX;
use crate::frame::{self, name, once};
use crate::msgpack::{Limits, write};

/// The last token of its subject.
pub const TOKEN: &str = "=epoch";

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EpochRecord {
    /// The node that has taken the shard.
    pub node: String,
    /// Which life of the node, from 1: the stream sequence of its lease's first write.
    pub incarnation: u64,
}

impl EpochRecord {
    pub fn new(node: &str, incarnation: u64) -> Result<Self> {
        crate::token::check_id("node", node)?;
        if incarnation == 0 {
            return Err(Error::Misuse("the incarnation of a node is a stream sequence, from 1"));
        }
        Ok(Self { node: node.to_owned(), incarnation })
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.node.len() + 60);
        frame::begin(&mut out, 2);
        write::str(&mut out, "node");
        write::str(&mut out, &self.node);
        write::str(&mut out, "incarnation");
        write::uint(&mut out, self.incarnation);
        frame::close(&mut out);
        out
    }

    /// Unknown keys are stepped over, not kept: a record is never copied.
    pub fn decode(body: &[u8]) -> Result<Self> {
        let (mut node, mut incarnation) = (None, None);
        let end = frame::open(body, &mut |key, start, reader| match key {
            "node" => once(&mut node, name(reader, "node")?, key, start),
            "incarnation" => once(&mut incarnation, reader.uint()?, key, start),
            _ => reader.skip(&Limits::STORED),
        })?;
        match (node, incarnation) {
            (Some(node), Some(incarnation @ 1..=VERSION_MAX)) => Ok(Self { node: node.to_owned(), incarnation }),
            _ => Err(Error::decode(end, "a record of an epoch lacks node or incarnation (from 1)")),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_record_comes_back_and_damage_is_noticed(node in ".{1,60}", incarnation in 1_u64.., bit: usize) {
            let record = EpochRecord::new(&node, incarnation).unwrap();
            let mut body = record.encode();
            prop_assert_eq!(EpochRecord::decode(&body), Ok(record));
            prop_assert!(EpochRecord::decode(&body[..bit % body.len()]).is_err());
            let bit = bit % (body.len() * 8);
            body[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(EpochRecord::decode(&body).is_err());
        }
    }

    #[test]
    fn a_record_has_a_node_and_an_incarnation() {
        assert!(EpochRecord::new("", 1).is_err() && EpochRecord::new(&"x".repeat(256), 1).is_err());
        assert!(EpochRecord::new("a", 0).is_err());
        for (node, incarnation) in [(Some("a"), None), (None, Some(1)), (Some("a"), Some(0)), (Some(""), Some(1))] {
            let mut body = Vec::new();
            frame::begin(&mut body, usize::from(node.is_some()) + usize::from(incarnation.is_some()));
            if let Some(node) = node {
                write::str(&mut body, "node");
                write::str(&mut body, node);
            }
            if let Some(incarnation) = incarnation {
                write::str(&mut body, "incarnation");
                write::uint(&mut body, incarnation);
            }
            frame::close(&mut body);
            assert!(EpochRecord::decode(&body).is_err(), "{node:?} {incarnation:?}");
        }
    }

    #[test]
    fn keys_of_a_later_version_are_stepped_over() {
        let mut body = Vec::new();
        frame::begin(&mut body, 3);
        for key in ["later", "node"] {
            write::str(&mut body, key);
            write::str(&mut body, "a");
        }
        write::str(&mut body, "incarnation");
        write::uint(&mut body, 7);
        frame::close(&mut body);
        assert_eq!(EpochRecord::decode(&body), EpochRecord::new("a", 7));
    }
}
