"""Puts very many events through one pipeline, in a process that does nothing else, and prints how each tenth of them went.

`python -m aether.bench.sustained_process JSON`, as `aether.bench.sustained` gives it; prints JSON. A tenth ends when it is acked.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING

import msgspec

from aether._native import Event
from aether.bench.measure import resident_mib
from aether.bench.setting import PAYLOAD, TIMEOUT_S
from aether.bench.sustained import EVENTS_EACH, TENTHS, Given, Tenth, actor
from aether.store.jetstream import JetStreamEventStore

if TYPE_CHECKING:
    from collections.abc import Iterator


def events(given: Given, tenth: int) -> Iterator[Event]:
    """Make a tenth of the events: in each turn every actor has one."""
    names = [actor(number) for number in range(given.actors)]
    turns = EVENTS_EACH // TENTHS
    for version in range(tenth * turns + 1, (tenth + 1) * turns + 1):
        for name in names:
            yield Event(name, "Measured", version, PAYLOAD)


async def measure(given: Given) -> list[Tenth]:
    """Put everything, tell of each tenth on stderr as it ends, and return what they took."""
    tenths = []
    async with (
        JetStreamEventStore(given.url, namespace=given.namespace, timeout_s=TIMEOUT_S) as store,
        store.ingest(commit_events_max=1) as pipeline,
    ):
        for tenth in range(TENTHS):
            began, began_cpu = time.perf_counter(), time.process_time()
            await pipeline.put_many(events(given, tenth))
            await pipeline.flush()
            spent = Tenth(time.perf_counter() - began, time.process_time() - began_cpu, resident_mib())
            rate = given.actors * EVENTS_EACH / TENTHS / spent.seconds
            cpu_us = 1e6 * spent.cpu_s / (rate * spent.seconds)
            told = f"{rate:,.0f}/s, {cpu_us:.2f} µs of CPU an event, {spent.resident_mib:.0f} MiB"
            sys.stderr.write(f"aether: tenth {tenth + 1} of {TENTHS}: {told}\n")
            tenths.append(spent)
    return tenths


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(measure(msgspec.json.decode(sys.argv[1], type=Given)))))
