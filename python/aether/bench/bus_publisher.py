"""Publishes events over the bus, in a process of its own: what the subscribers of a bench hear.

`python -m aether.bench.bus_publisher URL NAMESPACE COUNT`: makes the events, says "ready", and publishes them all whenever a line
comes.
"""

from __future__ import annotations

import asyncio
import sys

from aether._native import Event
from aether.bench.setting import PAYLOAD, TIMEOUT_S
from aether.bus.nats import NATSEventBus

ACTORS = 1_000


async def publish(url: str, namespace: str, count: int) -> None:
    """Publish for each line."""
    events = [Event(f"device-{n % ACTORS}", "Measured", n // ACTORS + 1, PAYLOAD) for n in range(count)]
    async with NATSEventBus(url, namespace=namespace, timeout_s=TIMEOUT_S) as bus:
        say("ready")
        while await asyncio.to_thread(sys.stdin.readline):
            await bus.publish_many(events)
            await bus.flush()
            say("published")


def say(word: str) -> None:
    """Tell whoever started this."""
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(publish(sys.argv[1], sys.argv[2], int(sys.argv[3])))
