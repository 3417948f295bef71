"""A namespace as columns: `store.arrow`, beside the same columns made in Python of what `read_all` gives.

`pytest benches/bench_arrow.py -n0 --benchmark-enable` prints the figures; without that each runs once and small.
"""

from __future__ import annotations

import json
import subprocess
import sys
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


LARGE = 320
LARGE_BYTES = 256 * 2**10
SHARE_MAX = 0.5

STREAMING = """
import sys
from aether import sync
from aether.bench.measure import peak_mib, resident_mib

with sync.JetStreamEventStore(sys.argv[1], namespace="large") as store:
    store.info()
    idle = resident_mib()
    rows = sum(len(batch) for batch in store.arrow(batch_size=8))
    print(rows, peak_mib() - idle)
"""


def test_a_stream_is_not_held(benchmark: Any) -> None:
    """Columns of 160 MiB, as msgpack and as JSON, streamed in batches of 4 MiB take less than half of that."""
    with sync.EmbeddedServer(sync=120) as server, sync.JetStreamEventStore(server.url, namespace="large") as store:
        with store.ingest(commit_events_max=1) as pipeline:
            pipeline.put_many((f"order-{n % 10}", NewEvent("OrderPlaced", "x" * LARGE_BYTES)) for n in range(LARGE))

        def stream() -> tuple[int, float]:
            command = [sys.executable, "-c", STREAMING, server.url]
            rows, grown = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout.split()
            return int(rows), float(grown)

        rows, grown_mib = benchmark.pedantic(stream, rounds=1)
    benchmark.extra_info["peak_mib"] = grown_mib
    assert rows == LARGE
    assert 0 < grown_mib < SHARE_MAX * 2 * LARGE * LARGE_BYTES / 2**20
