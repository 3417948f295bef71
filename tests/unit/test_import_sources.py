"""Inputs of other forms than NDJSON: what they become, and how they keep the input's numbers."""

from __future__ import annotations

import base64
import csv
import datetime as dt
import io
import json
import os
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether import AetherError, InMemoryEventStore, codec
from aether.ingest import csv_rows, reading, tables
from aether.ingest.importer import Importer
from aether.ingest.mapping import Mapping
from aether.ingest.quarantine import Quarantine
from aether.ingest.reports import Fault, ImportReport
from aether.ingest.sources import Form, form_of, open_source

if TYPE_CHECKING:
    from pathlib import Path

TIME = "2013-01-01T10:17:00Z"
HEAD = b"id,actor_id,event_type,timestamp"
ROW = b",a,T,2013-01-01T10:17:00Z"


class Imported:
    """What an import of a file has done."""

    def __init__(self) -> None:
        self.store = InMemoryEventStore()
        self.faults: list[Fault] = []
        self.aside = io.BytesIO()
        self.report = ImportReport()

    async def run(self, path: Path, form: Form, rules: tuple[str, ...] = (), delimiter: str = ",") -> Imported:
        """Import a file, bad lines aside."""
        descriptor = os.open(path, os.O_RDONLY)
        try:
            source = open_source(descriptor, str(path), form, Mapping(rules), delimiter)
            quarantine = Quarantine(self.aside, source)
            importer = Importer(
                self.store, commit_bytes_max=2**20, skip_bad=True, quarantine=quarantine, on_fault=self.faults.append
            )
            self.report = await importer.run(source.chunks())
        finally:
            os.close(descriptor)
        return self

    async def data(self) -> dict[str, Any]:
        """Return the data of each id."""
        return {event.id: event.data async for batch in self.store.read_all() for event in batch}


async def imported(tmp_path: Path, content: bytes, form: Form = "csv", *rules: str, delimiter: str = ",") -> Imported:
    """Import content of a form."""
    (tmp_path / "input").write_bytes(content)
    return await Imported().run(tmp_path / "input", form, rules, delimiter)


async def test_other_columns_of_csv_are_entries_of_the_data(tmp_path: Path) -> None:
    """A column that is named as a field is that field, any other is text in the data, and metadata has entries of its own."""
    done = await imported(tmp_path, HEAD + b",city,metadata.by,data.n:int\n1" + ROW + b",\xc3\x9cbeda,me,7\n2" + ROW + b",,,\n")
    assert await done.data() == {"1": {"city": "Übeda", "n": 7}, "2": {"city": "", "n": None}}
    first, second = await done.store.get_events("a")
    assert (first.metadata, second.metadata) == ({"by": "me"}, {"by": ""})


async def test_columns_are_mapped_to_fields_and_constants_fill_the_rest(tmp_path: Path) -> None:
    """A CSV that knows nothing of events becomes some by rules alone."""
    content = b"no;tail;when;late;open;x;junk\n7;N1;2013-01-01T10:17:00Z;2.5;True;[1];j\n"
    rules = ("id=no", "actor_id=tail", "event_type==Landed", "timestamp=when", "data.late_min:float=late", "data.open:bool=open")
    done = await imported(tmp_path, content, "csv", *rules, "data.x:json=x", "-=junk", delimiter=";")
    (event,) = await done.store.get_events("N1")
    assert (event.id, event.event_type, event.data) == ("7", "Landed", {"late_min": 2.5, "open": True, "x": [1]})


async def test_a_column_of_data_holds_it_as_json(tmp_path: Path) -> None:
    """Data, metadata, payload and version stand in columns of their own, empty where there is none."""
    payload = base64.b64encode(codec.encode(b"\x00")).decode().encode()
    content = (
        HEAD
        + b",data,metadata,payload,version\n1"
        + ROW
        + b',"{""a"":\n1.50}","{""k"": ""v""}",,3\n2'
        + ROW
        + b",,,"
        + payload
        + b",\n"
    )
    done = await imported(tmp_path, content)
    first, second = await done.store.get_events("a")
    assert (first.version, first.data, first.metadata) == (3, {"a": 1.5}, {"k": "v"})
    assert (second.version, second.data, second.metadata) == (4, b"\x00", {})


async def test_bad_rows_are_told_by_their_first_line_and_put_aside_whole(tmp_path: Path) -> None:
    """Rows over several lines keep the numbers right, and what is put aside is a CSV that can be imported once corrected."""
    bad = [b'2,"a\nb",T', b"3" + ROW + b',x"y"z,"q"r', b"4,a,T,yesterday,,", b"\xff" + ROW + b",,"]
    content = b"\xef\xbb\xbf" + HEAD + b",x,y\r\n1" + ROW + b',"l1\r\nl2 ""q""",\r\n\r\n' + b"\n".join(bad) + b"\n9" + ROW + b",,"
    done = await imported(tmp_path, content)
    assert await done.data() == {"1": {"x": 'l1\r\nl2 "q"', "y": ""}, "9": {"x": "", "y": ""}}
    assert [fault.line for fault in done.faults] == [5, 7, 8, 9]
    assert [fault.reason[:20] for fault in done.faults][0::2] == ["has 3 columns, the h", "timestamp 'yesterday"]
    assert done.aside.getvalue() == HEAD + b",x,y\r\n" + b"\n".join(bad) + b"\n"
    assert done.report.settled_line == 10


