"""Exports: what is written is read back by an import as equal events, and a file has its name only when it is whole."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aether import AetherError, CorruptEventError, Event, InMemoryEventStore, NewEvent
from aether._native import EventFilter
from aether.ingest import parquet
from aether.ingest.export import Exporter, count_again
from aether.ingest.formats import text_form
from aether.ingest.importer import Importer
from aether.ingest.mapping import Mapping
from aether.ingest.packing import packer
from aether.ingest.parquet import ParquetSink
from aether.ingest.part_file import PartFile
from aether.ingest.sinks import PipeSink, TextSink
from aether.ingest.sources import Form, form_of, open_source

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from aether.store.base import EventBatch

ALL = EventFilter(None, None, None, None)
HOSTILE = ('"', ",", "\r", "\n", "a\r\nb", "\0", "\x7f\x85\u2028", " a ", "null", "=1+1", "\\N", "é💥", "\ufeffx", "a" * 255)

ids = st.one_of(st.sampled_from(HOSTILE), st.uuids().map(str), st.text(min_size=1, max_size=60))
plain = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=20),
        st.sampled_from(HOSTILE),
        st.binary(max_size=20),
        st.datetimes(timezones=st.timezones()),
    ),
    lambda held: st.one_of(st.lists(held, max_size=4), st.dictionaries(st.text(max_size=8), held, max_size=4)),
    max_leaves=8,
)


@st.composite
def events(draw: st.DrawFn) -> list[Event]:
    """Events of several actors, versions strictly increasing, ids used once."""
    made: list[Event] = []
    for number, actor in enumerate(draw(st.lists(ids, min_size=1, max_size=4, unique=True))):
        for version in sorted(draw(st.sets(st.one_of(st.integers(1, 2**64 - 1), st.just(2**64 - 1)), min_size=1, max_size=3))):
            metadata = draw(st.dictionaries(st.text(min_size=1, max_size=8), st.text(max_size=8), max_size=2))
            event = Event(actor, draw(ids), version, draw(plain), id=f"{number}-{version}-{draw(ids)}"[:60], metadata=metadata)
            # As pickle makes it, which knows nanoseconds.
            moved = event.__reduce__()
            made.append(moved[0](*moved[1][:5], draw(st.integers(-(2**63), 2**63 - 1)), *moved[1][6:]))
    return made


async def filled(made: Sequence[Event]) -> InMemoryEventStore:
    """Return a store with these events."""
    store = InMemoryEventStore()
    for event in made:
        await store.save_event(event)
    return store


async def written(store: Any, path: Path, form: Form) -> int:
    """Export all events to a file; return how many were counted in it."""
    with PartFile(str(path)) as part:
        sink = ParquetSink(part) if form == "parquet" else TextSink(part, text_form(form, "ns"), packer(path.name))
        exporter = Exporter(store, ALL, sink)
        await exporter.run()
        if isinstance(sink, ParquetSink):
            sink.close()
        count = await count_again(str(part.path), form, lambda _: None)
        assert count == exporter.report.events
        part.keep()
    return count


async def imported(path: Path, form: Form) -> list[Event]:
    """Import a file into a new store and return all its events."""
    store, faults = InMemoryEventStore(), []
    descriptor = os.open(path, os.O_RDONLY)
    try:
        importer = Importer(store, commit_bytes_max=2**20, on_fault=faults.append)
        await importer.run(open_source(descriptor, str(path), form, Mapping()).chunks())
    finally:
        os.close(descriptor)
    assert not faults
    return [event async for batch in store.read_all() for event in batch]


def in_order(found: Sequence[Event]) -> list[Event]:
    """Return events by actor and version; an import keeps only the order within each actor."""
    return sorted(found, key=lambda event: (event.actor_id, event.version))


def names_in(folder: Path) -> list[str]:
    """Return what lies in a folder."""
    return sorted(path.name for path in folder.iterdir())


NAMES = ("x.ndjson", "x.ndjson.gz", "x.ndjson.zst", "x.csv", "x.csv.gz", "x.cloudevents", "x.parquet")


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60, deadline=None)
@given(made=events())
def test_an_import_of_an_export_has_equal_events(name: str, made: list[Event]) -> None:
    """Hostile ids, bytes, moments, nanoseconds, metadata and the highest versions come back, whatever the form."""
    form: Form = "cloudevents" if name.endswith("cloudevents") else form_of(name)

    async def there_and_back() -> list[Event]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            assert await written(await filled(made), path, form) == len(made)
            return await imported(path, form)

    assert in_order(asyncio.run(there_and_back())) == in_order(made)


@pytest.mark.parametrize("package", ["pyarrow", "polars"])
async def test_either_package_writes_parquet_in_groups(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several row groups become one file whose rows are in order, and nothing else is left in the folder."""
    monkeypatch.setattr(parquet.importlib.util, "find_spec", lambda name: name == package or None)
    monkeypatch.setattr(parquet, "GROUP_EVENTS", 1100)
    monkeypatch.setattr(parquet, "GROUP_BYTES", 90_000)
    made = [Event("a", "T", version, {"n": version, "b": b"\xff"}, metadata={"k": "v"}) for version in range(1, 3_501)]
    store = await filled(made)
    await written(store, tmp_path / "x.parquet", "parquet")
    monkeypatch.undo()
    assert names_in(tmp_path) == ["x.parquet"]
    assert await imported(tmp_path / "x.parquet", "parquet") == made


