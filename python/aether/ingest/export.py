"""Events out of a namespace into a file or a pipe, in position order and bounded memory, counted again in what was written."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from aether._native import Records
from aether.errors import AetherError, CorruptEventError
from aether.ingest.judging import judged
from aether.ingest.mapping import Mapping
from aether.ingest.records import BadRecordError
from aether.ingest.sources import open_source

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from aether._native import EventFilter
    from aether.ingest.chunks import Chunk
    from aether.ingest.sinks import Sink
    from aether.ingest.sources import Form
    from aether.store.base import PlacedBatch

__all__ = ["ExportReport", "Exporter", "count_again"]

BATCH_EVENTS = 1000
ANY_SIZE = 2**62
"""No record is too large for a file."""


class _Store(Protocol):
    """What an export needs of a store, whichever it is."""

    def _replay(
        self, wanted: EventFilter, after: int, batch_size: int, last: int | None = None
    ) -> AsyncGenerator[PlacedBatch]: ...

    async def _last_position(self) -> int: ...


@dataclass
class ExportReport:
    """What an export did.

    Attributes:
        events: how many events were written.
        damaged: messages that are no sound commits and were stepped over.
        after: the position behind which it began.
        position: everything up to this position that is wanted was written.
        through: the position where it ends.
        verified: how many events were read again from the file; None: not at all.
        seconds: how long it took.
    """

    events: int = 0
    damaged: int = 0
    after: int = 0
    position: int = 0
    through: int = 0
    verified: int | None = None
    seconds: float = 0.0


class Exporter:
    """Writes events to a sink.

    Args:
        store: whose events.
        wanted: which.
        sink: where to.
        on_damage: told of each message that is stepped over; None: the first ends the export.

    Attributes:
        report: what was done so far.
    """

    def __init__(
        self, store: _Store, wanted: EventFilter, sink: Sink, on_damage: Callable[[CorruptEventError], object] | None = None
    ) -> None:
        self._store, self._wanted, self._sink, self._on_damage = store, wanted, sink, on_damage
        self.report = ExportReport()

    async def run(self, after: int = 0, through: int | None = None) -> None:
        """Write the events behind the position `after`, up to the last there is now, or to `through`.

        Raises:
            CorruptEventError: a message is damaged; what comes before it was written.
            AetherError: the events cannot be read.
            OSError: they cannot be written.
        """
        report, started = self.report, time.monotonic()
        last = await self._store._last_position()  # noqa: SLF001 - both stores have it for those who read them whole
        report.after = report.position = after
        report.through = last if through is None else min(through, last)
        try:
            while report.position < report.through and not await self._run(report):
                pass
            await self._sink.finish()
        finally:
            report.seconds = time.monotonic() - started

    async def _run(self, report: ExportReport) -> bool:
        """Write events up to the end, or to what is damaged; say whether the end is reached."""
        reading = self._store._replay(self._wanted, report.position, BATCH_EVENTS, report.through)  # noqa: SLF001
        try:
            async for batch in reading:
                await self._sink.write(batch)
                report.events += len(batch)
                report.position = batch.position
        except CorruptEventError as error:
            if self._on_damage is None or error.position <= report.position:
                raise
            self._on_damage(error)
            report.damaged += 1
            report.position = error.position
            return False
        finally:
            await reading.aclose()
        report.position = report.through
        return True


async def count_again(path: str, form: Form, told: Callable[[int], object]) -> int:
    """Return how many events a file holds, as an import reads it.

    Args:
        path: the file.
        form: its form.
        told: called with the number now and then.

    Raises:
        AetherError: it holds what is no event, or is damaged.
        OSError: it cannot be read.
    """
    count = 0
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        async for chunk in open_source(descriptor, path, form, Mapping()).chunks():
            try:
                count += _count(chunk)
            except BadRecordError as error:
                raise AetherError(f"{path}: what was written cannot be read: {error}") from error
            told(count)
    finally:
        os.close(descriptor)
    return count


def _count(chunk: Chunk) -> int:
    """Return how many records a chunk has.

    Raises:
        BadRecordError: it has a line that is none.
    """
    records, rare = Records(chunk.content, chunk.number, ANY_SIZE), 0
    while records.read():
        if (odd := records.odd()) is not None:
            judged(*odd, chunk, ANY_SIZE)
            rare += 1
    return len(records) + rare
