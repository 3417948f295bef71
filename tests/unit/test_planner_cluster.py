"""The planner in a virtual cluster: what moves, when, and what does not; and that planted bugs are found."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING

import pytest
from cluster_world import DRAIN_S, SETTLE_S, TTL_S, World

from aether.cluster.planner import GATHER_S, Planner, to_follow

if TYPE_CHECKING:
    from conftest import Size

NAMES = [f"node-{letter}" for letter in "abcdefgh"]


def settled(world: World, seconds: float = 30.0) -> None:
    """Run until everything is where it belongs, and fail if that is not so in time."""
    until = world.now + seconds
    while (why := world.unsettled()) and world.now < until:
        world.run(0.05)
    assert not why, f"at {world.now:.2f}: {why}"


def cluster(seed: int, count: int, planner: type[Planner] = Planner, **options: float) -> World:
    """A settled cluster of some nodes."""
    world = World(seed, planner, **options)
    for name in NAMES[:count]:
        world.join(name)
    settled(world)
    return world


def moved(before, after) -> set[int]:
    """The shards that have another owner."""
    return {shard for shard, (old, new) in enumerate(zip(before.owners, after.owners, strict=True)) if old != new}


def churn(seed: int, planner: type[Planner] = Planner, seconds: int = 60) -> World:
    """One change of the membership a second, then peace."""
    world = cluster(seed, 3, planner)
    chance = random.Random(seed)
    for _ in range(seconds):
        there = [process.name for process in world.living() if not process.member.draining]
        away = [name for name in NAMES if name not in world.nodes]
        kind = chance.choice(("join", "join", "kill", "leave", "restart"))
        if kind == "join" and away:
            world.join(chance.choice(away), weight=chance.choice((1, 1, 2, 5)))
        elif len(there) > 1 and kind in ("kill", "leave"):
            (world.kill if kind == "kill" else world.leave)(chance.choice(there))
        elif there:
            world.join(chance.choice(there))
        world.run(1.0)
    return world


def test_first_nodes_share_at_once():
    """The first members of a cluster share the shards in one step, none of which is moved."""
    world = World(1)
    for name in NAMES[:3]:
        world.join(name)
    world.run(GATHER_S + 0.1)
    assert not world.unsettled()
    assert [len(table.moving) for _, table in world.history] == [0]


def test_dead_node_is_replaced_at_once():
    """A dead node's shards are given when its lease has expired, and no other shard moves."""
    world = cluster(2, 4)
    world.run(TTL_S)
    before, killed_at = world.table, world.now
    world.kill(NAMES[3])
    settled(world)
    assert moved(before, world.table) == before.shards_of(NAMES[3])
    given_at = next(at for at, table in world.history if at > killed_at and NAMES[3] not in table.owners)
    assert given_at - killed_at < TTL_S + 0.1


def test_new_node_gets_its_part_after_a_while():
    """A new node gets exactly its part, by moves of at most so many at a time, and none before it has been there for a while."""
    world = cluster(3, 3, moves_max=50)
    before, joined_at, known = world.table, world.now, len(world.history)
    world.join(NAMES[3])
    settled(world)
    assert moved(before, world.table) == world.table.shards_of(NAMES[3])
    assert len(moved(before, world.table)) in (255, 256)
    assert min(at for at, _ in world.history[known:]) >= joined_at + SETTLE_S
    assert max(len(table.moving) for _, table in world.history) <= 50
    assert world.now - joined_at < 5.0
    assert not world.double


def test_restart_under_the_same_name_moves_nothing():
    """A node that is replaced by a new life of its name before its lease expires keeps its shards."""
    world = cluster(4, 3)
    before = world.table
    world.join(NAMES[1])
    settled(world)
    assert world.table.owners == before.owners


def test_drained_node_gives_everything_away():
    """A draining node gives all its shards away, and nobody ever holds one that another still holds."""
    world = cluster(5, 3)
    before = world.table
    world.leave(NAMES[0])
    settled(world)
    assert moved(before, world.table) == before.shards_of(NAMES[0])
    assert NAMES[0] not in world.nodes
    assert not world.double


def test_last_node_keeps_its_shards_while_it_drains():
    """Where nobody else takes shards, a draining node keeps them, and the next node gets them all."""
    world = cluster(6, 1)
    world.drain(NAMES[0])
    world.run(2.0)
    assert world.table.owners.count(NAMES[0]) == len(world.table.owners)
    world.join(NAMES[1])
    settled(world)
    assert world.table.owners.count(NAMES[1]) == len(world.table.owners)
    assert not world.double


def test_silent_owner_is_passed_over():
    """A shard whose owner does not let go is given on after the drain's deadline, and not before."""
    world = cluster(7, 2)
    world.hung.add(NAMES[0])
    joined_at = world.now
    world.join(NAMES[2])
    world.run(SETTLE_S + DRAIN_S - 0.5)
    assert len(world.table.moving) == 64
    world.hung.clear()
    world.run(60.0)
    assert world.table.owners.count(NAMES[2]) in (340, 341)
    assert world.now > joined_at + DRAIN_S


