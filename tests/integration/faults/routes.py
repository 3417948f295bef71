"""Two servers of a cluster whose routes pass through taps, so that a route can be cut and stalled."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aether import EmbeddedServer
from aether.testing.servers import free_ports
from faults.tap import Link, Plan, Tap

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def two_servers_apart(**of_first: Any) -> AsyncIterator[tuple[EmbeddedServer, EmbeddedServer, tuple[Tap, Tap]]]:
    """Two servers of a cluster, and what their routes go through.

    Args:
        of_first: further settings of the first server.
    """
    ports = free_ports(2)
    async with Tap(f"nats://127.0.0.1:{ports[0]}") as first, Tap(f"nats://127.0.0.1:{ports[1]}") as second:
        taps, servers = (first, second), []
        for port, other in zip(ports, reversed(taps), strict=True):
            routes = [other.url.replace("nats://", "nats-route://")]
            cluster = {"name": "apart", "listen": f"127.0.0.1:{port}", "routes": routes}
            settings = {"server_name": f"{port}", "cluster": cluster, "http": "127.0.0.1:-1"}
            servers.append(EmbeddedServer(settings=settings if servers else {**settings, **of_first}))

        async with servers[0], servers[1]:
            yield servers[0], servers[1], taps


def close(taps: tuple[Tap, Tap], *, closed: bool) -> None:
    """Let no new connection through, or all again."""
    for tap in taps:
        tap.plan = (lambda: Plan(cut_down_at=0)) if closed else Plan


def links(taps: tuple[Tap, Tap]) -> list[Link]:
    """The routes' connections, those of each tap from the oldest on."""
    return [link for tap in taps for link in tap.links]


def stall(taps: tuple[Tap, Tap], *, stalled: bool) -> None:
    """Let nothing pass through the routes, and lose nothing; or let all go on."""
    for link in links(taps):
        link.plan.mute = link.plan.stalled = stalled
