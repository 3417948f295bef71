"""Reads a namespace once, in a process that does nothing else, and prints how far its resident memory rose above idle.

`python -m aether.bench.replay_memory URL NAMESPACE`
"""

from __future__ import annotations

import asyncio
import json
import sys

from aether.bench.measure import resident_mib
from aether.store.jetstream import JetStreamEventStore


async def measure(url: str, namespace: str) -> dict[str, float]:
    """Read everything; return the number of events and the growth."""
    async with JetStreamEventStore(url, namespace=namespace) as store:
        await store.info()
        idle = highest = resident_mib()
        read = 0
        async for batch in store.read_all():
            read += len(batch)
            highest = max(highest, resident_mib())
        return {"read": read, "grown_mib": highest - idle}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(measure(*sys.argv[1:3]))) + "\n")
