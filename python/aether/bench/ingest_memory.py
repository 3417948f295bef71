"""Puts events of a shape once, in a process that does nothing else, and prints how far its memory rose above idle, in MiB.

`python -m aether.bench.ingest_memory JSON`, with what `aether.bench.ingest` gives it. The events are made as they are put, so
what is measured is the pipeline: its bounds, and what it keeps of each actor.
"""

from __future__ import annotations

import asyncio
import sys

import msgspec

from aether.bench.ingest import Shape  # noqa: TC001 - msgspec reads the annotation
from aether.bench.measure import peak_mib, resident_mib
from aether.bench.setting import TIMEOUT_S
from aether.store.jetstream import JetStreamEventStore


class Given(msgspec.Struct):
    """What is to be put, and where."""

    url: str
    namespace: str
    count: int
    shape: Shape


async def measure(given: Given) -> float:
    """Put everything; return the growth."""
    async with JetStreamEventStore(given.url, namespace=given.namespace, timeout_s=TIMEOUT_S) as store:
        await store.info()
        idle = resident_mib()
        async with store.ingest(commit_events_max=given.shape.commit) as pipeline:
            await pipeline.put_many(given.shape.events(0, given.count))
    return peak_mib() - idle


if __name__ == "__main__":
    sys.stdout.write(f"{asyncio.run(measure(msgspec.json.decode(sys.argv[1], type=Given)))}\n")
