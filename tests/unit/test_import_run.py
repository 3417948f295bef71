"""Imports into a store in memory: order, repetition, bounds, and every way to end early."""

from __future__ import annotations

import asyncio
import io
import json
import random
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import pytest

from aether import AetherError, Event, InMemoryEventStore, NewEvent, StoreFullError
from aether.ingest.checking import DryRun
from aether.ingest.chunks import NO_RECORD, Chunk
from aether.ingest.importer import Importer
from aether.ingest.known import KnownActors
from aether.ingest.quarantine import Quarantine
from aether.ingest.reports import Fault

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from aether.ingest.chunks import Source

COMMIT_BYTES_MAX = 2**20


class Line(NamedTuple):
    """A line and its number."""

    number: int
    content: bytes


class CountedStore(InMemoryEventStore):
    """A store in memory that notes whose events are read."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[str] = []

    def read_events(self, actor_id: str, from_version: int = 0, *, batch_size: int = 1000) -> AsyncIterator[list[Event]]:
        """Read, and note whose events."""
        self.read.append(actor_id)
        return super().read_events(actor_id, from_version, batch_size=batch_size)


def line(number: int, actor: str, event_id: str, **changes: Any) -> Line:
    """Return a record as a line."""
    fields = {"id": event_id, "actor_id": actor, "event_type": "T", "timestamp": "2013-01-01T10:17:00Z", "data": 0}
    return Line(number, json.dumps({**fields, **changes}).encode())


def lines_of(actors: int, events: int, seed: int = 1) -> list[Line]:
    """Return events of several actors in a mixed order; an actor's ids count up."""
    mixed = [f"a{actor}" for actor in range(actors) for _ in range(events)]
    random.Random(seed).shuffle(mixed)
    counts = dict.fromkeys(mixed, 0)
    lines = []
    for number, actor in enumerate(mixed, 1):
        counts[actor] += 1
        lines.append(line(number, actor, f"{actor}-{counts[actor]}"))
    return lines


async def chunks(lines: Sequence[Line], size: int = 50) -> AsyncGenerator[Chunk]:
    """Yield the lines in chunks, with a turn of the loop between them."""
    for start in range(0, len(lines), size):
        await asyncio.sleep(0)
        yield chunk(*lines[start : start + size])


def chunk(*lines: Line) -> Chunk:
    """Return lines that follow one another as a chunk."""
    return Chunk(lines[0].number, b"".join(line.content + b"\n" for line in lines))


def importer_into(store: InMemoryEventStore, **options: Any) -> Importer:
    """Return an importer."""
    return Importer(store, commit_bytes_max=COMMIT_BYTES_MAX, **options)


async def ids_of(store: InMemoryEventStore, actor: str) -> list[str]:
    """Return the ids of an actor's events; versions have no gap."""
    events = await store.get_events(actor)
    assert [event.version for event in events] == list(range(1, len(events) + 1))
    return [event.id for event in events]


async def test_each_actor_keeps_the_order_of_its_lines() -> None:
    """However the lines are mixed, an actor's events are stored in their order."""
    store = InMemoryEventStore()
    report = await importer_into(store).run(chunks(lines_of(actors=40, events=25)))
    for actor in range(40):
        assert await ids_of(store, f"a{actor}") == [f"a{actor}-{number}" for number in range(1, 26)]
    assert (report.lines, report.read, report.saved, report.already_there, report.stopped) == (1000, 1000, 1000, 0, None)
    assert report.settled_line == 1000


async def test_a_second_run_changes_nothing_and_says_so() -> None:
    """All of a repeated input is already there."""
    store, lines = InMemoryEventStore(), lines_of(actors=10, events=10)
    await importer_into(store).run(chunks(lines))
    before = [await ids_of(store, f"a{actor}") for actor in range(10)]
    report = await importer_into(store).run(chunks(lines))
    assert (report.read, report.saved, report.already_there, report.commits) == (100, 0, 100, 0)
    assert [await ids_of(store, f"a{actor}") for actor in range(10)] == before


async def test_two_imports_of_the_same_lines_at_once_store_each_event_once() -> None:
    """Importers that meet at every actor skip what the other one stored."""
    store, lines = InMemoryEventStore(), lines_of(actors=5, events=40)
    reports = await asyncio.gather(*(importer_into(store).run(chunks(lines, size=size)) for size in (7, 11)))
    for actor in range(5):
        assert await ids_of(store, f"a{actor}") == [f"a{actor}-{number}" for number in range(1, 41)]
    for report in reports:
        assert (report.saved + report.already_there, report.conflicts) == (200, 0)


