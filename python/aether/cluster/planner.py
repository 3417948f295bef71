"""What the leader decides: which node gets which shard, and when. Pure: time, members and table come in, a new table comes out.

Shards are given by a sticky quota (`assign`), so as few as possible move. One that has a living owner is moved in two steps: its
owner is told to let it go, and only when it has said so, or has been silent for too long, is the shard given on. It counts as
moving until its new owner has said that it takes writes, so that no more stand still at a time than may. One whose owner is dead
is given at once. None of that makes writes safe, the epoch records do; it makes moves short and rare.

The hard question is who is dead. A lease that expired says so, but when NATS itself was away every lease expires, and its owners
come back within moments. So absence counts as death only for a leader that has been watching without a break, and has kept its
own lease, for as long as a lease lives. Until then nothing is taken from those who are missing, and the assignment outlives the
outage. Whoever left of his own will is not missing, and is never waited for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from aether._native import assign
from aether.cluster.table import SHARDS, Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from aether.cluster.members import Member, Present
    from aether.cluster.progress import Progress

    Assign = Callable[[list[int], list[tuple[str, int]]], list[int]]

__all__ = ["GATHER_S", "Plan", "Planner", "Situation", "to_follow"]

GATHER_S = 0.2
"""How long the first members of a cluster are waited for, so that the first of them does not get everything for a moment."""

TAKE_S = 1.0
"""How long a node may take to say that a shard that was moved to it takes writes, before the next one is moved all the same."""

BATCH = 3
"""How many moves begin together: every node reads every table, so a few in each are better than a table for each, and many at
once would take the processor from everybody's writes for as long as they take."""

PACE_S = 0.008
"""For how long nodes are left in peace for each move that began, in seconds."""

TOGETHER_S = 0.25
"""How long moves wait for others that have not ended, to begin in one table."""


class Situation(NamedTuple):
    """What a decision is made on; times are in seconds, on one clock.

    Attributes:
        now: the time.
        term: the leader's term.
        led_since: when the term began.
        steady_since: since when the members were watched, and the own lease held, without a break; None: not at the moment.
        present: who is there.
        left: who gave its lease back.
        table: what was decided last, by whomever; None: nothing yet.
        position: where that lies.
    """

    now: float
    term: int
    led_since: float
    steady_since: float | None
    present: Mapping[str, Present]
    left: AbstractSet[str]
    table: Table | None
    position: int


class Plan(NamedTuple):
    """What is to be done.

    Attributes:
        table: what is to be written; None: nothing.
        wake_at: when to decide again, even if nothing happens; None: not before something does.
    """

    table: Table | None
    wake_at: float | None


@dataclass
class _Move:
    """A shard that its owner is to let go.

    Attributes:
        owner: who.
        position: the table that said so first, as far as this leader knows.
        since: when that was.
        released: the owner has let it go.
    """

    owner: str
    position: int
    since: float
    released: bool = False


class _Gift(NamedTuple):
    """A shard that was moved to a node, which has not said yet that it takes writes.

    Attributes:
        target: the node.
        position: the table that gave it, as far as this leader knows.
        since: when that was.
    """

    target: str
    position: int
    since: float


