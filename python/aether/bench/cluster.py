"""A cluster: appends and ingestion of owners, asks, shards that move, owners that die, and many nodes.

Its pure computing is in `shard`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aether.bench import cluster_append, cluster_asks, cluster_failover, cluster_ingest, cluster_many, cluster_moves

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from aether.bench.lines import Line
    from aether.bench.setting import Setting

__all__ = ["PARTS", "lines"]

PARTS: Sequence[Callable[[Setting], Awaitable[list[Line]]]] = (
    cluster_append.lines,
    cluster_ingest.lines,
    cluster_asks.lines,
    cluster_moves.lines,
    cluster_failover.lines,
    cluster_many.lines,
)


async def lines(setting: Setting) -> list[Line]:
    """Measure all parts, one after the other."""
    return [line for part in PARTS for line in await part(setting)]