async def test_without_either_package_parquet_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the command, and no file is left."""
    monkeypatch.setattr(parquet.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(AetherError, match="pip install pyarrow"):
        await written(InMemoryEventStore(), tmp_path / "x.parquet", "parquet")
    assert names_in(tmp_path) == []


async def test_without_zstandard_zst_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the extra."""
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(AetherError, match=r"pip install 'aether-events\[zstd\]'"):
        packer("x.zst")


@pytest.mark.parametrize("form", ["ndjson", "csv", "cloudevents", "parquet"])
async def test_an_export_of_nothing_is_an_empty_file_of_its_form(form: Form, tmp_path: Path) -> None:
    """It is read again as no events."""
    assert await written(InMemoryEventStore(), tmp_path / "x", form) == 0
    assert await count_again(str(tmp_path / "x"), form, lambda _: None) == 0


async def test_only_positions_asked_for_are_exported(tmp_path: Path) -> None:
    """`after` is left out, `through` is in, and a bound behind the end is the end."""
    store = await filled([Event("a", "T", version) for version in range(1, 11)])
    for after, through, expected in (
        (0, 3, [1, 2, 3]),
        (8, None, [9, 10]),
        (8, 99, [9, 10]),
        (4, 6, [5, 6]),
        (5, 5, []),
        (7, 2, []),
    ):
        with PartFile(str(tmp_path / "x")) as part:
            exporter = Exporter(store, ALL, TextSink(part, text_form("ndjson", "ns"), packer("x")))
            await exporter.run(after, through)
            part.keep()
        assert [event.version for event in await imported(tmp_path / "x", "ndjson")] == expected
        assert exporter.report.events == len(expected)


class Damaged(InMemoryEventStore):
    """A store whose messages at some positions are damaged."""

    damaged: tuple[int, ...] = ()

    async def _replay(
        self, wanted: EventFilter, after: int, batch_size: int, last: int | None = None
    ) -> AsyncGenerator[EventBatch]:
        bad = next((position for position in self.damaged if position > after and (last is None or position <= last)), None)
        async for batch in super()._replay(wanted, after, batch_size, last if bad is None else bad - 1):
            yield batch
        if bad is not None:
            raise CorruptEventError("S", bad, "a", "its checksum is wrong")


