"""What a cluster is at the moment, read from its coordination stream; no node is needed, and nothing is made."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, NamedTuple

from aether._native import shard_of
from aether.cluster.changes import Changes
from aether.cluster.planner import to_follow
from aether.cluster.pulse import Pulse
from aether.cluster.view import ClusterView
from aether.errors import AetherError
from aether.nats.boot_clock import boot_time
from aether.nats.connection import Connection
from aether.nats.streams import find_stream
from aether.nats.subjects import coordination_stream
from aether.nats.watch import CoordinationWatch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aether.cli.options import Settings
    from aether.cluster.members import Member
    from aether.cluster.table import Table

__all__ = ["ClusterState", "NoClusterError", "Share", "reading_cluster"]


class NoClusterError(AetherError):
    """The namespace has no cluster."""


class Share(NamedTuple):
    """What one node has of the shards.

    Attributes:
        name: the node.
        member: what it says of itself; None: it is away, and the table still names it.
        shards: how many shards it owns.
        leaving: how many of them it is to let go.
        coming: how many it is to get.
    """

    name: str
    member: Member | None
    shards: int
    leaving: int
    coming: int


class ClusterState:
    """The live view of a cluster from outside.

    Args:
        connection: the open connection.
        watch: the watch that tells it.
        namespace: the namespace.

    Attributes:
        changed: beats whenever anything changed.
    """

    def __init__(self, connection: Connection, watch: CoordinationWatch, namespace: str) -> None:
        self.connection, self.namespace = connection, namespace
        self.changed = Pulse()
        self._view = ClusterView(
            watch, namespace, Changes(), on_table=self._note_table, on_change=self.changed.beat, clock=boot_time
        )
        self._view.start()

    def _note_table(self, _table: Table, _position: int) -> None:
        self.changed.beat()

    @property
    def leader(self) -> str | None:
        """Who leads; None: nobody at this moment."""
        return self._view.leader

    @property
    def members(self) -> dict[str, Member]:
        """Who is there, by name."""
        return self._view.members.by_name()

    @property
    def table(self) -> Table | None:
        """The shard table; None: there is none yet."""
        return self._view.tables.table

    @property
    def position(self) -> int:
        """Where the table lies in the coordination stream; 0: there is none."""
        return self._view.tables.position

    def shares(self) -> list[Share]:
        """Return what each node has, members and those that only the table still names, by name."""
        table, members = self.table, self.members
        if table is None:
            return [Share(name, member, 0, 0, 0) for name, member in sorted(members.items())]
        names = sorted(members.keys() | set(table.names()))
        return [self._share(table, name, members.get(name)) for name in names]

    def _share(self, table: Table, name: str, member: Member | None) -> Share:
        owned = table.shards_of(name)
        coming = sum(target == name for target in table.moving.values())
        return Share(name, member, len(owned), len(owned & table.moving.keys()), coming)

    @property
    def unowned(self) -> int:
        """How many shards nobody owns, or only somebody who is away."""
        members = self._view.members.present
        return 0 if self.table is None else sum(owner not in members for owner in self.table.owners)

    @property
    def to_follow(self) -> int:
        """How many shards are still to move, beside those that are moving."""
        return 0 if self.table is None else to_follow(self.table, self.members.values())

    def owner_of(self, actor_id: str) -> tuple[int, str | None, str | None]:
        """Return an actor's shard, who owns it, and who is to get it; None: nobody.

        Raises:
            InvalidIdError: it is no actor's id.
        """
        shard = shard_of(actor_id)
        if self.table is None:
            return shard, None, None
        return shard, self.table.owners[shard], self.table.moving.get(shard)


@contextlib.asynccontextmanager
async def reading_cluster(settings: Settings, url: str) -> AsyncIterator[ClusterState]:
    """Yield the state of a namespace's cluster, which stays live while this is entered.

    Raises:
        NoClusterError: the namespace has no cluster.
    """
    connection = Connection(url, settings.timeout_s, settings.options)
    watch = CoordinationWatch(connection, settings.namespace, settings.timeout_s)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(connection.aclose)
        deadline = asyncio.get_running_loop().time() + settings.timeout_s
        await connection.ready(deadline)
        stream = coordination_stream(settings.namespace)
        if await find_stream(connection, stream, f"looking for {stream}", deadline, settings.timeout_s) is None:
            raise NoClusterError(
                f"{connection.url}: the namespace {settings.namespace!r} has no cluster; "
                "its first node makes it (ClusterNode.join), or name another with --namespace"
            )
        stack.push_async_callback(watch.aclose)
        await watch.start(deadline)
        await watch.confirm(deadline)  # a server's copy may still have members that have ended long ago
        yield ClusterState(connection, watch, settings.namespace)
