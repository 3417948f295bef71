"""What every TCP relay in front of a server does: it listens, serves each connection in a task, and ends with all of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any, Self

READ_BYTES = 65_536
LINGER_NONE = b"\x01\x00\x00\x00\x00\x00\x00\x00"
"""With it a socket that is closed sends a TCP reset."""


class Relay:
    """Leads every connection to a server; what travels on it is the business of who derives from this.

    Attributes:
        url: where clients connect.
        tasks: what serves them.
    """

    def __init__(self, url: str) -> None:
        self.lead_to(url)
        self.url = ""
        self.tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=READ_BYTES)
        self.url = f"nats://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self._server.wait_closed()

    def lead_to(self, url: str) -> None:
        """Lead to this server from now on."""
        parts = urlsplit(url)
        self._target = (parts.hostname or "", parts.port or 0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The server made this task; it is ours to wait for.
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            await self._forward(reader, writer)
        except asyncio.CancelledError:
            pass  # the relay ends
        finally:
            self.tasks.discard(task)
            writer.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Connect to the server, and carry both ways."""
        raise NotImplementedError


async def until_one_ends(*ways: Coroutine[Any, Any, None]) -> None:
    """Carry both ways until one has ended; then neither goes on."""
    tasks = [asyncio.ensure_future(way) for way in ways]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
