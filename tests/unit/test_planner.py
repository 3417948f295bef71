"""The planner step by step: what it makes of each word and each table, whatever comes late, twice or never."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cluster_world import DRAIN_S, TTL_S

from aether.cluster.members import Member, Members
from aether.cluster.planner import BATCH, PACE_S, TAKE_S, TOGETHER_S, Planner, Situation, to_follow
from aether.cluster.progress import Progress
from aether.cluster.table import SHARDS, Table

if TYPE_CHECKING:
    from aether.cluster.planner import Plan

ALL_A = Table.of(9, ["a"] * SHARDS, {})


class Leader:
    """A planner, and the members that it sees."""

    def __init__(self, names: str, planner: type[Planner] = Planner, *, moves_max: int) -> None:
        self.brain = planner(ttl_s=TTL_S, settle_s=0.0, drain_s=DRAIN_S, moves_max=moves_max)
        self.members = Members(lambda: 0.0)
        for name in names:
            self.members.see(Member(name=name, incarnation=1))

    def plan(self, now: float, table: Table, position: int) -> Plan:
        """Decide on a table as it is at a position."""
        return self.brain.plan(Situation(now, 9, 0.0, 0.0, self.members.present, self.members.left, table, position))

    def hear(self, name: str, position: int, released: list[int], taken: list[int]) -> None:
        """Be told by a node what it let go and took."""
        self.brain.hear(Progress(name, position, released, taken))


class ForgetsGifts(Planner):
    """Bug: a shard is moved once it was given."""

    def learn(self, table, position, now):
        """Forget who is to take what."""
        super().learn(table, position, now)
        self._gifts = {}


class HearsOldWords(Planner):
    """Bug: what a node let go in an earlier move counts for a later one."""

    def hear(self, told):
        """Take any word for a fresh one."""
        return super().hear(Progress(told.node, 1 << 60, told.released, told.taken))


def test_moves_are_known_without_an_ack():
    """What a table says that was stored and never acked is known: what its owners let go is given, and no old word counts."""
    leader = Leader("ab", moves_max=BATCH)
    moving = leader.plan(100.0, ALL_A, 10).table
    assert leader.plan(100.1, moving, 11).table is None  # as it is read again, since no ack came
    leader.hear("a", 11, [*moving.moving], [])
    given = leader.plan(100.2, moving, 11).table
    assert given.owners.count("b") == BATCH
    assert leader.plan(100.3, given, 12).table is None
    leader.hear("b", 12, [], [*moving.moving])
    moving = leader.plan(100.4, given, 12).table
    assert leader.plan(100.5, moving, 13).table is None
    later = leader.plan(100.5 + DRAIN_S, moving, 13).table
    assert later.owners.count("b") == 2 * BATCH  # the next ones were not let go in time


def standing_still(planner: type[Planner]) -> int:
    """Say how many shards are let go or not yet taken at a time at most, of which eight may be, where taking is slow."""
    leader = Leader("ab", planner, moves_max=8)
    table, position, now, most = ALL_A, 10, 100.0, 0
    untaken: list[int] = []
    for turn in range(100):
        now += 0.01
        decided = leader.plan(now, table, position).table
        if decided is not None:
            untaken += [shard for shard in table.moving if decided.owners[shard] == "b"]
            table, position = decided, position + 1
            leader.brain.learn(table, position, now)
        most = max(most, len(table.moving) + len(untaken))
        leader.hear("a", position, [*table.moving], [])
        if turn % 5 == 0 and untaken:
            leader.hear("b", position, [], [untaken.pop(0)])
    assert table.owners.count("b") > 16  # it goes on
    return most


def test_no_more_stand_still_than_may():
    """A shard counts as moving until it is taken, however much faster owners let go than others take."""
    assert standing_still(Planner) == 8


def test_counting_only_until_the_release_is_found():
    """A planner that takes a shard for moved as soon as it was given lets many stand still at a time."""
    assert standing_still(ForgetsGifts) > 8


def test_moves_begin_at_a_pace():
    """A batch begins when the one before it has had its time, and one that has not room enough some time later."""
    leader = Leader("ab", moves_max=2 * BATCH + 1)
    first = leader.plan(100.0, ALL_A, 10).table
    assert len(first.moving) == BATCH
    leader.brain.learn(first, 11, 100.0)
    began = 100.0 + BATCH * PACE_S
    assert leader.plan(100.001, first, 11) == (None, began)
    second = leader.plan(began, first, 11).table
    assert len(second.moving) == 2 * BATCH
    leader.brain.learn(second, 12, began)
    assert leader.plan(began + BATCH * PACE_S, second, 12) == (None, began + TOGETHER_S)
    assert len(leader.plan(began + TOGETHER_S, second, 12).table.moving) == 2 * BATCH + 1


def test_a_target_that_says_nothing_holds_up_nobody_for_long():
    """A shard that its new owner never says to have taken counts as moving for a while only."""
    leader = Leader("ab", moves_max=BATCH)
    moving = leader.plan(100.0, ALL_A, 10).table
    assert leader.plan(100.1, moving, 11).table is None
    leader.hear("a", 11, [*moving.moving], [])
    given = leader.plan(100.2, moving, 11).table
    assert leader.plan(100.3, given, 12) == (None, 100.3 + TAKE_S)
    assert len(leader.plan(100.3 + TAKE_S, given, 12).table.moving) == BATCH


def old_words(planner: type[Planner]) -> bool:
    """Say whether a shard is given on for what its owner said of an earlier move of it."""
    leader = Leader("a", planner, moves_max=BATCH)
    table, table_at, now = ALL_A, 1, 100.0

    def decide(position: int) -> None:
        nonlocal table, table_at, now
        now += 0.1
        table, table_at = leader.plan(now, table, table_at).table or table, position
        leader.brain.learn(table, position, now)

    members = leader.members
    members.see(Member(name="b", incarnation=2))
    decide(10)
    first = set(table.moving)
    members.see(Member(name="b", incarnation=2, draining=True))
    decide(11)
    assert not table.moving
    members.see(Member(name="b", incarnation=3))
    decide(12)
    leader.hear("a", 11, [*first], [])
    decide(13)
    early = "b" in table.owners
    leader.hear("a", 12, [*first], [])
    decide(14)
    assert table.owners.count("b") == len(first)
    return early


def test_only_words_of_this_move_count():
    """What an owner said of an earlier move of a shard does not count for this one: it may hold it again."""
    assert not old_words(Planner)


def test_hearing_old_words_is_found():
    """A planner that believes what was said of an earlier move gives a shard before it was let go."""
    assert old_words(HearsOldWords)


def test_what_is_still_to_move_is_known_to_whoever_sees_the_table():
    """Shards that are moving are on their way already; those of who takes none any more are to follow, if there is another."""
    a, b = (Member(name=name, incarnation=1) for name in "ab")
    all_a = Table.of(1, ["a"] * SHARDS, {})
    assert to_follow(all_a, [a]) == 0
    assert to_follow(all_a, [a, b]) == SHARDS // 2
    assert to_follow(Table.of(1, ["a"] * SHARDS, dict.fromkeys(range(10), "b")), [a, b]) == SHARDS // 2 - 10
    half = ["a"] * 511 + ["b"] * 510
    assert to_follow(Table.of(1, half, {}), [a, b]) == 0
    leaving = Member(name="b", incarnation=1, draining=True)
    assert to_follow(Table.of(1, half, {}), [a, leaving]) == 510
    assert to_follow(all_a, []) == 0
