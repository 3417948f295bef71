"""Columns out of `store.arrow` as polars, pyarrow and DuckDB read them, from both stores, and what an error looks like there."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl
import pyarrow as pa
import pytest
from faults.dump import stock_client

from aether import ArrowBatch, ArrowTable, CorruptEventError, Event, JetStreamEventStore, NewEvent, sync
from aether._native import actor_subject, arrow_stream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aether import EmbeddedServer

EVENTS = 2_500

# Python's own moments have no nanoseconds, and pyarrow refuses to make any; the contract compares them as numbers.
READERS = {
    "polars": lambda stream: pl.DataFrame(stream).to_dicts(),
    "pyarrow": lambda stream: pa.RecordBatchReader.from_stream(stream).read_all().drop_columns("timestamp").to_pylist(),
    "duckdb": lambda stream: duckdb.sql("from stream order by position, version").pl().to_dicts(),
}

reader = pytest.mark.parametrize("read", READERS.values(), ids=READERS)


@pytest.fixture(scope="module", params=["memory", "jetstream"])
def store(request: pytest.FixtureRequest, nats_server: EmbeddedServer) -> Iterator[Any]:
    """A blocking store with events of many actors."""
    with ExitStack() as stack:
        if request.param == "memory":
            store: Any = stack.enter_context(sync.InMemoryEventStore())
        else:
            store = stack.enter_context(sync.JetStreamEventStore(nats_server.url, namespace="arrow-tools"))
        with store.ingest() as pipeline:
            pipeline.put_many((f"actor-{n % 50}", NewEvent("Moved", {"n": n}, metadata={"by": "me"})) for n in range(EVENTS))
        yield store


@reader
def test_a_tool_reads_a_stream(store: Any, read: Any) -> None:
    """Each tool reads every event of both stores, in batches, with equal values."""
    rows = read(store.arrow(batch_size=100))
    events = [event for batch in store.read_all() for event in batch]
    assert len(rows) == len(events) == EVENTS
    for row, event in zip(rows, events, strict=True):
        assert (row["actor_id"], row["version"], row["id"]) == (event.actor_id, event.version, event.id)
        assert (row["event_type"], row["data"]) == ("Moved", event.payload)
        assert json.loads(row["data_json"]) == event.data
        assert json.loads(row["metadata_json"]) == {"by": "me"}


@reader
def test_a_tool_reads_a_table_and_a_batch(store: Any, read: Any) -> None:
    """What was collected, and one batch of it, are read by the same means, any number of times."""
    stream = store.arrow(batch_size=100)
    table, batch = stream.collect(), next(iter(stream))
    assert isinstance(table, ArrowTable)
    assert isinstance(batch, ArrowBatch)
    assert [len(read(table)) for _ in range(2)] == [EVENTS, EVENTS]
    assert len(read(batch)) == len(batch) <= 100
    assert pa.record_batch(batch).num_rows == pl.DataFrame(batch).height == len(batch)
    assert pa.schema(stream) == pa.schema(table) == pa.schema(batch) == pa.table(table).schema


def test_sql_reads_a_store(store: Any) -> None:
    """DuckDB groups, filters and reads into JSON over the events of a store, by the name of a variable."""
    events = store.arrow(event_types=["Moved"])  # noqa: F841 - DuckDB finds it
    sql = "select count(*), count(distinct actor_id), sum((data_json->>'n')::int), min(timestamp) > '2020-01-01' from events"
    assert duckdb.sql(sql).fetchall() == [(EVENTS, 50, sum(range(EVENTS)), True)]


def test_any_thread_may_read(store: Any) -> None:
    """Streams are read in several threads at once, each whole."""
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(pl.DataFrame(store.arrow()).height)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == [EVENTS] * 4


def test_batches_are_pulled_one_by_one() -> None:
    """A stream asks for a batch when its reader does and not before, and lets go of its source when it is dropped."""
    with sync.InMemoryEventStore() as store:
        store.save_event(Event("a", "T", 1))
        batch = next(iter(store.arrow()))
    pulled = 0

    def source() -> Iterator[ArrowBatch]:
        nonlocal pulled
        try:
            while True:
                pulled += 1
                yield batch
        finally:
            pulled = -1

    class Endless:
        def __arrow_c_stream__(self, requested_schema: object = None) -> object:
            return arrow_stream(source())

    stream = pa.RecordBatchReader.from_stream(Endless())
    for count in range(1, 4):
        stream.read_next_batch()
        assert pulled == count
    del stream
    assert pulled == -1


@reader
def test_damage_reaches_the_reader_as_text(nats_server: EmbeddedServer, namespace: str, read: Any) -> None:
    """A damaged message ends a tool's read with an error that says where; a reader that asks on is told again."""

    async def plant() -> int:
        async with JetStreamEventStore(nats_server.url, namespace=namespace) as store, stock_client(nats_server.url) as client:
            await store.append("a", NewEvent("T"))
            position = (await client.jetstream().publish(actor_subject(namespace, "b"), b"foreign")).seq
            await store.append("a", NewEvent("T"))
            return position

    position = asyncio.run(plant())
    with sync.JetStreamEventStore(nats_server.url, namespace=namespace) as store:
        with pytest.raises(Exception, match=rf"CorruptEventError: message {position} of"):
            read(store.arrow())
        stream = pa.RecordBatchReader.from_stream(store.arrow())
        assert stream.read_next_batch().num_rows == 1
        for _ in range(2):
            with pytest.raises(pa.ArrowInvalid, match=f"message {position} of"):
                stream.read_next_batch()
        assert len(read(store.arrow(after=position))) == 1