@pytest.mark.parametrize("size", [10, 100, 10_000])
async def test_a_quote_that_is_never_closed_ends_the_import_where_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """What is in front of it is stored; behind it no text is taken for rows, and memory stays within one longest row."""
    monkeypatch.setattr(csv_rows, "RECORD_BYTES_MAX", 1000)
    monkeypatch.setattr(reading, "CHUNK_BYTES", size)
    rest = b"".join(b"%d" % n + ROW + b",\n" for n in range(3, 60))
    importing = Imported()
    (tmp_path / "input").write_bytes(HEAD + b",x\n1" + ROW + b",\n2" + ROW + b',"oh\n' + rest)
    with pytest.raises(AetherError, match="the row at line 3 is longer than 1,000 bytes; is a quote not closed"):
        await importing.run(tmp_path / "input", "csv")
    assert await importing.data() == {"1": {"x": ""}}


@pytest.mark.parametrize(
    ("content", "rules", "reason"),
    [
        (b"actor_id,event_type,timestamp\n", (), "has no column for 'id'; name one: --map id=COLUMN"),
        (HEAD + b",x,x\n", (), "has these columns twice: x"),
        (HEAD + b"\n", ("data.y=y",), "has no column 'y'; its columns are id, actor_id"),
        (HEAD + b",data,x\n", (), "the column 'x' stands for no field; map it, or leave it out: --map=-=x"),
        (HEAD + b",data,x\n", ("data.x=x",), "the field 'data.x' is given twice"),
        (HEAD + b"\n", ("id==1", "id==2"), "the field 'id' is given twice"),
        (b'"id\n', (), "line 1 is no header: unexpected end of data"),
        (b"", ("colour=x",), "--map colour=x: write FIELD=COLUMN"),
        (b"", ("id",), "--map id: write FIELD=COLUMN"),
        (b"", ("id:int=x",), "--map id:int=x: write FIELD=COLUMN"),
    ],
)
async def test_a_mapping_that_cannot_be_is_refused_before_anything_is_stored(
    tmp_path: Path, content: bytes, rules: tuple[str, ...], reason: str
) -> None:
    """The error says which column or rule is wrong, and what to write."""
    with pytest.raises(AetherError) as caught:
        await imported(tmp_path, content, "csv", *rules)
    assert reason in str(caught.value)


cells = st.text(st.characters(codec="utf-8", exclude_characters="\x00\r"), max_size=10) | st.sampled_from(
    ['"', ",", "\n", "\r\n", '",\n"']
)


@given(st.lists(st.lists(cells, min_size=2, max_size=2), max_size=20), st.integers(1, 50))
def test_rows_are_framed_as_pythons_own_writer_makes_them(rows: list[list[str]], size: int) -> None:
    """Whatever cells hold, and however the bytes are cut, each row comes out with what it was made of and with its line."""
    written = io.StringIO(newline="")
    writer = csv.writer(written, lineterminator="\n")
    begins = []
    for row in rows:
        begins.append(written.getvalue().count("\n") + 1)
        writer.writerow(row)
    content = written.getvalue().encode()
    framing = csv_rows._Rows(b",")
    framed = [row for start in range(0, len(content), size) for row in framing.feed(content[start : start + size])]
    framed += framing.end()
    assert [row.number for row in framed] == begins
    parsed = [next(csv.reader([row.content.decode()], strict=True)) for row in framed]
    assert parsed == rows


def cloud_event(**changes: Any) -> bytes:
    """Return a CloudEvent as a line; an attribute set to ... is left out."""
    event = {"specversion": "1.0", "id": "1", "source": "/s", "type": "T", "subject": "a", "time": TIME, "data": {"n": 1}}
    return json.dumps({key: value for key, value in {**event, **changes}.items() if value is not ...}).encode() + b"\n"


async def test_cloud_events_become_events_and_lose_no_attribute(tmp_path: Path) -> None:
    """Each attribute has its place, and what has none is metadata."""
    lines = [
        cloud_event(traceparent="00-1", sampled=True, datacontenttype="application/json"),
        cloud_event(id="2", data=..., subject=...),
        cloud_event(id="3", data=..., data_base64="AAE=", datacontenttype="image/png"),
        cloud_event(id="4", data=..., data_base64="wA==", datacontenttype="application/msgpack", aetherversion="9"),
        cloud_event(id="5", aethermetadata='{"k": "v"}', aetherversion=12),
    ]
    done = await imported(tmp_path, b"".join(lines), "cloudevents")
    events = {event.id: event for actor in ("a", "/s") for event in await done.store.get_events(actor)}
    assert {key: (event.actor_id, event.version, event.data) for key, event in events.items()} == {
        "1": ("a", 1, {"n": 1}),
        "2": ("/s", 1, None),
        "3": ("a", 2, b"\x00\x01"),
        "4": ("a", 9, None),
        "5": ("a", 12, {"n": 1}),
    }
    assert events["1"].metadata == {"source": "/s", "traceparent": "00-1", "sampled": "true"}
    assert events["2"].metadata == {}
    assert events["3"].metadata == {"source": "/s", "datacontenttype": "image/png"}
    assert events["5"].metadata == {"k": "v"}


