//! Which node owns which shard: a sticky quota by weight.
//!
//! A node's quota is its part of the shards by its weight, and it gets that number of shards rounded down or up. Of all
//! assignments that obey this, the one made here takes the fewest shards away from nodes that have them. Rendezvous and ring
//! hashing need no current assignment, and pay for it: their balance is only as good as chance, and a node that leaves or
//! comes moves shards between others, or leaves them uneven. A leader stores the assignment anyway, so it can be had exact.

use crate::error::{Error, Result};

/// What a node weighs at most; with 2**16 nodes all sums fit 64 bits.
pub const WEIGHT_MAX: u32 = 1_000_000;
/// How many nodes there may be.
pub const NODES_MAX: usize = 65_536;

/// A node that may own shards; weight 0: it is to give its shards away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub name: String,
    pub weight: u32,
}

/// The owner of each shard, as an index into `nodes`; None: nobody, because no node has a weight.
///
/// `current` says who owns them now. The order in which the nodes are listed makes no difference.
pub fn assign(current: &[Option<usize>], nodes: &[Node]) -> Result<Vec<Option<usize>>> {
    let by_name = by_name(nodes)?;
    let mut held = vec![0; nodes.len()];
    for &owner in current.iter().flatten() {
        *held.get_mut(owner).ok_or(Error::Misuse("a shard's owner is the index of a node, or -1"))? += 1;
    }
    let counts = counts(&held, nodes, &by_name, current.len() as u64);
    Ok(fill(current, counts, &by_name))
}

/// The nodes' indices in the order of their names, which decides wherever nothing else does.
fn by_name(nodes: &[Node]) -> Result<Vec<usize>> {
    if nodes.len() > NODES_MAX {
        return Err(Error::Misuse("more than 65,536 nodes"));
    }
    if nodes.iter().any(|node| node.weight > WEIGHT_MAX) {
        return Err(Error::Misuse("a node weighs 0 to 1,000,000"));
    }
    let mut indices: Vec<usize> = (0..nodes.len()).collect();
    indices.sort_unstable_by_key(|&index| &nodes[index].name);
    if indices.windows(2).any(|two| nodes[two[0]].name == nodes[two[1]].name) {
        return Err(Error::Misuse("two nodes have the same name"));
    }
    Ok(indices)
}

/// How many shards each node gets: its quota, rounded down, and for some of them one more.
fn counts(held: &[u64], nodes: &[Node], by_name: &[usize], shards: u64) -> Vec<u64> {
    let total: u64 = nodes.iter().map(|node| u64::from(node.weight)).sum();
    if total == 0 {
        return vec![0; nodes.len()];
    }
    let parts = nodes.iter().map(|node| shards * u64::from(node.weight));
    let (mut counts, rests): (Vec<u64>, Vec<u64>) = parts.map(|part| (part / total, part % total)).unzip();
    let left = shards - counts.iter().sum::<u64>();
    // One more for a node that holds more than its quota rounded down saves a move; else the larger rest comes first.
    let mut rounded_up: Vec<usize> = by_name.iter().copied().filter(|&index| rests[index] > 0).collect();
    rounded_up.sort_by_key(|&index| (held[index] <= counts[index], std::cmp::Reverse(rests[index])));
    rounded_up.iter().take(usize::try_from(left).unwrap_or(usize::MAX)).for_each(|&index| counts[index] += 1);
    counts
}

/// Lets each node keep what it has up to its count, and gives the rest to those that have fewer, in turns.
fn fill(current: &[Option<usize>], mut room: Vec<u64>, by_name: &[usize]) -> Vec<Option<usize>> {
    let mut owners = vec![None; current.len()];
    for (place, &owner) in owners.iter_mut().zip(current) {
        if let Some(owner) = owner.filter(|&owner| room[owner] > 0) {
            room[owner] -= 1;
            *place = Some(owner);
        }
    }
    let mut takers: Vec<usize> = by_name.iter().copied().filter(|&index| room[index] > 0).collect();
    let mut turn = 0;
    for place in owners.iter_mut().filter(|place| place.is_none()) {
        let Some(&taker) = takers.get(turn) else { break };
        *place = Some(taker);
        room[taker] -= 1;
        if room[taker] == 0 {
            takers.remove(turn);
        } else {
            turn += 1;
        }
        if turn >= takers.len() {
            turn = 0;
        }
    }
    owners
}

#[cfg(test)]
mod tests;
