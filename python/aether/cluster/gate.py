"""Where those wait who would write to a shard on its way, each bounded by his own deadline."""

from __future__ import annotations

import asyncio
from typing import Protocol

from aether.errors import NotOwnerError, ShardUnavailableError
from aether.nats.waiting import finish

__all__ = ["Gate", "Ways"]


class Ways(Protocol):
    """Knows where shards are; see `Shards`."""

    def takes_writes(self, shard: int) -> bool:
        """Say whether a shard takes writes here."""
        ...

    def is_coming(self, shard: int) -> bool:
        """Say whether a shard is, was or shall be here, so that waiting may be worth it."""
        ...

    def hurry(self, shard: int) -> None:
        """Take it that somebody would write to a shard."""
        ...

    def owner_of(self, shard: int) -> str | None:
        """Return who else is to be asked about a shard."""
        ...

    def on_its_way(self, shard: int) -> str:
        """Say why a shard takes no writes."""
        ...


class Gate:
    """The way to a node's shards.

    Args:
        ways: knows where they are.
    """

    def __init__(self, ways: Ways) -> None:
        self._ways = ways
        self._waiting: dict[int, set[asyncio.Future[None]]] = {}

    async def through(self, shard: int, deadline: float) -> None:
        """Return once a shard takes writes here.

        Raises:
            NotOwnerError: another node owns it, or nobody does.
            ShardUnavailableError: it was still on its way at the deadline; nothing was written.
        """
        started = asyncio.get_running_loop().time()
        while not self._ways.takes_writes(shard):
            self._ways.hurry(shard)
            if not self._ways.is_coming(shard):
                raise NotOwnerError(shard, self._ways.owner_of(shard))
            try:
                await self._news_of(shard, deadline)
            except TimeoutError as error:
                raise ShardUnavailableError(shard, self._ways.on_its_way(shard), round(deadline - started, 3)) from error

    async def _news_of(self, shard: int, deadline: float) -> None:
        woken = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(shard, set())
        waiting.add(woken)
        try:
            async with asyncio.timeout_at(deadline):
                await woken
        finally:
            waiting.discard(woken)
            if not waiting and self._waiting.get(shard) is waiting:
                del self._waiting[shard]

    def wake(self, shard: int) -> None:
        """Have those look again who wait for a shard."""
        for woken in self._waiting.get(shard, ()):
            finish(woken)

    def wake_all(self) -> None:
        """Have everybody look again."""
        for shard in [*self._waiting]:
            self.wake(shard)
