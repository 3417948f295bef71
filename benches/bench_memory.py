"""The in-memory store beside a plain-Python store and eventsourcing's in-memory recorder: save, list, replay, memory.

`pytest benches/bench_memory.py --benchmark-enable` shows absolute times, `python benches/bench_memory.py` the ratios and targets.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import msgpack
import pytest
from eventsourcing.popo import POPOAggregateRecorder

from aether import Event, InMemoryEventStore
from aether.bench.measure import CPU, Line, Side, Target, compare
from baselines import PlainStore, plain_event, small_stored_event, stored_event
from reporting import report
from resident import STORES, resident_bytes

ACTOR, KIND = "N14228", "FlightDeparted"

EVENTS = 1000
READS = 10


async def save_ours(events: int) -> InMemoryEventStore:
    """Build and save that many events of one actor."""
    store = InMemoryEventStore()
    for version in range(1, events + 1):
        await store.save_event(Event(ACTOR, KIND, version, {"flight": "UA1545", "origin": "EWR", "delay_min": version}))
    return store


async def save_plain(events: int) -> PlainStore:
    """The same for the plain store."""
    store = PlainStore()
    for version in range(1, events + 1):
        await store.save_event(plain_event(ACTOR, KIND, version, {"flight": "UA1545", "origin": "EWR", "delay_min": version}))
    return store


async def save_recorder(events: int, make: Any = stored_event) -> POPOAggregateRecorder:
    """The same for eventsourcing's recorder, which awaits nothing."""
    store = POPOAggregateRecorder()
    for version in range(1, events + 1):
        data = {"flight": "UA1545", "origin": "EWR", "delay_min": version}
        store.insert_events([make(ACTOR, KIND, version, data)])
    return store


class NoStore:
    """What is left if events and stores cost nothing: the loop, the dict, two calls and the await."""

    def __init__(self) -> None:
        self._save = id

    async def save_event(self, event: object) -> int:
        """Do nothing."""
        return self._save(event)


async def save_nothing(events: int) -> NoStore:
    """The same loop without events."""
    store = NoStore()
    for version in range(1, events + 1):
        await store.save_event(id({"flight": "UA1545", "origin": "EWR", "delay_min": version}))
    return store


async def replay(store: InMemoryEventStore | PlainStore) -> int:
    """Load the actor and read every event's data."""
    return sum([event.data["delay_min"] for event in await store.get_events(ACTOR)])


async def replay_recorder(store: POPOAggregateRecorder) -> int:
    """The same from the recorder."""
    return sum([msgpack.unpackb(event.state)["data"]["delay_min"] for event in store.select_events(ACTOR)])


SAVES = {"aether": save_ours, "plain Python": save_plain, "eventsourcing recorder": save_recorder}
REPLAYS = {"aether": replay, "plain Python": replay, "eventsourcing recorder": replay_recorder}


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
    assert resident_bytes(name, 5000) > 0


def fastest(scenario: str, line: Line, nanoseconds: float) -> Line:
    """A target for the time itself: held against the fastest repetition, the one that other work on the machine slowed least."""
    assert line.fastest is not None
    return Line(f"{scenario}, fastest", line.fastest, "ns", targets=(Target("most", nanoseconds),))


async def save_lines(repetitions: int) -> list[Line]:
    """Build and save."""

    def side(name: str, save: Any) -> Side:
        async def run(_: None) -> None:
            await save(EVENTS)

        return Side(name, run, EVENTS)

    others = [
        side("plain Python", save_plain),
        side("eventsourcing recorder", save_recorder),
        side("the same without id and time", lambda events: save_recorder(events, small_stored_event)),
        side("the loop alone, no event made", save_nothing),
    ]
    targets = [[Target("faster", 10)], [Target("faster", 10)]]
    found = await compare(
        "build and save", side("aether", save_ours), others, repetitions=repetitions, clock=CPU, targets=targets
    )
    return [*found, fastest("build and save", found[0], 1000)]


async def read_lines(repetitions: int) -> list[Line]:
    """List events without looking at their data, and replay them."""
    ours, plain, recorder = await save_ours(EVENTS), await save_plain(EVENTS), await save_recorder(EVENTS)

    async def listed(store: InMemoryEventStore | PlainStore) -> None:
        assert len(await store.get_events(ACTOR)) == EVENTS

    async def listed_recorder(store: POPOAggregateRecorder) -> None:
        assert len(store.select_events(ACTOR)) == EVENTS

    def side(name: str, read: Any, store: Any) -> Side:
        async def run(_: None) -> None:
            for _ in range(READS):
                await read(store)

        return Side(name, run, READS * EVENTS)

    others = [side("plain Python", listed, plain), side("eventsourcing recorder", listed_recorder, recorder)]
    listing = await compare(
        "list 1,000 events of an actor", side("aether", listed, ours), others, repetitions=repetitions, clock=CPU
    )
    others = [side("plain Python", replay, plain), side("eventsourcing recorder", replay_recorder, recorder)]
    replaying = await compare(
        "replay 1,000 events with data",
        side("aether", replay, ours),
        others,
        repetitions=repetitions,
        clock=CPU,
        targets=[[Target("faster", 1)], [Target("faster", 1)]],
    )
    return [*listing, fastest("list 1,000 events", listing[0], 60), *replaying]


def memory_lines(events: int) -> list[Line]:
    """Resident memory of a process that holds the flights."""
    ours, *others = (resident_bytes(name, events) for name in STORES)
    names = list(STORES)[1:]
    scenario = f"memory, {events:,} flights"
    found = [Line(scenario, ours, "B/event", name, theirs, theirs / ours) for name, theirs in zip(names, others, strict=True)]
    return [*found, Line(f"{scenario}, ours", ours, "B/event", targets=(Target("most", 300),))]


async def lines(size: str) -> list[Line]:
    """Save, list, replay, memory."""
    repetitions = {"quick": 15, "ci": 31, "full": 101}[size]
    return [*await save_lines(repetitions), *await read_lines(repetitions), *memory_lines(60_000)]


if __name__ == "__main__":
    sys.exit(report("in-memory store", ["aether-events", "eventsourcing", "msgpack"], lines))
