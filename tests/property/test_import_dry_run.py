"""A dry run and the import that follows judge every record alike, though each has a memory of ids of its own."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from aether import InMemoryEventStore
from aether.ingest.checking import DryRun
from aether.ingest.chunks import Chunk
from aether.ingest.importer import Importer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from aether.ingest.reports import Fault

COMMIT_BYTES_MAX = 2**20

records = st.lists(
    st.fixed_dictionaries(
        {
            "actor_id": st.sampled_from(["a", "b"]),
            "id": st.sampled_from("tuvwxyz"),
            "event_type": st.just("T"),
            "timestamp": st.just("2013-01-01T10:17:00Z"),
            "data": st.sampled_from([1, 2]),
        },
        optional={"version": st.sampled_from([1, 2, 3, 5, 9, 2**64 - 1])},
    ),
    max_size=25,
)


async def chunks(lines: list[dict[str, Any]], size: int) -> AsyncGenerator[Chunk]:
    """Yield an input in chunks of so many lines."""
    for start in range(0, len(lines), size):
        content = b"".join(json.dumps(line).encode() + b"\n" for line in lines[start : start + size])
        yield Chunk(start + 1, content, {}, {})


@given(before=records, lines=records, size=st.integers(1, 10))
def test_a_dry_run_judges_as_the_import_does(before: list[dict[str, Any]], lines: list[dict[str, Any]], size: int) -> None:
    """Whatever is stored and whatever comes, with versions and without, counts and faults are equal line by line."""

    async def run() -> None:
        store, told = InMemoryEventStore(), []
        await Importer(store, commit_bytes_max=COMMIT_BYTES_MAX).run(chunks(before, 100))
        for kind in (DryRun, Importer):
            faults: list[Fault] = []
            one = kind(store, commit_bytes_max=COMMIT_BYTES_MAX, on_fault=faults.append)
            report = await one.run(chunks(lines, size))
            counts = (report.read, report.saved, report.already_there, report.conflicts, report.failed, report.settled_line)
            told.append((counts, sorted(faults, key=lambda fault: fault.line)))
        assert told[0] == told[1]

    asyncio.run(run())
