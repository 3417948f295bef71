"""Fenced stores without a cluster: whoever asks takes a shard, and nobody holds a lease."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aether._native import shard_of
from aether.nats.connection import Connection
from aether.store.fenced import FencedEventStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

SHARDS = 1021
TAKES_AT_ONCE = 64
TIMEOUT_S = 10.0


class Lease:
    """What a node's lease says: whatever the test wants."""

    valid = True

    def __call__(self) -> bool:
        """Say whether the node may act as an owner."""
        return self.valid


@asynccontextmanager
async def fenced_store(
    url: Any, namespace: str, node: str = "node-1", *, lease: Lease | None = None, timeout_s: float = TIMEOUT_S, **options: Any
) -> AsyncIterator[FencedEventStore]:
    """A store of a node that owns nothing yet."""
    connection = Connection(url, timeout_s, None)
    store = FencedEventStore(
        connection, namespace, node=node, valid=lease or Lease(), owner_of=lambda _: "another", timeout_s=timeout_s, **options
    )
    try:
        async with store:
            yield store
    finally:
        await connection.aclose()


async def own(store: FencedEventStore, shards: Iterable[int], incarnation: int = 1) -> None:
    """Take shards, many at once, and open them."""
    slots = asyncio.Semaphore(TAKES_AT_ONCE)
    loop = asyncio.get_running_loop()

    async def take(shard: int) -> None:
        async with slots:
            await store.take(shard, incarnation, loop.time() + TIMEOUT_S)
            store.open_shard(shard)

    await asyncio.gather(*(take(shard) for shard in shards))


async def own_actor(store: FencedEventStore, actor_id: str, incarnation: int = 1) -> int:
    """Take the shard of an actor; return it."""
    shard = shard_of(actor_id)
    await own(store, [shard], incarnation)
    return shard
