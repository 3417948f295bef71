"""Benchmarks of stores, buses and what they are made of, each beside its baseline in the same run: what `aether bench` runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aether.bench import (
    append_latency,
    append_pipelined,
    bus,
    cluster,
    codec,
    importing,
    ingest,
    load,
    memory,
    peers,
    processes,
    replay,
    shard,
    sustained,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aether.bench.lines import Line
    from aether.bench.setting import Setting

__all__ = ["AGAINST", "SCENARIOS"]

SCENARIOS: dict[str, Callable[[Setting], Awaitable[list[Line]]]] = {
    "append-latency": append_latency.lines,
    "append-pipelined": append_pipelined.lines,
    "bus": bus.lines,
    "cluster": cluster.lines,
    "codec": codec.lines,
    "import": importing.lines,
    "ingest": ingest.lines,
    "load": load.lines,
    "memory": memory.lines,
    "processes": processes.lines,
    "replay": replay.lines,
    "shard": shard.lines,
    "sustained": sustained.lines,
}
"""Every scenario by its name on the command line."""

AGAINST = {"peers": peers.lines}
"""What `--against` runs: our stores beside others."""
