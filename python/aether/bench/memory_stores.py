"""What the in-memory store is measured against: a plain-Python store and the recorder of the eventsourcing library.

The plain store is what a careful author writes without native code, and keeps the same promises: events that cannot be changed,
data encoded once, an id and a time for each, versions that strictly increase, a save that can be repeated, use from threads.
A NamedTuple is a third of the cost of a frozen dataclass here, so it is one.
"""

from __future__ import annotations

import time
import uuid
from bisect import bisect_left
from operator import attrgetter
from threading import Lock
from typing import Any, NamedTuple

import msgpack
from eventsourcing.persistence import StoredEvent

from aether.errors import VersionConflictError

ID_BYTES_MAX = 255

version_of = attrgetter("version")


class PlainEvent(NamedTuple):
    """An event whose data is encoded already; see `plain_event`."""

    actor_id: str
    event_type: str
    version: int
    payload: bytes
    id: str
    time_ns: int

    @property
    def data(self) -> Any:
        """Decoded afresh, so that nobody changes what others read."""
        return msgpack.unpackb(self.payload)


def plain_event(actor_id: str, event_type: str, version: int, data: Any) -> PlainEvent:
    """Check and encode what makes an event."""
    for name in (actor_id, event_type):
        if not 1 <= len(name.encode()) <= ID_BYTES_MAX:
            raise ValueError(f"{name!r} must have 1 to {ID_BYTES_MAX} bytes")
    if version < 1:
        raise ValueError(f"version must be 1 or more, not {version}")
    return PlainEvent(actor_id, event_type, version, msgpack.packb(data), str(uuid.uuid4()), time.time_ns())


class PlainStore:
    """Events and positions by actor, under one lock."""

    def __init__(self) -> None:
        self._events: dict[str, list[PlainEvent]] = {}
        self._positions: dict[str, list[int]] = {}
        self._position = 0
        self._lock = Lock()

    async def save_event(self, event: PlainEvent) -> int:
        """Store an event if its version is greater than the actor's latest, or if it is stored already."""
        actor_id = event.actor_id
        with self._lock:
            events = self._events.get(actor_id)
            if events is None:
                events = self._events[actor_id] = []
                self._positions[actor_id] = []
            elif event.version <= events[-1].version:
                return self._stored(event)
            self._position += 1
            events.append(event)
            self._positions[actor_id].append(self._position)
            return self._position

    def _stored(self, event: PlainEvent) -> int:
        events = self._events[event.actor_id]
        index = bisect_left(events, event.version, key=version_of)
        if events[index] == event:
            return self._positions[event.actor_id][index]
        raise VersionConflictError(event.actor_id, event.version - 1, events[-1].version)

    async def get_events(self, actor_id: str, from_version: int = 0) -> list[PlainEvent]:
        """The actor's events from a version on."""
        with self._lock:
            events = self._events.get(actor_id, [])
            return events[bisect_left(events, from_version, key=version_of) :]


def stored_event(actor_id: str, event_type: str, version: int, data: Any) -> StoredEvent:
    """The same for eventsourcing's recorder, which wants the id and the time within the state."""
    return small_stored_event(actor_id, event_type, version, {"id": str(uuid.uuid4()), "time_ns": time.time_ns(), "data": data})


def small_stored_event(actor_id: str, event_type: str, version: int, data: Any) -> StoredEvent:
    """The data alone, without an id and a time: less than the others store."""
    return StoredEvent(actor_id, version, event_type, msgpack.packb(data))
