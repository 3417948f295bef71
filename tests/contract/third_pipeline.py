"""The third store's pipeline, as a user might write it from the public names alone: it saves each event when it is put."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

from aether import (
    AetherError,
    Event,
    IdConflictError,
    IngestError,
    IngestOutcome,
    IngestStats,
    NewEvent,
    VersionConflictError,
)
from aether._native import check_actor_id
from aether.store.arguments import check_ingest_bounds, check_ingest_ways

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from third_store import ListStore


class ListPipeline:
    """Saves each event when it is put."""

    def __init__(
        self,
        store: ListStore,
        *,
        on_failure: Callable[[Any, AetherError], object] | None = None,
        on_conflict: str = "fail",
        skip_known: bool = False,
        linger_s: float = 0,
        pending_max: int = 1000,
        pending_bytes_max: int = 1000,
        in_flight_max: int = 1,
        commit_events_max: int = 1,
        commit_bytes_max: int | None = None,
        known_ids_max: int = 1000,
    ) -> None:
        check_ingest_bounds(
            pending_max=pending_max,
            pending_bytes_max=pending_bytes_max,
            in_flight_max=in_flight_max,
            commit_events_max=commit_events_max,
            commit_bytes_max=commit_bytes_max,
            known_ids_max=known_ids_max,
        )
        check_ingest_ways(linger_s=linger_s, skip_known=skip_known, on_conflict=on_conflict)
        self.store, self.on_failure, self.on_conflict, self.skip_known = store, on_failure, on_conflict, skip_known
        self.failures: list[tuple[Any, AetherError]] = []
        self.counts = dict.fromkeys(IngestStats._fields, 0)
        self.open = self.opened_before = False
        self.pending_max = pending_max
        self.queue: list[IngestOutcome] | None = None
        self.moved = asyncio.Condition()

    async def __aenter__(self) -> Self:
        if self.opened_before:
            raise AetherError("a pipeline opens once")
        self.open = self.opened_before = True
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self.open = False
        await self.tell_moved()
        if error is None:
            self.report()
        else:
            error.add_note(f"ingestion stood at: {self.stats()}")

    async def put_many(self, events: Iterable[Any]) -> None:
        """Put each."""
        self.check_open()
        for event in events:
            await self.put(event)

    async def put(self, event: Any) -> None:
        """Save it, or note why not."""
        self.check_open()
        actor_id, new = self.parts(event)
        async with self.moved:
            await self.moved.wait_for(lambda: self.queue is None or len(self.queue) < self.pending_max)
        self.counts["put"] += 1
        before = self.store.position
        try:
            stored, position = self.known(actor_id, new) or await self.save(actor_id, new)
        except AetherError as error:
            self.fail(event, error)
            self.note(actor_id, new, "conflict" if isinstance(error, VersionConflictError) else "failed", None, error)
        else:
            status = "saved" if position > before else "already_stored"
            self.counts[status] += 1
            self.note(actor_id, stored, status, position)
        await self.tell_moved()

    def parts(self, event: Any) -> tuple[str, Event | NewEvent]:
        """Return an event and its actor."""
        if isinstance(event, Event):
            return event.actor_id, event
        if not isinstance(event, tuple) or [type(part) for part in event] != [str, NewEvent]:
            raise TypeError(f"a pipeline takes Events and pairs, not {type(event).__name__}")
        check_actor_id(event[0])
        return event

    def known(self, actor_id: str, new: Event | NewEvent) -> tuple[Event, int] | None:
        """Return what is stored under the id."""
        if not self.skip_known:
            return None
        found = next(((event, at) for at, event in self.store.history(actor_id) if event.id == new.id), None)
        if found is not None:
            stored, version = found[0], getattr(new, "version", 0)
            draft = new._draft() if isinstance(new, Event) else new
            if stored._draft() != draft or version not in (0, stored.version):
                raise IdConflictError(actor_id, version, stored.version, new.id, "not as this event")
        return found

    async def save(self, actor_id: str, new: Event | NewEvent) -> tuple[Event, int]:
        """Save it, or append what has no version."""
        try:
            if isinstance(new, Event):
                return new, await self.store.save_event(new)
        except VersionConflictError:
            if self.on_conflict != "renumber":
                raise
            new = new._draft()
        version, position = await self.store.append(actor_id, new)
        return self.store.read(actor_id, version)[0], position

    def check_open(self) -> None:
        """Refuse what comes before or after the context."""
        if not self.open:
            raise AetherError("the pipeline is not open")

    def fail(self, event: Any, error: AetherError) -> None:
        """Note a failure."""
        is_conflict = isinstance(error, VersionConflictError)
        self.counts["conflicts" if is_conflict else "failed"] += 1
        if self.queue is None and not (is_conflict and self.on_conflict == "skip"):
            self.failures.append((event, error))
        if self.on_failure is not None:
            self.on_failure(event, error)

    def note(self, actor_id: str, event: Any, status: Any, position: int | None, error: AetherError | None = None) -> None:
        """Keep an outcome for who reads them."""
        if self.queue is not None:
            self.queue.append(IngestOutcome(actor_id, event, status, position, error))

    async def tell_moved(self) -> None:
        """Wake who waits."""
        async with self.moved:
            self.moved.notify_all()

    def outcomes(self) -> AsyncIterator[IngestOutcome]:
        """Yield what was noted."""
        if self.queue is not None or self.counts["put"]:
            raise AetherError("outcomes are asked for once and first")
        self.queue = []
        return self.read(self.queue)

    async def read(self, queue: list[IngestOutcome]) -> AsyncIterator[IngestOutcome]:
        """Yield it until the end."""
        while True:
            async with self.moved:
                await self.moved.wait_for(lambda: queue or (self.opened_before and not self.open))
            if not queue:
                return
            outcome = queue.pop(0)
            await self.tell_moved()
            yield outcome

    async def flush(self) -> None:
        """Everything is stored already."""
        self.check_open()
        self.report()

    def report(self) -> None:
        """Raise what failed since the last report."""
        failures, self.failures = self.failures, []
        if failures:
            conflicts = sum(isinstance(error, VersionConflictError) for _, error in failures)
            raise IngestError(tuple(failures), conflicts, len(failures) - conflicts, 0)

    def stats(self) -> IngestStats:
        """Return the counts."""
        return IngestStats(**{**self.counts, "unread": len(self.queue or ())})
