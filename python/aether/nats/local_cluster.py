"""Three nats-servers of this process that make one cluster on loopback, so that streams with three replicas work.

Plain blocking calls, for tests and benchmarks.
"""

from __future__ import annotations

import json
import socket
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any, Literal

from aether.errors import DeadlineError, ServerUnavailableError
from aether.nats.server import EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["CLUSTER_READY_S", "MONITORING", "close_nodes", "free_ports", "start_nodes", "wait_until_whole"]

NODES = 3
PORT_TRIES = 3
POLL_S = 0.02
CLUSTER_READY_S = 30.0
"""What an election may take: without a raft leader up to 7.4 s were measured after a kill, more on a busy machine."""

MONITORING = {"http": "127.0.0.1:-1"}


def start_nodes(settings: Mapping[str, Any], *, sync: Literal["always"] | float) -> list[EmbeddedServer]:
    """Start three servers with routes between them, named "0", "1" and "2"; they are not a cluster yet on return.

    Args:
        settings: further nats-server configuration, for each node.
        sync: when acked data is on the disk itself; see `EmbeddedServer`.

    Raises:
        ServerUnavailableError: one does not start.
    """
    for left in reversed(range(PORT_TRIES)):
        try:
            return _start_nodes_on(free_ports(NODES), settings, sync)
        except ServerUnavailableError:
            # Somebody took one of the ports between our look and the server's.
            if left == 0:
                raise
    raise AssertionError("the last try returns or raises")


def _start_nodes_on(ports: list[int], settings: Mapping[str, Any], sync: Literal["always"] | float) -> list[EmbeddedServer]:
    routes = [f"nats-route://127.0.0.1:{port}" for port in ports]
    started: list[EmbeddedServer] = []
    try:
        for node, port in enumerate(ports):
            others = [route for index, route in enumerate(routes) if index != node]
            theirs = settings.get("cluster", {})
            cluster = {**theirs, "name": "aether-local", "listen": f"127.0.0.1:{port}", "routes": others}
            ours = {**MONITORING, "server_name": str(node), "cluster": cluster}
            server = EmbeddedServer(sync=sync, settings={**settings, **ours})
            started.append(server)
            server.process.start()
    except BaseException:
        close_nodes(started)
        raise
    return started


def close_nodes(servers: list[EmbeddedServer]) -> None:
    """End each and remove its directory, whatever the others say, and raise the first error."""
    errors = []
    for server in servers:
        try:
            server.process.close()
        except ServerUnavailableError as error:
            errors.append(error)
    if errors:
        raise errors[0]


def free_ports(count: int) -> list[int]:
    """Return ports on 127.0.0.1 that nobody listens on now."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def wait_until_whole(servers: Sequence[EmbeddedServer], timeout_s: float = CLUSTER_READY_S) -> None:
    """Wait until the nodes agree on a leader for the cluster's own records and that leader sees both others up to date.

    Raises:
        DeadlineError: they do not within `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    while not _is_whole(servers):
        if time.monotonic() > deadline:
            raise DeadlineError("waiting for the three-node cluster", timeout_s)
        time.sleep(POLL_S)


def _is_whole(servers: Sequence[EmbeddedServer]) -> bool:
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
