"""What the fence of a shard's owner costs beside the guard of a plain store: appends one after the other, and ingestion.

`python benches/bench_fence.py` prints it, on one server and on three; pytest runs it once, small. `aether bench cluster` has the
appends on one, with percentiles.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import statistics
import sys
import time
from contextlib import AsyncExitStack

from aether import EmbeddedServer, JetStreamEventStore, NewEvent
from aether.store.sole_owner import SoleOwnerStore
from aether.testing.servers import NatsCluster, running_cluster, running_server

DATA = {"customer": "c-17", "total_cents": 9950, "lines": 3}
ACTORS = 20
TURNS = {"quick": 15, "ci": 30, "full": 100}
APPENDS = 100
"""Appends of one turn, one after the other; they go to all actors by turns."""
INGEST_EVENTS = 2_000
INGEST_ACTORS = (20, 2_000)


async def append(store: JetStreamEventStore, count: int) -> float:
    """Append one after the other; return the median of what one took, in microseconds."""
    times = []
    for number in range(count):
        began = time.perf_counter()
        await store.append(f"order-{number % ACTORS}", NewEvent("OrderPlaced", DATA))
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e6


async def ingest(store: JetStreamEventStore, actors: int, count: int) -> float:
    """Ingest events of so many actors; return the events of a second."""
    began = time.perf_counter()
    async with store.ingest() as pipeline:
        await pipeline.put_many((f"device-{number % actors}", NewEvent("Measured", DATA)) for number in range(count))
    return count / (time.perf_counter() - began)


async def sides(where: EmbeddedServer | NatsCluster, stack: AsyncExitStack) -> tuple[JetStreamEventStore, JetStreamEventStore]:
    """Open a plain store and an owner's, each on a namespace of its own, which know their actors.

    On a cluster each is connected to the server that leads its stream, so that neither has a longer way.
    """
    opened = []
    for opening in (JetStreamEventStore, SoleOwnerStore):
        namespace, url = f"bench-{secrets.token_hex(4)}", where.urls[0] if isinstance(where, NatsCluster) else where.url
        if isinstance(where, NatsCluster):
            async with opening(url, namespace=namespace, replicas=3):
                url = where.urls[await where.leader_of(f"AETHER-EVENTS-{namespace}")]
        opened.append(await stack.enter_async_context(opening(url, namespace=namespace)))
        await append(opened[-1], 2 * ACTORS)
    return opened[0], opened[1]


async def latencies(where: EmbeddedServer | NatsCluster, turns: int, appends: int) -> tuple[float, float, float]:
    """Return the medians of both sides in microseconds, plain first, and the median of the ratio within a turn."""
    async with AsyncExitStack() as stack:
        plain, fenced = await sides(where, stack)
        pairs = []
        for turn in range(turns):
            order = (plain, fenced) if turn % 2 else (fenced, plain)
            took = {id(store): await append(store, appends) for store in order}
            pairs.append((took[id(plain)], took[id(fenced)]))
    theirs, ours = zip(*pairs, strict=True)
    return statistics.median(theirs), statistics.median(ours), statistics.median(our / their for their, our in pairs)


async def rates(where: EmbeddedServer | NatsCluster, actors: int, count: int, turns: int) -> tuple[float, float]:
    """Return the events of a second that both sides ingest, plain first: medians."""
    async with AsyncExitStack() as stack:
        stores = await sides(where, stack)
        for store in stores:
            await ingest(store, actors, actors)
        found = [[await ingest(store, actors, count) for store in stores] for _ in range(turns)]
    plain, fenced = zip(*found, strict=True)
    return statistics.median(plain), statistics.median(fenced)


async def test_both_sides_store_the_same():
    """An owner and a plain store append and ingest the same."""
    with running_server() as server:
        async with AsyncExitStack() as stack:
            counts = []
            for store in await sides(server, stack):
                await ingest(store, 20, 100)
                counts.append([len(batch) async for batch in store.read_all()])
            assert sum(counts[0]) == sum(counts[1]) == 2 * ACTORS + 100
        assert (await latencies(server, 1, 20))[2] > 0


async def main() -> None:
    """Print both sides."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=TURNS, default="quick")
    turns = TURNS[parser.parse_args().size]
    with running_server() as server, running_cluster() as cluster:
        for where in (server, cluster):
            name = "3 servers" if isinstance(where, NatsCluster) else "1 server"
            plain, fenced, ratio = await latencies(where, turns, APPENDS)
            told = f"append {plain:.0f} µs plain, {fenced:.0f} µs fenced, ratio {ratio:.2f} (target 1.4 or less)"
            sys.stdout.write(f"{name}: {told}\n")
            for actors in INGEST_ACTORS:
                plain, fenced = await rates(where, actors, INGEST_EVENTS, max(3, turns // 10))
                sys.stdout.write(f"{name}: ingest of {actors:,} actors: {plain:,.0f} events/s plain, {fenced:,.0f} fenced\n")


if __name__ == "__main__":
    asyncio.run(main())
