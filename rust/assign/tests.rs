//! What an assignment promises, against bounds that are found in another way.
//!
//! `AETHER_SIZE` (quick, ci, full) says how many sequences of memberships; a failure prints its seed, and `AETHER_SEED` runs that
//! one alone.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use super::*;
use crate::dice::{Dice, each_seed};
use crate::shard::SHARDS;

fn node(name: &str, weight: u32) -> Node {
    Node { name: name.to_owned(), weight }
}

fn total(nodes: &[Node]) -> u64 {
    nodes.iter().map(|node| u64::from(node.weight)).sum()
}

fn held(owners: &[Option<usize>], index: usize) -> u64 {
    owners.iter().filter(|&&owner| owner == Some(index)).count() as u64
}

/// Whether every node has less than one shard more or less than its part, and every shard has an owner if one can.
fn is_balanced(owners: &[Option<usize>], nodes: &[Node]) -> bool {
    let (total, shards) = (total(nodes), owners.len() as u64);
    if total == 0 {
        return owners.iter().all(Option::is_none);
    }
    let near = |(index, node): (usize, &Node)| (held(owners, index) * total).abs_diff(shards * u64::from(node.weight)) < total;
    owners.iter().all(Option::is_some) && nodes.iter().enumerate().all(near)
}

/// How many shards were taken from a node that has them.
fn moves(before: &[Option<usize>], after: &[Option<usize>]) -> u64 {
    before.iter().zip(after).filter(|(before, after)| before.is_some() && before != after).count() as u64
}

/// The fewest moves that lead to a balance: over all ways to round the parts, what each node has above its number has to go.
/// `best[n]` is the least for the nodes so far, when n of them are rounded up.
fn fewest(current: &[Option<usize>], nodes: &[Node]) -> u64 {
    let (total, shards) = (total(nodes), current.len() as u64);
    if total == 0 {
        return moves(current, &vec![None; current.len()]);
    }
    let part = |node: &Node| shards * u64::from(node.weight);
    let rounded_up = shards - nodes.iter().map(|node| part(node) / total).sum::<u64>();
    let mut best: Vec<Option<u64>> = vec![Some(0)];
    for (index, node) in nodes.iter().enumerate() {
        let (held, down) = (held(current, index), part(node) / total);
        let mut next = vec![None; best.len() + 1];
        let mut reach = |ups: usize, cost: u64| next[ups] = Some(next[ups].map_or(cost, |known: u64| known.min(cost)));
        for (ups, cost) in best.iter().enumerate().filter_map(|(ups, cost)| cost.map(|cost| (ups, cost))) {
            reach(ups, cost + held.saturating_sub(down));
            if part(node) % total > 0 {
                reach(ups + 1, cost + held.saturating_sub(down + 1));
            }
        }
        best = next;
    }
    best[usize::try_from(rounded_up).unwrap()].unwrap()
}

/// The names of the owners: what must not depend on how the nodes are listed.
fn names<'a>(owners: &[Option<usize>], nodes: &'a [Node]) -> Vec<Option<&'a str>> {
    owners.iter().map(|owner| owner.map(|index| nodes[index].name.as_str())).collect()
}

/// The same owners as indices into another list; those that are not in it are gone.
fn listed(owners: &[Option<&str>], nodes: &[Node]) -> Vec<Option<usize>> {
    owners.iter().map(|owner| owner.and_then(|name| nodes.iter().position(|node| node.name == name))).collect()
}

fn shuffled(dice: &mut Dice, nodes: &[Node]) -> Vec<Node> {
    let mut nodes = nodes.to_vec();
    for index in (1..nodes.len()).rev() {
        nodes.swap(index, dice.roll(index + 1));
    }
    nodes
}

/// Changes the members: some go, some come, some weigh otherwise or are to give their shards away.
fn change(dice: &mut Dice, members: &mut Vec<Node>) {
    const NAMES: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "node-1", "日本"];
    const WEIGHTS: [u32; 10] = [1, 1, 1, 1, 2, 3, 7, 0, 1000, WEIGHT_MAX];
    for _ in 0..=dice.roll(3) {
        let (name, weight) = (dice.pick(&NAMES), dice.pick(&WEIGHTS));
        match members.iter().position(|member| member.name == name) {
            Some(index) if dice.roll(2) == 0 => drop(members.swap_remove(index)),
            Some(index) => members[index].weight = weight,
            None => members.push(node(name, weight)),
        }
    }
}

