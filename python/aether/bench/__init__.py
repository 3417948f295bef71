"""Benchmarks of stores and buses on a real server, each beside its baseline in the same run: what `aether bench` runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aether.bench import append_latency, append_pipelined, bus, ingest, load, peers, replay

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aether.bench.lines import Line
    from aether.bench.setting import Setting

__all__ = ["AGAINST", "SCENARIOS"]

SCENARIOS: dict[str, Callable[[Setting], Awaitable[list[Line]]]] = {
    "append-latency": append_latency.lines,
    "append-pipelined": append_pipelined.lines,
    "bus": bus.lines,
    "ingest": ingest.lines,
    "load": load.lines,
    "replay": replay.lines,
}
"""Every scenario by its name on the command line."""

AGAINST = {"peers": peers.lines}
"""What `--against` runs: our stores beside others."""
