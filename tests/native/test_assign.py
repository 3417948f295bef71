"""The assignment of shards and the table of their owners, through the bindings. rust/assign/tests.rs proves what it promises."""

from __future__ import annotations

import gc
import sys
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether import InvalidIdError
from aether._native import ShardTable, assign, shard_of

SHARDS = 1021


@st.composite
def memberships(draw: st.DrawFn) -> tuple[list[int], list[tuple[str, int]]]:
    """Nodes with weights, and who owns which shard now."""
    names = draw(st.lists(st.text("abcé-", min_size=1, max_size=3), max_size=7, unique=True))
    nodes = [(name, draw(st.integers(0, 5))) for name in names]
    current = draw(st.lists(st.integers(-1, len(nodes) - 1), max_size=30))
    return current, nodes


@given(memberships())
def test_an_assignment_is_balanced_and_only_the_rich_give_to_the_poor(given_: tuple[list[int], list[tuple[str, int]]]) -> None:
    """Each node has its part by weight, rounded down or up; no node both gives and takes; assigned again nothing moves."""
    current, nodes = given_
    owners = assign(current, nodes)
    total = sum(weight for _, weight in nodes)
    assert len(owners) == len(current)
    if not total:
        assert owners == [-1] * len(current)
        return
    for index, (_, weight) in enumerate(nodes):
        count = owners.count(index)
        assert abs(count * total - len(owners) * weight) < total
        given_away = sum(before == index != after for before, after in zip(current, owners, strict=True))
        taken = sum(after == index != before for before, after in zip(current, owners, strict=True))
        assert not (given_away and taken)
    assert assign(owners, nodes) == owners


@given(memberships(), st.randoms())
def test_the_listing_order_makes_no_difference(given_: tuple[list[int], list[tuple[str, int]]], random: object) -> None:
    """Nodes listed in another order own the same shards."""
    current, nodes = given_
    order = list(range(len(nodes)))
    random.shuffle(order)  # type: ignore[attr-defined]
    place = {index: number for number, index in enumerate(order)} | {-1: -1}
    again = assign([place[owner] for owner in current], [nodes[index] for index in order])
    assert again == [place[owner] for owner in assign(current, nodes)]


REFUSED = {
    "no such node": ([1], [("a", 1)], ValueError),
    "below -1": ([-2], [("a", 1)], ValueError),
    "no nodes": ([0], [], ValueError),
    "the same name twice": ([], [("a", 1), ("a", 2)], ValueError),
    "a weight below 0": ([], [("a", -1)], ValueError),
    "a weight above its limit": ([], [("a", 1_000_001)], ValueError),
    "half a weight": ([], [("a", 0.5)], TypeError),
    "a name that is a number": ([], [(1, 1)], TypeError),
    "an owner that is text": (["a"], [("a", 1)], TypeError),
    "an owner of 65 bits": ([2**64], [("a", 1)], OverflowError),
}


@pytest.mark.parametrize(("current", "nodes", "error"), REFUSED.values(), ids=REFUSED)
def test_what_makes_no_assignment(current: list[int], nodes: list[tuple[str, int]], error: type[Exception]) -> None:
    """Owners that are not there, and nodes that cannot be, are refused."""
    with pytest.raises(error):
        assign(current, nodes)


@given(st.lists(st.integers(-1, 2), min_size=1, max_size=60), st.text("ab./é", min_size=1, max_size=9))
def test_a_table_finds_owners(pattern: list[int], actor_id: str) -> None:
    """A table gives the very object that owns an actor's shard, and each owner's shards."""
    owners = [object(), "b", None]
    index = (pattern * SHARDS)[:SHARDS]
    table = ShardTable(owners, index)
    owner = index[shard_of(actor_id)]
    assert table.owner_of(actor_id) is (None if owner == -1 else owners[owner])
    assert [table.of_shard(shard) for shard in range(SHARDS)] == [None if owner == -1 else owners[owner] for owner in index]
    for number in range(len(owners)):
        assert table.shards_of(number) == [shard for shard in range(SHARDS) if index[shard] == number]


def test_what_a_table_does_not_have() -> None:
    """A shard or an owner that there is not has none; what can be no shard, and no id, is refused."""
    table = ShardTable(["a"], [0] * SHARDS)
    assert (table.of_shard(SHARDS), table.of_shard(2**32 - 1), table.shards_of(1)) == (None, None, [])
    with pytest.raises(OverflowError):
        table.of_shard(-1)
    with pytest.raises(InvalidIdError):
        table.owner_of("")
    with pytest.raises(TypeError):
        table.owner_of(1)  # type: ignore[arg-type]


@pytest.mark.parametrize("index", [[], [0] * 1020, [0] * 1022, [1] * SHARDS, [-2] * SHARDS, [2**32] * SHARDS])
def test_what_makes_no_table(index: list[int]) -> None:
    """A table has an owner that there is, or -1, for each of the 1021 shards."""
    with pytest.raises(ValueError, match="-1"):
        ShardTable(["a"], index)


class Owner:
    """Knows the table that it stands in."""

    table: ShardTable


def test_a_table_lets_its_owners_go() -> None:
    """Looking owners up keeps no reference, and a table in a circle with its owner is collected."""
    owner = Owner()
    table = ShardTable([owner], [0] * SHARDS)
    before = sys.getrefcount(owner)
    for number in range(100):
        table.owner_of(f"actor-{number}")
    assert sys.getrefcount(owner) == before
    owner.table = table
    gone = weakref.ref(owner)
    del owner, table
    gc.collect()
    assert gone() is None
