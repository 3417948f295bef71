"""The shard table and members' leases as messages: what is written is read again, and nothing else is believed."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether.cluster.members import MEMBERS_MAX, Member, Members
from aether.cluster.table import SHARDS, TABLE_BYTES_MAX, Table
from aether.errors import DecodeError, UnknownFormatError

names = st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=20)


@st.composite
def tables(draw):
    """Any table that a leader could write."""
    nodes = draw(st.lists(names, min_size=1, max_size=6, unique=True))
    chance = random.Random(draw(st.integers(0, 2**32)))  # thousands of draws would be slow
    owners = [chance.choice([None, *nodes]) for _ in range(SHARDS)]
    moving = {}
    for shard, owner in enumerate(owners):
        others = [name for name in nodes if name != owner]
        if owner is not None and others and chance.random() < 0.1:
            moving[shard] = chance.choice(others)
    return Table.of(draw(st.integers(1, 2**53)), owners, moving)


@given(table=tables())
def test_table_is_read_as_it_was_written(table):
    """Whatever a leader decides, every node reads it as it is."""
    assert Table.decode(table.encode()) == table


def body(**changes):
    """A table's body, with changes."""
    right = {"format": 1, "term": 7, "nodes": ["a", "b"], "owners": [0] * SHARDS, "moving": {"3": 1}}
    return json.dumps({**right, **changes}).encode()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (b"", "no shard table"),
        (b"\xff\xfe", "no shard table"),
        (b"[" * 10_000, "no shard table"),
        (b"[]", "no shard table"),
        (body(term=0), "no shard table"),
        (body(owners=[0] * (SHARDS - 1)), "1,020 shards"),
        (body(owners=[0] * (SHARDS + 1)), "no shard table"),
        (body(owners=[2] * SHARDS), "names node 2, and has 2"),
        (body(owners=[-2] * SHARDS), "no shard table"),
        (body(owners=["0"] * SHARDS), "no shard table"),
        (body(nodes=["a", "a"]), "twice"),
        (body(nodes=["a", ""]), "1 to 128 are allowed"),
        (body(nodes=["a", "b\n"]), "cannot be printed"),
        (body(nodes=["a", "b" * 129]), "1 to 128 are allowed"),
        (body(nodes=[f"n{number}" for number in range(MEMBERS_MAX + 1)]), "no shard table"),
        (body(moving={"1021": 1}), "which is no shard"),
        (body(moving={"-1": 1}), "which is no shard"),
        (body(moving={"03": 1}), "which is no shard"),
        (body(moving={"9" * 5_000: 1}), "no shard table"),
        (body(moving={"\u0663": 1}), "which is no shard"),
        (body(moving={"3": 0}), "where it is"),
        (body(moving={"3": -1}), "to nobody"),
        (body(owners=[-1] * SHARDS), "from nobody"),
        (b" " * (TABLE_BYTES_MAX + 1), "limit"),
    ],
)
def test_what_is_no_table_is_refused(wrong, words):
    """Bytes that are no table, or break a limit, are refused with a reason."""
    with pytest.raises(DecodeError, match=words):
        Table.decode(wrong)


def test_later_format_is_told_apart():
    """A table of a later version is no damage: it says which format it has."""
    with pytest.raises(UnknownFormatError) as caught:
        Table.decode(b'{"format": 2, "whatever": true}')
    assert caught.value.format == 2


def test_largest_table_fits_its_limit():
    """The most members with the longest names that JSON makes longest stay within the limit of a table's bytes."""
    nodes = ["\\" * 124 + f"{number:04}" for number in range(MEMBERS_MAX)]
    table = Table.of(2**63 - 1, nodes, {shard: nodes[shard - 1] for shard in range(SHARDS)})
    assert Table.decode(table.encode()) == table
    assert len(table.encode()) < TABLE_BYTES_MAX


def member(name="a", incarnation=1, **facts):
    """A member."""
    return Member(name=name, incarnation=incarnation, **facts)


@given(
    address=st.text(max_size=60),
    labels=st.dictionaries(st.text(min_size=1, max_size=20), st.text(max_size=20), max_size=5),
    weight=st.integers(0, 1000),
    draining=st.booleans(),
)
def test_member_is_read_as_it_was_written(address, labels, weight, draining):
    """Whatever a node says of itself, the others read it as it is."""
    told = member(address=address, labels=labels, weight=weight, draining=draining)
    assert Member.of("a", 1, json.loads(json.dumps(told.facts()))) == told


@pytest.mark.parametrize(
    "facts",
    [
        None,
        [],
        {"address": 7},
        {"address": "x" * 256},
        {"labels": []},
        {"labels": {"a": 1}},
        {"labels": {"": "x"}},
        {"labels": {str(number): "" for number in range(33)}},
        {"weight": -1},
        {"weight": 1001},
        {"weight": True},
        {"weight": 1.5},
        {"state": "dead"},
        {"state": []},
    ],
)
def test_what_is_no_member_is_refused(facts):
    """Facts that are none, or break a limit, are refused."""
    with pytest.raises(DecodeError, match="'a'"):
        Member.of("a", 1, facts)


def test_view_knows_lives_apart():
    """Another life of a name begins anew, and more facts of the same change no time."""
    now = 0.0
    members = Members(lambda: now)
    assert members.see(member(incarnation=5)) is None
    now = 1.0
    members.see(member(incarnation=5, draining=True))
    assert members.present["a"] == (member(incarnation=5, draining=True), 0.0)
    members.see(member(incarnation=9))
    assert members.present["a"] == (member(incarnation=9), 1.0)
    now = 2.0
    members.see(member(incarnation=3))  # of a stream that was made anew
    assert members.present["a"] == (member(incarnation=3), 2.0)


def test_view_tells_leaving_from_vanishing():
    """Who gave his lease back is known to have left until that expires; whose lease expired is only away."""
    members = Members(lambda: 0.0)
    for name in "abc":
        members.see(member(name))
    members.gone("a", left=True)
    members.gone("b", left=False)
    assert (members.left, [*members.present]) == ({"a"}, ["c"])
    assert [lost.name for lost in members.keep_only([])] == ["c"]
    members.gone("a", left=False)
    assert not members.left


def test_who_left_is_forgotten():
    """Of those who left the last are remembered, each until nothing of it lies there any more, so that the view stays bounded."""
    members = Members(lambda: 0.0)
    for number in range(MEMBERS_MAX + 10):
        members.gone(f"n{number}", left=True)
    assert len(members.left) == MEMBERS_MAX
    assert members.left.isdisjoint(f"n{number}" for number in range(10))
    members.forget_left({"n20", "n21"})  # the watch began anew, and these were the only ones whose word still lay there
    assert members.left == {"n20", "n21"}


def test_members_are_bounded():
    """There are at most so many members; one more is refused, and those that are there stay."""
    members = Members(lambda: 0.0)
    for number in range(MEMBERS_MAX):
        members.see(member(f"n{number}"))
    with pytest.raises(DecodeError, match="one member more"):
        members.see(member("late"))
    assert len(members.present) == MEMBERS_MAX
    members.see(member("n0", incarnation=2))
