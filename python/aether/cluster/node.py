"""A node of a cluster: it shares the actors of a namespace with others, and writes to those that it owns."""

from __future__ import annotations

import asyncio
import logging
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from aether._native import shard_of
from aether.cluster.lease_keeper import check_ttl, default_name
from aether.cluster.members import Member, check_address, check_labels, check_node_id, check_weight
from aether.cluster.node_parts import NodeParts
from aether.cluster.node_settings import NodeSettings
from aether.cluster.pulse import until
from aether.errors import AetherError, DeadlineError
from aether.nats.boot_clock import boot_time
from aether.store.arguments import check_timeout_s

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from types import TracebackType
    from typing import Self

    from nats.aio.client import Client

    from aether.cluster.calls import Handler
    from aether.cluster.changes import ClusterChange
    from aether.nats.connect_options import ConnectOptions
    from aether.store.jetstream import JetStreamEventStore

__all__ = ["ClusterNode"]

_LOG = logging.getLogger("aether.cluster")

LOOK_S = 0.25
"""How often whoever waits for a node looks again, even if nothing changes."""

ROUND_S = 1.0
"""What the leader may take to see that a node has settled, and to give it its first shards."""

CLOSE_S = 1.0
"""How long writes in flight may take at least when a node ends."""


class ClusterNode:
    """A node of a cluster; made by `ClusterNode.join(…)`, used as an async context manager.

    On enter it has joined: it is a member, and sees the others. Shards come a moment later; `settled` waits for that. On leaving
    the block it gives its shards away, waits until others have them, and gives back its lease.

    When the membership is lost, because no renewal was answered for as long as a lease lives or another node was given its
    shards, all shards are closed at once, and the node joins again by itself, as a new incarnation. When another process joins
    under the same name it is replaced, and stops for good.
    """

    def __init__(self, parts: NodeParts) -> None:
        """Use `join`."""
        if not isinstance(parts, NodeParts):
            raise TypeError("a node is made by ClusterNode.join(url, node_id=...)")
        self._parts, self._settings = parts, parts.settings
        self._ending = asyncio.Lock()
        self._state: Literal["new", "open", "closed"] = "new"

    @classmethod
    def join(
        cls,
        url_or_client: str | Client,
        *,
        namespace: str = "default",
        node_id: str | None = None,
        address: str = "",
        labels: Mapping[str, str] | None = None,
        weight: int = 1,
        ttl: float = 3.0,
        drain_s: float = 10.0,
        settle_s: float = 1.0,
        moves_max: int = 8,
        on_acquire: Callable[[int, int], object] | None = None,
        on_release: Callable[[int], object] | None = None,
        timeout_s: float = 10.0,
        replicas: int | None = None,
        storage: Literal["file", "memory"] | None = None,
        options: ConnectOptions | None = None,
    ) -> ClusterNode:
        """Return a node that joins on enter: `async with ClusterNode.join(url, node_id="a") as node: …`.

        All nodes of a namespace must agree on `ttl`, `drain_s`, `settle_s` and `moves_max`: whoever leads decides by his own.

        Args:
            url_or_client: "nats://host:port" (several joined by commas), "embedded:DIR" for a server owned by this process, or a
                connected nats-py client, which is borrowed and stays open.
            namespace: 1 to 64 characters of A-Z, a-z, 0-9, `_` and `-`. The first node makes it, for nodes only.
            node_id: the node's name, 1 to 128 bytes. One that stays the same over restarts keeps its shards through a short one;
                no two processes may use one at a time: the later replaces the earlier. None: host and process number.
            address: where users reach this node, in whatever form they choose; at most 255 bytes.
            labels: what users want to say of it, at most 32 names of at most 255 bytes with values of as many.
            weight: how many shards it gets in proportion to others, 0 to 1,000; 0: none, it only looks on and asks.
            ttl: after how long without a sign a node counts as dead: whole seconds, 1 to 3,600.
            drain_s: how long a shard that moves may take to let go of it, hooks included, in seconds, up to an hour.
            settle_s: how long a new node must be there before shards move to it, in seconds.
            moves_max: how many shards move at a time, 1 to 1,021; with more of them each stands still longer.
            on_acquire: called with a shard and its epoch before writes to it are let through; a plain function or a coroutine.
            on_release: called with a shard once no writes to it are in flight any more, and it is no longer this node's.
            timeout_s: what joining, and each call to the store, may take, in seconds, at most a day.
            replicas: how many servers hold the namespace, 1 to 5; None: 1 for a new one, whatever it is for an existing one.
            storage: "file" or "memory"; None: file for a new one, whatever it is for an existing one.
            options: how to log in, and with which TLS, where the URL does not say it all; not beside a borrowed client.

        Raises:
            NamespaceMismatchError: on enter: plain stores write to the namespace.
            ServerUnavailableError: on enter: no server answers, or (`UnsupportedServerError`) it lacks what is needed.
            DeadlineError: on enter: the lease could not be had within `timeout_s`.
        """
        facts = Member(
            name=check_node_id(default_name() if node_id is None else node_id),
            incarnation=0,
            address=check_address(address),
            labels=check_labels({} if labels is None else labels),
            weight=check_weight(weight),
        )
        settings = NodeSettings(
            namespace=namespace,
            ttl_s=check_ttl(ttl),
            drain_s=drain_s,
            settle_s=settle_s,
            moves_max=moves_max,
            timeout_s=timeout_s,
            replicas=replicas,
            storage=storage,
        )
        return cls(NodeParts(url_or_client, options, facts, settings, on_acquire=on_acquire, on_release=on_release))

    def __repr__(self) -> str:
        return f"<ClusterNode {self.node_id!r} of {self._settings.namespace!r} at {self._parts.connection.url}>"

    # What it is, and what it sees.

    @property
    def node_id(self) -> str:
        """The node's name."""
        return self._parts.membership.facts.name

    @property
    def incarnation(self) -> int:
        """Which life of the name this is; 0: it is no member at this moment, by its clock."""
        return self._parts.membership.incarnation

    @property
    def members(self) -> Mapping[str, Member]:
        """Who is there, by name, this node included; a snapshot. While the connection is lost: who was there last."""
        return MappingProxyType(self._parts.view.members.by_name())

    @property
    def leader(self) -> str | None:
        """The name of the node that decides who owns what, as far as this node sees; None: nobody at this moment.

        Of itself it knows by its clock: it names itself while its lease lives, and not a moment longer.
        """
        if self.is_leader:
            return self.node_id
        seen = self._parts.view.leader
        return None if seen == self.node_id else seen

    @property
    def is_leader(self) -> bool:
        """Whether this node is it, by its clock."""
        return self._parts.leadership.valid

    @property
    def shards(self) -> frozenset[int]:
        """The shards that this node takes writes for."""
        return frozenset(self._parts.shards.open)

    @property
    def store(self) -> JetStreamEventStore:
        """The namespace's events: reads of everything, writes to actors that this node owns.

        A write to an actor of another node raises `NotOwnerError`, which names it; one to an actor whose shard is just being
        taken or moved waits for that, for as long as any write may take.
        """
        return self._parts.store

    def owner_of(self, actor_id: str) -> Member | None:
        """Return the node that owns an actor, as far as this node sees; None: nobody who is there."""
        owner: Member | None = self._parts.view.owners.owner_of(actor_id)
        return owner

    def epoch_of(self, actor_id: str) -> int | None:
        """Return the epoch under which this node may write to an actor at this moment, by its clock; None: it may not."""
        shard = shard_of(actor_id)
        epoch = self._parts.store.epoch_of(shard)
        if epoch is None:
            self._parts.shards.hurry(shard)  # whoever asks would write: should the shard come, it comes before others
        return epoch

    def changes(self) -> AsyncIterator[ClusterChange]:
        """Return an async iterator of what changes from now on, see `ClusterChange`; it ends with the node."""
        return self._parts.changes.feed()

    async def settled(self, *, timeout_s: float | None = None) -> None:
        """Return when every shard has an owner that is there, none is being moved, and this node has taken all of its own.

        A node that has just joined gets its first shards `settle_s` later; so long this waits for them.

        Args:
            timeout_s: how long that may take, in seconds, at most a day; None: as long as joining.

        Raises:
            DeadlineError: it was not so within that time.
        """
        limit_s = self._limit_s(timeout_s)
        try:
            await self._until(lambda: not self._unsettled(), limit_s, "settling")
        except DeadlineError:
            raise DeadlineError(f"settling ({self._unsettled() or 'it has just settled'})", limit_s) from None

    def _unsettled(self) -> str:
        """Say what is missing until all is settled; "" where nothing is."""
        membership, shards, view = self._parts.membership, self._parts.shards, self._parts.view
        table, leader = view.tables.table, self.leader or "nobody"
        if not membership.valid or membership.since is None:
            return "this node is no member at the moment"
        if table is None:
            return f"nobody has got any shard yet; the leader is {leader}"
        ownerless = sum(owner not in view.members.present for owner in table.owners)
        fresh = boot_time() < membership.since + self._settings.settle_s + ROUND_S
        missing = {
            f"{ownerless} shards have no owner who is there; the leader is {leader}": ownerless > 0,
            f"{len(table.moving)} shards are being moved": bool(table.moving),
            "this node has not taken all of its shards yet": not shards.is_settled(),
            "this node has got no shard yet": membership.facts.takes_shards and not shards.open and fresh,
        }
        what = next((what for what, is_so in missing.items() if is_so), "")
        if not what and (more := self._parts.to_follow(table)):
            what = f"{more} shards are still to move"
        return what

    def _limit_s(self, timeout_s: float | None) -> float:
        """Return how long a call may take; one without an end is refused."""
        if timeout_s is None:
            return self._settings.timeout_s
        check_timeout_s("timeout_s", timeout_s)
        return timeout_s

    async def _until(self, is_so: Callable[[], bool], limit_s: float, what: str) -> None:
        """Wait until something is so, which any change of this node may make so."""
        membership = self._parts.membership
        try:
            async with asyncio.timeout(limit_s):
                while not is_so():
                    if self._state != "open" or membership.replaced:
                        raise AetherError(f"{self!r} is not open" if self._state != "open" else membership.replaced)
                    # For a moment at most: that a lease fails, or that time passes, is no change.
                    await until(self._parts.pulse.next, asyncio.get_running_loop().time() + LOOK_S)
        except TimeoutError:
            if membership.lease.failure is not None:
                raise membership.lease.failure from None
            raise DeadlineError(what, round(limit_s, 3)) from None

    # Node to node.

    @property
    def message_bytes_max(self) -> int:
        """How large a request to another node, or an answer to one, may be, in bytes."""
        return self._parts.connection.max_payload - 1  # what kind of answer it is takes one

    async def request(self, node_id: str, verb: str, body: bytes, deadline: float) -> bytes:
        """Ask another node; see `NodeCalls.request`.

        `ActorHost` is built on this, and makes errors of its own of what it raises: `NoRespondersError` and `UnansweredError` of
        `aether.nats.errors` are no `AetherError`.
        """
        return await self._parts.calls.request(node_id, verb, body, deadline)

    def serve(self, verb: str, handler: Handler) -> None:
        """Answer other nodes; see `NodeCalls.serve`."""
        self._parts.calls.serve(verb, handler)

    async def unserve(self, verb: str) -> None:
        """Answer no more; see `NodeCalls.unserve`."""
        await self._parts.calls.unserve(verb)

    # Beginning and end.

    async def __aenter__(self) -> Self:
        if self._state != "new":
            raise AetherError(f"{self!r} was entered before; make a new one")
        self._state = "open"
        deadline = asyncio.get_running_loop().time() + self._settings.timeout_s
        try:
            await self._parts.open(deadline)
            left_s = deadline - asyncio.get_running_loop().time()
            await self._until(self._parts.membership.is_seen, left_s, f"joining as {self.node_id!r}")
        except BaseException:
            await self._close(0.0)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Give the shards away, wait until others have them, at most `drain_s`, give the lease back, and end."""
        async with self._ending:  # whoever calls while another does returns when it has ended
            if self._state == "open":
                await self._close(self._settings.drain_s)
            self._state = "closed"

    async def _close(self, drain_s: float) -> None:
        deadline = asyncio.get_running_loop().time() + drain_s
        try:
            await self._leave(drain_s)
            self._state = "closed"
            await self._parts.give_back(max(deadline, asyncio.get_running_loop().time() + min(CLOSE_S, drain_s)))
        finally:
            await self._parts.aclose()

    async def _leave(self, drain_s: float) -> None:
        """Give the shards away, where somebody takes them and there is time for it."""
        membership = self._parts.membership
        if drain_s and membership.can_drain():
            membership.drain()
            try:
                await self._until(lambda: membership.is_drained() or not membership.can_drain(), drain_s, "leaving")
            except AetherError as error:
                _LOG.warning("%r leaves before others have its shards: %s", self, error)

    async def drain(self, *, timeout_s: float | None = None) -> None:
        """Give all shards away, and get no more; return when others have them. The node stays a member, and can be asked.

        Args:
            timeout_s: how long that may take, in seconds, at most a day; None: as long as joining.

        Raises:
            DeadlineError: not within that time; it goes on all the same, as where no other node takes shards.
        """
        limit_s = self._limit_s(timeout_s)
        membership = self._parts.membership
        if self._state != "open":
            raise AetherError(f"{self!r} is not open")  # one that is entered later must not give its shards away at once
        membership.drain()
        try:
            await self._until(membership.is_drained, limit_s, f"giving away the shards of {self.node_id!r}")
        except DeadlineError as error:
            if membership.can_drain():
                raise
            raise DeadlineError(f"{error.what} (no other node is there that takes shards)", error.timeout_s) from None