async def test_damage_ends_an_export_or_is_stepped_over_and_counted(tmp_path: Path) -> None:
    """Two damaged messages next to each other and the last one are told each, and everything else is written."""
    store = Damaged()
    store.damaged = (1, 4, 5, 9)
    for version in range(1, 10):
        await store.save_event(Event("a", "T", version))
    with pytest.raises(CorruptEventError, match="message 1"):
        await written(store, tmp_path / "x", "ndjson")
    assert names_in(tmp_path) == []
    told: list[CorruptEventError] = []
    with PartFile(str(tmp_path / "x")) as part:
        exporter = Exporter(store, ALL, TextSink(part, text_form("ndjson", "ns"), packer("x")), told.append)
        await exporter.run()
        part.keep()
    assert [error.position for error in told] == [1, 4, 5, 9]
    assert (exporter.report.damaged, exporter.report.events, exporter.report.position) == (4, 5, 9)
    assert [event.version for event in await imported(tmp_path / "x", "ndjson")] == [2, 3, 6, 7, 8]


@pytest.mark.parametrize(
    ("form", "spoil"),
    [
        ("ndjson", lambda content: content[:-9]),
        ("ndjson", lambda content: content.replace(b'"id"', b'"ib"')),
        ("csv", lambda content: content[:-9].replace(b"2", b"")),
        ("cloudevents", lambda content: content.replace(b'"1.0"', b'"2.0"')),
    ],
    ids=["cut off", "no record", "csv", "cloudevents"],
)
async def test_a_file_that_is_not_what_was_written_is_noticed(form: Form, spoil: Any, tmp_path: Path) -> None:
    """Counting again reads each event as an import does."""
    await written(await filled([Event("a", "T", 1, {"n": 1})]), tmp_path / "x", form)
    (tmp_path / "x").write_bytes(spoil((tmp_path / "x").read_bytes()))
    with pytest.raises(AetherError, match="cannot be read"):
        await count_again(str(tmp_path / "x"), form, lambda _: None)


def test_a_file_has_its_name_only_when_it_is_kept(tmp_path: Path) -> None:
    """Until then the old one stays, two cannot write at once, and what a killed process left behind is written anew."""
    name = tmp_path / "x"
    name.write_bytes(b"old")
    (tmp_path / "x.part").write_bytes(b"left behind by a killed process")
    with PartFile(str(name)) as part:
        part.file.write(b"half")
        part.sync()
        with pytest.raises(AetherError, match="being written by another process"):
            PartFile(str(name))
    assert names_in(tmp_path) == ["x"]
    assert name.read_bytes() == b"old"
    with PartFile(str(name)) as part:
        part.file.write(b"new")
        part.sync()
        part.keep()
    assert names_in(tmp_path) == ["x"]
    assert name.read_bytes() == b"new"


async def test_a_reader_that_waits_does_not_stop_the_event_loop(tmp_path: Path) -> None:
    """While a pipe is full other tasks run, a cancelled write ends, and what was read is the beginning of what was written."""
    read, write = os.pipe()
    try:
        sink = PipeSink(write, text_form("ndjson", "ns"))
        event = Event("a", "T", 1, "x" * 500_000)
        writing = asyncio.create_task(sink.write([event]))
        os.set_blocking(read, False)
        content = b""
        while len(content) < 400_000:
            await asyncio.sleep(0)
            try:
                content += os.read(read, 4096)
            except BlockingIOError:
                assert not writing.done()
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        assert text_form("ndjson", "ns").rows([event]).startswith(content)
    finally:
        os.close(read)
        os.close(write)


@pytest.mark.parametrize("form", ["csv", "parquet"])
async def test_columns_say_where_each_event_lies(tmp_path: Path, form: Form) -> None:
    """CSV and Parquet have the position of each event's commit, also where it has several and a filter leaves gaps."""
    store = InMemoryEventStore()
    for number in range(1500):
        await store.append(f"a{number % 3}", [NewEvent("Kept", number), NewEvent("Left", number), NewEvent("Kept", number)])
    path = tmp_path / f"x.{form}"
    with PartFile(str(path)) as part:
        sink = ParquetSink(part) if form == "parquet" else TextSink(part, text_form(form, "ns"), packer(path.name))
        await Exporter(store, EventFilter(None, "a", None, ["Kept"]), sink).run()
        part.keep()
    table = pl.read_csv(path) if form == "csv" else pl.read_parquet(path)
    assert table["position"].to_list() == [position for position in range(1, 1501) for _ in range(2)]
    assert table["event_type"].unique().to_list() == ["Kept"]
