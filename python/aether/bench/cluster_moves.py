"""A fourth node joins three and then one of the four leaves, under load: what writers and callers notice of it.

Each node writes to every shard it gets, and goes on writing to some; another process asks actors on all of them. When a node
joins, shards are moved to it: how long until the last one is written to there, and how long do writes to shards that stay take
meanwhile? When a node leaves, all its shards are moved to others: a shard's pause is from the moment when its old owner has
ended its last write to the moment when the first write of the new one is accepted, and no command may fail.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aether.bench.cluster_commands import asking
from aether.bench.cluster_fleet import fleet
from aether.bench.lines import Line, Target, percentiles
from aether.bench.setting import check
from aether.cluster.table import SHARDS

if TYPE_CHECKING:
    from collections.abc import Collection

    from aether.bench.cluster_commands import Asking
    from aether.bench.cluster_fleet import Fleet, Node
    from aether.bench.setting import Setting

__all__ = ["lines"]

NODES = 3
BUSY = 60
"""To how many shards writes go on."""

PAUSE_S = 0.1
BEFORE_S = {"once": 0.5, "quick": 2.0, "ci": 2.0, "full": 2.0}
"""How long writes and commands are watched before anything changes."""

MOVED_S_MAX = 5
STAYING_RATIO_MAX = 2.0
P50_NS_MAX, P99_NS_MAX = 20_000_000, 250_000_000


@dataclass
class Found:
    """What was measured, in nanoseconds.

    Attributes:
        moved: of each node that joined, until all moves were done.
        before, during: how long writes to shards that stayed took before a node joined, and while shards were moved to it;
            a list for each.
        pauses: how long each shard of each node that left stood still.
        asked_before, asked: how long commands took before a node left, and while it did.
        failed, done: how many commands and writes failed while a node left, and how many did not.
    """

    moved: list[int] = field(default_factory=list)
    before: list[list[int]] = field(default_factory=list)
    during: list[list[int]] = field(default_factory=list)
    pauses: list[int] = field(default_factory=list)
    asked_before: list[int] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)
    failed: int = 0
    done: int = 0


async def lines(setting: Setting) -> list[Line]:
    """Measure."""
    turns = {"once": 1, "quick": 2, "ci": 5, "full": 20}[setting.size]
    setting.say(f"cluster, moves: a node joins {NODES} and one of the {NODES + 1} leaves, {turns} times")
    dice, found = random.Random(turns), Found()  # noqa: S311 - chooses shards, and who leaves
    busy = dice.sample(range(SHARDS), BUSY)
    async with (
        fleet(setting, NODES, busy=busy, pause_s=PAUSE_S) as made,
        asking(setting, made.namespace) as commands,
    ):
        for turn in range(turns):
            await join(made, busy, BEFORE_S[setting.size], found)
            await leave(made, dice.choice(made.nodes), commands, BEFORE_S[setting.size], found)
            setting.say(f"cluster, move {turn + 1}: all had moved to the node that joined in {found.moved[-1] / 1e9:.2f} s")
        check(holds=not commands.wrong, what=f"commands were done twice or not at all: {commands.wrong[:3]}")
    return [*_joining(found, plain=setting.plain), *_leaving(found, plain=setting.plain)]


async def join(made: Fleet, busy: Collection[int], before_s: float, found: Found) -> None:
    """Let a node join."""
    node = await made.start()
    await asyncio.sleep(before_s)
    owners = dict(made.owners)
    made.join(node)
    await made.even()
    told_ns = node.said["joining"]
    released, first = made.since("released", told_ns), made.since("first", told_ns)
    begin_ns = min(noted.at_ns for noted in released.values())
    end_ns = max(noted.at_ns for noted in first.values())
    staying = {shard for shard in busy if made.owners[shard] == owners.get(shard)}

    def writes(begin_ns: int, end_ns: int) -> list[int]:
        """Return how long those writes took of which a part lies between these."""
        return [
            noted.took_ns
            for noted in made.noted["wrote"]
            if noted.shard in staying and noted.at_ns > begin_ns and noted.at_ns - noted.took_ns < end_ns
        ]

    found.moved.append(end_ns - told_ns)
    found.before.append(writes(told_ns - round(before_s * 1e9), told_ns))
    # What came in while shards were moved, and not while the new node waited for its first one.
    found.during.append(writes(begin_ns, end_ns))


async def leave(made: Fleet, node: Node, commands: Asking, before_s: float, found: Found) -> None:
    """Let a node leave."""
    owned, begin_ns = made.owned(node), time.monotonic_ns()
    await asyncio.sleep(before_s)
    told_ns = time.monotonic_ns()
    await made.leave(node)
    await made.even()
    await commands.round()  # those that were on their way are answered
    released, first = made.since("released", told_ns), made.since("first", told_ns)
    check(holds=owned <= released.keys(), what=f"{node.name} did not say of each shard that it let it go")
    found.pauses += [first[shard].at_ns - released[shard].at_ns for shard in owned]
    found.asked_before += [took_ns for at_ns, took_ns in commands.answered if begin_ns < at_ns - took_ns and at_ns < told_ns]
    asked = [took_ns for at_ns, took_ns in commands.answered if at_ns >= told_ns]
    found.asked += asked
    found.failed += sum(at_ns >= told_ns for at_ns in (*commands.failed, *(noted.at_ns for noted in made.noted["failed"])))
    found.done += len(asked) + sum(noted.at_ns >= told_ns for what in ("first", "wrote") for noted in made.noted[what])


def _joining(found: Found, *, plain: bool) -> list[Line]:
    p99s = [(percentiles(before).p99, percentiles(during).p99) for before, during in zip(found.before, found.during, strict=True)]
    ratios = [before / during for before, during in p99s]
    quartiles = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else None
    moved_ms = [each / 1e6 for each in found.moved]
    return [
        Line(
            f"cluster, {NODES} to {NODES + 1} nodes: until all moves are done",
            statistics.median(moved_ms),
            "ms",
            spread=(min(moved_ms), max(moved_ms)),
            targets=(Target("most", 1_000 * MOVED_S_MAX),) if plain else (),
        ),
        Line(
            f"cluster, {NODES} to {NODES + 1} nodes: p99 of writes to shards that stay",
            statistics.median(during for _, during in p99s) / 1e3,
            "µs",
            latency=percentiles([each for part in found.during for each in part]),
            baseline="before",
            theirs=statistics.median(before for before, _ in p99s) / 1e3,
            their_latency=percentiles([each for part in found.before for each in part]),
            ratio=statistics.median(ratios),
            quartiles=(quartiles[0], quartiles[2]) if quartiles else None,
            targets=(Target("slower", STAYING_RATIO_MAX),) if plain else (),
        ),
    ]


def _leaving(found: Found, *, plain: bool) -> list[Line]:
    pauses, asked, before = (percentiles(each) for each in (found.pauses, found.asked, found.asked_before))
    return [
        Line(
            "cluster, a node leaves: a shard's pause",
            pauses.p50 / 1e6,
            "ms",
            spread=(min(found.pauses) / 1e6, max(found.pauses) / 1e6),
            latency=pauses,
            targets=(Target("p50", P50_NS_MAX), Target("p99", P99_NS_MAX)) if plain else (),
        ),
        Line(
            "cluster, a node leaves: commands meanwhile",
            asked.p50 / 1e3,
            "µs",
            latency=asked,
            baseline="before",
            theirs=before.p50 / 1e3,
            their_latency=before,
            ratio=before.p50 / asked.p50,
        ),
        Line(
            f"cluster, a node leaves: commands and writes, of {found.failed + found.done:,}",
            found.failed,
            "failed",
            targets=(Target("most", 0),),
        ),
    ]
