"""A namespace as columns: `store.arrow`, beside the same columns made in Python of what `read_all` gives.

`pytest benches/bench_arrow.py --benchmark-enable` prints the figures; without that each runs once and small.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from aether import NewEvent, sync

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA = {"customer": "c-17", "total_cents": 9950, "lines": 3, "note": "x" * 64}

BATCH = 65_536


@pytest.fixture(scope="module")
def store(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A store on a real server, with events of 1,000 actors."""
    count = 200_000 if request.config.getoption("--benchmark-enable") else 5_000
    with sync.EmbeddedServer(sync=120) as server, sync.JetStreamEventStore(server.url) as store:
        with store.ingest(commit_events_max=10) as pipeline:
            pipeline.put_many((f"order-{n % 1000}", NewEvent("OrderPlaced", DATA)) for n in range(count))
        yield store


def natively(store: Any) -> pa.Table:
    """Let the store make the columns."""
    return pa.table(store.arrow(batch_size=BATCH))


def in_python(store: Any) -> pa.Table:
    """Make them of `Event` objects, as one would without it; positions are those of batches, as nothing better is known."""
    batches, schema = [], pa.schema(store.arrow())
    for batch in store.read_all(batch_size=BATCH):
        rows = [
            (
                batch.position,
                event.actor_id,
                event.event_type,
                event.version,
                event.id,
                event.time_ns,
                event.payload,
                json.dumps(event.data, separators=(",", ":")),
                json.dumps(event.metadata) if event.metadata else None,
            )
            for event in batch
        ]
        batches.append(
            pa.record_batch([pa.array(c, f.type) for c, f in zip(zip(*rows, strict=True), schema, strict=True)], schema)
        )
    return pa.Table.from_batches(batches, schema)


@pytest.mark.parametrize("make", [natively, in_python])
def test_columns(benchmark: Any, store: Any, make: Any) -> None:
    """A whole namespace into a pyarrow table; both ways make the same one."""
    table = benchmark.pedantic(make, (store,), rounds=5, warmup_rounds=1)
    columns = table.schema.names[1:]
    assert table.select(columns).equals(in_python(store).select(columns))
