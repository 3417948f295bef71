"""The in-memory store's ingestion pipeline: every event is stored, or refused, when it is put."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING, Self

from aether.errors import AetherError, VersionConflictError
from aether.store.base import IngestStats
from aether.store.ingesting import CLOSED, FORKED, OPENED_BEFORE, Failures, Outcome, is_verdict, note

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator
    from types import TracebackType

    from aether._native import MemoryLog
    from aether.event import Event

__all__ = ["MemoryPipeline"]

AT_ONCE = 4096


class MemoryPipeline:
    """The in-memory store's `IngestPipeline`. Nothing is ever pending: each event is a commit of its own, stored when put.

    Args:
        log: the store's events.
        on_failure: called with each event that is not stored.
    """

    def __init__(self, log: MemoryLog, on_failure: Callable[[Event, AetherError], object] | None) -> None:
        self._log = log
        self._failures = Failures(on_failure)
        self._counts = {"saved": 0, "already_stored": 0, "conflicts": 0, "failed": 0}
        self._open = self._opened_before = False
        self._process = os.getpid()
        self._lock = threading.Lock()

    async def __aenter__(self) -> Self:
        if self._opened_before:
            raise AetherError(OPENED_BEFORE)
        self._open = self._opened_before = True
        self._process = os.getpid()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open = False
        if error is None:
            self._failures.report()
        else:
            error.add_note(note(self.stats()))

    async def put(self, event: Event) -> None:
        """Store one event; see `IngestPipeline.put`."""
        await self.put_many((event,))

    async def put_many(self, events: Iterable[Event]) -> None:
        """Store events; see `IngestPipeline.put_many`."""
        for step in self._put_many_steps(events):
            await step
            await asyncio.sleep(0)  # other tasks get their turn

    def _put_many_steps(self, events: Iterable[Event]) -> Iterator[Coroutine[None, None, None]]:
        self._check_open()
        iterator, ended = iter(events), False
        while not ended:
            self._check_open()
            saved, already_stored, refused, ended = self._log.ingest(iterator, AT_ONCE)
            with self._lock:
                self._counts["saved"] += saved
                self._counts["already_stored"] += already_stored
            if refused is not None:
                self._refused(*refused)
            if not ended:
                yield self._taken()

    async def _taken(self) -> None:
        """Wait for nothing: a chunk is stored. The blocking face runs this without an event loop."""

    def _check_open(self) -> None:
        if not self._open:
            raise AetherError(CLOSED)
        if os.getpid() != self._process:
            raise AetherError(FORKED)

    def _refused(self, event: Event | None, error: BaseException) -> None:
        if event is None or not isinstance(error, AetherError):
            raise error
        outcome: Outcome = "conflicts" if isinstance(error, VersionConflictError) else "failed"
        with self._lock:
            self._counts[outcome] += 1
            self._failures.add(outcome, event, error)
        if not is_verdict(error):
            self._failures.report()  # the store is full: it would meet all events alike

    async def flush(self) -> None:
        """Tell what failed; everything else is stored already; see `IngestPipeline.flush`."""
        self._check_open()
        self._failures.report()

    def stats(self) -> IngestStats:
        """Say how many events became what."""
        counts = self._counts
        return IngestStats(
            put=sum(counts.values()), **counts, unknown=0, pending=0, in_flight=0, commits=counts["saved"], bytes=0
        )