class Planner:
    """Decides for one leader, for one term.

    Args:
        ttl_s: how long a lease lives, in seconds.
        settle_s: how long a node must be there before shards are moved to it.
        drain_s: how long an owner may take to let a shard go.
        moves_max: how many shards are moved at a time, from the table that takes one from its owner on until its target takes
            writes to it.
        assign: gives shards to nodes by their weights; another one is for tests.
    """

    def __init__(self, *, ttl_s: float, settle_s: float, drain_s: float, moves_max: int, assign: Assign | None = None) -> None:
        self._ttl_s, self._settle_s, self._drain_s, self._moves_max = ttl_s, settle_s, drain_s, moves_max
        self._assign = assign or _native_assign
        self._moves: dict[int, _Move] = {}
        self._gifts: dict[int, _Gift] = {}
        self._position = 0
        self._began_at = 0.0
        self._begun = 0

    def learn(self, table: Table, position: int, now: float) -> None:
        """Take it that this is the last table, at this position: our own, whether or not an ack told of it, or another's."""
        if position == self._position:
            return
        self._position = position
        moves = {}
        for shard in table.moving:
            owner = table.owners[shard] or ""
            known = self._moves.get(shard)
            # Of a stream that was made anew, or fell back, positions begin anew too.
            goes_on = known is not None and known.owner == owner and known.position <= position
            moves[shard] = known if known is not None and goes_on else _Move(owner, position, now)
        gifts = {
            shard: gift
            for shard, gift in self._gifts.items()
            if shard not in moves and table.owners[shard] == gift.target and gift.position <= position
        }
        for shard, move in self._moves.items():
            target = table.owners[shard]
            if shard not in moves and target not in (None, move.owner):
                gifts[shard] = _Gift(target, position, now)
        self._moves, self._gifts = moves, gifts

    def hear(self, told: Progress) -> bool:
        """Take how far a node has come, and say whether that is news.

        What it let go it does not hold, and will not by any table up to the one that it names. What it said of an earlier move of
        the same shard is not heeded: it may hold it again.
        """
        is_news = False
        for shard in told.released:
            move = self._moves.get(shard)
            if move is not None and not move.released and move.owner == told.node and told.position >= move.position:
                move.released = is_news = True
        for shard in told.taken:
            gift = self._gifts.get(shard)
            if gift is not None and gift.target == told.node and told.position >= gift.position:
                del self._gifts[shard]
                is_news = True
        return is_news

    def plan(self, at: Situation) -> Plan:
        """Decide."""
        if at.table is not None:
            self.learn(at.table, at.position, at.now)
        if at.steady_since is None:
            return Plan(None, None)  # who does not see cannot tell the dead from the living
        self._gifts = {
            shard: gift for shard, gift in self._gifts.items() if gift.target in at.present and at.now < gift.since + TAKE_S
        }
        draft = _Draft(at, sure=at.now >= at.steady_since + self._ttl_s)
        if draft.is_first and at.now < at.led_since + GATHER_S:
            return Plan(None, at.led_since + GATHER_S)
        self._end_moves(draft)
        eligible, settle_at = self._eligible(draft)
        self._give(draft, eligible)
        changed = Table.of(at.term, draft.owners, draft.moving)
        return Plan(None if changed == at.table else changed, self._wake_at(draft, settle_at))

    def _end_moves(self, draft: _Draft) -> None:
        """Give on what was let go, and end the moves that lead nowhere."""
        for shard, target in [*draft.moving.items()]:
            owner = draft.owners[shard]
            move = self._moves.get(shard)
            free = owner is None or (move is not None and (move.released or draft.at.now >= move.since + self._drain_s))
            if draft.takes(target):
                if free:
                    draft.owners[shard] = target
                    del draft.moving[shard]
                    draft.gifts += owner is not None
            elif not draft.is_missed(target) or owner is None:
                # Nobody to give it to. Its owner, should it have let go, takes it back unless another is found below.
                del draft.moving[shard]

    def _eligible(self, draft: _Draft) -> tuple[list[tuple[str, int]], float | None]:
        """Return who may get shards, with their weights, and when the next one may."""
        at = draft.at
        held = draft.named()
        eligible: list[tuple[str, int, float]] = []
        fresh: list[tuple[str, int, float]] = []
        for name, (member, since) in at.present.items():
            if member.takes_shards:
                settled = draft.is_first or name in held or at.now >= since + self._settle_s
                (eligible if settled else fresh).append((name, member.weight, since + self._settle_s))
        if not eligible:
            eligible, fresh = fresh, []  # better a node that has just come than none
        nodes = [(name, weight) for name, weight, _ in sorted(eligible)]
        return nodes, min((settled_at for _, _, settled_at in fresh), default=None)

    def _give(self, draft: _Draft, eligible: list[tuple[str, int]]) -> None:
        """Give what nobody owns, and begin to move what others are to own."""
        room = self._room(draft)
        if not eligible or (not room and None not in draft.owners):
            return
        index: dict[str | None, int] = {name: place for place, (name, _) in enumerate(eligible)}
        wanted = draft.owners.copy()
        for shard, target in draft.moving.items():
            wanted[shard] = target
        current = [index.get(name, -1) for name in wanted]
        left = room
        # As long as somebody may come back there is no telling who has too many.
        missed = any(draft.is_missed(name) for name in {*wanted, *draft.owners} if name is not None)
        for shard, (place, now) in enumerate(zip(self._assign(current, eligible), current, strict=True)):
            if place in (now, -1):
                continue
            target = eligible[place][0]
            owner = draft.owners[shard]
            if owner is None:
                draft.owners[shard] = target
                draft.moving.pop(shard, None)
            elif not missed and shard not in draft.moving and target != owner and left:
                draft.moving[shard] = target
                left -= 1
        if left < room:
            self._began_at, self._begun = draft.at.now, room - left

    def _room(self, draft: _Draft) -> int:
        """Return how many more shards may begin to move.

        None ahead of the pace, and none until a batch may, for a while.
        """
        room = max(0, self._moves_max - len(draft.moving) - len(self._gifts) - draft.gifts)
        due_at = self._paced_at() if room >= min(BATCH, self._moves_max) else self._began_at + TOGETHER_S
        return min(room, BATCH) if draft.at.now >= due_at else 0

    def _paced_at(self) -> float:
        """Return when more may begin to move."""
        return self._began_at + PACE_S * self._begun

    def _wake_at(self, draft: _Draft, settle_at: float | None) -> float | None:
        at = draft.at
        times = [] if settle_at is None else [settle_at]
        if not draft.sure and at.steady_since is not None and any(map(draft.is_missed, draft.named())):
            times.append(at.steady_since + self._ttl_s)
        for shard in draft.moving:
            move = self._moves.get(shard)
            times.append((at.now if move is None else move.since) + self._drain_s)
        times += [gift.since + TAKE_S for gift in self._gifts.values()]
        times.append(self._paced_at())
        if draft.moving or self._gifts:
            times.append(self._began_at + TOGETHER_S)
        return min((time for time in times if time > at.now), default=None)


