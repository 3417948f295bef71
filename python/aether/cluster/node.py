"""A node of a cluster: it shares the actors of a namespace with others, and writes to those that it owns.

The parts know nothing of each other: the view sees members, leader and table; the leases say whether this node is a member, and
whether it leads; the controller decides while it does; the shards follow the table. Here they are put together, begun and ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from aether._native import shard_of
from aether.cluster.calls import DRAIN, RELEASED, REPAIR, NodeCalls
from aether.cluster.changes import Changes, ClusterChange
from aether.cluster.controller import Controller
from aether.cluster.ending import end_tasks
from aether.cluster.hooks import Hooks
from aether.cluster.leading import Leading, leaders_ttl_s
from aether.cluster.lease_keeper import LeaseKeeper, check_ttl, default_name
from aether.cluster.members import MEMBERS_MAX, Member, check_address, check_labels, check_node_id, check_weight, draining
from aether.cluster.planner import Planner
from aether.cluster.pulse import Pulse, until
from aether.cluster.releasing import Releasing
from aether.cluster.shards import Shards
from aether.cluster.table import SHARDS
from aether.cluster.view import ClusterView
from aether.errors import AetherError, DeadlineError
from aether.nats.boot_clock import boot_time
from aether.nats.connection import Connection
from aether.nats.coordination import Coordination
from aether.nats.errors import NoRespondersError
from aether.nats.subjects import check_namespace, leader_subject, member_subject, table_subject
from aether.nats.watch import CoordinationWatch
from aether.store.arguments import check_is_seconds, check_placing
from aether.store.fenced import FencedEventStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
    from types import TracebackType
    from typing import Self

    from nats.aio.client import Client

    from aether.cluster.calls import Handler
    from aether.cluster.table import Table
    from aether.nats.connect_options import ConnectOptions
    from aether.store.jetstream import JetStreamEventStore

__all__ = ["ClusterNode"]

_LOG = logging.getLogger("aether.cluster")

DRAIN_S_MAX = 3_600.0

LOOK_S = 0.25
"""How often whoever waits for a node looks again, even if nothing changes."""

ROUND_S = 1.0
"""What the leader may take to see that a node has settled, and to give it its first shards."""


class ClusterNode:
    """A node of a cluster; made by `ClusterNode.join(…)`, used as an async context manager.

    On enter it has joined: it is a member, and sees the others. Shards come a moment later; `settled` waits for that. On leaving
    the block it gives its shards away, waits until others have them, and gives back its lease.

    When the membership is lost, because no renewal was answered for as long as a lease lives or another node was given its
    shards, all shards are closed at once, and the node joins again by itself, as a new incarnation. When another process joins
    under the same name it is replaced, and stops for good.
    """

    def __init__(
        self,
        url_or_client: str | Client,
        *,
        namespace: str,
        facts: Member,
        ttl: float,
        drain_s: float,
        settle_s: float,
        moves_max: int,
        on_acquire: Callable[[int, int], object] | None,
        on_release: Callable[[int], object] | None,
        timeout_s: float,
        replicas: int | None,
        storage: Literal["file", "memory"] | None,
        options: ConnectOptions | None,
    ) -> None:
        """Use `join`."""
        check_placing(timeout_s, replicas, storage)
        self._namespace, self._timeout_s = check_namespace(namespace), timeout_s
        self._ttl_s, self._replicas = check_ttl(ttl), replicas
        self._drain_s = _seconds("drain_s", drain_s, DRAIN_S_MAX)
        self._settle_s = _seconds("settle_s", settle_s, DRAIN_S_MAX)
        if isinstance(moves_max, bool) or not 1 <= moves_max <= SHARDS:
            raise ValueError(f"moves_max must be 1 to {SHARDS:,}, not {moves_max!r}")
        self._facts = facts
        self._connection = Connection(url_or_client, timeout_s, options)
        self._changes = Changes()
        self._coordination = Coordination(self._connection, namespace, timeout_s)
        self._watch = CoordinationWatch(self._connection, namespace, timeout_s)
        self._view = ClusterView(
            self._watch,
            namespace,
            self._changes,
            on_table=self._on_table,
            on_change=self._on_change,
            clock=boot_time,
        )
        self._membership = self._keeper(member_subject(namespace, facts.name), self._ttl_s, take_over=True, data=facts.facts())
        self._leadership = self._keeper(leader_subject(namespace), leaders_ttl_s(self._ttl_s), take_over=False, data={})
        self._store = FencedEventStore(
            self._connection,
            namespace,
            node=facts.name,
            valid=lambda: self._membership.valid,
            owner_of=self._owner,
            timeout_s=timeout_s,
            replicas=replicas,
            storage=storage,
            gate=self._gate,
        )
        self._shards = Shards(
            facts.name,
            self._store,
            Hooks(on_acquire, on_release, self._drain_s, self._changes),
            self._changes,
            drain_s=self._drain_s,
            take_s=timeout_s,
            valid=lambda: self._membership.valid,
            sees=lambda: self._watch.unbroken_since is not None,
            told=self._on_shards,
        )
        self._controller = Controller(
            self._coordination, table_subject(namespace), self._view.tables, self._view.members, boot_time
        )
        self._calls = NodeCalls(self._connection, namespace, facts.name, timeout_s)
        self._releasing = Releasing(facts.name, self._shards, self._controller, self._calls, lambda: self._view.leader)
        self._leading = Leading(
            self._leadership,
            self._membership,
            watch=self._watch,
            view=self._view,
            controller=self._controller,
            planner=lambda: Planner(ttl_s=self._ttl_s, settle_s=self._settle_s, drain_s=self._drain_s, moves_max=moves_max),
            ttl_s=self._ttl_s,
            may_bid=lambda: self._state == "open" and not self._membership.replaced,
        )
        self._pulse = Pulse()
        self._tasks: set[asyncio.Task[None]] = set()
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
            labels=check_labels(dict(labels) if labels is not None else {}),
            weight=check_weight(weight),
        )
        return cls(
            url_or_client,
            namespace=namespace,
            facts=facts,
            ttl=ttl,
            drain_s=drain_s,
            settle_s=settle_s,
            moves_max=moves_max,
            on_acquire=on_acquire,
            on_release=on_release,
            timeout_s=timeout_s,
            replicas=replicas,
            storage=storage,
            options=options,
        )

    def _keeper(self, subject: str, ttl_s: int, *, take_over: bool, data: Mapping[str, object]) -> LeaseKeeper:
        return LeaseKeeper(
            self._coordination,
            self._watch,
            subject,
            ttl_s=ttl_s,
            name=self._facts.name,
            data=data,
            take_over=take_over,
            on_held=self._on_member if take_over else self._on_leader,
            on_lost=self._on_parted if take_over else self._on_deposed,
        )

    def __repr__(self) -> str:
        return f"<ClusterNode {self.node_id!r} of {self._namespace!r} at {self._connection.url}>"

    # What it is, and what it sees.

    @property
    def node_id(self) -> str:
        """The node's name."""
        return self._facts.name

    @property
    def incarnation(self) -> int:
        """Which life of the name this is; 0: it is no member at this moment, by its clock."""
        return self._membership.term or 0

    @property
    def members(self) -> Mapping[str, Member]:
        """Who is there, by name, this node included; a snapshot. While the connection is lost: who was there last."""
        return MappingProxyType(self._view.members.by_name())

    @property
    def leader(self) -> str | None:
        """The name of the node that decides who owns what, as far as this node sees; None: nobody at this moment.

        Of itself it knows by its clock: it names itself while its lease lives, and not a moment longer.
        """
        if self._leadership.valid:
            return self.node_id
        return None if self._view.leader == self.node_id else self._view.leader

    @property
    def is_leader(self) -> bool:
        """Whether this node is it, by its clock."""
        return self._leadership.valid

    @property
    def shards(self) -> frozenset[int]:
        """The shards that this node takes writes for."""
        return frozenset(self._shards.open)

    @property
    def store(self) -> JetStreamEventStore:
        """The namespace's events: reads of everything, writes to actors that this node owns.

        A write to an actor of another node raises `NotOwnerError`, which names it; one to an actor whose shard is just being
        taken or moved waits for that, for as long as any write may take.
        """
        return self._store

    def owner_of(self, actor_id: str) -> Member | None:
        """Return the node that owns an actor, as far as this node sees; None: nobody who is there."""
        owner: Member | None = self._view.owners.owner_of(actor_id)
        return owner

    def epoch_of(self, actor_id: str) -> int | None:
        """Return the epoch under which this node may write to an actor at this moment, by its clock; None: it may not."""
        shard = shard_of(actor_id)
        epoch = self._store.epoch_of(shard)
        if epoch is None:
            self._shards.hurry(shard)  # whoever asks would write: should the shard come, it comes before others
        return epoch

    def changes(self) -> AsyncIterator[ClusterChange]:
        """Return an async iterator of what changes from now on, see `ClusterChange`; it ends with the node."""
        return self._changes.feed()

    async def settled(self, *, timeout_s: float | None = None) -> None:
        """Return when every shard has an owner that is there, none is being moved, and this node has taken all of its own.

        A node that has just joined gets its first shards `settle_s` later; so long this waits for them.

        Args:
            timeout_s: how long that may take, in seconds; None: as long as joining.

        Raises:
            DeadlineError: it was not so within that time.
        """
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        try:
            await self._until(lambda: not self._unsettled(), limit_s, "settling")
        except DeadlineError:
            raise DeadlineError(f"settling ({self._unsettled() or 'it has just settled'})", limit_s) from None

    def _unsettled(self) -> str:
        """Say what is missing until all is settled; "" where nothing is."""
        table, present = self._view.tables.table, self._view.members.present
        leader = self.leader or "nobody"
        member_since = self._leading.member_since
        if not self._membership.valid or member_since is None:
            return "this node is no member at the moment"
        if table is None:
            return f"nobody has got any shard yet; the leader is {leader}"
        ownerless = sum(owner not in present for owner in table.owners)
        fresh = boot_time() < member_since + self._settle_s + ROUND_S
        missing = {
            f"{ownerless} shards have no owner who is there; the leader is {leader}": ownerless > 0,
            f"{len(table.moving)} shards are being moved": bool(table.moving),
            "this node has not taken all of its shards yet": not self._shards.is_settled(),
            "this node has got no shard yet": self._facts.takes_shards and not self._shards.open and fresh,
        }
        return next((what for what, is_so in missing.items() if is_so), "")

    async def _until(self, is_so: Callable[[], bool], limit_s: float, what: str) -> None:
        """Wait until something is so, which any change of this node may make so."""
        try:
            async with asyncio.timeout(limit_s):
                while not is_so():
                    if self._state != "open" or self._membership.replaced:
                        raise AetherError(f"{self!r} is not open" if self._state != "open" else self._replaced())
                    await self._next_pulse()
        except TimeoutError:
            if self._membership.failure is not None:
                raise self._membership.failure from None
            raise DeadlineError(what, round(limit_s, 3)) from None

    async def _next_pulse(self) -> None:
        """Wait for the next change, a moment at most: that a lease fails, or that time passes, is no change."""
        await until(self._pulse.next, asyncio.get_running_loop().time() + LOOK_S)

    def _replaced(self) -> str:
        return f"another process joined {self._namespace!r} as {self.node_id!r}; every process needs a node_id of its own"

    # Node to node.

    @property
    def message_bytes_max(self) -> int:
        """How large a request to another node, or an answer to one, may be, in bytes."""
        return self._connection.max_payload - 1  # what kind of answer it is takes one

    async def request(self, node_id: str, verb: str, body: bytes, deadline: float) -> bytes:
        """Ask another node; see `NodeCalls.request`."""
        return await self._calls.request(node_id, verb, body, deadline)

    def serve(self, verb: str, handler: Handler) -> None:
        """Answer other nodes; see `NodeCalls.serve`."""
        self._calls.serve(verb, handler)

    async def unserve(self, verb: str) -> None:
        """Answer no more; see `NodeCalls.unserve`."""
        await self._calls.unserve(verb)

    # Beginning and end.

    async def __aenter__(self) -> Self:
        if self._state != "new":
            raise AetherError(f"{self!r} was entered before; make a new one")
        self._state = "open"
        try:
            await self._open()
        except BaseException:
            await self._close(0.0)
            raise
        return self

    async def _open(self) -> None:
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        await self._connection.ready(deadline)
        await self._store.__aenter__()
        await self._coordination.open(deadline, replicas=self._replicas)
        self._calls.serve(RELEASED, self._releasing.hear)
        self._calls.serve(DRAIN, self._on_drain)
        self._calls.serve(REPAIR, self._on_repair)
        await self._calls.listen()
        await self._watch.start(deadline)
        self._view.start()
        self._start(self._leading.run, "lead")
        self._start(self._mind, "mind")
        self._start(self._releasing.run, "releases")
        self._start(self._listen, "listen")
        self._check_room()
        self._leadership.start()  # it is wanted as long as this node is a member
        self._membership.start()
        self._membership.want()
        left_s = deadline - asyncio.get_running_loop().time()
        await self._until(self._is_member_seen, left_s, f"joining as {self.node_id!r}")

    def _is_member_seen(self) -> bool:
        """Say whether this node is a member, and sees itself among the others."""
        if self._membership.failure is not None:
            raise self._membership.failure
        self._check_room()  # others may join at the same time
        present = self._view.members.present.get(self.node_id)
        return self._membership.valid and present is not None and present.member.incarnation == self._membership.term

    def _check_room(self) -> None:
        """Raise where there are as many members as there may be, and this node is none of them."""
        members = self._view.members
        if members.is_full and self.node_id not in members.present:
            raise AetherError(
                f"{self.node_id!r} cannot join {self._namespace!r}: {MEMBERS_MAX:,} members are there already, and there can be "
                "no more, for no more could own a shard; end one of them (`aether cluster members` lists them), then join again"
            )

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Give the shards away, wait until others have them, at most `drain_s`, give the lease back, and end."""
        async with self._ending:  # whoever calls while another does returns when it has ended
            if self._state == "open":
                await self._close(self._drain_s)
            self._state = "closed"

    async def drain(self, *, timeout_s: float | None = None) -> None:
        """Give all shards away, and get no more; return when others have them. The node stays a member, and can be asked.

        Args:
            timeout_s: how long that may take, in seconds; None: as long as joining.

        Raises:
            DeadlineError: not within that time; it goes on all the same, as where no other node takes shards.
        """
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        self._begin_drain()
        await self._until(self._is_drained, limit_s, f"giving away the shards of {self.node_id!r}")

    def _begin_drain(self) -> None:
        if not self._facts.draining:
            self._facts = draining(self._facts)
            self._membership.update(self._facts.facts())

    def _is_drained(self) -> bool:
        table = self._view.tables.table
        return table is not None and self.node_id not in table.owners

    def _can_drain(self) -> bool:
        """Say whether somebody is there who would take the shards, as far as this node sees."""
        others = (present.member for name, present in self._view.members.present.items() if name != self.node_id)
        return self._watch.unbroken_since is not None and self._membership.valid and any(one.takes_shards for one in others)

    async def _on_drain(self, _: bytes) -> bytes:
        self._begin_drain()
        return b""

    async def _on_repair(self, body: bytes) -> bytes:
        return msgspec.json.encode(await self._store.repair(body.decode()))

    async def _close(self, drain_s: float) -> None:
        deadline = asyncio.get_running_loop().time() + drain_s
        async with contextlib.AsyncExitStack() as stack:
            # Done from the last to the first, each whatever becomes of those before, also where this is cancelled.
            stack.callback(self._changes.end)
            stack.push_async_callback(self._connection.aclose)
            stack.push_async_callback(self._calls.aclose)
            stack.push_async_callback(self._watch.aclose)
            stack.push_async_callback(self._membership.aclose)
            stack.push_async_callback(self._leadership.aclose)
            stack.push_async_callback(self._store.aclose)
            stack.push_async_callback(self._stop)
            if drain_s and self._can_drain():
                self._begin_drain()
                try:
                    await self._until(lambda: self._is_drained() or not self._can_drain(), drain_s, "leaving")
                except AetherError as error:
                    _LOG.warning("%r leaves before others have its shards: %s", self, error)
            self._state = "closed"
            await self._shards.aclose(max(deadline, asyncio.get_running_loop().time() + min(1.0, drain_s)))
            await self._give_back()

    async def _give_back(self) -> None:
        """Give the leases back, so that nobody waits for them to expire."""
        until = asyncio.get_running_loop().time() + min(self._timeout_s, self._ttl_s)
        for keeper in (self._leadership, self._membership):
            try:
                if self._connection.is_up():
                    await keeper.release(until)
            except DeadlineError as error:
                _LOG.warning("%r: %s; it expires by itself", self, error)

    def _start(self, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        self._tasks.add(asyncio.create_task(self._keep_on(work), name=f"aether-node-{name}"))

    async def _keep_on(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do this work, and begin it anew should it ever fail: a node that stops in silence would be worse."""
        while True:
            try:
                await work()
            except Exception:  # noqa: BLE001 - whatever it is, the others rely on this node's work
                _LOG.exception("%r: an error that nobody expected; it goes on in a moment", self)
                await asyncio.sleep(1.0)
            else:
                return

    async def _stop(self) -> None:
        self._leading.aclose()
        tasks, self._tasks = self._tasks, set()
        await end_tasks(tasks)

    # What happens.

    async def _mind(self) -> None:
        """Stop for good when another process has joined under this name, whether or not this one was a member then."""
        while not self._membership.replaced:
            await self._membership.wait()
        self._leadership.unwant()
        self._shards.parted(for_good=True)
        if self._state == "open":
            _LOG.error("%r stops: %s", self, self._replaced())
            self._changes.put(ClusterChange(kind="membership_lost", node=self.node_id, reason=self._replaced()))
        self._on_change()

    async def _listen(self) -> None:
        """After a broken watch: hear requests again, should the connection have another client now, and bid for leadership."""
        feed = self._changes.feed()
        async for change in feed:
            if change.kind not in ("synced", "missed"):
                continue
            self._shards.look()
            self._leading.bid()
            try:
                await self._calls.listen()
                if self._view.is_behind:
                    until = self._coordination.until(self._timeout_s)
                    self._view.believe(await self._coordination.read(table_subject(self._namespace), until))
            except (AetherError, NoRespondersError) as error:
                _LOG.info("%r does not hear everything until the watch begins anew: %s", self, error)

    def _on_member(self, incarnation: int) -> None:
        again = self._leading.member_since is None and self._view.tables.table is not None
        self._shards.joined(incarnation)
        self._leading.joined()
        if again:
            self._changes.put(ClusterChange(kind="membership_held", node=self.node_id))
        self._on_change()

    def _on_parted(self, term: int, reason: str, body: bytes | None) -> None:  # noqa: ARG002 - of the protocol
        self._shards.parted()
        self._leading.parted()
        if self._state == "open" and not self._membership.replaced:
            _LOG.warning("%r is no member any more: %s", self, reason)
            self._changes.put(ClusterChange(kind="membership_lost", node=self.node_id, reason=reason))
        self._on_change()

    def _on_leader(self, term: int) -> None:  # noqa: ARG002 - of the protocol
        self._on_change()

    def _on_deposed(self, term: int, reason: str, body: bytes | None) -> None:  # noqa: ARG002 - of the protocol
        self._on_change()

    def _on_table(self, table: Table, position: int) -> None:
        self._shards.follow(table, position)

    def _owner(self, shard: int) -> str | None:
        return self._shards.owner_of(shard)

    async def _gate(self, shard: int, deadline: float) -> None:
        await self._shards.gate(shard, deadline)

    def _on_shards(self) -> None:
        self._releasing.wake()
        self._pulse.beat()

    def _on_change(self) -> None:
        self._leading.bid()
        self._controller.wake()
        self._releasing.wake()
        self._pulse.beat()


def _seconds(name: str, value: float, most: float) -> float:
    check_is_seconds(name, value)
    if not 0 <= value <= most:
        raise ValueError(f"{name} must be 0 to {most:,.0f} seconds, not {value}")
    return float(value)
