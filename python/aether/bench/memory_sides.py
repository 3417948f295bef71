"""What the in-memory store is measured by, on each side: save, list and replay; needs msgpack and eventsourcing."""

from __future__ import annotations

from typing import Any

import msgpack
from eventsourcing.popo import POPOAggregateRecorder

from aether._native import Event
from aether.bench.memory_stores import PlainStore, plain_event, stored_event
from aether.store.memory import InMemoryEventStore

__all__ = ["REPLAYS", "SAVES", "replay", "replay_recorder", "save_nothing", "save_ours", "save_plain", "save_recorder"]

ACTOR, KIND = "N14228", "FlightDeparted"


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
