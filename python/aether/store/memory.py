"""The in-memory store: for tests, prototypes and state that may be lost. Index, versions and positions are native."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from aether._native import EventFilter, MemoryLog
from aether.store.arguments import (
    COUNT_MAX,
    check_after,
    check_batch_size,
    check_expected_version,
    check_from_version,
    check_ingest_bounds,
    check_ingest_ways,
    check_int,
    check_limit,
)
from aether.store.arrow import ARROW_BATCH_SIZE, EventColumns
from aether.store.base import Appended, EventBatch, PlacedBatch, StoreInfo
from aether.store.ingest_base import COMMIT_EVENTS_MAX, IN_FLIGHT_MAX, KNOWN_IDS_MAX, PENDING_BYTES_MAX, PENDING_MAX
from aether.store.memory_pipeline import MemoryPipeline

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
    from typing import Any

    from aether._native import ArrowRows
    from aether.errors import AetherError
    from aether.event import Event, NewEvent, Snapshot
    from aether.store.base import ArrowStream
    from aether.store.ingest_base import IngestPipeline, OnConflict

__all__ = ["InMemoryEventStore"]

COMMIT_BYTES_MAX = 1_048_576
"""What one commit may take: the server's default max_payload, so that what works here works there."""


class InMemoryEventStore:
    """An `EventStore` and `SnapshotStore` in this process's memory.

    Safe from many threads and many tasks: every call is one step under a native lock.

    Args:
        max_events: how many events it holds at most, 1 or more; None: as many as memory allows, at most 2**32 - 1.
        commit_bytes_max: what one commit may take in bytes, as JetStream's max_payload would bound it.

    Raises:
        StoreFullError: by a save that would pass `max_events`; nothing of it is stored.
    """

    def __init__(self, *, max_events: int | None = None, commit_bytes_max: int = COMMIT_BYTES_MAX) -> None:
        if max_events is not None:
            check_int("max_events", max_events, 1, COUNT_MAX, "1 to 2**63 - 1, or None for no bound")
        check_int("commit_bytes_max", commit_bytes_max, 1, COUNT_MAX, "1 to 2**63 - 1 bytes")
        self._log = MemoryLog(max_events, commit_bytes_max)
        self._commit_bytes_max = commit_bytes_max

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Do nothing: memory needs no ending. It is here so that stores can be exchanged."""

    def __repr__(self) -> str:
        events, actors = self._log.counts()
        return f"<InMemoryEventStore: {events} events of {actors} actors>"

    async def save_event(self, event: Event) -> int:
        """Store one event if its version is greater than the actor's latest; see `EventStore.save_event`."""
        return self._log.save_event(event)

    async def save_events(self, events: Iterable[Event]) -> int:
        """Store the events of one actor as one commit, all or nothing; see `EventStore.save_events`."""
        return self._log.save_events(events)

    async def append(
        self, actor_id: str, events: NewEvent | Sequence[NewEvent], *, expected_version: int | None = None
    ) -> Appended:
        """Number the events latest + 1, + 2, … and store them as one commit; see `EventStore.append`."""
        check_expected_version(expected_version)
        return Appended(*self._log.append(actor_id, events, expected_version))

    def ingest(
        self,
        *,
        pending_max: int = PENDING_MAX,
        pending_bytes_max: int = PENDING_BYTES_MAX,
        in_flight_max: int = IN_FLIGHT_MAX,
        commit_events_max: int = COMMIT_EVENTS_MAX,
        commit_bytes_max: int | None = None,
        linger_s: float = 0.0,
        skip_known: bool = False,
        known_ids_max: int = KNOWN_IDS_MAX,
        on_conflict: OnConflict = "fail",
        on_failure: Callable[[Any, AetherError], object] | None = None,
    ) -> IngestPipeline:
        """Return a pipeline for many events of many actors; see `EventStore.ingest`.

        Each event is stored when it is put, as a commit of its own, so nothing is ever pending and no bound is met, but for
        outcomes that nobody reads.
        """
        check_ingest_bounds(
            pending_max=pending_max,
            pending_bytes_max=pending_bytes_max,
            in_flight_max=in_flight_max,
            commit_events_max=commit_events_max,
            commit_bytes_max=commit_bytes_max,
            known_ids_max=known_ids_max,
        )
        check_ingest_ways(linger_s=linger_s, skip_known=skip_known, on_conflict=on_conflict)
        bounds = {"pending_max": pending_max, "pending_bytes_max": pending_bytes_max}
        return MemoryPipeline(
            self._log,
            bounds,
            skip_known=skip_known,
            known_ids_max=known_ids_max,
            on_conflict=on_conflict,
            on_failure=on_failure,
        )

    async def get_events(self, actor_id: str, from_version: int = 0, *, limit: int | None = None) -> list[Event]:
        """Return the actor's events in version order, from `from_version` (inclusive), at most `limit`."""
        check_from_version(from_version)
        check_limit(limit)
        return self._log.get_events(actor_id, from_version, limit)

    async def read_events(self, actor_id: str, from_version: int = 0, *, batch_size: int = 1000) -> AsyncIterator[list[Event]]:
        """Iterate over the actor's events in batches of at most `batch_size`; see `EventStore.read_events`."""
        check_from_version(from_version)
        check_batch_size(batch_size)
        latest = self._log.get_latest_version(actor_id)
        while from_version <= latest:
            batch = self._log.get_events(actor_id, from_version, batch_size)
            if not batch:
                return
            from_version = batch[-1].version + 1
            if from_version > latest + 1:
                batch = [event for event in batch if event.version <= latest]
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
        """Iterate over all actors' events in position order, in batches of whole commits; see `EventStore.read_all`."""
        check_after(after)
        check_batch_size(batch_size)
        wanted = EventFilter(actor_id, actor_prefix, shards, event_types)
        through = self._log.position()
        while after < through:
            events, after = self._log.page(after, through, batch_size, wanted)
            if events:
                yield EventBatch(events, after)

    def arrow(
        self,
        after: int = 0,
        *,
        batch_size: int = ARROW_BATCH_SIZE,
        actor_id: str | None = None,
        actor_prefix: str | None = None,
        shards: Iterable[int] | None = None,
        event_types: Iterable[str] | None = None,
    ) -> ArrowStream:
        """Return what `read_all` reads as Arrow record batches; see `ArrowStream`.

        A batch has at most `batch_size` events, unless one commit alone has more, and ends with the commit that brings it to
        32 MiB.
        """
        check_after(after)
        check_batch_size(batch_size)
        wanted = EventFilter(actor_id, actor_prefix, shards, event_types)
        return EventColumns(lambda rows, limit: self._fill(rows, wanted, after, limit), batch_size)

    async def _fill(self, rows: ArrowRows, wanted: EventFilter, after: int, limit: int) -> AsyncGenerator[None]:
        """Put what is wanted into rows; yield after at most `limit` events, unless one commit alone has more."""
        through = self._log.position()
        while after < through:
            after = self._log.page_rows(rows, after, through, limit, wanted)
            yield

    async def _replay(
        self, wanted: EventFilter, after: int, batch_size: int, last: int | None = None
    ) -> AsyncGenerator[PlacedBatch]:
        """Yield what is wanted, as `read_all` does, and where it lies; not behind the position `last`."""
        through = self._log.position() if last is None else min(last, self._log.position())
        while after < through:
            events, positions, after = self._log.placed_page(after, through, batch_size, wanted)
            if events:
                yield PlacedBatch(events, positions, after)

    async def _last_position(self) -> int:
        """Return the namespace's last position."""
        return self._log.position()

    async def get_latest_version(self, actor_id: str) -> int:
        """Return the actor's latest version; 0 means it has no event yet."""
        return self._log.get_latest_version(actor_id)

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        """Keep this snapshot if none of a later version is kept; see `SnapshotStore.save_snapshot`."""
        self._log.save_snapshot(snapshot)

    async def get_latest_snapshot(self, actor_id: str) -> Snapshot | None:
        """Return the snapshot of the highest version, or None."""
        return self._log.get_latest_snapshot(actor_id)

    async def info(self) -> StoreInfo:
        """Say what an ack means here: held in this process's memory, gone with it."""
        return StoreInfo(
            store="memory",
            namespace="",
            transport="none",
            server_version="",
            storage="memory",
            replicas=1,
            sync="never: gone when the process ends",
            commit_bytes_max=self._commit_bytes_max,
        )
