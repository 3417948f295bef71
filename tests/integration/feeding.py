"""Listeners on a transport, and publishers to them, below any bus."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import nats

from aether import Event
from aether._native import EventFilter, Exchange, Mailbox
from aether.nats.connection import Connection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aether import ConnectOptions, EmbeddedServer
    from aether.nats.transport import Feed, Transport

TIMEOUT_S = 30.0

KINDS = ("lane", "borrowed", "websocket")
"""Of connections."""

DUE_S = 60.0
"""What must happen at all may take this long, on a machine that others use too."""


class Listener:
    """A mailbox for everything of a namespace, and what its feeds told.

    Attributes:
        lost: why feeds ended.
        woken: how often a feed told that something came.
    """

    def __init__(self, namespace: str, max_events: int = 2_000_000) -> None:
        self.namespace = namespace
        self.exchange = Exchange(namespace)
        self.mailbox = Mailbox(EventFilter(), max_events, 2**30, "error")
        self.exchange.attach(self.mailbox)
        self.lost: list[Exception] = []
        self.woken = 0

    async def listen(self, transport: Transport, subject: str | None = None, queue: str | None = None) -> Feed:
        """Begin a feed, of the whole namespace unless told otherwise."""
        subject = subject or f"aether-bus.{self.namespace}.*.*"
        return await transport.subscribe(subject, queue, self.exchange, self._wake, self.lost.append)

    def _wake(self) -> None:
        self.woken += 1

    def taken(self) -> list[Event]:
        """Everything that came since the last call."""
        taken: list[Event] = []
        while some := self.mailbox.take(10_000):
            taken += some
        return taken

    async def heard(self, count: int, within_s: float = DUE_S) -> list[Event]:
        """Take `count` events, or as many as come within a while."""
        taken: list[Event] = []
        try:
            async with asyncio.timeout(within_s):
                while len(taken := taken + self.taken()) < count:  # noqa: ASYNC110 - the mailbox tells nobody here
                    await asyncio.sleep(0)
        except TimeoutError:
            pass  # whoever asked counts them
        return taken


def events_of(actor_id: str, count: int, first: int = 1) -> list[Event]:
    """Small events of one actor, numbered."""
    return [Event(actor_id, "happened", version, version) for version in range(first, first + count)]


def due(within_s: float = DUE_S) -> float:
    """A deadline."""
    return asyncio.get_running_loop().time() + within_s


async def publish(transport: Transport, namespace: str, events: list[Event]) -> None:
    """Publish all events; return when the server has them."""
    start = 0
    while start < len(events):
        start = await transport.publish_events(namespace, events, start, due())
    await transport.flush(due())


def url_of(server: EmbeddedServer, kind: str, who: str = "") -> str:
    """Where this kind of connection connects to."""
    if kind == "websocket":
        return f"ws://{who}{server.process._settings['websocket']['listen']}"
    return server.url.replace("nats://", f"nats://{who}")


@asynccontextmanager
async def connected(
    url: str, kind: str = "lane", timeout_s: float = TIMEOUT_S, options: ConnectOptions | None = None
) -> AsyncIterator[Connection]:
    """A connection that is up: a "lane", "borrowed" or over "websocket" (then the URL says so)."""
    client = await nats.connect(url, max_reconnect_attempts=-1, reconnect_time_wait=0.05) if kind == "borrowed" else None
    connection = Connection(client or url, timeout_s, options)
    try:
        transport = await connection.ready(due())
        assert transport.name == ("lane" if kind == "lane" else "nats-py")
        yield connection
    finally:
        await connection.aclose()
        if client is not None:
            await client.close()


@asynccontextmanager
async def transport_to(url: str, kind: str = "lane", options: ConnectOptions | None = None) -> AsyncIterator[Transport]:
    """The transport of a connection that is up."""
    async with connected(url, kind, options=options) as connection:
        yield await connection.ready(due())


def subscriptions(server: EmbeddedServer, beginning: str) -> list[str]:
    """What clients of this server are subscribed to, as far as it begins so."""
    with urllib.request.urlopen(f"{server.monitoring_url}/connz?subs=1", timeout=60) as answer:
        told = json.load(answer)
    subjects = [subject for client in told["connections"] for subject in client.get("subscriptions_list", [])]
    return [subject for subject in subjects if subject.startswith(beginning)]
