"""The bench of many nodes, as small as it goes."""

from __future__ import annotations

from aether.bench import cluster_many
from aether.bench.setting import Setting


async def test_many_nodes_are_measured(nats_server):
    """Nodes of one process settle and are watched, and the lines tell how long, how many messages, and what was used."""
    told: list[str] = []
    lines = await cluster_many.lines(Setting(nats_server.url, "once", told.append, server_pids=(nats_server.pid,)))
    assert [line.unit for line in lines] == ["ms", "a second", "leases", "ms", "ms"]
    assert all(line.ours > 0 for line in lines[:2])
    assert any("settled" in text for text in told)
