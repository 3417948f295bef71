"""Owners of shards: the assignment beside plain Python and rendezvous hashing, and finding an actor's owner beside plain Python.

`pytest benches/bench_shard.py -n0 --benchmark-enable` shows absolute times, `python benches/bench_shard.py` ratios and targets,
as `aether bench shard` does.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from aether._native import ShardTable, assign
from aether.bench.owners import NODES, SHARDS, before, plain_assign, rendezvous
from aether.bench.shard import lines, plain_shard
from reporting import report

if TYPE_CHECKING:
    from collections.abc import Callable

CURRENT = before()
OWNERS = assign(CURRENT, NODES)
NAMES = [name for name, _ in NODES]
FINDERS: dict[str, Callable[[str], object]] = {
    "aether": ShardTable(NAMES, OWNERS).owner_of,
    "plain Python": lambda actor_id: NAMES[OWNERS[plain_shard(actor_id)]],
}


@pytest.mark.parametrize("side", [assign, plain_assign], ids=["aether", "plain Python"])
def test_assign(benchmark: Any, side: Callable[..., list[int]]) -> None:
    """Both make the same assignment of 1,021 shards, of which a node that is gone had some, to 100 nodes."""
    assert benchmark(side, CURRENT, NODES) == OWNERS


def test_rendezvous_hashing(benchmark: Any) -> None:
    """Rendezvous hashing gives every shard an owner, and needs no current assignment; its balance is worse."""
    owners = benchmark(rendezvous, SHARDS, NODES)
    total = sum(weight for _, weight in NODES)
    excess = [
        max(abs(found.count(index) - SHARDS * weight / total) for index, (_, weight) in enumerate(NODES))
        for found in (OWNERS, owners)
    ]
    assert excess[0] < 1 < excess[1]


@pytest.mark.parametrize("side", FINDERS)
@pytest.mark.parametrize("actor_id", ["device-123", "order/7919@eu"])
def test_owner_of(benchmark: Any, side: str, actor_id: str) -> None:
    """Both find the same owner."""
    assert benchmark(FINDERS[side], actor_id) == FINDERS["plain Python"](actor_id)


if __name__ == "__main__":
    sys.exit(report("shard", ["aether-events"], lines))
