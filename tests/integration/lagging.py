"""Replicas that lag: a transport that gives the answers of an earlier moment, and a store of a shard's owner on it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from owning import TIMEOUT_S, Lease, own_actor

from aether.nats.connection import Connection
from aether.store.fenced import FencedEventStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from aether.nats.transport import Reply, Transport

MULTI = b'{"multi_last"'


class StaleTransport:
    """Carries what a transport carries, but answers questions for last messages as they were answered at one moment.

    Attributes:
        old: the answers of that moment; empty: the question goes through.
        stale: how many more questions get them.
        asked: how many questions came.
        question: the stream and the subjects that `remember` asks about.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.old: list[Reply] = []
        self.stale = self.asked = 0
        self.question: tuple[str, Sequence[str]] = ("", ())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    async def request_batch(self, subject: str, payload: bytes, deadline: float) -> list[Reply]:
        """Answer from memory, or ask."""
        if not payload.startswith(MULTI):
            return await self._transport.request_batch(subject, payload, deadline)
        self.asked += 1
        if self.old and self.stale:
            self.stale -= 1
            return self.old
        return await self._transport.request_batch(subject, payload, deadline)

    async def remember(self) -> None:
        """Take the answers of this moment for those that are out of date."""
        stream, subjects = self.question
        payload = MULTI + b":[" + b",".join(f'"{subject}"'.encode() for subject in subjects) + b"]}"
        deadline = asyncio.get_running_loop().time() + TIMEOUT_S
        self.old = await self._transport.request_batch(f"$JS.API.DIRECT.GET.{stream}", payload, deadline)


class CarriedConnection(Connection):
    """A connection whose transport is carried by something that a test can meddle with.

    Attributes:
        carrier: what carries it, made of the transport when that is first asked for.
    """

    def __init__(self, url: str, timeout_s: float, carry: Callable[[Transport], Any]) -> None:
        super().__init__(url, timeout_s, None)
        self._carry = carry
        self.carrier: Any = None

    async def ready(self, deadline: float) -> Any:
        """Return the carrier."""
        transport = await super().ready(deadline)
        if self.carrier is None:
            self.carrier = self._carry(transport)
        return self.carrier


@asynccontextmanager
async def lagging(
    url: str, namespace: str, timeout_s: float = TIMEOUT_S
) -> AsyncIterator[tuple[FencedEventStore, StaleTransport]]:
    """A store that owns the actor a, whose replica stands still where that had no event yet."""
    connection = CarriedConnection(url, timeout_s, StaleTransport)
    store = FencedEventStore(connection, namespace, node="n1", valid=Lease(), owner_of=lambda _: None, timeout_s=timeout_s)
    try:
        async with store:
            shard = await own_actor(store, "a")
            carrier = connection.carrier
            assert carrier is not None
            subjects = [f"aether.{namespace}.{shard}.{token}" for token in ("a", "=epoch")]
            carrier.question = (f"AETHER-EVENTS-{namespace}", subjects)
            await carrier.remember()
            yield store, carrier
    finally:
        await connection.aclose()


def forget(store: FencedEventStore) -> None:
    """Let the store ask for every head again, as after a cache that was too small."""
    for fence in store._fenced._fences.values():
        fence.forget()