async def test_an_equal_id_with_other_content_is_counted_and_the_rest_is_stored() -> None:
    """A conflict costs its own line only."""
    store, faults = InMemoryEventStore(), list[Fault]()
    lines = [line(1, "a", "x"), line(2, "a", "x", data="other"), line(3, "a", "y"), line(4, "b", "x", data="other actor")]
    report = await importer_into(store, on_fault=faults.append).run(chunks(lines))
    assert (report.saved, report.conflicts, report.stopped) == (3, 1, None)
    assert [(fault.kind, fault.line) for fault in faults] == [("conflict", 2)]
    assert await ids_of(store, "a") == ["x", "y"]


async def test_nothing_behind_the_first_bad_line_is_stored_and_all_in_front_of_it_is() -> None:
    """The import stops where the input goes wrong."""
    store, faults = InMemoryEventStore(), list[Fault]()
    lines = lines_of(actors=5, events=20)
    lines[60] = Line(61, b"nonsense")
    report = await importer_into(store, on_fault=faults.append).run(chunks(lines))
    assert (report.lines, report.read, report.saved, report.bad, report.stopped) == (61, 60, 60, 1, "bad line")
    assert [(fault.kind, fault.line) for fault in faults] == [("bad", 61)]
    assert sum([len(await ids_of(store, f"a{actor}")) for actor in range(5)]) == 60


async def test_bad_lines_are_skipped_if_asked_and_each_is_reported() -> None:
    """With skip_bad everything else is stored, and no bad line goes without a trace."""
    store, faults = InMemoryEventStore(), list[Fault]()
    lines = lines_of(actors=5, events=20)
    for place in (0, 50, 99):
        lines[place] = Line(place + 1, b"nonsense")
    report = await importer_into(store, skip_bad=True, on_fault=faults.append).run(chunks(lines))
    assert (report.read, report.saved, report.bad, report.stopped) == (97, 97, 3, None)
    assert [fault.line for fault in faults] == [1, 51, 100]


async def test_a_dry_run_counts_what_would_happen_and_writes_nothing() -> None:
    """It knows what is there, what comes twice and what is in conflict, and the store stays as it was."""
    store = InMemoryEventStore()
    await importer_into(store).run(chunks([line(1, "a", "x")]))
    lines = [line(1, "a", "x"), line(2, "a", "y"), line(3, "a", "y"), line(4, "b", "z"), line(5, "a", "y", data="other")]
    report = await DryRun(store, commit_bytes_max=COMMIT_BYTES_MAX).run(chunks(lines, size=1))
    assert (report.saved, report.already_there, report.conflicts, report.commits) == (2, 2, 1, 0)
    assert await ids_of(store, "a") == ["x"]
    assert await ids_of(store, "b") == []


async def test_a_store_that_fails_ends_the_import_with_its_error_after_what_is_in_flight() -> None:
    """The error comes through as it is, the report stands, and the same import can be run again."""
    store = InMemoryEventStore(max_events=120)
    importer = importer_into(store)
    with pytest.raises(StoreFullError):
        await importer.run(chunks(lines_of(actors=10, events=20)))
    stored = sum([len(await ids_of(store, f"a{actor}")) for actor in range(10)])
    assert importer.report.saved == stored > 0
    assert importer.report.stopped == "failed"
    assert 0 < importer.report.settled_line <= stored


async def test_an_input_that_fails_ends_the_import_after_the_lines_in_front_of_the_damage() -> None:
    """What came before the damage is stored, then the error is raised."""

    async def damaged() -> AsyncGenerator[Chunk]:
        yield chunk(line(1, "a", "x"), line(2, "b", "y"))
        raise OSError(5, "Input/output error")

    store = InMemoryEventStore()
    importer = importer_into(store)
    with pytest.raises(OSError, match="Input/output"):
        await importer.run(damaged())
    assert (importer.report.saved, importer.report.settled_line, importer.report.stopped) == (2, 2, "failed")


async def test_ids_of_actors_used_long_ago_are_let_go_and_read_again() -> None:
    """Memory is bounded in ids, and an actor whose ids were let go is read again when it comes back."""
    store = CountedStore()
    known = KnownActors(store, ids_max=10)
    for actor in ("a", "b"):
        await store.append(actor, [NewEvent("T", id=f"{actor}{number}") for number in range(6)])
    first = await known.of("a")
    assert await known.of("a") is first
    assert store.read == ["a"]
    await known.of("b")
    again = await known.of("a")
    assert store.read == ["a", "b", "a"]
    assert again is not first
    assert again.version_of("a5") == 6