def test_target_that_dies_is_no_target():
    """When the node dies to which shards move, their owners keep them, or they go to others, and all is balanced again."""
    world = cluster(8, 3)
    world.join(NAMES[3])
    world.run(SETTLE_S + 0.03)
    assert world.table.moving
    world.kill(NAMES[3])
    settled(world)
    assert not world.double


@pytest.mark.parametrize("seed", range(10))
def test_outage_moves_nothing(seed):
    """After the server was away so long that all leases expired, everybody comes back, and the assignment is what it was."""
    world = cluster(seed, 5)
    before = world.table
    world.outage(7.0)
    world.run(7.5 + TTL_S)
    settled(world)
    world.run(2 * TTL_S)
    assert world.table.owners == before.owners
    assert not world.unsettled()


def test_who_does_not_come_back_after_an_outage_is_dead():
    """A node that is not back when a lease's life has passed since the outage loses its shards."""
    world = cluster(9, 3)
    world.nodes[NAMES[2]].alive = False
    world.outage(7.0)
    del world.nodes[NAMES[2]]
    world.run(7.0 + TTL_S - 0.5)
    assert world.table.shards_of(NAMES[2])
    settled(world)


def test_shards_follow_weights():
    """Each node has its part by its weight, and one of weight 0 nothing."""
    world = World(10)
    for name, weight in zip(NAMES, (1, 2, 4, 0), strict=False):
        world.join(name, weight=weight)
    settled(world)
    counts = [world.table.owners.count(name) for name in NAMES[:4]]
    assert sum(counts) == 1021
    assert counts[3] == 0
    assert all(abs(count - 1021 * weight / 7) < 1 for count, weight in zip(counts, (1, 2, 4, 0), strict=True))


def test_churn_stays_right(size: Size):
    """One change of the membership a second for a minute: no shard has two holders, and afterwards all is in its place.

    Save for moments: a node that comes back just when its lease has expired sees its name in the table until the leader has
    written the next one. The epoch records settle that.
    """
    for seed in range(size.pick(2, 12, 500)):
        world = churn(seed, seconds=size.pick(20, 60, 60))
        assert not world.double, (seed, world.double[:3])
        settled(world)
        longest = max(len(table.moving) for _, table in world.history)
        assert longest <= 64, (seed, longest)


@pytest.mark.parametrize("late_s", [0.001, 0.003, 0.005, 0.008, 0.02])
def test_a_node_that_comes_back_as_it_is_given_up_disturbs_nobody_for_long(late_s):
    """Whoever takes what another holds then, it is that node or takes from it, and soon all is in its place."""
    for seed in range(10):
        world = cluster(seed, 4)
        world.kill(NAMES[3])
        while NAMES[3] in world.nodes:
            world.run(0.001)
        world.run(late_s)
        world.join(NAMES[3])
        settled(world)
        assert all(NAMES[3] in told for told in world.brief), seed
        assert not world.double, seed


class GivesBeforeRelease(Planner):
    """Bug: a shard is given on as soon as its owner was told."""

    def learn(self, table, position, now):
        """Take every move for let go."""
        super().learn(table, position, now)
        for move in self._moves.values():
            move.released = True


class NoGrace(Planner):
    """Bug: whoever is not there when the watch begins anew is dead."""

    def __init__(self, **options):
        super().__init__(**{**options, "ttl_s": 0.0})


class NeverOverdue(Planner):
    """Bug: an owner that does not let go is waited for, for ever."""

    def __init__(self, **options):
        super().__init__(**{**options, "drain_s": 1e12})


class Forgetful(Planner):
    """Bug: a dead node's shards are everybody's, and all are dealt anew."""

    def __init__(self, **options):
        super().__init__(**options, assign=lambda current, nodes: [place % len(nodes) for place in range(len(current))])


def test_giving_before_the_release_is_found():
    """A planner that gives shards before their owner let go makes two holders of one shard."""
    assert any(churn(seed, GivesBeforeRelease, 8).double for seed in range(3))


def test_no_grace_is_found():
    """A planner that has no patience after an outage moves shards of nodes that come back."""
    world = cluster(1, 5, NoGrace)
    before = world.table
    world.outage(7.0)
    world.run(20.0)
    assert any(moved(before, table) for _, table in world.history if len(table.owners) and table is not before)
    assert any(before.owners != table.owners for _, table in itertools.islice(world.history, 1, None))


def test_waiting_for_ever_is_found():
    """A planner that waits for a silent owner for ever leaves the new node with less than its part."""
    world = cluster(7, 2, NeverOverdue)
    world.hung.add(NAMES[0])
    world.join(NAMES[2])
    world.run(60.0)
    assert world.unsettled()


def test_dealing_anew_is_found():
    """A planner that is not sticky moves shards of living nodes."""
    world = cluster(2, 4, Forgetful)
    before = world.table
    world.kill(NAMES[3])
    world.run(60.0)
    assert moved(before, world.table) != before.shards_of(NAMES[3])


def test_settled_clusters_have_nothing_to_follow():
    """Once the leader has nothing more to move, whoever looks agrees, whatever the weights: nobody waits in vain."""
    for seed in range(6):
        world = churn(seed, seconds=20)
        settled(world, 60.0)
        there = [process.member for process in world.living()]
        assert to_follow(world.table, there) == 0, seed
