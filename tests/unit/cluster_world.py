"""A cluster in virtual time: nodes, leases, a table and a network that is late, driven by one seed. Only the planner is real.

Who holds a shard is looked at whenever somebody takes one. A node's view is as late as its messages; words to the leader may be
lost; nodes die, come back, leave, pause the world's server for a while. Whatever goes wrong can be run again by its seed.
"""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from aether.cluster.members import Member, Members
from aether.cluster.planner import Planner, Situation
from aether.cluster.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from aether.cluster.table import Table

TTL_S, SETTLE_S, DRAIN_S = 3.0, 1.0, 10.0
ACKED = 0.8
"""The share of the leader's writes whose ack is not lost."""

FOREVER = float("inf")

BACK_S = 0.2
"""How long a node that comes back just when it was given up for dead may act on the table that still names it."""


@dataclass
class Process:
    """One life of a node."""

    member: Member
    view: Members
    planner: type[Planner]
    watched_since: float | None
    held_since: float
    lease_until: float = FOREVER
    alive: bool = True
    table: Table | None = None
    position: int = 0
    holding: set[int] = field(default_factory=set)
    busy: set[int] = field(default_factory=set)
    moved_here: set[int] = field(default_factory=set)
    late_at: float = 0.0
    reminded: bool = False
    given_up_until: float = 0.0

    @property
    def name(self) -> str:
        """Its name."""
        return self.member.name


@lru_cache(maxsize=16)
def _owned(owners: tuple[str | None, ...]) -> dict[str | None, frozenset[int]]:
    found: dict[str | None, set[int]] = {}
    for shard, owner in enumerate(owners):
        found.setdefault(owner, set()).add(shard)
    return {owner: frozenset(shards) for owner, shards in found.items()}


def owned_by(table: Table, name: str) -> frozenset[int]:
    """The shards of a node, found once for all nodes."""
    return _owned(table.owners).get(name, frozenset())


