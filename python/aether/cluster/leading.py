"""When a node bids for its cluster's leadership, and that it decides while it leads.

Only a member that sees the others could decide anything, and who is dead is known only to who has looked on for as long as a
lease lives. So a node that has just come leaves leadership to those that were there before, and who is no member any more, or
has been blind for too long, gives it up.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING

from aether.nats.boot_clock import boot_time

if TYPE_CHECKING:
    from collections.abc import Callable

    from aether.cluster.controller import Controller
    from aether.cluster.lease_keeper import LeaseKeeper
    from aether.cluster.membership import Membership
    from aether.cluster.planner import Planner
    from aether.cluster.view import ClusterView
    from aether.nats.watch import CoordinationWatch

__all__ = ["Leading", "leaders_ttl_s"]

_LOG = logging.getLogger("aether.cluster")

BLIND_TTLS = 2
"""After so many lives of a lease without seeing the cluster a leader lets others lead."""


def leaders_ttl_s(ttl_s: int) -> int:
    """Return how long the leader's lease lives where a member's lives for `ttl_s`, in whole seconds.

    Two thirds, so that it ends first when both end with one process: who is to give the dead node's shards away leads by then. A
    member's lease has two thirds of its life left when it is about to be renewed.
    """
    return max(1, ttl_s * 2 // 3)


class Leading:
    """One node's part in leading.

    Args:
        leadership: the leader's lease.
        membership: the node's own; who ends, or was replaced, does not bid.
        watch: the watch by which it sees.
        view: what it sees.
        controller: decides while it leads.
        planner: makes the planner of a term.
        ttl_s: how long a member's lease lives, in seconds.
    """

    def __init__(
        self,
        leadership: LeaseKeeper,
        membership: Membership,
        *,
        watch: CoordinationWatch,
        view: ClusterView,
        controller: Controller,
        planner: Callable[[], Planner],
        ttl_s: int,
    ) -> None:
        self._leadership, self._membership, self._watch, self._view = leadership, membership, watch, view
        self._controller, self._planner, self._ttl_s = controller, planner, ttl_s
        self._grows_up: asyncio.TimerHandle | None = None

    def bid(self) -> None:
        """Bid for leadership, if this node is one that could decide: something that may make it one has happened."""
        steady_since = self.steady_since()
        if self._leadership.wanted or steady_since is None or not self._membership.goes_on or self._membership.replaced:
            return
        knows_at = steady_since + self._ttl_s
        if boot_time() >= knows_at or not self._is_junior():
            self._leadership.want()
        elif self._grows_up is None:
            self._grows_up = asyncio.get_running_loop().call_later(knows_at - boot_time(), self._grow_up)

    def _grow_up(self) -> None:
        self._grows_up = None
        self.bid()

    def _is_junior(self) -> bool:
        """Say whether another member is there that joined before this one."""
        own = self._membership.incarnation
        return any(present.member.incarnation < own for present in self._view.members.present.values())

    def steady_since(self) -> float | None:
        """Since when this node has seen everything, and been a member, without a break: who was away cannot tell who died."""
        seen, held = self._watch.unbroken_since, self._membership.since
        return None if seen is None or held is None or not self._membership.valid else max(seen, held)

    async def run(self) -> None:
        """Decide whenever this node is the leader, for ever."""
        while True:
            term = self._leadership.term
            if term is None:
                await self._leadership.wait()
                continue
            _LOG.info("%s: this node leads, term %d", self._leadership.subject, term)
            leads = partial(self._leads, term)
            await self._controller.lead(self._planner(), term, leads, self.steady_since, blind_s=BLIND_TTLS * self._ttl_s)
            if leads():
                _LOG.warning("%s: this node gives leadership up until it sees the cluster again", self._leadership.subject)
                self._leadership.unwant()

    def _leads(self, term: int) -> bool:
        return self._leadership.term == term

    def aclose(self) -> None:
        """Bid no more of its own accord."""
        if self._grows_up is not None:
            self._grows_up.cancel()
