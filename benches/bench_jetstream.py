"""The scenarios of `aether bench` on a real nats-server, once and small: both sides of every comparison do the same work.

`aether bench` prints the figures; `pytest benches/bench_jetstream.py -n0 --benchmark-enable` absolute times of one round.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from aether import EmbeddedServer, Event, JetStreamEventStore
from aether.bench import AGAINST, SCENARIOS
from aether.bench.setting import Setting

if TYPE_CHECKING:
    from aether.bench.measure import Line

DATA = {"customer": "c-17", "total_cents": 9950, "lines": 3}


MEASURES = {**SCENARIOS, **AGAINST}


@pytest.mark.parametrize("scenario", MEASURES)
def test_both_sides_do_the_same(scenario: str, request: pytest.FixtureRequest) -> None:
    """Every scenario runs to its end, which checks that each side stored or read all of it, and compares them."""
    if scenario == "cluster":  # its nodes take their time
        request.getfixturevalue("longer")

    async def run() -> list[Line]:
        async with EmbeddedServer(sync=120) as server:
            return await MEASURES[scenario](Setting(server.url, "once", lambda _: None))

    found = asyncio.run(run())
    assert found
    assert all(line.ratio is not None or not line.baseline for line in found)


def test_save(benchmark: Any) -> None:
    """An awaited save to a real server, alone."""

    async def run() -> int:
        async with EmbeddedServer(sync=120) as server, JetStreamEventStore(server.url) as store:
            for version in range(1, 51):
                await store.save_event(Event("order-1", "OrderPlaced", version, DATA))
            return await store.get_latest_version("order-1")

    assert benchmark.pedantic(lambda: asyncio.run(run()), rounds=1) == 50
