"""The store of a cluster node: reads as any other, writes to the shards that its node has taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from aether.nats.subjects import check_namespace
from aether.store.arguments import check_placing
from aether.store.fenced_pipeline import FencedPipeline
from aether.store.fenced_writer import FencedWriter
from aether.store.jetstream import HEADS_MAX, JetStreamEventStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aether.nats.connection import Connection

__all__ = ["FencedEventStore"]


class FencedEventStore(JetStreamEventStore):
    """A `JetStreamEventStore` whose writes are fenced by shard; a cluster node makes it, on its own connection.

    Writes to a shard that is not taken and open here raise `NotOwnerError`. Within a shard one commit is on its way at a time;
    concurrent writes wait for each other, and never conflict unless they ask for the same version.

    Args:
        connection: the node's connection, which stays open when the store is closed.
        namespace: the namespace; a new one is made for shards' owners only.
        node: this node's name.
        valid: says whether this node may act as an owner at this moment, by its lease and its clock.
        owner_of: names the owner of a shard as far as is known, for errors.
        gate: see `FencedWriter`.
        timeout_s, replicas, storage, heads_max: of `JetStreamEventStore`.

    Raises:
        NamespaceMismatchError: on opening: plain stores write to the namespace.
    """

    _pipeline = FencedPipeline
    _fenced_writer: type[FencedWriter] = FencedWriter

    def __init__(
        self,
        connection: Connection,
        namespace: str,
        *,
        node: str,
        valid: Callable[[], bool],
        owner_of: Callable[[int], str | None],
        gate: Callable[[int, float], Awaitable[None]] | None = None,
        timeout_s: float = 10.0,
        replicas: int | None = None,
        storage: Literal["file", "memory"] | None = None,
        heads_max: int = HEADS_MAX,
    ) -> None:
        check_placing(timeout_s, replicas, storage)
        self._set_up(connection, check_namespace(namespace), timeout_s, replicas=replicas, storage=storage, guard="shard")
        self._fenced = self._fenced_writer(
            connection, self._events, namespace, heads_max, node=node, valid=valid, owner_of=owner_of, gate=gate
        )
        self._write_by(self._fenced)

    def __repr__(self) -> str:
        return f"<FencedEventStore {self._namespace!r} at {self._connection.url}>"

    async def aclose(self) -> None:
        """Do nothing: shards and connection are the node's, and whoever has the store in a block of his own only borrows it."""

    def epoch_of(self, shard: int) -> int | None:
        """Return the epoch under which this node may write to the shard at this moment; None: it may not.

        The answer reads the clock each time. It is what this node knows: only the log knows whether another has taken the shard.
        """
        fence = self._fenced.fence(shard)
        return fence.epoch if fence is not None and fence.may_write() else None

    async def take(self, shard: int, incarnation: int, deadline: float) -> int:
        """Take a shard from whoever has it; return its epoch. Writes are taken once it is opened.

        Args:
            shard: the shard.
            incarnation: which life of the node, from 1.
            deadline: on the loop's clock, in seconds.

        Raises:
            NotOwnerError: this node may not act as an owner any more.
            DeadlineError: the deadline passed; try again.
        """
        await self._opening.to_write()
        return (await self._fenced.take(shard, incarnation, deadline)).epoch

    def open_shard(self, shard: int) -> None:
        """Let writes in to a shard that was taken; one that was lost meanwhile stays closed."""
        if (fence := self._fenced.fence(shard)) is not None:
            fence.is_open = True

    async def release(self, shard: int, deadline: float) -> None:
        """Take no more writes for the shard, and return when the one on its way has ended.

        Raises:
            DeadlineError: it has not ended by the deadline; no other goes out all the same.
        """
        await self._fenced.release(shard, deadline)

    def close_shard(self, shard: int) -> None:
        """Take no more writes for the shard, at once and for this epoch; nothing is waited for."""
        self._fenced.close(shard)

    def close_shards(self) -> None:
        """Take no more writes for any shard, at once; nothing is waited for."""
        self._fenced.close_all()
