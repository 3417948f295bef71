//! Who owns which shard, as one snapshot that is only read.

use crate::error::{Error, Result};
use crate::shard::{SHARDS, shard_of_id};

/// The owner of each of the shards, as an index into a list of owners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardTable {
    index: Box<[Option<u32>]>,
}

impl ShardTable {
    /// `index` has an entry for each shard, below `owners`.
    pub fn new(owners: usize, index: Vec<Option<u32>>) -> Result<Self> {
        if index.len() != SHARDS as usize {
            return Err(Error::Misuse("a table has an owner, or -1, for each of the 1021 shards"));
        }
        if index.iter().flatten().any(|&owner| owner as usize >= owners) {
            return Err(Error::Misuse("a shard's owner is the index of an owner, or -1"));
        }
        Ok(Self { index: index.into_boxed_slice() })
    }

    /// The owner of the actor's shard. The id is one: it was checked.
    pub fn owner_of(&self, actor: &str) -> Option<usize> {
        self.of_shard(shard_of_id(actor))
    }

    /// The owner of a shard; None also where there is no such shard.
    pub fn of_shard(&self, shard: u32) -> Option<usize> {
        self.index.get(shard as usize).copied().flatten().map(|owner| owner as usize)
    }

    /// The shards of an owner, ascending.
    pub fn shards_of(&self, owner: usize) -> impl Iterator<Item = u32> {
        (0..).zip(&self.index).filter(move |(_, held)| held.is_some_and(|held| held as usize == owner)).map(|(shard, _)| shard)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::shard::shard_of;
    use crate::token;
    use proptest::prelude::*;

    #[test]
    fn a_table_has_every_shard_and_only_owners_that_there_are() {
        assert!(ShardTable::new(0, vec![None; 1021]).is_ok());
        for (owners, index) in [(1, vec![None; 1020]), (1, vec![None; 1022]), (0, vec![Some(0); 1021]), (2, vec![Some(2); 1021])]
        {
            assert!(ShardTable::new(owners, index).is_err());
        }
    }

    proptest! {
        #[test]
        fn an_actor_is_found_by_its_shard(
            index in proptest::collection::vec(proptest::option::of(0_u32..5), 1021), actor in ".{1,40}"
        ) {
            let table = ShardTable::new(5, index.clone()).unwrap();
            let shard = shard_of(&token::encode(&actor));
            prop_assert_eq!(table.owner_of(&actor), index[shard as usize].map(|owner| owner as usize));
            prop_assert_eq!(table.of_shard(1021), None);
            let shards: Vec<_> = (0..5).map(|owner| table.shards_of(owner).collect::<Vec<_>>()).collect();
            for (shard, owner) in (0..).zip(&index) {
                for (other, held) in (0..).zip(&shards) {
                    prop_assert_eq!(held.contains(&shard), *owner == Some(other));
                }
            }
        }
    }
}