class _Draft:
    """A table in the making: the one that is there, without those who are dead."""

    def __init__(self, at: Situation, *, sure: bool) -> None:
        self.at, self.sure = at, sure
        owners: Sequence[str | None] = (None,) * SHARDS if at.table is None else at.table.owners
        known = {owner for owner in set(owners) if owner is not None}
        dead = {name for name in known if self._is_dead(name)}
        self.owners = [None if owner in dead else owner for owner in owners] if dead else list(owners)
        self.moving = {} if at.table is None else dict(at.table.moving)
        self.is_first = known == dead
        self.gifts = 0

    def named(self) -> set[str]:
        """Return everybody who owns something, or is to."""
        return {owner for owner in {*self.owners, *self.moving.values()} if owner is not None}

    def _is_dead(self, name: str) -> bool:
        return name not in self.at.present and (self.sure or name in self.at.left)

    def is_missed(self, name: str) -> bool:
        """Say whether a node is away, and may come back."""
        return name not in self.at.present and not self._is_dead(name)

    def takes(self, name: str) -> bool:
        """Say whether a node is there and takes shards."""
        present = self.at.present.get(name)
        return present is not None and present.member.takes_shards


def to_follow(table: Table, members: Iterable[Member]) -> int:
    """Return how many shards are still to move between these, beside those that are moving: only so many move at a time."""
    nodes = [(member.name, member.weight) for member in members if member.takes_shards]
    if not nodes:
        return 0  # nobody who would take one
    index: dict[str | None, int] = {name: place for place, (name, _) in enumerate(nodes)}
    current = [index.get(table.moving.get(shard, owner), -1) for shard, owner in enumerate(table.owners)]
    return sum(place != now for place, now in zip(_native_assign(current, nodes), current, strict=True))


def _native_assign(current: list[int], nodes: list[tuple[str, int]]) -> list[int]:
    return assign(current, nodes)
