"""The in-memory store's ingestion pipeline: every event is stored, or refused, when it is put."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING, Any, Self

from aether._native import HeadCache, Pending
from aether.errors import AetherError, VersionConflictError, VersionsUsedUpError
from aether.store.ingest_base import IngestStats
from aether.store.ingesting import (
    CLOSED,
    FORKED,
    OPENED_BEFORE,
    Fate,
    Ledger,
    Outcomes,
    as_put,
    caller,
    id_conflict,
    is_verdict,
    note,
    too_many_ids,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator
    from types import TracebackType

    from aether._native import MemoryLog
    from aether.event import Event, NewEvent
    from aether.store.ingest_base import OnConflict

__all__ = ["MemoryPipeline"]

AT_ONCE = 4096
TROUBLES_AT_ONCE = 256


class MemoryPipeline:
    """The in-memory store's `IngestPipeline`. Nothing is ever pending: each event is a commit of its own, stored when put.

    The bookkeeping is that of the JetStream store (`rust/pending.rs`), so numbers, known ids, outcomes and counters come about in
    the same way; only the log behind it answers at once.

    Args:
        log: the store's events.
        bounds: `pending_max` and `pending_bytes_max` of `EventStore.ingest`.
        skip_known, known_ids_max, on_conflict, on_failure: of `EventStore.ingest`.
    """

    def __init__(
        self,
        log: MemoryLog,
        bounds: dict[str, int],
        *,
        skip_known: bool,
        known_ids_max: int,
        on_conflict: OnConflict,
        on_failure: Callable[[Any, AetherError], object] | None,
    ) -> None:
        self._log, self._known_ids_max = log, known_ids_max
        ones = {"in_flight_max": 1, "in_flight_bytes_max": 1, "commit_events_max": 1}
        self._pending = Pending("memory", "", HeadCache(1), **bounds, **ones)
        if skip_known:
            self._pending.skip_known(known_ids_max)
        self._renumber = on_conflict == "renumber"
        self._ledger = Ledger(self._pending, on_failure, on_conflict)
        self._open = self._opened_before = False
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._moved = _Moved()

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
        self._moved.tell()
        self._ledger.forget_callers()
        if error is None:
            self._ledger.report(caller(), puts=False)
        else:
            error.add_note(note(self.stats()))

    async def put(self, event: Event | tuple[str, NewEvent]) -> None:
        """Store one event; see `IngestPipeline.put`."""
        for step in self._put_many_steps((event,)):
            await step

    async def put_many(self, events: Iterable[Event | tuple[str, NewEvent]]) -> None:
        """Store events; see `IngestPipeline.put_many`."""
        for step in self._put_many_steps(events):
            await step
            await asyncio.sleep(0)  # other tasks get their turn

    def _put_many_steps(self, events: Iterable[Event | tuple[str, NewEvent]]) -> Iterator[Coroutine[None, None, None]]:
        self._check_open()
        iterator, ended = iter(events), False
        while not ended:
            self._check_open()
            try:
                taken, ended = self._log.ingest(self._pending, iterator, AT_ONCE)
            finally:
                self._settle()
            if not ended:
                yield self._taken(taken)

    async def _put_tagged(self, records: Any) -> None:  # noqa: ANN401 - native records, or what pours and shrinks as they do
        """Store records with their tags; an import's way in."""
        while len(records):
            self._check_open()
            taken = records.pour(self._pending)
            self._log.write(self._pending)
            self._settle()
            await self._taken(taken)

    async def _taken(self, count: int) -> None:
        """Wait for nothing where a chunk is stored, else until outcomes are read."""
        if not count and not self._pending.has_room():
            await self._moved.wait(self._pending.has_room)

    def _check_open(self) -> None:
        if not self._open:
            raise AetherError(CLOSED)
        if os.getpid() != self._process:
            raise AetherError(FORKED)
        self._ledger.raise_complaint()

    # What the log refused.

    def _settle(self) -> None:
        """Judge what is in trouble, and store what waits behind it."""
        with self._lock:
            self._log.write(self._pending)  # what another thread put while an event was judged
            while troubles := self._pending.troubles(TROUBLES_AT_ONCE):
                for ticket, why, number, _, _, _, events, drafts, tags in troubles:
                    (event,), (is_draft,) = events, drafts
                    fate = self._judge(why, number, event, is_draft=is_draft)
                    self._ledger.settle(ticket, [(as_put(event, is_draft=is_draft), tags[0])], [fate])
                    if fate.error is not None and not is_verdict(fate.error):
                        self._ledger.halt(fate.error)
                self._log.write(self._pending)
            if self._ledger.is_told:
                self._moved.tell()
            if self._ledger.is_halted:
                self._ledger.report(caller(), puts=True)  # the store is full: it would meet all events alike

    def _judge(self, why: str, number: int, event: Event, *, is_draft: bool) -> Fate:
        match why:
            case "taken" | "elsewhere":
                error = id_conflict(event, number, is_draft=is_draft, is_equal=why == "elsewhere")
                return Fate("conflict", error=error)
            case "unread":
                return Fate("failed", error=too_many_ids(event.actor_id, self._known_ids_max))
        if event.version == 0:
            return Fate("failed", error=VersionsUsedUpError(event.actor_id))
        try:
            return Fate("saved", 0, self._log.save_event(event))
        except VersionConflictError as error:
            return Fate("renumber") if self._renumber else Fate("conflict", error=error)
        except AetherError as error:
            return Fate("failed", error=error)

    # What became of events.

    async def flush(self) -> None:
        """Tell what failed; everything else is stored already; see `IngestPipeline.flush`."""
        self._check_open()
        self._ledger.report(caller(), puts=False)

    def outcomes(self) -> Outcomes:
        """Iterate over what becomes of each event; see `IngestPipeline.outcomes`."""
        self._ledger.tell_outcomes()
        return Outcomes(self._ledger, self._more_outcomes, self._moved.tell)

    async def _more_outcomes(self) -> bool:
        await self._moved.wait(lambda: not self._open or self.stats().unread > 0)
        return self.stats().unread > 0

    def _settled_tag(self) -> int:
        return self._pending.settled_tag()

    def stats(self) -> IngestStats:
        """Say how many events became what."""
        return IngestStats(*self._pending.counts())


class _Moved:
    """Lets tasks wait, and threads without an event loop, as the blocking face has them."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._futures: list[asyncio.Future[None]] = []

    def tell(self) -> None:
        with self._condition:
            futures, self._futures = self._futures, []
            self._condition.notify_all()
        for future in futures:
            future.get_loop().call_soon_threadsafe(_wake, future)

    async def wait(self, until: Callable[[], bool]) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            with self._condition:
                self._condition.wait_for(until)
            return
        while True:
            with self._condition:
                if until():
                    return
                future = loop.create_future()
                self._futures.append(future)
            await future


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
