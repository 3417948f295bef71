"""The store of whoever fills a sharded namespace alone: an import."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Literal

from aether._native import shard_of
from aether.nats.connection import Connection
from aether.store.fenced import FencedEventStore
from aether.store.fenced_writer import FencedWriter
from aether.store.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable

    from nats.aio.client import Client

    from aether.nats.connect_options import ConnectOptions
    from aether.store.commit_writer import Written
    from aether.store.fence import ShardFence
    from aether.store.guarded_write import WriteRequest

__all__ = ["SoleOwnerStore"]


class _TakingWriter(FencedWriter):
    """Takes a shard before its first write, once: should somebody else take it later, it is theirs."""

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - those of the base
        super().__init__(*arguments, **options)
        self._taking = Turns[int](self._log.timeout_s)
        self._taken: set[int] = set()

    async def write(self, request: WriteRequest, deadline: float) -> Written:
        """Take the shard where it was not taken yet, and write as `FencedWriter.write`."""
        await self._own(shard_of(request.actor_id), deadline)
        return await super().write(request, deadline)

    async def repair(self, actor_id: str, deadline: float) -> tuple[int, ...]:
        """Take the shard where it was not taken yet, and repair as `FencedWriter.repair`."""
        await self._own(shard_of(actor_id), deadline)
        return await super().repair(actor_id, deadline)

    def borrow_now(self, shard: int, recall: Callable[[int], None]) -> ShardFence | None:
        """Take the turn of a shard that was taken; see `FencedWriter.borrow_now`."""
        return super().borrow_now(shard, recall) if shard in self._taken else None

    async def borrow(self, shard: int, deadline: float, recall: Callable[[int], None]) -> ShardFence:
        """Take the shard where it was not taken yet, and its turn; see `FencedWriter.borrow`."""
        await self._own(shard, deadline)
        return await super().borrow(shard, deadline, recall)

    async def _own(self, shard: int, deadline: float) -> None:
        if shard in self._taken:
            return
        async with self._taking.at(shard, deadline, f"taking shard {shard}"):
            if shard not in self._taken:
                (await self.take(shard, 1, deadline)).is_open = True
                self._taken.add(shard)


class SoleOwnerStore(FencedEventStore):
    """A store that takes every shard that it writes to, from whoever has it.

    It holds no lease and knows no node: nobody else may write to the namespace meanwhile. A node that takes a shard all the same
    has it from then on, and writes to it here raise `NotOwnerError`.

    Args:
        url_or_client, namespace, timeout_s, replicas, storage, options: of `JetStreamEventStore`.
    """

    _fenced_writer = _TakingWriter

    def __init__(
        self,
        url_or_client: str | Client,
        *,
        namespace: str,
        timeout_s: float = 10.0,
        replicas: int | None = None,
        storage: Literal["file", "memory"] | None = None,
        options: ConnectOptions | None = None,
    ) -> None:
        super().__init__(
            Connection(url_or_client, timeout_s, options),
            namespace,
            node=f"import-{secrets.token_hex(4)}",
            valid=lambda: True,
            owner_of=lambda _: None,
            timeout_s=timeout_s,
            replicas=replicas,
            storage=storage,
        )

    async def aclose(self) -> None:
        """Take no more writes, and end the connection."""
        await super().aclose()
        await self._connection.aclose()