async def test_damage_ends_an_iteration(nats_server: EmbeddedServer, namespace: str) -> None:
    """A damaged message is a `CorruptEventError` with its position, once everything before it was given out."""
    async with JetStreamEventStore(nats_server.url, namespace=namespace) as store, stock_client(nats_server.url) as client:
        await store.append("a", [NewEvent("T"), NewEvent("T")])
        position = (await client.jetstream().publish(actor_subject(namespace, "b"), b"foreign")).seq
        await store.append("a", NewEvent("T"))
        seen: list[ArrowBatch] = []

        async def read() -> None:
            async for batch in store.arrow():
                seen.append(batch)  # noqa: PERF401 - what came before the error stays

        with pytest.raises(CorruptEventError) as raised:
            await read()
        assert (sum(map(len, seen)), raised.value.position) == (2, position)
        with pytest.raises(CorruptEventError):
            await store.arrow().collect()
        assert len(await store.arrow(after=position).collect()) == 1


async def test_a_loop_cannot_wait_for_a_tool(nats_server: EmbeddedServer, namespace: str) -> None:
    """A tool that reads a blocking store inside an event loop is told so, and does not hang."""
    store = await asyncio.to_thread(sync.JetStreamEventStore, nats_server.url, namespace=namespace)
    try:
        with pytest.raises(pa.ArrowInvalid, match="LoopInUseError"):
            pa.table(store.arrow())
        assert await asyncio.to_thread(lambda: pa.table(store.arrow()).num_rows) == 0
    finally:
        await asyncio.to_thread(store.close)


def test_a_parquet_file_of_a_stream_is_an_import(tmp_path: Any, store: Any) -> None:
    """What a tool writes of a stream as Parquet is read by an import as equal events."""
    from aether.ingest.mapping import Mapping
    from aether.ingest.records import judge_record
    from aether.ingest.sources import open_source

    path = tmp_path / "events.parquet"
    pl.DataFrame(store.arrow()).write_parquet(path)

    async def records() -> list[Any]:
        with path.open("rb") as file:
            chunks = [chunk async for chunk in open_source(file.fileno(), str(path), "parquet", Mapping()).chunks()]
        return [judge_record(1, line, 2**20) for chunk in chunks for line in chunk.content.splitlines()]

    events = [event for batch in store.read_all() for event in batch]
    assert [(record.actor_id, record.version, record.event) for record in asyncio.run(records())] == [
        (event.actor_id, event.version, event._draft()) for event in events
    ]
