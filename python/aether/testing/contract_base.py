"""What the parts of the store contract share: the fixtures that a user overrides, and how events are made and read."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from aether.event import Event, NewEvent
from aether.store.base import EventStore, SnapshotStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["StoreCase", "StoreUnderTest", "drafts", "drain", "events", "facts"]


class StoreUnderTest(EventStore, SnapshotStore, Protocol):
    """A store of events and snapshots, as the contract sees it."""


class StoreCase:
    """The fixtures of every part of the contract. See `StoreContract`."""

    pytestmark = pytest.mark.asyncio

    commit_bytes_max = 1_048_576
    """What one commit of the store may take, in bytes; override it for a store with another bound."""

    @pytest.fixture
    def store(self) -> StoreUnderTest:
        """Return the store under test; override this."""
        raise NotImplementedError("a subclass of StoreContract has a fixture `store` that returns or yields the store under test")

    @pytest.fixture
    def peer(self, store: StoreUnderTest) -> StoreUnderTest:
        """Return another handle on the same data, as another process would have; override it where there can be one."""
        return store

    @pytest.fixture
    def actor(self) -> str:
        """Return an actor that no other test uses."""
        return f"actor-{uuid.uuid4().hex}"


def events(actor_id: str, *versions: int, data: Any = None) -> list[Event]:  # noqa: ANN401 - any data
    """Return an event for each version."""
    return [Event(actor_id, "Happened", version, {"n": version} if data is None else data) for version in versions]


def drafts(count: int, mark: Any = None) -> list[NewEvent]:  # noqa: ANN401 - any data
    """Return that many events for `append`, with the same mark in each."""
    return [NewEvent("Happened", {"n": index, "mark": mark}) for index in range(count)]


def facts(event: Event | NewEvent) -> tuple[object, ...]:
    """Return what `append` must keep of a `NewEvent`."""
    return event.id, event.event_type, event.payload, event.time_ns, event.metadata


async def drain(batches: AsyncIterator[list[Event]]) -> list[list[Event]]:
    """Return every batch."""
    return [batch async for batch in batches]
