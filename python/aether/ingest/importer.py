"""Imports: numbered lines into a store, once each, in the order of each actor's lines, many actors at a time.

A feeder reads lines and queues their records by actor; workers take an actor in turn, decide with `make_plan` what of its
queue is new, and store that as one commit. While an actor's commit is in flight its next records gather, so the slower the
store, the larger the commits. An actor is worked on by one worker at a time, which keeps its order; the queue of all actors
together is bounded, which keeps memory bounded and makes the feeder wait.

Every commit has versions of its own and is guarded, so an import that was cut off anywhere, or that runs beside another one of
the same file, stores no event twice.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from aether._native import Records
from aether.errors import AetherError, VersionConflictError
from aether.ingest.known import IDS_MAX, KnownActors
from aether.ingest.plan import make_plan
from aether.ingest.records import COMMIT_OVERHEAD_BYTES, BadRecordError, judge_record, record_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Iterator

    from aether.event import Event
    from aether.ingest.chunks import Chunk
    from aether.ingest.plan import Plan
    from aether.ingest.quarantine import Quarantine
    from aether.ingest.records import Record
    from aether.store.base import EventStore

__all__ = ["ActorCommit", "Fault", "ImportReport", "Importer"]

ACTORS_MAX = 64
COMMIT_EVENTS_MAX = 500
COMMIT_BYTES_MAX = 512 * 2**10
WINDOW_EVENTS_MAX = 20_000
WINDOW_BYTES_MAX = 64 * 2**20

CONFLICTS_MAX = 100
"""How often in a row other writers may come first at one actor; each time they have made progress and we have not."""


class Fault(NamedTuple):
    """A line that was not stored.

    Attributes:
        kind: "bad": it is no record; "conflict": something else is where it belongs.
        line: its number, from 1.
        reason: what is wrong.
    """

    kind: Literal["bad", "conflict"]
    line: int
    reason: str


class ActorCommit(NamedTuple):
    """What was stored and acknowledged as one commit.

    Attributes:
        position: its place in the namespace.
        events: its events.
    """

    position: int
    events: list[Event]


@dataclass
class ImportReport:
    """Where an import stands, and at the end what it did.

    Attributes:
        lines: lines read, blank ones included.
        read: records read.
        saved: events stored; in a dry run, those that would be.
        already_there: events that the store had, or that the input has twice.
        conflicts: records that something else in the store stands against.
        bad: lines that are no records.
        commits: commits that the stored events made.
        settled_line: every line up to this one is stored, already there, or reported.
        seconds: how long it took.
        stopped: why it ended before the input did, or None.
    """

    lines: int = 0
    read: int = 0
    saved: int = 0
    already_there: int = 0
    conflicts: int = 0
    bad: int = 0
    commits: int = 0
    settled_line: int = 0
    seconds: float = 0.0
    stopped: Literal["bad line", "interrupted", "failed"] | None = None


class Importer:
    """One import.

    Args:
        store: where the events go.
        commit_bytes_max: the largest commit it takes, in bytes: `(await store.info()).commit_bytes_max`.
        skip_bad: go on behind a bad line; otherwise nothing behind the first one is stored.
        quarantine: where bad lines go, if they are skipped.
        dry_run: check everything and store nothing. Of inputs with more ids than `ids_max`, ids that come twice may be missed.
        actors_max: how many actors are worked on at a time.
        ids_max: how many stored ids are remembered; see `KnownActors`.
        on_fault: is called for each line that is not stored.
        on_commit: is called for each commit when it is acknowledged.

    Attributes:
        report: where it stands.
    """

    def __init__(
        self,
        store: EventStore,
        *,
        commit_bytes_max: int,
        skip_bad: bool = False,
        quarantine: Quarantine | None = None,
        dry_run: bool = False,
        actors_max: int = ACTORS_MAX,
        ids_max: int = IDS_MAX,
        on_fault: Callable[[Fault], None] | None = None,
        on_commit: Callable[[ActorCommit], None] | None = None,
    ) -> None:
        self.report = ImportReport()
        self._store = store
        self._known = KnownActors(store, ids_max)
        self._commit_bytes_max = commit_bytes_max
        self._group_bytes_max = min(COMMIT_BYTES_MAX, commit_bytes_max - COMMIT_OVERHEAD_BYTES)
        self._skip_bad = skip_bad
        self._quarantine = quarantine
        self._dry_run = dry_run
        self._actors_max = actors_max
        self._on_fault = on_fault
        self._on_commit = on_commit
        self._queues: dict[str, deque[Record]] = {}
        self._ready: asyncio.Queue[str | None] = asyncio.Queue()
        self._room = asyncio.Event()
        self._pending = self._pending_bytes = 0
        self._fed = self._halted = False
        self._failure: AetherError | OSError | None = None
        self._feeding: asyncio.Task[None] | None = None

    async def run(self, chunks: AsyncIterable[Chunk]) -> ImportReport:
        """Import records until they end, the first bad one, `stop()`, or a failure.

        Raises:
            AetherError: the store or the input failed. What was in flight was finished first; `report` says where it stands,
                and the same import can be run again.
            OSError: the input cannot be read; likewise.
        """
        started = asyncio.get_running_loop().time()
        self._feeding = asyncio.create_task(self._feed(chunks))
        workers = [asyncio.create_task(self._work()) for _ in range(self._actors_max)]
        try:
            await asyncio.gather(*workers)
            await asyncio.wait([self._feeding])
        finally:
            for task in (self._feeding, *workers):
                task.cancel()
            await asyncio.gather(self._feeding, *workers, return_exceptions=True)
            self.report.seconds = asyncio.get_running_loop().time() - started
            self._note_settled()
        if self._failure is not None:
            raise self._failure
        if not self._feeding.cancelled():
            self._feeding.result()
        return self.report

    def stop(self) -> None:
        """Finish what is in flight and begin nothing more; `run` then returns."""
        self._halt("interrupted")

    def _halt(self, why: Literal["interrupted", "failed"]) -> None:
        if not self._halted:
            self._halted, self.report.stopped = True, why
            if self._feeding is not None:
                self._feeding.cancel()
            self._dismiss()

    def _dismiss(self) -> None:
        for _ in range(self._actors_max):
            self._ready.put_nowait(None)

    async def _feed(self, chunks: AsyncIterable[Chunk]) -> None:
        try:
            async for chunk in chunks:
                for record in self._records(chunk):
                    self._take_in(record)
                    if self._pending >= WINDOW_EVENTS_MAX or self._pending_bytes >= WINDOW_BYTES_MAX:
                        self._room.clear()
                        await self._room.wait()
                if self.report.stopped is not None:
                    return
        except (AetherError, OSError) as error:
            # Lines in front of the damage are stored as they would be at the input's end.
            self.report.stopped, self._failure = "failed", error
        finally:
            self._fed = True
            if not self._pending:
                self._dismiss()

    def _records(self, chunk: Chunk) -> Iterator[Record]:
        """Yield a chunk's records, up to the bad line that stops the import."""
        number: int
        found: list[Any]
        for number, *found in Records(chunk.content, chunk.number, self._commit_bytes_max):
            self.report.lines = number
            try:
                yield self._record(number, found, chunk)
            except BadRecordError as error:
                self._take_bad(error, chunk.originals.get(number, found[0]))
                if self.report.stopped is not None:
                    return

    def _record(self, number: int, found: list[Any], chunk: Chunk) -> Record:
        if len(found) > 1:
            return record_of(number, *found)
        if number in chunk.problems:
            raise BadRecordError(number, chunk.problems[number])
        return judge_record(number, found[0], self._commit_bytes_max)

    def _take_bad(self, error: BadRecordError, line: bytes | None) -> None:
        if not self._skip_bad:
            self.report.stopped = "bad line"
        elif self._quarantine is not None:
            self._quarantine.take(error.line, line, error.reason)
        self.report.bad += 1
        self._tell(Fault("bad", error.line, error.reason))

    def _take_in(self, record: Record) -> None:
        """Queue a record."""
        self.report.read += 1
        self._pending += 1
        self._pending_bytes += record.size
        queue = self._queues.get(record.actor_id)
        if queue is None:
            queue = self._queues[record.actor_id] = deque()
            self._ready.put_nowait(record.actor_id)
        queue.append(record)

    async def _work(self) -> None:
        while (actor_id := await self._ready.get()) is not None and not self._halted:
            queue = self._queues[actor_id]
            records = self._take_out(queue)
            try:
                await self._settle(actor_id, records)
            except AetherError as error:
                queue.extendleft(reversed(records))
                self._failure = self._failure or error
                self._halt("failed")
                return
            self._pending -= len(records)
            self._pending_bytes -= sum(record.size for record in records)
            self._room.set()
            if queue:
                self._ready.put_nowait(actor_id)
            else:
                del self._queues[actor_id]
            if self._fed and not self._pending:
                self._dismiss()

    def _take_out(self, queue: deque[Record]) -> list[Record]:
        """Return the records at the queue's front that make one commit."""
        records = [queue.popleft()]
        size = records[0].size
        while queue and len(records) < COMMIT_EVENTS_MAX and size + queue[0].size <= self._group_bytes_max:
            records.append(queue.popleft())
            size += records[-1].size
        return records

    async def _settle(self, actor_id: str, records: list[Record]) -> None:
        """Store what is new of these records, and count what became of each."""
        holdings = await self._known.of(actor_id)
        plans: list[Plan] = []
        while True:
            plan = make_plan(actor_id, holdings, records)
            plans.append(plan)
            try:
                position = await self._save(plan.events)
            except VersionConflictError:
                if len(plans) == CONFLICTS_MAX:
                    raise
                await self._known.refresh(actor_id, holdings)
                records = plan.records
                continue
            self._known.add(actor_id, holdings, plan.events)
            self._count(plans)
            if position and self._on_commit is not None:
                self._on_commit(ActorCommit(position, plan.events))
            return

    async def _save(self, events: list[Event]) -> int:
        """Store the events; return their position, 0 where there is nothing to store."""
        if not events or self._dry_run:
            return 0
        position = await self._store.save_events(events)
        self.report.commits += 1
        return position

    def _count(self, plans: list[Plan]) -> None:
        """Count what the first plan and those after a conflict have decided; only the last one's events were stored."""
        self.report.saved += len(plans[-1].events)
        for plan in plans:
            self.report.already_there += plan.already_there
            self.report.conflicts += len(plan.conflicts)
            for conflict in plan.conflicts:
                self._tell(Fault("conflict", conflict.line, conflict.reason))

    def _tell(self, fault: Fault) -> None:
        if self._on_fault is not None:
            self._on_fault(fault)

    def _note_settled(self) -> None:
        first_open = [queue[0].line for queue in self._queues.values() if queue]
        self.report.settled_line = min(first_open) - 1 if first_open else self.report.lines
