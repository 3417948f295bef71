"""The in-memory store beside a plain-Python store and eventsourcing's in-memory recorder: save, list, replay, memory.

`pytest benches/bench_memory.py -n0 --benchmark-enable` shows absolute times, `python benches/bench_memory.py` the ratios and
targets, as `aether bench memory` does, with the flights in place of made-up events.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import pytest

from aether.bench.memory import STORES, lines, resident_bytes
from aether.bench.memory_sides import REPLAYS, SAVES
from payloads import FLIGHTS
from reporting import report

if TYPE_CHECKING:
    from aether.bench.lines import Line
    from aether.bench.setting import Setting


@pytest.mark.parametrize("name", SAVES)
def test_save_and_replay(benchmark: Any, name: str) -> None:
    """Every store gives back the data that was saved, all of it and in order."""
    store = benchmark(lambda: asyncio.run(SAVES[name](200)))
    assert asyncio.run(REPLAYS[name](store)) == sum(range(1, 201))


@pytest.mark.parametrize("name", SAVES)
def test_replay(benchmark: Any, name: str) -> None:
    """Every store replays to the same state."""
    store = asyncio.run(SAVES[name](200))
    assert benchmark(lambda: asyncio.run(REPLAYS[name](store))) == sum(range(1, 201))


@pytest.mark.parametrize("name", STORES)
def test_resident_memory(name: str) -> None:
    """Every store holds all the flights it was given, and memory grows by something that can be measured."""
    assert resident_bytes(name, 5000, FLIGHTS) > 0


async def flight_lines(setting: Setting) -> list[Line]:
    """The scenario, its memory taken with the flights."""
    return await lines(setting, FLIGHTS)


if __name__ == "__main__":
    sys.exit(report("in-memory store", ["aether-events", "eventsourcing", "msgpack"], flight_lines))