/// One sequence of memberships, each assigned on top of the one before.
fn one(seed: u64) {
    let mut dice = Dice::new(seed);
    let shards = if seed.is_multiple_of(100) { SHARDS as usize } else { dice.roll(40) };
    let (mut members, mut owners) = (Vec::new(), vec![None; shards]);
    for step in 0..=dice.roll(8) {
        let before: Vec<Option<String>> = names(&owners, &members).iter().map(|owner| owner.map(str::to_owned)).collect();
        change(&mut dice, &mut members);
        let current = listed(&before.iter().map(Option::as_deref).collect::<Vec<_>>(), &members);
        let told = format!("seed {seed}, step {step}: {members:?} own {current:?}");
        owners = assign(&current, &members).unwrap();
        assert!(is_balanced(&owners, &members), "{told}: {owners:?}");
        assert_eq!(moves(&current, &owners), fewest(&current, &members), "{told}: {owners:?}");
        let otherwise = shuffled(&mut dice, &members);
        let again = assign(&listed(&names(&current, &members), &otherwise), &otherwise).unwrap();
        assert_eq!(names(&again, &otherwise), names(&owners, &members), "{told}, listed as {otherwise:?}");
        assert_eq!(assign(&owners, &members).unwrap(), owners, "{told}: assigned once more");
    }
}

#[test]
fn over_long_memberships_an_assignment_is_balanced_moves_the_fewest_and_knows_no_listing_order() {
    each_seed(20_000, 100_000, 1_000_000, one);
}

/// Every assignment of these shards to these nodes, or to nobody.
fn all(shards: usize, nodes: usize) -> impl Iterator<Item = Vec<Option<usize>>> {
    let choices = nodes + 1;
    (0..choices.pow(u32::try_from(shards).unwrap())).map(move |mut code| {
        let mut digit = || {
            let digit = code % choices;
            code /= choices;
            digit.checked_sub(1)
        };
        (0..shards).map(|_| digit()).collect()
    })
}

#[test]
fn no_balanced_assignment_at_all_moves_fewer() {
    for weights in [[1, 1, 1], [1, 2, 3], [0, 1, 1], [5, 1, 1], [0, 0, 7], [0, 0, 0], [3, 3, 2]] {
        let nodes: Vec<Node> = weights.iter().zip(["a", "b", "c"]).map(|(&weight, name)| node(name, weight)).collect();
        for shards in 0..=5 {
            let balanced: Vec<_> = all(shards, nodes.len()).filter(|owners| is_balanced(owners, &nodes)).collect();
            for current in all(shards, nodes.len()) {
                let least = balanced.iter().map(|owners| moves(&current, owners)).min().unwrap();
                let owners = assign(&current, &nodes).unwrap();
                assert!(balanced.contains(&owners), "{weights:?} {current:?}: {owners:?}");
                assert_eq!(moves(&current, &owners), least, "{weights:?} {current:?}: {owners:?}");
                assert_eq!(fewest(&current, &nodes), least, "{weights:?} {current:?}: the other bound");
            }
        }
    }
}

#[test]
fn shards_of_a_node_that_is_gone_are_spread_over_the_others_in_turns() {
    let nodes = ["d", "a", "b", "c"].map(|name| node(name, 1));
    let first = assign(&[None; 12], &nodes).unwrap();
    assert_eq!(names(&first, &nodes)[..8], ["a", "b", "c", "d", "a", "b", "c", "d"].map(Some));
    let left = ["a", "b", "c"].map(|name| node(name, 1));
    let after = assign(&listed(&names(&first, &nodes), &left), &left).unwrap();
    let moved: BTreeSet<_> = names(&after, &left)[3..12].iter().step_by(4).copied().collect();
    assert_eq!(moved, BTreeSet::from(["a", "b", "c"].map(Some)));
}

#[test]
fn among_equals_the_larger_rest_comes_first_and_then_the_name() {
    let by = |weights: [u32; 3], current: [Option<usize>; 4]| {
        let nodes: Vec<Node> = weights.iter().zip(["c", "b", "a"]).map(|(&weight, name)| node(name, weight)).collect();
        let owners = assign(&current, &nodes).unwrap();
        [0, 1, 2].map(|index| held(&owners, index))
    };
    assert_eq!(by([1, 1, 1], [None; 4]), [1, 1, 2], "equal rests: by name");
    assert_eq!(by([6, 5, 5], [None; 4]), [2, 1, 1], "rests of 8, 4 and 4 sixteenths");
    assert_eq!(by([6, 5, 5], [Some(1), Some(1), None, None]), [1, 2, 1], "who has one more keeps it");
}

#[test]
fn what_makes_no_assignment_is_refused() {
    let (a, b) = (node("a", 1), node("b", 1));
    for (current, nodes) in [
        (vec![Some(2)], vec![a.clone(), b]),
        (vec![Some(0)], vec![]),
        (vec![None], vec![a.clone(), a]),
        (vec![None], vec![node("a", WEIGHT_MAX + 1)]),
        (vec![None], (0..=NODES_MAX).map(|index| node(&index.to_string(), 1)).collect()),
    ] {
        assert!(matches!(assign(&current, &nodes), Err(Error::Misuse(_))), "{current:?}, {} nodes", nodes.len());
    }
    let most: Vec<Node> = (0..NODES_MAX).map(|index| node(&index.to_string(), WEIGHT_MAX)).collect();
    let owners = assign(&[None; SHARDS as usize], &most).unwrap();
    assert_eq!(owners.iter().collect::<BTreeSet<_>>().len(), SHARDS as usize, "at the limits, one shard a node");
}
