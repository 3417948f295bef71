"""Real servers for tests: one, or a cluster of three whose nodes a test can kill.

They are processes and plain blocking calls underneath, so one of them serves tests that each have an event loop of their own.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import nats
import nats.errors
import nats.js.errors

from aether.errors import DeadlineError, ServerUnavailableError
from aether.nats.server import EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nats.aio.client import Client

__all__ = ["NatsCluster", "running_cluster", "running_server"]

SYNC_S = 120.0
"""Tests kill processes, not power: nothing is gained by a sync before each ack."""

NODES = 3
PORT_TRIES = 3
POLL_S = 0.02
CLUSTER_READY_S = 30.0
"""What an election may take: without a raft leader up to 7.4 s were measured after a kill, more on a busy machine."""

_MONITORING = {"http": "127.0.0.1:-1"}


@contextmanager
def running_server(settings: Mapping[str, Any] | None = None) -> Iterator[EmbeddedServer]:
    """Run one server on a temporary directory; `settings` are nats-server's own."""
    server = EmbeddedServer(sync=SYNC_S, settings={**_MONITORING, **(settings or {})})
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
        self.servers = _start_nodes(settings or {})

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
        deadline = time.monotonic() + timeout_s
        while not _is_whole(self.servers):
            if time.monotonic() > deadline:
                raise DeadlineError("waiting for the three-node cluster", timeout_s)
            time.sleep(POLL_S)

    def close(self) -> None:
        """End all nodes and remove their directories."""
        _close_all(self.servers)


@contextmanager
def running_cluster(settings: Mapping[str, Any] | None = None) -> Iterator[NatsCluster]:
    """Run a cluster of three; `settings` are nats-server's own."""
    cluster = NatsCluster(settings)
    try:
        cluster.wait_until_whole()
        yield cluster
    finally:
        cluster.close()


def _start_nodes(settings: Mapping[str, Any]) -> list[EmbeddedServer]:
    for left in reversed(range(PORT_TRIES)):
        try:
            return _start_nodes_on(_free_ports(NODES), settings)
        except ServerUnavailableError:
            # Somebody took one of the ports between our look and the server's.
            if left == 0:
                raise
    raise AssertionError("the last try returns or raises")


def _start_nodes_on(ports: list[int], settings: Mapping[str, Any]) -> list[EmbeddedServer]:
    routes = [f"nats-route://127.0.0.1:{port}" for port in ports]
    started: list[EmbeddedServer] = []
    try:
        for node, port in enumerate(ports):
            others = [route for index, route in enumerate(routes) if index != node]
            theirs = settings.get("cluster", {})
            cluster = {**theirs, "name": "aether-test", "listen": f"127.0.0.1:{port}", "routes": others}
            ours = {**_MONITORING, "server_name": str(node), "cluster": cluster}
            server = EmbeddedServer(sync=SYNC_S, settings={**settings, **ours})
            started.append(server)
            server.process.start()
    except BaseException:
        _close_all(started)
        raise
    return started


def _close_all(servers: list[EmbeddedServer]) -> None:
    """Close each, whatever the others say, and raise the first error."""
    errors = []
    for server in servers:
        try:
            server.process.close()
        except ServerUnavailableError as error:
            errors.append(error)
    if errors:
        raise errors[0]


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


async def _leader_name(client: Client, stream: str) -> str | None:
    try:
        info = await client.jetstream(timeout=1.0).stream_info(stream)
    except (nats.errors.TimeoutError, nats.errors.NoRespondersError, nats.js.errors.ServiceUnavailableError):
        return None  # an election goes on
    return info.cluster.leader if info.cluster is not None else None


def _is_whole(servers: list[EmbeddedServer]) -> bool:
    """Whether all name one leader, that leader has all others as current peers, and each says that its streams are up to date."""
    views = [_get(server, "jsz").get("meta_cluster") or {} for server in servers]
    leaders = {str(view.get("leader", "")) for view in views}
    if len(leaders) != 1 or "" in leaders:
        return False
    # A follower lists replicas too, but knows nothing about the other follower.
    peers = views[int(leaders.pop())].get("replicas") or []
    known = len(peers) == NODES - 1 and all(peer["current"] and not peer.get("offline") for peer in peers)
    return known and all(_get(server, "healthz").get("status") == "ok" for server in servers)


def _get(server: EmbeddedServer, what: str) -> dict[str, Any]:
    """What a node says about itself; nothing while it starts or is not healthy."""
    try:
        with urllib.request.urlopen(f"{server.monitoring_url}/{what}", timeout=5) as answer:  # noqa: S310 - our own server
            told: dict[str, Any] = json.load(answer)
    except (urllib.error.URLError, ConnectionError):
        return {}
    return told
