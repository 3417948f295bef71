"""Imports: the records of an input into a store, once each, in the order of each actor's lines, many actors at a time.

Records go natively from the lines into a pipeline (`store.ingest`), each with its line's number for a tag. The pipeline reads
what an actor holds before its first commit, leaves out what is there, and numbers and guards what is not: so an import that was
cut off anywhere, or that runs beside another one of the same input, stores no event twice. What is pending is bounded, which
keeps memory bounded and makes the reader wait.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from aether._native import Records
from aether.errors import AetherError, IdConflictError, IngestError, VersionConflictError
from aether.ingest.judging import judged
from aether.ingest.records import BadRecordError
from aether.ingest.reports import Fault, ImportReport
from aether.store.ingest_base import KNOWN_IDS_MAX
from aether.store.ingesting import is_verdict

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from aether.event import Event, NewEvent
    from aether.ingest.chunks import Chunk
    from aether.ingest.quarantine import Quarantine
    from aether.store.base import EventStore

__all__ = ["Importer"]


class Importer:
    """One import.

    Args:
        store: where the events go.
        commit_bytes_max: the largest commit it takes, in bytes: `(await store.info()).commit_bytes_max`.
        skip_bad: go on behind a bad line; otherwise nothing behind the first one is stored.
        quarantine: where bad lines go, if they are skipped.
        ids_max: how many stored ids are remembered; see `known_ids_max` of `EventStore.ingest`.
        on_fault: is called for each line that is not stored.
    """

    def __init__(
        self,
        store: EventStore,
        *,
        commit_bytes_max: int,
        skip_bad: bool = False,
        quarantine: Quarantine | None = None,
        ids_max: int = KNOWN_IDS_MAX,
        on_fault: Callable[[Fault], None] | None = None,
    ) -> None:
        # A store's pipelines have a private way in for imports, which their protocol does not name.
        self._pipeline: Any = store.ingest(
            skip_known=True,
            known_ids_max=ids_max,
            on_conflict="skip",
        )
        self._report = ImportReport()
        self._commit_bytes_max = commit_bytes_max
        self._skip_bad = skip_bad
        self._quarantine = quarantine
        self._on_fault = on_fault
        self._records: Records | None = None
        self._lost: int | None = None
        self._failure: AetherError | OSError | None = None
        self._feeding: asyncio.Task[None] | None = None
        self._fed = False

    @property
    def report(self) -> ImportReport:
        """Where it stands."""
        stats = self._pipeline.stats()
        report = self._report
        report.read, report.saved, report.already_there = stats.put, stats.saved, stats.already_stored
        report.conflicts, report.failed, report.commits = stats.conflicts, stats.failed + stats.unknown, stats.commits
        report.settled_line = self._settled_line(stats.pending)
        return report

    async def run(self, chunks: AsyncGenerator[Chunk]) -> ImportReport:
        """Import records until they end, the first bad one, `stop()`, or a failure.

        Raises:
            AetherError: the store or the input failed. What was in flight was finished first; `report` says where it stands,
                and the same import can be run again.
            OSError: the input cannot be read; likewise.
        """
        loop = asyncio.get_running_loop()
        started = loop.time()
        self._pipeline._ledger.on_tagged = self._take_end  # noqa: SLF001 - for this use
        self._feeding = asyncio.create_task(self._import(chunks))
        try:
            await asyncio.wait([self._feeding])
        finally:
            self._feeding.cancel()
            await asyncio.wait([self._feeding])
            self._report.seconds = loop.time() - started
        if self._failure is not None:
            raise self._failure
        if not self._feeding.cancelled():
            self._feeding.result()
        return self.report

    def stop(self) -> None:
        """Finish what is in flight and begin nothing more; `run` then returns."""
        if self._report.stopped is None:
            self._report.stopped = "interrupted"
        if self._feeding is not None:
            self._feeding.cancel()

    async def _import(self, chunks: AsyncGenerator[Chunk]) -> None:
        try:
            async with aclosing(chunks), self._pipeline:
                try:
                    await self._feed(chunks)
                finally:
                    self._fed = True
        except IngestError as error:
            if self._failure is None and any(not is_verdict(cause) for _, cause in error.failures):
                self._fail(error)

    async def _feed(self, chunks: AsyncGenerator[Chunk]) -> None:
        try:
            async for chunk in chunks:
                self._records = records = Records(chunk.content, chunk.number, self._commit_bytes_max)
                while self._report.stopped is None and records.read():
                    self._judge(records, chunk)
                    await self._pipeline._put_tagged(records)  # noqa: SLF001
                    self._report.lines = records.number
                if self._report.stopped is not None:
                    return
        except IngestError:
            raise
        except (AetherError, OSError) as error:
            # Lines in front of the damage are stored as they would be at the input's end.
            self._fail(error)

    def _judge(self, records: Records, chunk: Chunk) -> None:
        """Judge the line that the native parser has left, if it has."""
        if (odd := records.odd()) is None:
            return
        number, line = odd
        try:
            record = judged(number, line, chunk, self._commit_bytes_max)
        except BadRecordError as error:
            self._take_bad(error, chunk.originals.get(number, line))
        else:
            records.add(number, record.actor_id, record.event, record.version)

    def _take_bad(self, error: BadRecordError, line: bytes | None) -> None:
        if not self._skip_bad:
            self._report.stopped = "bad line"
        elif self._quarantine is not None:
            self._quarantine.take(error.line, line, error.reason)
        self._report.bad += 1
        self._tell(Fault("bad", error.line, error.reason))

    def _take_end(self, number: int, status: str, event: Event | tuple[str, NewEvent], error: AetherError) -> None:
        """Take it that a record is not stored."""
        if status == "conflict":
            self._tell(Fault("conflict", number, reason_of(event, error)))
            return
        if status == "failed" and is_verdict(error):
            self._tell(Fault("failed", number, str(error)))
            return
        # Stopped, or the store has failed: what comes behind meets the same, so it is told once, at the end.
        self._lost = number if self._lost is None else min(number, self._lost)
        if self._report.stopped is None:
            self._fail(error)
            if self._feeding is not None and not self._fed:
                self._feeding.cancel()  # it may be waiting for an input that says nothing

    def _fail(self, error: AetherError | OSError) -> None:
        self._report.stopped = "failed"
        self._failure = self._failure or error

    def _tell(self, fault: Fault) -> None:
        if self._on_fault is not None:
            self._on_fault(fault)

    def _settled_line(self, pending: int) -> int:
        """Return the last line up to which every one is stored, already there, or reported."""
        records = self._records
        if records is None:
            return 0
        line = self._pipeline._settled_tag() if pending else records.number  # noqa: SLF001
        for first in (records.first, self._lost):
            if first is not None:
                line = min(line, first - 1)
        return line


def reason_of(event: Event | tuple[str, NewEvent], error: AetherError) -> str:
    """Say what stands against a record, and what can be done about it."""
    if isinstance(error, IdConflictError) or not isinstance(error, VersionConflictError) or isinstance(event, tuple):
        return str(error)
    return (
        f"the event {event.id!a} wants version {event.version} of {event.actor_id!a}, "
        f"which is at {error.actual} with other events; leave the version out to add it behind them"
    )
