"""How much memory a store takes, measured as resident memory in a fresh process.

`python -m aether.bench.resident aether 60000 [FILE]` prints the bytes an event takes: what the process grew by while the events
were saved, with nothing else holding on to them. FILE has records as `aether import` takes them, packed with gzip; without, as
many are made up. They are gone through once before, so that what reading needs is there already.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from datetime import datetime
from itertools import islice
from typing import Any

from aether._native import Event
from aether.bench.measure import resident_mib
from aether.bench.memory import STORES
from aether.bench.records import records
from aether.bench.setting import check
from aether.store.memory import InMemoryEventStore


class Ours:
    """Our store."""

    def __init__(self) -> None:
        self.store = InMemoryEventStore()

    async def save(self, record: dict[str, Any], version: int) -> None:
        """Save one record."""
        moment = datetime.fromisoformat(record["timestamp"])
        actor_id, event_type, data = record["actor_id"], record["event_type"], record["data"]
        await self.store.save_event(Event(actor_id, event_type, version, data, id=record["id"], timestamp=moment))

    async def count(self, actor_id: str) -> int:
        """How many events the actor has."""
        return len(await self.store.get_events(actor_id))


class Plain:
    """The plain-Python store."""

    def __init__(self) -> None:
        import msgpack  # noqa: PLC0415 - optional

        from aether.bench.memory_stores import PlainEvent, PlainStore  # noqa: PLC0415 - optional, needs it

        self._pack, self._event, self.store = msgpack.packb, PlainEvent, PlainStore()

    async def save(self, record: dict[str, Any], version: int) -> None:
        """Save one record."""
        time_ns = int(datetime.fromisoformat(record["timestamp"]).timestamp()) * 10**9
        payload = self._pack(record["data"])
        event = self._event(record["actor_id"], record["event_type"], version, payload, record["id"], time_ns)
        await self.store.save_event(event)

    async def count(self, actor_id: str) -> int:
        """How many events the actor has."""
        return len(await self.store.get_events(actor_id))


class Recorder:
    """eventsourcing's recorder; the id and the time are within the state."""

    def __init__(self) -> None:
        import msgpack  # noqa: PLC0415 - optional
        from eventsourcing.persistence import StoredEvent  # noqa: PLC0415 - optional
        from eventsourcing.popo import POPOAggregateRecorder  # noqa: PLC0415 - optional

        self._pack, self._event, self.store = msgpack.packb, StoredEvent, POPOAggregateRecorder()

    async def save(self, record: dict[str, Any], version: int) -> None:
        """Save one record."""
        time_ns = int(datetime.fromisoformat(record["timestamp"]).timestamp()) * 10**9
        state = self._pack({"id": record["id"], "time_ns": time_ns, "data": record["data"]})
        self.store.insert_events([self._event(record["actor_id"], version, record["event_type"], state)])

    async def count(self, actor_id: str) -> int:
        """How many events the actor has."""
        return len(self.store.select_events(actor_id))


HOLDERS: dict[str, type[Ours | Plain | Recorder]] = dict(zip(STORES, (Ours, Plain, Recorder), strict=True))


async def measured(name: str, events: int, file: str | None = None) -> float:
    """Save that many records, and return the bytes that each took."""
    versions = dict.fromkeys((record["actor_id"] for record in islice(records(file), events)), 0)
    store = HOLDERS[name]()
    gc.collect()
    before = resident_mib()
    for record in islice(records(file), events):
        actor_id = record["actor_id"]
        versions[actor_id] += 1
        await store.save(record, versions[actor_id])
    gc.collect()
    grown = (resident_mib() - before) * 2**20
    held = sum([await store.count(actor_id) for actor_id in versions])
    check(holds=held == events, what=f"{held} events are held, {events} were saved")
    return grown / events


if __name__ == "__main__":
    sys.stdout.write(f"{asyncio.run(measured(sys.argv[1], int(sys.argv[2]), *sys.argv[3:4]))}\n")
