"""What an actor host needs of its node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from aether.store.base import EventStore, SnapshotStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

__all__ = ["HostNode", "Named", "NodeStore"]


class Named(Protocol):
    """A member of a cluster, as far as a host looks at it."""

    @property
    def name(self) -> str:
        """Its `node_id`."""
        ...


class NodeStore(EventStore, SnapshotStore, Protocol):
    """A node's store: it takes writes for shards that the node owns, and for no others."""


class HostNode(Protocol):
    """A node, as far as a host uses it; `ClusterNode` is one."""

    @property
    def node_id(self) -> str:
        """The node's name."""
        ...

    @property
    def store(self) -> NodeStore:
        """Its store."""
        ...

    @property
    def message_bytes_max(self) -> int:
        """How large a request to another node, or an answer to one, may be, in bytes."""
        ...

    def owner_of(self, actor_id: str) -> Named | None:
        """Say who owns the actor's shard, as far as this node knows."""
        ...

    def epoch_of(self, actor_id: str) -> int | None:
        """Say under which epoch this node may write to the actor at this very moment; None: it may not."""
        ...

    def changes(self) -> AsyncIterator[object]:
        """Yield something whenever `owner_of` or `epoch_of` may answer otherwise."""
        ...

    async def request(self, node_id: str, verb: str, body: bytes, deadline: float) -> bytes:
        """Ask a node, and return its answer.

        Raises:
            NoRespondersError: nothing was sent, or nobody is there.
            UnansweredError: it was sent, and no answer came.
            RequestFailedError: the handler raised.
        """
        ...

    def serve(self, verb: str, handler: Callable[[bytes], Awaitable[bytes]]) -> None:
        """Have requests of this kind handled.

        Raises:
            AetherError: somebody does already.
        """
        ...

    async def unserve(self, verb: str) -> None:
        """Handle no more requests of this kind; return when those that are handled have ended."""
        ...
