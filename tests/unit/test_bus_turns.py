"""Turns: who keeps up with a publisher is not made to fall behind, and nobody keeps the loop for long."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace

import pytest

from aether import Event, LocalEventBus
from aether.bus import turns
from aether.bus.turns import ROUND_S, TURN_S, Turn
from aether.testing.bus_contract_base import events, soon, until

CHUNK, CHUNKS = 1_000, 150
"""As many small events as a socket may bring at once, few enough for a slow machine to do in a turn, and more than may wait."""


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        """Return the time."""
        return self.now


@pytest.fixture
def clock(monkeypatch):
    """The clock of all turns."""
    clock = Clock()
    monkeypatch.setattr(turns, "time", clock)
    return clock


@pytest.fixture
def own_time(monkeypatch):
    """Turns last as long as this thread works: how long it has to wait for a processor does not tell whether it keeps up."""
    monkeypatch.setattr(turns, "time", SimpleNamespace(monotonic=time.thread_time))


async def in_chunks(bus):
    """Publish as a socket brings events: thousands in each round of the loop, however many were read."""
    for chunk in range(CHUNKS):
        await bus._send(events("a", range(chunk * CHUNK + 1, (chunk + 1) * CHUNK + 1), data=0), 0)
        await asyncio.sleep(0)
    await bus._send([Event("a", "End", CHUNKS * CHUNK + 1)], 0)


@pytest.mark.usefixtures("own_time")
@pytest.mark.parametrize("how", ["event by event", "batches", "pairs"])
async def test_a_reader_who_is_fast_enough_misses_nothing(how):
    """What comes by the thousand in a round of the loop is read by the thousand, whichever way it is read."""
    async with LocalEventBus() as bus, await bus.subscribe() as subscription:

        async def hear():
            if how == "batches":
                async for batch in subscription.batches():
                    if batch[-1].event_type == "End":
                        break
            else:
                async for item in subscription if how == "event by event" else subscription.namespaced():
                    if (item if how == "event by event" else item[1]).event_type == "End":
                        break

        hearing = asyncio.create_task(soon(hear()))
        await in_chunks(bus)
        await hearing
        assert subscription.stats() == (CHUNKS * CHUNK + 1, 0, 0, 0, 0)


@pytest.mark.usefixtures("own_time")
@pytest.mark.parametrize("concurrency", [1, 16])
async def test_a_handler_that_waits_for_nothing_misses_nothing(concurrency):
    """An async handler that never waits gets what comes by the thousand in a round of the loop."""
    async with LocalEventBus() as bus:
        count, done = 0, asyncio.Event()

        async def handler(event):
            nonlocal count
            count += 1
            if count == CHUNKS * CHUNK + 1:  # the last event may be handled before others, of other actors
                done.set()

        subscription = await bus.subscribe(handler=handler, concurrency=concurrency)
        await in_chunks(bus)
        await soon(done.wait())
        assert subscription.stats() == (CHUNKS * CHUNK + 1, 0, 0, 0, 0)
        assert count == CHUNKS * CHUNK + 1


async def test_a_turn_ends_by_time(clock):
    """A turn lasts some milliseconds, and the next one begins once the loop has gone on."""
    turn = Turn()
    for _ in range(3):
        assert not turn.is_over()
        clock.now += TURN_S * 0.9
        assert not turn.is_over()
        clock.now += TURN_S * 0.2
        assert turn.is_over()
        assert turn.is_over()
        await asyncio.sleep(0)


async def test_many_turns_together_are_bounded(clock):
    """However many want their turns in a round, together they get some ten turns; then each is over at once."""
    given = 0
    for _ in range(100):
        turn = Turn()
        while not turn.is_over():
            clock.now += TURN_S / 2
            given += 1
    assert given * TURN_S / 2 == pytest.approx(ROUND_S, abs=2 * TURN_S)
    await asyncio.sleep(0)
    assert not Turn().is_over()


@pytest.mark.usefixtures("clock")
async def test_what_a_worker_meets_is_told_before_what_is_behind_it():
    """A gap that a worker comes upon while it takes more goes to `on_error`, and nothing behind it is handled before."""
    async with LocalEventBus() as bus:
        heard, go_on, done = [], asyncio.Event(), asyncio.Event()

        async def handler(event):
            heard.append(event.version)
            if event.event_type == "End":
                done.set()

        async def on_error(error, _):
            heard.append(error.missed)
            await go_on.wait()

        await bus.subscribe(handler=handler, on_error=on_error, max_pending=1300, concurrency=2)
        await bus._send(events("a", range(1, 1401)), 0)
        await until(lambda: len(heard) == 1301)
        await bus._send([Event("b", "End", 1401)], 0)
        for _ in range(10):
            await asyncio.sleep(0)
        assert heard == [*range(1, 1301), 100]
        go_on.set()
        await soon(done.wait())
        assert heard == [*range(1, 1301), 100, 1401]
