"""Owners of shards killed with -9, one after the other: how long until another node's first write to each shard is accepted.

Nothing stands beside this: how long a lease lives is the floor. It is renewed each third of its life, so when its holder is
killed it has two thirds to a whole life left, which is 2 to 3 s here.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from aether.bench.cluster_fleet import TTL_S, fleet
from aether.bench.histogram import bins
from aether.bench.lines import Line, Target, percentiles
from aether.cluster.table import SHARDS

if TYPE_CHECKING:
    from aether.bench.cluster_fleet import Fleet
    from aether.bench.setting import Setting

__all__ = ["lines"]

NODES = 3
BUSY = 60
"""To how many shards writes go on, beside the first one that each gets from its new owner."""

PAUSE_S = 0.3
P50_NS_MAX, P99_NS_MAX = 2_800_000_000, 3_500_000_000


async def lines(setting: Setting) -> list[Line]:
    """Measure."""
    kills = {"once": 1, "quick": 2, "ci": 6, "full": 36}[setting.size]
    setting.say(f"cluster, failover: {kills} of {NODES} owners killed, one after the other; leases live for {TTL_S} s")
    dice = random.Random(kills)  # noqa: S311 - chooses whom and when
    gaps_ns: list[int] = []
    async with fleet(setting, NODES, busy=dice.sample(range(SHARDS), BUSY), pause_s=PAUSE_S) as made:
        for turn in range(kills):
            stood_ns = await kill(made, dice)
            told = f"{len(stood_ns)} shards, {min(stood_ns) / 1e9:.2f} to {max(stood_ns) / 1e9:.2f} s"
            setting.say(f"cluster, failover {turn + 1}: {told}")
            gaps_ns += stood_ns
    found = percentiles(gaps_ns)
    return [
        Line(
            f"cluster, owner killed, leases of {TTL_S} s: to the first write elsewhere",
            found.p50 / 1e6,
            "ms",
            spread=(min(gaps_ns) / 1e6, max(gaps_ns) / 1e6),
            latency=found,
            histogram=bins(gaps_ns),
            targets=(Target("p50", P50_NS_MAX), Target("p99", P99_NS_MAX)) if setting.plain else (),
        )
    ]


async def kill(made: Fleet, dice: random.Random) -> list[int]:
    """Kill a node; return how long each of its shards stood still, in nanoseconds, when another node has taken its place."""
    spare = await made.start()  # its start, which takes processor time, is over before anything is measured
    await asyncio.sleep(dice.uniform(0.0, TTL_S / 3))  # at any time between two renewals of its lease
    victim = dice.choice(made.nodes)
    owned = made.owned(victim)
    at_ns = await made.kill(victim)
    await made.until(lambda: owned <= made.owners.keys(), f"others write to the shards of {victim.name}")
    first = made.since("first", at_ns)
    made.join(spare)
    await made.even()
    return [first[shard].at_ns - at_ns for shard in owned]
