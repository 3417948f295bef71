"""A dry run: what an import would do, without a write."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

from aether._native import Records
from aether.errors import AetherError
from aether.ingest.judging import judged
from aether.ingest.known import IDS_MAX, KnownActors
from aether.ingest.plan import make_plan
from aether.ingest.records import BadRecordError, record_of
from aether.ingest.reports import Fault, ImportReport

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from aether.ingest.chunks import Chunk
    from aether.ingest.records import Record
    from aether.store.base import EventStore

__all__ = ["DryRun"]

ACTORS_AT_ONCE = 64

# It has a memory of ids of its own (known.py, plan.py) beside the native one: what a pipeline knows of an actor it learns to
# send, and the log's answer is what ends it. A pipeline that sends nothing would be more code than these two are, and a store in
# memory in its place would hold every event. That both judge alike is a test: tests/property/test_import_dry_run.py.


class DryRun:
    """One dry run, in the shape of an `Importer`. Of inputs with more ids than `ids_max`, ids that come twice may be missed.

    Args:
        store: where the events would go.
        commit_bytes_max: the largest commit it takes, in bytes.
        skip_bad: go on behind a bad line.
        ids_max: how many ids are remembered; see `KnownActors`.
        on_fault: is called for each line that would not be stored.

    Attributes:
        report: where it stands.
    """

    def __init__(
        self,
        store: EventStore,
        *,
        commit_bytes_max: int,
        skip_bad: bool = False,
        ids_max: int = IDS_MAX,
        on_fault: Callable[[Fault], None] | None = None,
    ) -> None:
        self.report = ImportReport()
        self._known = KnownActors(store, ids_max)
        self._commit_bytes_max = commit_bytes_max
        self._skip_bad = skip_bad
        self._on_fault = on_fault

    async def run(self, chunks: AsyncGenerator[Chunk]) -> ImportReport:
        """Check records until they end, the first bad one, or `stop()`.

        Raises:
            AetherError: the store or the input failed; `report` says where it stands.
            OSError: the input cannot be read.
        """
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            async with aclosing(chunks):
                async for chunk in chunks:
                    await self._check(self._records(chunk))
                    self.report.settled_line = self.report.lines
                    if self.report.stopped is not None:
                        break
        except (AetherError, OSError):
            self.report.stopped = "failed"
            raise
        finally:
            self.report.seconds = loop.time() - started
        return self.report

    def stop(self) -> None:
        """Check what was read already, and read nothing more; `run` then returns."""
        self.report.stopped = self.report.stopped or "interrupted"

    def _records(self, chunk: Chunk) -> dict[str, list[Record]]:
        """Return a chunk's records by actor, up to the bad line that stops the run."""
        records: dict[str, list[Record]] = {}
        for found in Records(chunk.content, chunk.number, self._commit_bytes_max):
            self.report.lines = found[0]
            try:
                record = judged(*found, chunk, self._commit_bytes_max) if len(found) == 2 else record_of(*found)  # noqa: PLR2004
            except BadRecordError as error:
                self.report.bad += 1
                self._tell(Fault("bad", error.line, error.reason))
                if not self._skip_bad:
                    self.report.stopped = "bad line"
                    break
                continue
            self.report.read += 1
            records.setdefault(record.actor_id, []).append(record)
        return records

    async def _check(self, records: dict[str, list[Record]]) -> None:
        actors = list(records.items())
        for start in range(0, len(actors), ACTORS_AT_ONCE):
            await asyncio.gather(*(self._plan(*actor) for actor in actors[start : start + ACTORS_AT_ONCE]))

    async def _plan(self, actor_id: str, records: list[Record]) -> None:
        holdings = await self._known.of(actor_id)
        plan = make_plan(actor_id, holdings, records)
        self._known.add(actor_id, holdings, plan.events)
        self.report.saved += len(plan.events)
        self.report.already_there += plan.already_there
        for refusal in plan.refused:
            if refusal.kind == "conflict":
                self.report.conflicts += 1
            else:
                self.report.failed += 1
            self._tell(Fault(*refusal))

    def _tell(self, fault: Fault) -> None:
        if self._on_fault is not None:
            self._on_fault(fault)
