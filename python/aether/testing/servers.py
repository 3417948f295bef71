"""Real servers for tests: one, or a cluster of three whose nodes a test can kill.

They are processes and plain blocking calls underneath, so one of them serves tests that each have an event loop of their own.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import nats
import nats.errors
import nats.js.errors

from aether.errors import DeadlineError
from aether.nats.local_cluster import CLUSTER_READY_S, MONITORING, close_nodes, free_ports, start_nodes, wait_until_whole
from aether.nats.server import EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nats.aio.client import Client

__all__ = ["NatsCluster", "free_ports", "running_cluster", "running_server"]

SYNC_S = 120.0
"""Tests kill processes, not power: nothing is gained by a sync before each ack."""

POLL_S = 0.02


@contextmanager
def running_server(settings: Mapping[str, Any] | None = None) -> Iterator[EmbeddedServer]:
    """Run one server on a temporary directory; `settings` are nats-server's own."""
    server = EmbeddedServer(sync=SYNC_S, settings={**MONITORING, **(settings or {})})
    server.process.start()
    try:
        yield server
    finally:
        server.process.close()


class NatsCluster:
    """Three servers with routes between them, on loopback and temporary directories: streams with three replicas work.

    Args:
        settings: further nats-server configuration, for each node.

    Attributes:
        servers: the nodes, whose own `url`, `pid` and `alive` can be used.
    """

    def __init__(self, settings: Mapping[str, Any] | None = None) -> None:
        self.servers = start_nodes(settings or {}, sync=SYNC_S)

    @property
    def urls(self) -> list[str]:
        """The nodes' URLs, those of dead nodes included; they stay the same over restarts."""
        return [server.url for server in self.servers]

    async def kill(self, node: int) -> None:
        """Kill a node with SIGKILL."""
        await self.servers[node].kill()

    async def restart(self, node: int) -> None:
        """Restart a node on its data and ports, and wait until the cluster is whole again."""
        await self.servers[node].restart()
        await asyncio.to_thread(self.wait_until_whole)

    async def leader_of(self, stream: str, *, timeout_s: float = CLUSTER_READY_S) -> int:
        """Return the index of the node that leads a stream, once there is a leader among the living nodes.

        Raises:
            DeadlineError: there is no leader within `timeout_s`.
        """
        deadline = time.monotonic() + timeout_s
        alive = [server.url for server in self.servers if server.alive]
        client = await nats.connect(alive, allow_reconnect=False)
        try:
            while time.monotonic() < deadline:
                name = await _leader_name(client, stream)
                if name is not None and self.servers[int(name)].alive:
                    return int(name)
                await asyncio.sleep(POLL_S)
        finally:
            await client.close()
        raise DeadlineError(f"waiting for a leader of {stream}", timeout_s)

    def heal(self) -> None:
        """Restart what tests have killed and wait until the cluster is whole."""
        for server in self.servers:
            server.process.start()
        self.wait_until_whole()

    def wait_until_whole(self, timeout_s: float = CLUSTER_READY_S) -> None:
        """Wait until the nodes agree on a leader for the cluster's own records and that leader sees both others up to date.

        Raises:
            DeadlineError: they do not within `timeout_s`.
        """
        wait_until_whole(self.servers, timeout_s)

    def close(self) -> None:
        """End all nodes and remove their directories."""
        close_nodes(self.servers)


@contextmanager
def running_cluster(settings: Mapping[str, Any] | None = None) -> Iterator[NatsCluster]:
    """Run a cluster of three; `settings` are nats-server's own."""
    cluster = NatsCluster(settings)
    try:
        cluster.wait_until_whole()
        yield cluster
    finally:
        cluster.close()


async def _leader_name(client: Client, stream: str) -> str | None:
    try:
        info = await client.jetstream(timeout=1.0).stream_info(stream)
    except (nats.errors.TimeoutError, nats.errors.NoRespondersError, nats.js.errors.ServiceUnavailableError):
        return None  # an election goes on
    return info.cluster.leader if info.cluster is not None else None