class World:
    """Everything; `run` until a time."""

    def __init__(self, seed: int, planner: type[Planner] = Planner, *, moves_max: int = 64, settle_s: float = SETTLE_S) -> None:
        self.random = random.Random(seed)
        self.planner, self.moves_max, self.settle_s = planner, moves_max, settle_s
        self.now = 0.0
        self._queue: list[tuple[float, int, object]] = []
        self._number = 0
        self.positions = 0
        self.nodes: dict[str, Process] = {}
        self.table: Table | None = None
        self.table_at = 0
        self.history: list[tuple[float, Table]] = []
        self.leader: Process | None = None
        self.term, self.led_since = 0, 0.0
        self.brain: Planner | None = None
        self.down = False
        self.wake_at = FOREVER
        self.double: list[str] = []
        self.brief: list[str] = []
        self.hung: set[str] = set()

    # Time.

    def at(self, delay_s: float, call: Callable[[], object]) -> None:
        """Have something happen after a while."""
        self.then(self.now + delay_s, call)

    def then(self, time: float, call: Callable[[], object]) -> None:
        """Have something happen at a time."""
        self._number += 1
        heapq.heappush(self._queue, (time, self._number, call))

    def run(self, seconds: float) -> None:
        """Let time pass."""
        until = self.now + seconds
        while self._queue and self._queue[0][0] <= until:
            self.now, _, call = heapq.heappop(self._queue)
            call()
        self.now = until

    def soon(self) -> float:
        """How late a message is."""
        return self.random.uniform(0.0005, 0.02)

    # Nodes.

    def join(self, name: str, weight: int = 1) -> Process:
        """Begin a life of this name; one that is alive is replaced."""
        before = self.nodes.get(name)
        if before is not None:
            before.alive = False
            before.holding.clear()
        self.positions += 1
        view = Members(lambda: self.now)
        process = Process(Member(name=name, incarnation=self.positions, weight=weight), view, self.planner, self.now, self.now)
        if before is None and self.table is not None and name in self.table.owners:
            # Its lease has expired, and no table says so yet.
            process.given_up_until = self.now + BACK_S
        self.nodes[name] = process
        for other in self.nodes.values():
            view.see(other.member)  # also who has died, until that shows
        if self.table is not None:
            self.deliver_table(process, self.table, self.table_at)
        self.announce(lambda view, member=process.member: view.see(member))
        if self.leader is None or not self.leader.alive:
            self.at(self.soon(), self.elect)
        return process

    def living(self) -> list[Process]:
        """The processes that run."""
        return [process for process in self.nodes.values() if process.alive]

    def kill(self, name: str) -> None:
        """End a life with -9: its lease expires later."""
        process = self.nodes[name]
        process.alive = False
        process.holding.clear()
        expiry_s = self.random.uniform(2 * TTL_S / 3, TTL_S)
        self.at(expiry_s, lambda: self.expire(process))

    def expire(self, process: Process) -> None:
        """Let a dead node's lease expire."""
        if self.nodes.get(process.name) is process:
            del self.nodes[process.name]
            self.announce(lambda view, name=process.name: view.gone(name, left=False))
        if self.leader is process:
            self.at(self.soon(), self.elect)

    def drain(self, name: str) -> None:
        """Have a node say that it is about to leave."""
        process = self.nodes[name]
        process.member = replace(process.member, draining=True)
        self.announce(lambda view, member=process.member: view.see(member))

    def leave(self, name: str) -> None:
        """Drain, and give the lease back once nothing is owned, or nobody is there who would take it."""
        self.drain(name)
        self.at(0.05, lambda: self.left(self.nodes[name]))

    def left(self, process: Process) -> None:
        """Have a node leave once it owns nothing."""
        if not process.alive or self.nodes.get(process.name) is not process:
            return
        others = [one for one in self.living() if one.member.takes_shards]
        if others and (process.table is None or process.name in process.table.owners):
            self.at(0.05, lambda: self.left(process))
            return
        process.alive = False
        process.holding.clear()
        del self.nodes[process.name]
        self.announce(lambda view: view.gone(process.name, left=True))
        if self.leader is process:
            self.at(self.soon(), self.elect)

    def announce(self, tell: Callable[[Members], object]) -> None:
        """Let every living node see something, in order, each in its time."""
        for process in self.living():
            self.deliver(process, lambda process=process: tell(process.view))

    def deliver(self, process: Process, call: Callable[[], object]) -> None:
        """Let one node see something, in order, in its time."""
        process.late_at = max(process.late_at, self.now + self.soon())
        self.then(process.late_at, lambda: self.delivered(process, call))

    def delivered(self, process: Process, call: Callable[[], object]) -> None:
        """Show it."""
        if process.alive:
            call()
            self.decide(process)

    def outage(self, seconds: float) -> None:
        """Take the server away, long enough that every lease expires; all come back as new lives, each in its time."""
        self.down = True
        for process in self.living():
            process.watched_since = None
            process.lease_until = self.now + self.random.uniform(0.6 * TTL_S, 0.9 * TTL_S)
            self.at(process.lease_until - self.now, process.holding.clear)
        self.at(seconds, self.back)

    def back(self) -> None:
        """Bring the server back."""
        self.down = False
        self.leader = None
        for process in self.living():
            # All leases have expired, and whoever watches is told so first.
            process.view.keep_only(())
            process.watched_since = self.now + 0.01
            process.held_since = FOREVER
            self.at(self.random.uniform(0.01, 0.8), lambda process=process: self.rejoin(process))
        self.at(0.02, self.elect)

    def rejoin(self, process: Process) -> None:
        """Begin a new life of a node that has lost its lease."""
        if not process.alive:
            return
        self.positions += 1
        process.member = replace(process.member, incarnation=self.positions)
        process.lease_until, process.held_since = FOREVER, self.now
        self.announce(lambda view, member=process.member: view.see(member))
        self.follow(process)

    # Leading.

    def elect(self) -> None:
        """Choose a leader where there is none."""
        if self.leader is not None and self.leader.alive:
            return
        able = [process for process in self.living() if process.lease_until == FOREVER]
        if not able:
            if self.living():
                self.at(0.05, self.elect)
            self.leader = None
            return
        self.leader = self.random.choice(able)
        self.positions += 1
        self.term, self.led_since = self.positions, self.now
        self.wake_at = FOREVER
        self.brain = self.planner(ttl_s=TTL_S, settle_s=self.settle_s, drain_s=DRAIN_S, moves_max=self.moves_max)
        self.decide(self.leader)

    def decide(self, process: Process, delay_s: float = 0.001) -> None:
        """Have the leader decide a moment later, once for all that comes until then."""
        if process is self.leader and self.now + delay_s < self.wake_at:
            self.wake_at = self.now + delay_s
            self.then(self.wake_at, lambda: self.decided(process))

    def decided(self, process: Process) -> None:
        """Decide, and write the table."""
        if self.now < self.wake_at:
            return
        self.wake_at = FOREVER
        if process is not self.leader or not process.alive or self.down:
            return
        seen, held = process.watched_since, process.held_since
        steady = None if seen is None or held == FOREVER else max(seen, held)
        view = process.view
        plan = self.brain.plan(
            Situation(self.now, self.term, self.led_since, steady, view.present, view.left, self.table, self.table_at)
        )
        if plan.table is not None:
            self.positions += 1
            self.table, self.table_at = plan.table, self.positions
            self.history.append((self.now, plan.table))
            if self.random.random() < ACKED:
                self.brain.learn(plan.table, self.positions, self.now)
            for other in self.living():
                self.deliver_table(other, plan.table, self.positions)
            self.decide(process)
        elif plan.wake_at is not None:
            self.decide(process, max(0.001, plan.wake_at - self.now))

    def deliver_table(self, process: Process, table: Table, position: int) -> None:
        """Show a table to a node."""

        def take() -> None:
            if position > process.position:
                coming = {} if process.table is None else process.table.moving
                process.moved_here.update(shard for shard, target in coming.items() if target == process.name)
                process.table, process.position = table, position
                self.follow(process)

        self.deliver(process, take)

    # Holding.

    def wants(self, process: Process, shard: int) -> bool:
        """Say whether a node is to hold a shard, by the table that it has seen."""
        table = process.table
        member = process.alive and process.lease_until == FOREVER
        return member and table is not None and table.owners[shard] == process.name and shard not in table.moving

    def follow(self, process: Process) -> None:
        """Begin to take and let go what the table says."""
        if process.table is None or not process.alive:
            return
        member = process.lease_until == FOREVER
        wanted = owned_by(process.table, process.name) - process.table.moving.keys() if member else frozenset()
        for shard in sorted(wanted ^ process.holding):
            if shard not in process.busy:
                process.busy.add(shard)
                self.at(self.step_s(process), lambda shard=shard: self.step(process, shard))
        self.tell(process)

    def step_s(self, process: Process) -> float:
        """How long taking or letting go takes."""
        return 1e9 if process.name in self.hung else self.random.uniform(0.001, 0.05)

    def step(self, process: Process, shard: int) -> None:
        """Take a shard, or let it go."""
        process.busy.discard(shard)
        if not process.alive:
            return
        if shard in process.holding:
            if not self.wants(process, shard):
                process.holding.discard(shard)
        elif self.wants(process, shard):
            self.take(process, shard)
        if self.wants(process, shard) != (shard in process.holding):
            process.busy.add(shard)
            self.at(self.step_s(process), lambda: self.step(process, shard))
        self.tell(process)

    def take(self, process: Process, shard: int) -> None:
        """Take a shard, and look whether somebody else holds it."""
        for other in self.living():
            if other is not process and shard in other.holding:
                told = self.brief if self.now < max(process.given_up_until, other.given_up_until) else self.double
                told.append(f"{self.now:.3f}: {process.name} takes shard {shard}, which {other.name} holds")
                other.holding.discard(shard)  # as the epoch record has it
        process.holding.add(shard)

    def tell(self, process: Process) -> None:
        """Tell the leader what was let go and taken; the word may be late, lost, or come twice."""
        table, position = process.table, process.position
        if table is None or not process.alive:
            return
        free = [
            shard
            for shard in table.moving
            if table.owners[shard] == process.name and shard not in process.holding and shard not in process.busy
        ]
        taken = [shard for shard in process.moved_here & process.holding if self.wants(process, shard)]
        if not free and not taken:
            return
        told = Progress(process.name, position, free, taken)
        for _ in range(self.random.choice((0, 1, 1, 1, 2))):
            late_s = self.soon() if self.random.random() < 0.9 else self.random.uniform(0.05, 1.0)
            self.at(late_s, lambda: self.hear(process, told))
        if not process.reminded:
            process.reminded = True
            self.at(0.25, lambda: self.remind(process))

    def remind(self, process: Process) -> None:
        """Tell again."""
        process.reminded = False
        self.tell(process)

    def hear(self, process: Process, told: Progress) -> None:
        """Have the leader hear it."""
        if self.leader is not None and self.leader.alive and self.brain is not None and not self.down:
            process.moved_here.difference_update(told.taken)
            if self.brain.hear(told):
                self.decide(self.leader)

    # Looking.

    def unsettled(self) -> str:
        """Return why it is not settled; "" where it is."""
        table = self.table
        living = {process.name: process for process in self.living() if process.member.takes_shards}
        if table is None or table.moving:
            return "no table" if table is None else f"{len(table.moving)} shards move"
        counts = {name: table.owners.count(name) for name in living}
        if sum(counts.values()) != len(table.owners):
            return f"owned by others: {set(table.owners) - living.keys()}"
        total = sum(process.member.weight for process in living.values())
        for name, process in living.items():
            quota = len(table.owners) * process.member.weight / total
            if abs(counts[name] - quota) >= 1:
                return f"{name} has {counts[name]} of {quota:.1f}"
            if process.holding != table.shards_of(name):
                return f"{name} holds {len(process.holding)} of {counts[name]}"
        return ""
