"""Who owns which shard, and finding an actor's owner: beside the same in plain Python, and beside rendezvous hashing.

Rendezvous hashing needs no stored assignment: each shard goes to the node with the largest score. It is what one would take
where nobody keeps a table, so it stands here as the other way to go, though its balance is only as good as chance.
"""

from __future__ import annotations

import math
import zlib
from typing import TYPE_CHECKING

from aether._native import ShardTable, assign
from aether.bench.measure import CPU, Side, Target, compare, repeated
from aether.bench.setting import check
from aether.cluster.table import SHARDS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aether.bench.lines import Line

__all__ = ["NODES", "before", "owner_lines", "plain_assign", "rendezvous"]

NODES = [(f"node-{number}", 1 + number % 3) for number in range(100)]
"""Names and weights."""
LOOKUP_NS_MAX = 200
ASSIGN_NS_MAX = 1_000_000
ASSIGNMENTS = 20
"""How many in one run: a single one is so short that it would measure cold caches."""


def plain_assign(current: Sequence[int], nodes: Sequence[tuple[str, int]]) -> list[int]:
    """Assign shards to nodes, at least one of which has a weight, as the extension does."""
    total = sum(weight for _, weight in nodes)
    held, counts, rests = [0] * len(nodes), [], []
    for owner in current:
        if owner >= 0:
            held[owner] += 1
    for _, weight in nodes:
        count, rest = divmod(len(current) * weight, total)
        counts.append(count)
        rests.append(rest)
    names = sorted(range(len(nodes)), key=lambda index: nodes[index][0])
    ups = sorted((index for index in names if rests[index]), key=lambda index: (held[index] <= counts[index], -rests[index]))
    for index in ups[: len(current) - sum(counts)]:
        counts[index] += 1
    return _filled(current, counts, names)


def _filled(current: Sequence[int], room: list[int], names: Sequence[int]) -> list[int]:
    owners = []
    for owner in current:
        keeps = owner >= 0 and room[owner] > 0
        owners.append(owner if keeps else -1)
        if keeps:
            room[owner] -= 1
    takers = [index for index in names if room[index]]
    turn = 0
    for shard, owner in enumerate(owners):
        if owner < 0:
            taker = owners[shard] = takers[turn]
            room[taker] -= 1
            if room[taker]:
                turn += 1
            else:
                takers.pop(turn)
            if turn >= len(takers):
                turn = 0
    return owners


def rendezvous(shards: int, nodes: Sequence[tuple[str, int]]) -> list[int]:
    """Give each shard to the node with the largest weighted score."""
    weights = [(index, name.encode(), weight) for index, (name, weight) in enumerate(nodes)]
    owners = []
    for shard in range(shards):
        key = zlib.crc32(b"%d" % shard)
        owners.append(max(weights, key=lambda node: -node[2] / math.log((zlib.crc32(node[1], key) + 1) / (2**32 + 1)))[0])
    return owners


def before() -> list[int]:
    """Return who owned the shards when there was one node more, which is gone."""
    owners = assign([-1] * SHARDS, [*NODES, ("node-gone", 2)])
    return [-1 if owner == len(NODES) else owner for owner in owners]


async def owner_lines(repetitions: int, ids: Sequence[str], plain_shard: Callable[[str], int]) -> list[Line]:
    """Find the owners of `ids`, and assign the shards of a node that is gone."""
    current, names = before(), [name for name, _ in NODES]
    index = assign(current, NODES)
    table = ShardTable(names, index)

    def plain_owner(actor_id: str) -> str:
        return names[index[plain_shard(actor_id)]]

    check(holds=[table.owner_of(each) for each in ids] == [plain_owner(each) for each in ids], what="the owners differ")
    check(holds=index == plain_assign(current, NODES), what="the assignments differ")
    check(holds=len(set(rendezvous(SHARDS, NODES))) > 1, what="rendezvous hashing gives everything to one node")

    def finding(name: str, function: Callable[[str], object]) -> Side:
        def run(_: None) -> None:
            for each in ids:
                function(each)

        return Side(name, run, len(ids))

    found = await compare(
        "owner of an actor",
        finding("aether", table.owner_of),
        [finding("plain Python", plain_owner)],
        repetitions=repetitions,
        clock=CPU,
        targets=[[Target("most", LOOKUP_NS_MAX)]],
    )
    differs = "keeps no assignment, and balances by chance"
    return found + await compare(
        "1,021 shards over 100 nodes",
        repeated(lambda nodes: assign(current, nodes), NODES, ASSIGNMENTS, "aether"),
        [
            repeated(lambda nodes: plain_assign(current, nodes), NODES, ASSIGNMENTS, "plain Python"),
            Side("rendezvous hashing in Python", lambda _: rendezvous(SHARDS, NODES), differs=differs),
        ],
        repetitions=repetitions,
        clock=CPU,
        targets=[[Target("most", ASSIGN_NS_MAX)]],
    )
