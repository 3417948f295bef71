"""What a node is made of, and how one part hears of another.

The parts know nothing of each other: the view sees members, leader and table; the leases say whether this node is a member, and
whether it leads; the controller decides while it does; the shards follow the table. Here they are put together, begun and ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

import msgspec

from aether.cluster.calls import DRAIN, PROGRESS, REPAIR, NodeCalls
from aether.cluster.changes import Changes
from aether.cluster.controller import Controller
from aether.cluster.hooks import Hooks
from aether.cluster.leading import Leading, leaders_ttl_s
from aether.cluster.lease_keeper import LeaseKeeper
from aether.cluster.membership import Membership
from aether.cluster.planner import Planner, to_follow
from aether.cluster.pulse import Pulse
from aether.cluster.reporting import Reporting
from aether.cluster.shards import Shards
from aether.cluster.supervisor import Supervisor
from aether.cluster.view import ClusterView
from aether.errors import AetherError, DeadlineError
from aether.nats.boot_clock import boot_time
from aether.nats.connection import Connection
from aether.nats.coordination import Coordination
from aether.nats.errors import NoRespondersError
from aether.nats.subjects import leader_subject, table_subject
from aether.nats.watch import CoordinationWatch
from aether.nats.watch_consumer import BEHIND_S
from aether.store.fenced import FencedEventStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from nats.aio.client import Client

    from aether.cluster.members import Member
    from aether.cluster.node_settings import NodeSettings
    from aether.cluster.table import Table
    from aether.nats.connect_options import ConnectOptions

__all__ = ["NodeParts"]

_LOG = logging.getLogger("aether.cluster")


PAYLOAD_MIN = 8_192
"""How large a message the server must take, in bytes: the table of shards of some dozens of nodes. One of more nodes takes more,
and the leader says so then."""


class NodeParts:
    """The parts of one node; each attribute is one.

    Args:
        url_or_client, options: of `Connection`.
        facts: who the node is.
        settings: what it was told.
        on_acquire, on_release: of `Hooks`.

    Attributes:
        pulse: beats whenever something changes.
    """

    def __init__(
        self,
        url_or_client: str | Client,
        options: ConnectOptions | None,
        facts: Member,
        settings: NodeSettings,
        *,
        on_acquire: Callable[[int, int], object] | None,
        on_release: Callable[[int], object] | None,
    ) -> None:
        self.settings = settings
        name, namespace, timeout_s = facts.name, settings.namespace, settings.timeout_s
        self.pulse, self.changes = Pulse(), Changes()
        self.connection = Connection(url_or_client, timeout_s, options)
        self.coordination = Coordination(self.connection, namespace, timeout_s)
        self.watch = CoordinationWatch(self.connection, namespace, timeout_s, restore=self.coordination.restore)
        self.view = ClusterView(
            self.watch, namespace, self.changes, on_table=self._on_table, on_change=self._on_change, clock=boot_time
        )
        self.membership = Membership(
            self.coordination,
            self.watch,
            namespace,
            facts,
            ttl_s=settings.ttl_s,
            view=self.view,
            changes=self.changes,
            joined=self._on_joined,
            parted=self._on_parted,
            changed=self._on_change,
        )
        self.store = FencedEventStore(
            self.connection,
            namespace,
            node=name,
            valid=lambda: self.membership.valid,
            owner_of=self._owner,
            timeout_s=timeout_s,
            replicas=settings.replicas,
            storage=settings.storage,
            gate=self._gate,
        )
        self.shards = Shards(
            name,
            self.store,
            Hooks(on_acquire, on_release, settings.drain_s, self.changes),
            self.changes,
            drain_s=settings.drain_s,
            take_s=timeout_s,
            valid=lambda: self.membership.valid,
            sees=lambda: self.watch.unbroken_since is not None,
            told=self._on_shards,
        )
        self.calls = NodeCalls(self.connection, namespace, name, timeout_s)
        self._set_up_leading(name)
        self._supervisor = Supervisor(f"{name!r} of {namespace!r}")

    def _set_up_leading(self, name: str) -> None:
        settings, namespace = self.settings, self.settings.namespace
        self.leadership = LeaseKeeper(
            self.coordination,
            self.watch,
            leader_subject(namespace),
            ttl_s=leaders_ttl_s(settings.ttl_s),
            name=name,
            on_held=lambda term: self._on_change(),  # noqa: ARG005 - of the protocol
            on_lost=lambda term, reason, body: self._on_change(),  # noqa: ARG005 - of the protocol
        )
        self.controller = Controller(self.coordination, table_subject(namespace), self.view.tables, self.view.members, boot_time)
        self.reporting = Reporting(name, self.shards, self.controller, self.calls, lambda: self.view.leader)
        self.leading = Leading(
            self.leadership,
            self.membership,
            watch=self.watch,
            view=self.view,
            controller=self.controller,
            planner=lambda: Planner(
                # By then a watch that stands still has been found out; it must not make the living dead.
                ttl_s=max(settings.ttl_s, BEHIND_S),
                settle_s=settings.settle_s,
                drain_s=settings.drain_s,
                moves_max=settings.moves_max,
            ),
            ttl_s=settings.ttl_s,
        )

    # Beginning and end.

    async def open(self, deadline: float) -> None:
        """Connect, see the cluster, hear others, and bid for membership; all of that goes on until the end."""
        await self.connection.ready(deadline)
        self.coordination.check_payload("a cluster node", PAYLOAD_MIN)
        await self.store.__aenter__()
        await self.coordination.open(deadline, replicas=self.settings.replicas)
        self.calls.serve(PROGRESS, self.reporting.hear)
        self.calls.serve(DRAIN, self._drain)
        self.calls.serve(REPAIR, self._repair)
        began_at = asyncio.get_running_loop().time()
        await self.calls.listen()
        await self.watch.start(deadline)
        if (denied := self.connection.denied_since(began_at)) is not None:
            raise denied  # a node that nobody can ask would be none; a subscription that is denied was told by now
        self.view.start()
        self._supervisor.start(self.leading.run, "lead")
        self._supervisor.start(self._mind, "mind")
        self._supervisor.start(self.reporting.run, "report")
        self._supervisor.start(self._listen, "listen")
        self.leadership.start()  # it is wanted as long as this node is a member
        self.membership.join()

    async def give_back(self, deadline: float) -> None:
        """Let all shards go, in good order until the deadline, and give the leases back, so that nobody waits for their end."""
        self.membership.end()
        await self.shards.aclose(deadline)
        until = asyncio.get_running_loop().time() + min(self.settings.timeout_s, self.settings.ttl_s)
        for lease in (self.leadership, self.membership.lease):
            try:
                if self.connection.is_up():
                    await lease.release(until)
            except DeadlineError as error:
                _LOG.warning("%s: %s; it expires by itself", lease.subject, error)

    async def aclose(self) -> None:
        """End everything at once, without a word to anybody."""
        self.membership.end()
        async with contextlib.AsyncExitStack() as stack:
            # Done from the last to the first, each whatever becomes of those before, also where this is cancelled.
            stack.callback(self.changes.end)
            stack.push_async_callback(self.connection.aclose)
            stack.push_async_callback(self.calls.aclose)
            stack.push_async_callback(self.watch.aclose)
            stack.push_async_callback(self.membership.lease.aclose)
            stack.push_async_callback(self.leadership.aclose)
            stack.callback(self.store.close_shards)
            stack.push_async_callback(self._supervisor.aclose)
            stack.callback(self.leading.aclose)

    # What it is asked: by the store, and by other nodes.

    def _owner(self, shard: int) -> str | None:
        return self.shards.owner_of(shard)

    async def _gate(self, shard: int, deadline: float) -> None:
        await self.shards.gate(shard, deadline)

    async def _drain(self, _: bytes) -> bytes:
        self.membership.drain()
        return b""

    async def _repair(self, body: bytes) -> bytes:
        return msgspec.json.encode(await self.store.repair(body.decode()))

    def to_follow(self, table: Table) -> int:
        """Return how many shards are still to move, beside those that are moving; a node that has just come gets none yet."""
        named, settled_by = set(table.names()), boot_time() - self.settings.settle_s
        present = self.view.members.present.items()
        return to_follow(table, [here.member for name, here in present if name in named or here.since <= settled_by])

    # What happens.

    async def _listen(self) -> None:
        """After a broken watch: hear requests again, should the connection have another client now, and bid for leadership."""
        feed = self.changes.feed()
        async for change in feed:
            if change.kind not in ("synced", "missed"):
                continue
            self.shards.look()
            self.leading.bid()
            try:
                await self.calls.listen()
                if self.view.is_behind:
                    until, position = self.coordination.until(self.settings.timeout_s), self.view.tables.position
                    table = await self.coordination.read(table_subject(self.settings.namespace), until)
                    if self.view.tables.position == position:  # else a newer one was told while the answer was on its way
                        self.view.believe(table)
            except (AetherError, NoRespondersError) as error:
                _LOG.info("%r does not hear everything until the watch begins anew: %s", self.membership.facts.name, error)

    async def _mind(self) -> None:
        """Stop for good when this node is replaced."""
        await self.membership.mind()
        await self.calls.deafen()

    def _on_joined(self, incarnation: int) -> None:
        self.shards.joined(incarnation)

    def _on_parted(self) -> None:
        self.shards.parted(for_good=bool(self.membership.replaced))
        self.leadership.unwant()  # who is no member cannot tell who is dead

    def _on_table(self, table: Table, position: int) -> None:
        self.shards.follow(table, position)

    def _on_shards(self) -> None:
        self.reporting.wake()
        self.pulse.beat()

    def _on_change(self) -> None:
        self.leading.bid()
        self.controller.wake()
        self._on_shards()