async def test_bad_cloud_events_are_put_aside_as_they_stand_in_the_input(tmp_path: Path) -> None:
    """Also those that are CloudEvents and make no event."""
    bad = [
        cloud_event(specversion="0.3"),
        cloud_event(time=...),
        cloud_event(data_base64="wA=="),
        cloud_event(data=..., data_base64="?"),
        cloud_event(aetherversion="x"),
        cloud_event(time="yesterday"),
        b"[" * 10_000 + b"\n",
    ]
    done = await imported(tmp_path, b"\n".join(bad) + cloud_event(), "cloudevents")
    assert [fault.line for fault in done.faults] == [1, 3, 5, 7, 9, 11, 13]
    assert done.aside.getvalue() == b"".join(bad)
    assert done.report.saved == 1


MOMENT = dt.datetime(2013, 1, 1, 10, 17, tzinfo=dt.UTC)


def table() -> pa.Table:
    """Return events as an export's table has them, and one row that is none."""
    size = 3 * tables.ROWS + 1
    times = pa.array([MOMENT.timestamp() * 10**9 + number for number in range(size)], pa.float64()).cast(pa.int64())
    payload = [codec.encode({"n": number, "when": MOMENT}) for number in range(size)]
    return pa.table(
        {
            "position": list(range(size)),
            "id": [str(number) if number != 5 else "" for number in range(size)],
            "actor_id": ["a"] * size,
            "event_type": ["T"] * size,
            "timestamp": times.cast(pa.timestamp("ns", "UTC")),
            "version": pa.array(range(1, size + 1), pa.uint64()),
            "data": payload,
            "data_json": ["{}"] * size,
            "metadata_json": ['{"k":"v"}'] * size,
        }
    )


@pytest.mark.parametrize("package", ["pyarrow", "polars"])
@pytest.mark.parametrize("form", ["parquet", "arrow"])
async def test_tables_become_events_with_either_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, form: Form
) -> None:
    """Every row arrives with its exact data and its nanoseconds; a bad one is told by its number."""
    if package == "polars":
        monkeypatch.setattr(tables, "_reader", lambda: tables._by_polars)
    file, made = tmp_path / f"input.{form}", table()
    if form == "parquet":
        pa.parquet.write_table(made, file)
    else:
        pl.from_arrow(made).write_ipc(file, compression="uncompressed", compat_level=pl.CompatLevel.oldest())
    done = await Imported().run(file, form_of(file.name))
    events = await done.store.get_events("a")
    assert len(events) == len(made) - 1
    last = events[-1]
    assert (last.id, last.version, last.data) == (str(len(made) - 1), len(made), {"n": len(made) - 1, "when": MOMENT})
    assert (last.time_ns % 1000, last.metadata) == (made["timestamp"].cast(pa.int64())[-1].as_py() % 1000, {"k": "v"})
    assert [(fault.line, fault.reason[:5]) for fault in done.faults] == [(6, "id ''")]
    assert json.loads(done.aside.getvalue())["id"] == ""


async def test_values_of_tables_keep_their_types(tmp_path: Path) -> None:
    """What JSON cannot say goes in too: the data of a row is data as any other."""
    row = {
        "id": "1",
        "actor_id": "a",
        "event_type": "T",
        "timestamp": TIME,
        "n": 7,
        "f": 0.5,
        "b": b"\x00",
        "l": [1, None],
        "m": MOMENT,
    }
    pa.parquet.write_table(pa.Table.from_pylist([row]), tmp_path / "x.parquet")
    done = await Imported().run(tmp_path / "x.parquet", "parquet")
    assert await done.data() == {"1": {"n": 7, "f": 0.5, "b": b"\x00", "l": [1, None], "m": "2013-01-01T10:17:00.000000Z"}}


async def test_a_damaged_table_is_an_error_that_names_it(tmp_path: Path) -> None:
    """Neither package's own error comes through."""
    with pytest.raises(AetherError, match="input: cannot be read as parquet"):
        await imported(tmp_path, b"PAR1 no", "parquet")


@pytest.mark.parametrize(
    ("name", "form"),
    [("a.csv", "csv"), ("a.csv.gz", "csv"), ("b.parquet", "parquet"), ("a.ndjson.zst", "ndjson"), ("-", "ndjson")],
)
def test_the_name_tells_the_form(name: str, form: Form) -> None:
    """Also behind the suffix of what packs it."""
    assert form_of(name) == form
