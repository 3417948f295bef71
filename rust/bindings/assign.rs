//! `assign`: which node owns which shard.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::raise;
use crate::assign::{self as core, Node};

/// Which node owns which shard: each node gets its part by weight, and as few shards as possible move.
///
/// A node's quota is `len(current) * weight / sum of weights`; it gets that number of shards, rounded down or up. Of all
/// assignments that obey this, the result takes the fewest shards away from nodes that have them. It does not depend on the order
/// in which the nodes are listed.
///
/// Args:
///     current: for each shard the index in `nodes` of the node that owns it now; -1: nobody, or a node that is gone.
///     nodes: the nodes that may own shards, as (name, weight); at most 65,536, no name twice. A weight is 0 to 1,000,000; a node
///         of weight 0 gives its shards away.
///
/// Returns:
///     For each shard the index of its owner; -1 only where no node has a weight.
///
/// Raises:
///     ValueError: an index that is none, two nodes of the same name, or a limit passed.
#[pyfunction]
#[allow(clippy::needless_pass_by_value)] // taken from Python lists
pub fn assign(current: Vec<i64>, nodes: Vec<(String, i64)>) -> PyResult<Vec<i64>> {
    let node = |(name, weight): (String, i64)| {
        let weight = u32::try_from(weight);
        weight.map(|weight| Node { name, weight }).map_err(|_| PyValueError::new_err("a node weighs 0 to 1,000,000"))
    };
    let nodes = nodes.into_iter().map(node).collect::<PyResult<Vec<_>>>()?;
    let current = current.into_iter().map(|index| owner(index).map(|owner| owner as usize));
    let owners = core::assign(&current.collect::<Vec<_>>(), &nodes);
    Ok(owners.map_err(|error| raise(error, ""))?.into_iter().map(index).collect())
}

/// The index of a shard's owner as Python has it: -1 is nobody, and what is below becomes one that no list has, to be refused as
/// those are.
pub(super) fn owner(index: i64) -> Option<u32> {
    (index != -1).then(|| u32::try_from(index).unwrap_or(u32::MAX))
}

fn index(owner: Option<usize>) -> i64 {
    owner.map_or(-1, |owner| i64::try_from(owner).unwrap_or(i64::MAX))
}
