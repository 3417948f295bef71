# ruff: noqa: D102 - a node's names are `HostNode`'s, which says what they do
"""A cluster in one process, without a network: nodes over one memory store, whose shards are moved by hand.

Its store is fenced as the real one: a write under an epoch that is over is refused. Requests and answers can be lost.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aether import AetherError, InMemoryEventStore, NotOwnerError, OutcomeUnknownError
from aether._native import shard_of
from aether.nats.errors import NobodyListensError, UnansweredError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from aether import Event


@dataclass(frozen=True)
class MemoryMember:
    """A node, as others see it."""

    name: str


class MemoryCluster:
    """Nodes by name, and who owns what.

    Attributes:
        owner: the owner of all shards, as nodes know it.
        epoch: the epoch of all shards.
        holder: who may write, and reads the epoch; None: nobody, the shards are being moved.
        lost_requests: how many of the next requests are lost.
        lost_answers: how many of the next answers are lost.
    """

    def __init__(self) -> None:
        self.log = InMemoryEventStore()
        self.nodes: dict[str, MemoryNode] = {}
        self.owner: str | None = None
        self.holder: str | None = None
        self.epoch = 0
        self.lost_requests = self.lost_answers = 0
        self.requests: list[tuple[str, str]] = []

    def node(self, name: str) -> MemoryNode:
        node = self.nodes[name] = MemoryNode(self, name)
        if self.owner is None:
            self.give(name)
        return node

    def give(self, name: str | None, *, taken: bool = True) -> None:
        """Make a node the owner of all shards; `taken`: it may write already."""
        self.owner, self.holder = name, None
        if taken:
            self.take()
        self.tell()

    def take(self) -> None:
        """Let the owner write, under a new epoch."""
        self.holder = self.owner
        self.epoch += 1
        self.tell()

    def tell(self) -> None:
        for node in self.nodes.values():
            for feed in node.feeds:
                feed.put_nowait(object())


class MemoryNode:
    """One node.

    Attributes:
        message_bytes_max: how large a question or an answer may be.
        believes: the epoch under which it writes although it may be over, as a zombie does; None: it knows what is true.
    """

    def __init__(self, cluster: MemoryCluster, node_id: str) -> None:
        self.cluster, self.node_id = cluster, node_id
        self.store = FencedMemoryStore(cluster, self)
        self.handlers: dict[str, Callable[[bytes], Awaitable[bytes]]] = {}
        self.feeds: list[asyncio.Queue[object]] = []
        self.message_bytes_max = 1_048_575
        self.believes: int | None = None
        self.sees: str | None = None

    def owner_of(self, actor_id: str) -> MemoryMember | None:
        shard_of(actor_id)
        owner = self.sees or self.cluster.owner
        return None if owner is None else MemoryMember(owner)

    def epoch_of(self, actor_id: str) -> int | None:
        shard_of(actor_id)
        if self.believes is not None:
            return self.believes
        return self.cluster.epoch if self.cluster.holder == self.node_id else None

    async def changes(self) -> AsyncIterator[object]:
        feed: asyncio.Queue[object] = asyncio.Queue()
        self.feeds.append(feed)
        while True:
            yield await feed.get()

    async def request(self, node_id: str, verb: str, body: bytes, deadline: float) -> bytes:
        cluster = self.cluster
        cluster.requests.append((node_id, verb))
        assert len(body) <= self.message_bytes_max
        handler = cluster.nodes[node_id].handlers.get(verb) if node_id in cluster.nodes else None
        if handler is None:
            raise NobodyListensError("nobody listens on the subject")
        if cluster.lost_requests:
            cluster.lost_requests -= 1
            await self._nothing(deadline)
        answering = asyncio.ensure_future(handler(body))  # which goes on, should whoever asked give up
        try:
            async with asyncio.timeout_at(deadline):
                answer = await asyncio.shield(answering)
        except TimeoutError:
            raise UnansweredError("no answer in time") from None
        assert len(answer) <= self.message_bytes_max
        if cluster.lost_answers:
            cluster.lost_answers -= 1
            await self._nothing(deadline)
        return answer

    async def _nothing(self, deadline: float) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                await asyncio.Event().wait()
        except TimeoutError:
            raise UnansweredError("no answer in time") from None

    def serve(self, verb: str, handler: Callable[[bytes], Awaitable[bytes]]) -> None:
        if verb in self.handlers:
            raise AetherError(f"this node handles {verb!r} already")
        self.handlers[verb] = handler

    async def unserve(self, verb: str) -> None:
        self.handlers.pop(verb, None)


class FencedMemoryStore:
    """The cluster's store as one node may use it.

    Attributes:
        lost_acks: how many of the next writes are stored, and nobody can say so.
        lost_writes: how many of the next writes are not stored, and nobody can say so.
        reads: how often an actor was read.
        gate: writes and reads wait for it.
    """

    def __init__(self, cluster: MemoryCluster, node: MemoryNode) -> None:
        self._cluster, self._node = cluster, node
        self.lost_acks = self.lost_writes = self.reads = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def save_events(self, events: Iterable[Event]) -> int:
        events = list(events)
        await self.gate.wait()
        self.check(events[0].actor_id)
        if self.lost_writes:
            self.lost_writes -= 1
            raise OutcomeUnknownError(events[0].actor_id, 0.1)
        position = await self._cluster.log.save_events(events)
        if self.lost_acks:
            self.lost_acks -= 1
            raise OutcomeUnknownError(events[0].actor_id, 0.1)
        return position

    def check(self, actor_id: str) -> None:
        if self._node.epoch_of(actor_id) != self._cluster.epoch or self._cluster.holder is None:
            raise NotOwnerError(shard_of(actor_id), self._cluster.owner)

    async def read_events(self, actor_id: str, from_version: int = 0, *, batch_size: int = 1000) -> AsyncIterator[list[Event]]:
        self.reads += 1
        await self.gate.wait()
        async for events in self._cluster.log.read_events(actor_id, from_version, batch_size=batch_size):
            yield events

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cluster.log, name)


async def eventually(condition: Callable[[], object], within_s: float = 60.0) -> None:
    """Return once the condition holds."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - the condition is anything a test can see
            await asyncio.sleep(0.002)
