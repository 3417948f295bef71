"""How much memory a store takes that holds the flights, measured as resident memory in a fresh process.

`python benches/resident.py aether 60000` prints the bytes an event takes: what the process grew by while the events were saved,
with nothing else holding on to them. The file is read once before, so that what reading needs is there already.
"""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import msgpack
from eventsourcing.persistence import StoredEvent
from eventsourcing.popo import POPOAggregateRecorder

from aether import Event, InMemoryEventStore
from baselines import PlainEvent, PlainStore
from payloads import flights

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def resident_bytes(store: str, events: int) -> float:
    """Bytes an event, measured in a process of its own."""
    command = [sys.executable, __file__, store, str(events)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


class Ours:
    """Our store."""

    def __init__(self) -> None:
        self.store = InMemoryEventStore()

    async def save(self, record: dict[str, Any], version: int) -> None:
        """Save one flight."""
        moment = datetime.fromisoformat(record["timestamp"])
        actor_id, event_type, data = record["actor_id"], record["event_type"], record["data"]
        await self.store.save_event(Event(actor_id, event_type, version, data, id=record["id"], timestamp=moment))

    async def count(self, actor_id: str) -> int:
        """How many events the actor has."""
        return len(await self.store.get_events(actor_id))


class Plain:
    """The plain-Python store."""

    def __init__(self) -> None:
        self.store = PlainStore()

    async def save(self, record: dict[str, Any], version: int) -> None:
        """Save one flight."""
        time_ns = int(datetime.fromisoformat(record["timestamp"]).timestamp()) * 10**9
        payload = msgpack.packb(record["data"])
        event = PlainEvent(record["actor_id"], record["event_type"], version, payload, record["id"], time_ns)
        await self.store.save_event(event)

    async def count(self, actor_id: str) -> int:
        """How many events the actor has."""
        return len(await self.store.get_events(actor_id))


class Recorder:
    """eventsourcing's recorder; the id and the time are within the state."""

    def __init__(self) -> None:
        self.store = POPOAggregateRecorder()

    async def save(self, record: dict[str, Any], version: int) -> None:
        """Save one flight."""
        time_ns = int(datetime.fromisoformat(record["timestamp"]).timestamp()) * 10**9
        state = msgpack.packb({"id": record["id"], "time_ns": time_ns, "data": record["data"]})
        self.store.insert_events([StoredEvent(record["actor_id"], version, record["event_type"], state)])

    async def count(self, actor_id: str) -> int:
        """How many events the actor has."""
        return len(self.store.select_events(actor_id))


STORES: dict[str, type[Ours | Plain | Recorder]] = {"aether": Ours, "plain Python": Plain, "eventsourcing recorder": Recorder}


async def measured(name: str, events: int) -> float:
    """Save that many flights, and return the bytes that each took."""
    versions = dict.fromkeys((record["actor_id"] for record in islice(flights(), events)), 0)
    store = STORES[name]()
    gc.collect()
    before = resident()
    for record in islice(flights(), events):
        actor_id = record["actor_id"]
        versions[actor_id] += 1
        await store.save(record, versions[actor_id])
    gc.collect()
    grown = resident() - before
    held = sum([await store.count(actor_id) for actor_id in versions])
    assert held == events, f"{held} events are held, {events} were saved"
    return grown / events


def resident() -> int:
    """Resident bytes of this process, as Linux tells them."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


if __name__ == "__main__":
    print(asyncio.run(measured(sys.argv[1], int(sys.argv[2]))))
