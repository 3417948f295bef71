"""A node's own membership: the lease that says it is there, what it says of itself, and whether another has its name now."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from aether.cluster.changes import ClusterChange
from aether.cluster.lease_keeper import LeaseKeeper
from aether.cluster.members import MEMBERS_MAX, Member, draining
from aether.errors import AetherError
from aether.nats.boot_clock import boot_time
from aether.nats.subjects import member_subject

if TYPE_CHECKING:
    from collections.abc import Callable

    from aether.cluster.changes import Changes
    from aether.cluster.view import ClusterView
    from aether.nats.coordination import Coordination
    from aether.nats.watch import CoordinationWatch

__all__ = ["Membership"]

_LOG = logging.getLogger("aether.cluster")


class Membership:
    """Whether a node is a member, and as which incarnation; it becomes one again by itself unless it was replaced, or ends.

    Args:
        coordination: the namespace's coordination stream.
        watch: the watch on it.
        namespace: the namespace.
        facts: what the node says of itself.
        ttl_s: how long its lease lives, in whole seconds.
        view: what it sees of the cluster.
        changes: where it is told what became of the membership.
        joined: called with the incarnation when the node is a member (again).
        parted: called when it is none any more, and when it is none for good because it was replaced.
        changed: called after either, once that was told.

    Attributes:
        facts: what it says of itself now.
        lease: the lease.
        since: since when it is a member, on the clock of leases; None: it is none.
        goes_on: the node does not end, so it is a member, or is to be one again.
    """

    def __init__(
        self,
        coordination: Coordination,
        watch: CoordinationWatch,
        namespace: str,
        facts: Member,
        *,
        ttl_s: int,
        view: ClusterView,
        changes: Changes,
        joined: Callable[[int], None],
        parted: Callable[[], None],
        changed: Callable[[], None],
    ) -> None:
        self._namespace, self._watch, self._view, self._changes = namespace, watch, view, changes
        self._joined, self._parted, self._changed = joined, parted, changed
        self.facts = facts
        self.since: float | None = None
        self.goes_on = True
        self.lease = LeaseKeeper(
            coordination,
            watch,
            member_subject(namespace, facts.name),
            ttl_s=ttl_s,
            name=facts.name,
            data=facts.facts(),
            take_over=True,
            on_held=self._on_held,
            on_lost=self._on_lost,
        )

    # What it is.

    @property
    def valid(self) -> bool:
        """Whether the node is a member at this moment, by its clock."""
        return self.lease.valid

    @property
    def incarnation(self) -> int:
        """Which life of the name this is; 0: it is no member at this moment, by its clock."""
        return self.lease.term or 0

    @property
    def replaced(self) -> str:
        """Why it stops for good, where another process joined under its name; "": none did."""
        if not self.lease.replaced:
            return ""
        return f"another process joined {self._namespace!r} as {self.facts.name!r}; every process needs a node_id of its own"

    def is_seen(self) -> bool:
        """Say whether the node is a member, and sees itself among the others.

        Raises:
            AetherError: it cannot be one.
        """
        if self.lease.failure is not None:
            raise self.lease.failure
        self._check_room()  # others may join at the same time
        present = self._view.members.present.get(self.facts.name)
        return self.valid and present is not None and present.member.incarnation == self.lease.term

    def _check_room(self) -> None:
        """Raise where there are as many members as there may be, and this node is none of them."""
        members = self._view.members
        if members.is_full and self.facts.name not in members.present:
            raise AetherError(
                f"{self.facts.name!r} cannot join {self._namespace!r}: {MEMBERS_MAX:,} members are there already, and there "
                "can be no more, for no more could own a shard; end one of them (`aether cluster members` lists them), "
                "then join again"
            )

    # Coming and going.

    def join(self) -> None:
        """Bid for the lease from now on.

        Raises:
            AetherError: there is no room for one more member.
        """
        self._check_room()
        self.lease.start()
        self.lease.want()

    def drain(self) -> None:
        """Have the shards given away from now on, and get no more."""
        if not self.facts.draining:
            self.facts = draining(self.facts)
            self.lease.update(self.facts.facts())

    def is_drained(self) -> bool:
        """Say whether the node owns no shard any more, as far as it sees."""
        table = self._view.tables.table
        return table is not None and self.facts.name not in table.owners

    def can_drain(self) -> bool:
        """Say whether somebody is there who would take the shards, as far as this node sees."""
        others = (present.member for name, present in self._view.members.present.items() if name != self.facts.name)
        return self._watch.unbroken_since is not None and self.valid and any(one.takes_shards for one in others)

    def end(self) -> None:
        """Take it that the node ends, so that nobody is told of what becomes of the membership from now on."""
        self.goes_on = False

    # What becomes of it.

    def _on_held(self, incarnation: int) -> None:
        again = self.since is None and self._view.tables.table is not None
        self.since = boot_time()
        self._joined(incarnation)
        if again:
            self._changes.put(ClusterChange(kind="membership_held", node=self.facts.name))
        self._changed()

    def _on_lost(self, term: int, reason: str, body: bytes | None) -> None:  # noqa: ARG002 - of the protocol
        self.since = None
        self._parted()
        if self.goes_on and not self.replaced:
            _LOG.warning("%r is no member of %r any more: %s", self.facts.name, self._namespace, reason)
            self._changes.put(ClusterChange(kind="membership_lost", node=self.facts.name, reason=reason))
        self._changed()

    async def mind(self) -> None:
        """Stop for good when another process has joined under this name, whether or not this one was a member then."""
        while not self.replaced:
            await self.lease.wait()
        self._parted()
        if self.goes_on:
            _LOG.error("%r stops: %s", self.facts.name, self.replaced)
            self._changes.put(ClusterChange(kind="membership_lost", node=self.facts.name, reason=self.replaced))
        self._changed()
