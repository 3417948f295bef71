"""How a store on JetStream opens its namespace: once, at the first call, with a check that it may write there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

from aether.nats.streams import StreamFacts, open_streams, wrong_mode
from aether.store.base import StoreInfo

if TYPE_CHECKING:
    from aether.nats.connection import Connection
    from aether.nats.stream_log import StreamLog

__all__ = ["Opening"]


class Opening:
    """A namespace that is opened where it is not open yet, and the deadline of each call on it.

    Args:
        connection: connects at first use.
        events: the namespace's event stream.
        namespace: the namespace.
        replicas, storage: of `JetStreamEventStore`.
        guard: "shard" where this store's writers fence each other by shard; None: each actor guards itself.
    """

    def __init__(
        self,
        connection: Connection,
        events: StreamLog,
        namespace: str,
        *,
        replicas: int | None,
        storage: Literal["file", "memory"] | None,
        guard: Literal["shard"] | None,
    ) -> None:
        self._connection, self._events, self._namespace = connection, events, namespace
        self._replicas, self._storage, self._guard = replicas, storage, guard
        self._facts: StreamFacts | None = None
        self._turn = asyncio.Lock()

    def deadline(self) -> float:
        """Return by when a call that begins now has to end, on the loop's clock."""
        return asyncio.get_running_loop().time() + self._events.timeout_s

    async def to_read(self) -> float:
        """Open what is not open yet; return the deadline of this call."""
        deadline = self.deadline()
        if self._facts is None:
            async with self._turn:
                if self._facts is None:
                    await self._connection.ready(deadline)
                    self._facts = await open_streams(
                        self._connection,
                        self._namespace,
                        replicas=self._replicas,
                        storage=self._storage,
                        guard=self._guard,
                        deadline=deadline,
                        timeout_s=self._events.timeout_s,
                    )
                    self._events.reached = max(self._events.reached, self._facts.reached)
        return deadline

    async def to_write(self) -> float:
        """Open, and refuse a namespace whose writers guard it otherwise than this store's; return the deadline of this call."""
        deadline = await self.to_read()
        if self._facts is not None and self._facts.guard != (self._guard or "actor"):
            raise wrong_mode(self._namespace, self._facts.guard)
        return deadline

    async def info(self) -> StoreInfo:
        """Say what an ack means here, and what server this is."""
        await self.to_read()
        transport = await self._connection.ready(self.deadline())
        facts = self._facts or StreamFacts("", 0, 0, "")
        embedded = self._connection.embedded
        return StoreInfo(
            store="jetstream",
            namespace=self._namespace,
            transport=transport.name,
            server_version=self._connection.server_version,
            storage=facts.storage,
            replicas=facts.replicas,
            sync="unknown: the server does not tell (sync_interval is 2 minutes by default)"
            if embedded is None
            else embedded.sync,
            commit_bytes_max=self._connection.max_payload,
        )
