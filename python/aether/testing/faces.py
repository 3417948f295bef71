"""An async face for a blocking store, so that one contract suite judges both."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, overload

from aether.sync import EventBus
from aether.testing.bus_faces import AsyncBus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
    from types import TracebackType
    from typing import Self

    from aether._native import ArrowBatch, ArrowTable
    from aether.event import Event, NewEvent, Snapshot
    from aether.store.base import Appended, EventBatch
    from aether.store.ingest_base import IngestOutcome, IngestStats
    from aether.sync import ArrowStream, EventStore, IngestPipeline, SnapshotStore

__all__ = ["AsyncFace", "as_async"]

T = TypeVar("T")

_END: Final = object()


@overload
def as_async(store: EventBus, *, in_threads: Literal[True] = True) -> AsyncBus: ...
@overload
def as_async(store: Any, *, in_threads: bool = True) -> AsyncFace: ...  # noqa: ANN401 - EventStore and SnapshotStore of aether.sync
def as_async(store: Any, *, in_threads: bool = True) -> AsyncBus | AsyncFace:
    """Return an async store or bus whose calls are made on the blocking one.

    Args:
        store: an `EventStore` and `SnapshotStore`, or an `EventBus`, as `aether.sync` has them.
        in_threads: make each call in a thread, as a store needs that blocks for long; False: in the thread of the event loop.
            Those of a bus are made in threads.
    """
    if isinstance(store, EventBus):
        if not in_threads:
            raise ValueError("the calls of a bus wait for each other: make them in threads")
        return AsyncBus(store)
    return AsyncFace(store, store, in_threads=in_threads)


class AsyncFace:
    """A blocking store behind async methods; `as_async` makes one."""

    def __init__(self, events: EventStore, snapshots: SnapshotStore, *, in_threads: bool) -> None:
        self._events = events
        self._snapshots = snapshots
        self._in_threads = in_threads

    async def _call(self, call: Callable[..., T], *args: Any, **kwargs: Any) -> T:  # noqa: ANN401 - passed on
        if self._in_threads:
            return await asyncio.to_thread(call, *args, **kwargs)
        return call(*args, **kwargs)

    async def save_event(self, event: Event) -> int:
        """See `EventStore.save_event`."""
        return await self._call(self._events.save_event, event)

    async def save_events(self, events: Iterable[Event]) -> int:
        """See `EventStore.save_events`."""
        return await self._call(self._events.save_events, events)

    async def append(
        self, actor_id: str, events: NewEvent | Sequence[NewEvent], *, expected_version: int | None = None
    ) -> Appended:
        """See `EventStore.append`."""
        return await self._call(self._events.append, actor_id, events, expected_version=expected_version)

    def ingest(self, **options: Any) -> AsyncPipeline:  # noqa: ANN401 - passed on
        """See `EventStore.ingest`."""
        return AsyncPipeline(self._events.ingest(**options), self._call)

    async def get_events(self, actor_id: str, from_version: int = 0, *, limit: int | None = None) -> list[Event]:
        """See `EventStore.get_events`."""
        return await self._call(self._events.get_events, actor_id, from_version, limit=limit)

    async def read_events(self, actor_id: str, from_version: int = 0, *, batch_size: int = 1000) -> AsyncIterator[list[Event]]:
        """See `EventStore.read_events`."""
        batches: Iterator[list[Event]] = self._events.read_events(actor_id, from_version, batch_size=batch_size)
        async for batch in self._each(batches):
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
        """See `EventStore.read_all`."""
        batches: Iterator[EventBatch] = self._events.read_all(
            after,
            batch_size=batch_size,
            actor_id=actor_id,
            actor_prefix=actor_prefix,
            shards=shards,
            event_types=event_types,
        )
        async for batch in self._each(batches):
            yield batch

    def arrow(self, after: int = 0, **options: Any) -> AsyncColumns:  # noqa: ANN401 - passed on
        """See `JetStreamEventStore.arrow`."""
        store: Any = self._events  # a protocol of stores has none
        return AsyncColumns(store.arrow(after, **options), self._call, self._each)

    async def _each(self, items: Iterator[T]) -> AsyncIterator[T]:
        while True:
            # StopIteration cannot pass through a coroutine, so the end is a value.
            item: Any = await self._call(next, items, _END)
            if item is _END:
                return
            yield item

    async def get_latest_version(self, actor_id: str) -> int:
        """See `EventStore.get_latest_version`."""
        return await self._call(self._events.get_latest_version, actor_id)

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        """See `SnapshotStore.save_snapshot`."""
        await self._call(self._snapshots.save_snapshot, snapshot)

    async def get_latest_snapshot(self, actor_id: str) -> Snapshot | None:
        """See `SnapshotStore.get_latest_snapshot`."""
        return await self._call(self._snapshots.get_latest_snapshot, actor_id)


class AsyncPipeline:
    """A blocking pipeline behind async methods; `AsyncFace.ingest` makes one."""

    def __init__(self, pipeline: IngestPipeline, call: Callable[..., Awaitable[Any]]) -> None:
        self._pipeline = pipeline
        self._call = call

    async def __aenter__(self) -> Self:
        await self._call(self._pipeline.__enter__)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._call(self._pipeline.__exit__, kind, error, traceback)

    async def put(self, event: Event | tuple[str, NewEvent]) -> None:
        """See `IngestPipeline.put`."""
        await self._call(self._pipeline.put, event)

    async def put_many(self, events: Iterable[Event | tuple[str, NewEvent]]) -> None:
        """See `IngestPipeline.put_many`."""
        await self._call(self._pipeline.put_many, events)

    async def flush(self) -> None:
        """See `IngestPipeline.flush`."""
        await self._call(self._pipeline.flush)

    def outcomes(self) -> AsyncIterator[IngestOutcome]:
        """See `IngestPipeline.outcomes`."""
        self._call = asyncio.to_thread  # from now on a call may wait for who reads them
        return self._each(self._pipeline.outcomes())

    async def _each(self, outcomes: Iterator[IngestOutcome]) -> AsyncIterator[IngestOutcome]:
        # It waits for what others put, so it never runs in their thread.
        while (outcome := await asyncio.to_thread(next, outcomes, None)) is not None:
            yield outcome

    def stats(self) -> IngestStats:
        """See `IngestPipeline.stats`."""
        return self._pipeline.stats()


class AsyncColumns:
    """A blocking `ArrowStream` behind async methods; `AsyncFace.arrow` makes one."""

    def __init__(
        self,
        stream: ArrowStream,
        call: Callable[..., Awaitable[Any]],
        each: Callable[[Iterator[ArrowBatch]], AsyncIterator[ArrowBatch]],
    ) -> None:
        self._stream, self._call, self._each = stream, call, each

    def __aiter__(self) -> AsyncIterator[ArrowBatch]:
        return self._each(iter(self._stream))

    async def collect(self) -> ArrowTable:
        """See `ArrowStream.collect`."""
        return await self._call(self._stream.collect)  # type: ignore[no-any-return]  # what the stream returns

    def __arrow_c_schema__(self) -> object:
        """See `ArrowStream`."""
        return self._stream.__arrow_c_schema__()
