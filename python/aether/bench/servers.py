"""The servers that are measured: one of our own, three, or somebody else's."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Literal, NamedTuple

from aether.nats.local_cluster import close_nodes, start_nodes, wait_until_whole
from aether.nats.server import EmbeddedServer, parse_embedded_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["Running", "check_servers", "running"]

DEFAULT_SYNC_S = 120.0
"""The server's default."""


class Running(NamedTuple):
    """Where a server listens, and what is known of it.

    Attributes:
        url: of the server, or of one node of ours.
        sync: when acked data is on the disk itself, in words; "" where that is not known.
        pids: of our servers' processes.
    """

    url: str
    sync: str = ""
    pids: tuple[int, ...] = ()


def check_servers(url: str, sync: str | None, replicas: int) -> None:
    """Refuse what `running` cannot do.

    Raises:
        ValueError: a `sync` for another's server, or three replicas in one directory.
    """
    ours = url == "embedded" or parse_embedded_url(url) is not None
    if not ours and sync is not None:
        raise ValueError("--sync is for a server of our own; how another syncs is set where it runs")
    if ours and url != "embedded" and replicas > 1:
        raise ValueError("--replicas 3 needs three servers: leave --url away, or name a cluster's")


@contextlib.asynccontextmanager
async def running(url: str, sync: Literal["default", "always"] | None, replicas: int) -> AsyncIterator[Running]:
    """Yield a server for streams with so many replicas.

    Args:
        url: nats://HOST:PORT, embedded:DIR, or "embedded" for servers of our own on temporary directories.
        sync: of servers of our own; None: the default.
        replicas: 1, or 3: then three servers where they are our own.

    Raises:
        ValueError: as `check_servers`.
    """
    check_servers(url, sync, replicas)
    directory = parse_embedded_url(url) if url != "embedded" else None
    if url != "embedded" and directory is None:
        yield Running(url)
        return
    interval: Literal["always"] | float = "always" if sync == "always" else DEFAULT_SYNC_S
    if replicas == 1:
        async with EmbeddedServer(directory, sync=interval) as server:
            yield Running(server.url, server.sync, (server.pid,))
        return
    servers = await asyncio.to_thread(start_nodes, {}, sync=interval)
    try:
        await asyncio.to_thread(wait_until_whole, servers)
        yield Running(servers[0].url, servers[0].sync, tuple(server.pid for server in servers))
    finally:
        await asyncio.to_thread(close_nodes, servers)