async def test_an_actor_with_more_ids_than_are_kept_is_refused_with_the_way_out() -> None:
    """The bound is stated, never passed in silence."""
    store = InMemoryEventStore()
    await store.append("a", [NewEvent("T") for _ in range(11)])
    with pytest.raises(StoreFullError, match=r"ids_max=10.*about 64 bytes"):
        await importer_into(store, ids_max=10).run(chunks([line(1, "a", "x")]))


async def test_an_import_with_hardly_any_memory_of_ids_still_stores_each_event_once() -> None:
    """Letting go of ids costs reads, never a second copy."""
    store, lines = InMemoryEventStore(), lines_of(actors=20, events=10)
    for saved in (200, 0):
        report = await importer_into(store, ids_max=15).run(chunks(lines))
        assert (report.saved, report.already_there) == (saved, 200 - saved)


class Place:
    """A source that has a heading."""

    heading = b"id,actor_id\n"


async def test_bad_lines_go_to_quarantine_as_they_stand_in_the_input() -> None:
    """What is put aside is the input's own bytes, one behind another, under the input's heading; the rest is stored."""
    file, faults = io.BytesIO(), list[Fault]()
    lines = [line(1, "a", "x"), Line(2, b"\xffno record\r"), line(3, "a", "y"), Line(4, NO_RECORD), line(5, "a", "z")]
    made = chunk(*lines)._replace(problems={4: "has 3 columns, not 2"}, originals={4: b'z,"a\nb",3\n'})

    async def source() -> AsyncGenerator[Chunk]:
        yield made

    importer = importer_into(
        InMemoryEventStore(), skip_bad=True, quarantine=Quarantine(file, cast("Source", Place())), on_fault=faults.append
    )
    report = await importer.run(source())
    assert (report.read, report.saved, report.bad, report.stopped) == (3, 3, 2, None)
    assert file.getvalue() == b'id,actor_id\n\xffno record\r\nz,"a\nb",3\n'
    assert [(fault.line, fault.reason) for fault in faults][1:] == [(4, "has 3 columns, not 2")]


async def test_a_line_that_is_too_long_to_be_kept_ends_an_import_with_quarantine() -> None:
    """What should be put aside and cannot is not let go in silence; what stands in front of it is stored."""

    async def source() -> AsyncGenerator[Chunk]:
        yield chunk(line(1, "a", "x"))
        yield Chunk(2, NO_RECORD, {2: "longer than 8,388,608 bytes"}, {2: None})
        yield chunk(line(3, "a", "y"))

    store = InMemoryEventStore()
    importer = importer_into(store, skip_bad=True, quarantine=Quarantine(io.BytesIO(), cast("Source", Place())))
    with pytest.raises(AetherError, match="line 2 is longer than 8,388,608 bytes, so it was not kept"):
        await importer.run(source())
    assert await ids_of(store, "a") == ["x"]


async def test_a_dry_run_tells_the_same_as_the_import_after_it() -> None:
    """Whatever the input holds, counts and faults are those of the import that follows."""
    store, told = InMemoryEventStore(), []
    lines = [
        *lines_of(actors=5, events=20),
        line(101, "a1", "a1-3", data="other"),
        Line(102, b"no"),
        line(103, "a2", "v", version=7),
    ]
    lines += [line(104, "b", "v", version=7), line(105, "b", "w"), line(106, "b", "w", version=9)]
    await importer_into(store).run(chunks(lines[:30]))
    for run in (DryRun, Importer):
        faults = list[Fault]()
        report = await run(store, commit_bytes_max=COMMIT_BYTES_MAX, skip_bad=True, on_fault=faults.append).run(chunks(lines))
        told.append((report.read, report.saved, report.already_there, report.conflicts, report.bad, report.settled_line, faults))
    assert told[0] == told[1]
    assert told[0][:5] == (105, 72, 30, 3, 1)


async def test_what_a_version_stands_against_is_said_with_what_can_be_done() -> None:
    """A version that is taken, and an id that is there at another version, are conflicts with words of their own."""
    store, faults = InMemoryEventStore(), list[Fault]()
    lines = [line(1, "a", "x"), line(2, "a", "y", version=1), line(3, "a", "x", version=5)]
    await importer_into(store, on_fault=faults.append).run(chunks(lines))
    assert [(fault.line, fault.kind) for fault in faults] == [(2, "conflict"), (3, "conflict")]
    assert "wants version 1 of 'a', which is at 1 with other events; leave the version out" in faults[0].reason
    assert "is there already at version 1, not at 5" in faults[1].reason
