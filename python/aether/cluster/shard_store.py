"""What a node's shards need of the store that writes to them."""

from __future__ import annotations

from typing import Protocol

__all__ = ["ShardStore"]


class ShardStore(Protocol):
    """The store that writes to what was taken; see `FencedEventStore`."""

    async def take(self, shard: int, incarnation: int, deadline: float) -> int:
        """Take a shard; return its epoch."""
        ...

    def open_shard(self, shard: int) -> None:
        """Let writes in."""
        ...

    async def release(self, shard: int, deadline: float) -> None:
        """Take no more writes, and return when the one on its way has ended."""
        ...

    def close_shard(self, shard: int) -> None:
        """Take no more writes, at once."""
        ...

    def close_shards(self) -> None:
        """Take no more writes to any shard, at once."""
        ...

    def epoch_of(self, shard: int) -> int | None:
        """Return the epoch under which writes may go out at this moment; None: they may not."""
        ...
