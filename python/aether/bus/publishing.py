"""Store and bus together: what was saved is published, after the ack.

Two systems are written one after the other, and no transaction spans both: a process that dies in between has saved and not
published. So the store is the truth and the bus brings the news; whoever must see every event reads the store.

Events of an actor are published in the order of their versions. For that, the saves of one actor go one after the other here,
each with its publish; different actors do not wait for each other.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, NoReturn, Protocol, Self, cast

from aether._native import number_events
from aether.bus.base import EventBus
from aether.errors import AetherError, NotPublishedError
from aether.event import Event, NewEvent
from aether.store.base import EventStore, SnapshotStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence
    from types import TracebackType

    from aether.event import Snapshot
    from aether.store.base import Appended, EventBatch, StoreInfo

__all__ = ["PublishingEventStore"]


class PublishableStore(EventStore, SnapshotStore, Protocol):
    """What stores are, ours and those that are like them."""

    async def info(self) -> StoreInfo:
        """Say what this store is and what its acks mean."""
        ...


class Turn:
    """Whose turn it is among the saves of one actor, and how many of them there are."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0


class PublishingEventStore:
    """An `EventStore` and `SnapshotStore` that publishes every event that it saves, once the save is acknowledged.

    As an async context manager it opens and closes store and bus; without, both stay as they are. What others save into the
    same store is not published here. Saving an event again that is stored already publishes it again, as the first time may
    have been cut off in between: subscribers know it by its id.

    Args:
        store: where events are saved, an `EventStore` and `SnapshotStore`.
        bus: where they are published then.

    Raises:
        NotPublishedError: by every save: the events are stored, and the bus did not take them.
    """

    def __init__(self, store: EventStore, bus: EventBus) -> None:
        if not all(isinstance(store, protocol) for protocol in (EventStore, SnapshotStore)):
            raise TypeError(f"the store comes first, and must be an EventStore and SnapshotStore, not {type(store).__name__}")
        if not isinstance(bus, EventBus):
            raise TypeError(f"the bus comes second, and must be an EventBus, not {type(bus).__name__}")
        self._store, self._bus = cast("PublishableStore", store), bus
        self._stack = AsyncExitStack()
        self._saving: dict[str, Turn] = {}

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            for part in (self._store, self._bus):
                if isinstance(part, AbstractAsyncContextManager):
                    await stack.enter_async_context(part)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, traceback)

    async def aclose(self) -> None:
        """Close bus and store if this opened them."""
        await self._stack.aclose()

    def __repr__(self) -> str:
        return f"<PublishingEventStore: {self._store!r}, {self._bus!r}>"

    # Saving.

    async def save_event(self, event: Event) -> int:
        """Store one event, then publish it; see `EventStore.save_event`."""
        if not isinstance(event, Event):
            return await self._store.save_event(event)  # which refuses it
        async with self._one_by_one(event.actor_id):
            position = await self._store.save_event(event)
            await self._publish(position, [event])
        return position

    async def save_events(self, events: Iterable[Event]) -> int:
        """Store the events of one actor as one commit, then publish them; see `EventStore.save_events`."""
        commit = list(events)
        if not commit or not isinstance(commit[0], Event):
            return await self._store.save_events(commit)  # which refuses it
        async with self._one_by_one(commit[0].actor_id):
            position = await self._store.save_events(commit)
            await self._publish(position, commit)
        return position

    async def append(
        self, actor_id: str, events: NewEvent | Sequence[NewEvent], *, expected_version: int | None = None
    ) -> Appended:
        """Number the events, store them as one commit, then publish them; see `EventStore.append`."""
        drafts = [events] if isinstance(events, NewEvent) else list(events)
        async with self._one_by_one(actor_id):
            appended = await self._store.append(actor_id, drafts, expected_version=expected_version)
            await self._publish(appended.position, number_events(actor_id, drafts, appended.version - len(drafts) + 1))
        return appended

    @asynccontextmanager
    async def _one_by_one(self, actor_id: str) -> AsyncIterator[None]:
        turn = self._saving.setdefault(actor_id, Turn())
        turn.users += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.users -= 1
            if not turn.users:
                del self._saving[actor_id]

    async def _publish(self, position: int, events: list[Event]) -> None:
        """Publish what was saved, even if the caller is cancelled meanwhile; the bus's deadline bounds that."""
        publishing = asyncio.create_task(self._bus.publish_many(events), name="aether-bus-publishing")
        try:
            await asyncio.shield(publishing)
        except asyncio.CancelledError:
            await asyncio.wait([publishing])
            raise
        except Exception as error:
            raise NotPublishedError(position, tuple(events)) from error

    def ingest(self, **_options: object) -> NoReturn:
        """Refuse: a pipeline acknowledges many commits at once, and in no order that could be published.

        Raises:
            AetherError: always; it says what to do instead.
        """
        raise AetherError(
            "ingested events are not published: ingest into the store itself, and await bus.publish_many(events) when the "
            "pipeline's flush has returned"
        )

    # Everything else is the store's.

    async def get_events(self, actor_id: str, from_version: int = 0, *, limit: int | None = None) -> list[Event]:
        """Return the actor's events in version order; see `EventStore.get_events`."""
        return await self._store.get_events(actor_id, from_version, limit=limit)

    async def read_events(self, actor_id: str, from_version: int = 0, *, batch_size: int = 1000) -> AsyncIterator[list[Event]]:
        """Iterate over the actor's events in batches; see `EventStore.read_events`."""
        async for batch in self._store.read_events(actor_id, from_version, batch_size=batch_size):
            yield batch

    async def read_all(
        self,
        after: int = 0,
        *,
        batch_size: int = 1000,
        actor_id: str | None = None,
        actor_prefix: str | None = None,
        shards: Iterable[int] | None = None,
        event_types: Iterable[str] | None = None,
    ) -> AsyncIterator[EventBatch]:
        """Iterate over all actors' events in position order; see `EventStore.read_all`."""
        async for batch in self._store.read_all(
            after,
            batch_size=batch_size,
            actor_id=actor_id,
            actor_prefix=actor_prefix,
            shards=shards,
            event_types=event_types,
        ):
            yield batch

    async def get_latest_version(self, actor_id: str) -> int:
        """Return the actor's latest version; see `EventStore.get_latest_version`."""
        return await self._store.get_latest_version(actor_id)

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        """Keep this snapshot; it is no event, and not published; see `SnapshotStore.save_snapshot`."""
        await self._store.save_snapshot(snapshot)

    async def get_latest_snapshot(self, actor_id: str) -> Snapshot | None:
        """Return the snapshot of the highest version, or None; see `SnapshotStore.get_latest_snapshot`."""
        return await self._store.get_latest_snapshot(actor_id)

    async def info(self) -> StoreInfo:
        """Say what the store is and what its acks mean; the bus promises nothing beyond."""
        return await self._store.info()
