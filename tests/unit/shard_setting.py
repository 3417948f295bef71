"""One node's shards over a store in memory, whose takes and hooks are slow or fail as a test wants."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aether.cluster.changes import Changes
from aether.cluster.hooks import Hooks
from aether.cluster.shards import Shards
from aether.cluster.table import SHARDS, Table
from aether.errors import DeadlineError, ServerUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class MemoryStore:
    """Takes and releases as a fenced store does, and keeps count."""

    def __init__(self) -> None:
        self.epochs = 0
        self.taken: dict[int, int] = {}
        self.open: set[int] = set()
        self.taking = self.taking_most = 0
        self.refuse = 0
        self.in_flight: dict[int, asyncio.Event] = {}
        self.incarnations: list[int] = []

    async def take(self, shard: int, incarnation: int, deadline: float) -> int:
        """Take a shard, or refuse to."""
        self.taking += 1
        self.taking_most = max(self.taking_most, self.taking)
        await asyncio.sleep(0.001)
        self.taking -= 1
        self.incarnations.append(incarnation)
        if self.refuse:
            self.refuse -= 1
            raise ServerUnavailableError("memory", "not now")
        self.epochs += 1
        self.taken[shard] = self.epochs
        return self.epochs

    def open_shard(self, shard: int) -> None:
        """Let writes in."""
        if shard in self.taken:
            self.open.add(shard)

    async def release(self, shard: int, deadline: float) -> None:
        """Take no more writes, and wait for the one in flight."""
        self.close_shard(shard)
        try:
            async with asyncio.timeout_at(deadline):
                await self.in_flight.get(shard, _set()).wait()
        except TimeoutError:
            raise DeadlineError("in flight", 0.0) from None

    def close_shard(self, shard: int) -> None:
        """Take no more writes."""
        self.open.discard(shard)
        self.taken.pop(shard, None)

    def close_shards(self) -> None:
        """Take no more writes to anything."""
        self.open.clear()
        self.taken.clear()

    def epoch_of(self, shard: int) -> int | None:
        """Say under which epoch writes go out."""
        return self.taken[shard] if shard in self.open else None


def _set() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


class Setting:
    """A node `a` with its shards, its hooks' calls, and what it was told."""

    def __init__(self, *, drain_s: float = 60.0, hooks: bool = True) -> None:
        self.store, self.changes, self.calls = MemoryStore(), Changes(), []
        self.feed = self.changes.feed()
        self.told = asyncio.Event()
        self.fail = False
        self.valid = self.sees = True
        self.slow: asyncio.Event | None = None
        self.position = 0
        acquire, release = (self.on_acquire, self.on_release) if hooks else (None, None)
        self.shards = Shards(
            "a",
            self.store,
            Hooks(acquire, release, drain_s, self.changes),
            self.changes,
            drain_s=drain_s,
            take_s=60.0,
            valid=lambda: self.valid,
            sees=lambda: self.sees,
            told=self.told.set,
        )

    async def on_acquire(self, shard: int, epoch: int) -> None:
        """Note the call, and be slow or fail as the test wants."""
        self.calls.append(("acquire", shard, epoch))
        if self.slow is not None:
            await self.slow.wait()
        if self.fail:
            raise RuntimeError("the user's own")

    def on_release(self, shard: int) -> None:
        """Note the call."""
        self.calls.append(("release", shard))

    def follow(self, owned: Iterable[int], moving: dict[int, str] | None = None, others: str | None = "b") -> None:
        """Show a table in which this node owns these shards."""
        mine = set(owned)
        owners = ["a" if shard in mine else others for shard in range(SHARDS)]
        self.position += 1
        self.shards.follow(Table.of(1, owners, moving or {}), self.position)

    async def until(self, is_so: Callable[[], object]) -> None:
        """Wait until something is so."""
        async with asyncio.timeout(60):
            while not is_so():
                self.told.clear()
                if not is_so():
                    await asyncio.wait([asyncio.ensure_future(self.told.wait())], timeout=0.05)

    async def settled(self) -> None:
        """Wait until nothing is on its way."""
        await self.until(self.shards.is_settled)

    def soon(self, seconds: float = 60.0) -> float:
        """A deadline."""
        return asyncio.get_running_loop().time() + seconds
