"""Round trips over nats-py's public API, given up without harm.

nats-py keeps in a list who waits for each PONG, and its read loop ends at a PONG for one who was cancelled meanwhile, as by its
own flush at its time-out: then the client is deaf, also for its owner where it is borrowed. So a flush here has no time-out of
nats-py's, and whoever waits for it no longer leaves it running: until its PONG comes, or the connection is gone and nobody's PONG
is awaited any more.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import nats.errors

if TYPE_CHECKING:
    from nats.aio.client import Client

__all__ = ["RoundTrips"]

NEVER_S = 10 * 365 * 86_400
"""A time-out that does not come."""

LOOK_S = 0.05
"""How often it is looked whether the connection is gone, while an answer is due."""


class RoundTrips:
    """The round trips on one client.

    Args:
        client: the client.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._running: set[asyncio.Task[None]] = set()

    def begin(self) -> asyncio.Task[None]:
        """Ask the server for its word on all that was given to the client before; do not cancel what this returns."""
        task = asyncio.create_task(self._twice(), name="aether-nats-flush")
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # whoever still waits is told; the others do not wait

    async def _twice(self) -> None:
        # The first PING goes out ahead of what nats-py still holds back; by its PONG that has gone out too.
        for _ in range(2):
            await self._once()

    async def _once(self) -> None:
        connections = self._client.stats["reconnects"]
        flushing = asyncio.ensure_future(self._client.flush(NEVER_S))
        while not (await asyncio.wait([flushing], timeout=LOOK_S))[0]:
            if not self._client.is_connected or self._client.stats["reconnects"] != connections:
                flushing.cancel()
                raise nats.errors.ConnectionClosedError
        flushing.result()
