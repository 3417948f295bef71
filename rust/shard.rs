//! Shard of an actor: FNV-1a-32 of its token modulo 1021, as the server's `partition()` subject transform computes it.
//!
//! 1021 is a prime: with a power of two, ids like `17-17` leave half the shards empty.

use crate::token;

/// Shards of every namespace, for ever.
pub const SHARDS: u32 = 1021;

const OFFSET_BASIS: u32 = 0x811c_9dc5;
const PRIME: u32 = 0x0100_0193;

pub fn fnv1a32(bytes: &[u8]) -> u32 {
    hash_on(OFFSET_BASIS, bytes)
}

fn hash_on(hash: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(hash, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(PRIME))
}

/// The shard of a subject token.
pub fn shard_of(token: &str) -> u32 {
    fnv1a32(token.as_bytes()) % SHARDS
}

/// The shard of an actor's id: that of its token, without making the token.
pub fn shard_of_id(id: &str) -> u32 {
    let mut hash = OFFSET_BASIS;
    token::pieces(id, |piece| hash = hash_on(hash, piece));
    hash % SHARDS
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_shard_of_an_id_is_that_of_its_token(id in ".{1,80}") {
            prop_assert_eq!(shard_of_id(&id), shard_of(&token::encode(&id)));
        }
    }

    #[test]
    fn known_hashes_of_the_algorithm() {
        assert_eq!(fnv1a32(b""), 0x811c_9dc5);
        assert_eq!(fnv1a32(b"a"), 0xe40c_292c);
        assert_eq!(fnv1a32(b"foobar"), 0xbf9c_f968);
    }

    #[test]
    fn shards_read_back_from_a_real_server() {
        // A few of tests/data/actor_shards.json, all of which tests/native/test_token.py checks.
        for (id, shard) in [("order-123", 718), ("a.b", 933), ("*", 940), ("日本語", 616), ("17-17", 338), ("\u{202e}", 860)] {
            assert_eq!(shard_of(&token::encode(id)), shard, "{id}");
        }
    }
}
