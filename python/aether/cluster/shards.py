"""One node's shards: taken when the table gives them, let go when it takes them away, and closed at once with the membership.

Each shard in transition has a task, so that one that is slow, or whose hook hangs, holds up no other. Whoever writes to a shard
on its way waits here, bounded by his own deadline.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING

from aether.cluster.changes import ClusterChange
from aether.cluster.ending import end_tasks
from aether.cluster.gate import Gate
from aether.cluster.progress import Progress
from aether.cluster.pulse import Pulse, until
from aether.cluster.room import Room
from aether.cluster.share import Share
from aether.cluster.telling import Trouble
from aether.errors import AetherError
from aether.nats.pauses import backoff_s

if TYPE_CHECKING:
    from collections.abc import Callable

    from aether.cluster.changes import Changes
    from aether.cluster.hooks import Hooks
    from aether.cluster.shard_store import ShardStore
    from aether.cluster.table import Table

__all__ = ["Shards"]

_LOG = logging.getLogger("aether.cluster")

TAKES_MAX = 64
"""How many shards are taken, or let go, at a time."""

RETRIES_SOON, RETRY_S = 6, 4.0
"""How often a shard that cannot be taken is tried again soon, and how long it is left alone at most after that."""

RETAKE_S = 1.0
"""How long a shard that another has taken meanwhile is left alone, unless the table changes first."""


class Shards:
    """The shards of one node.

    Args:
        node_id: the node's name, as the table has it.
        store: writes to them.
        hooks: what the user wants to be told of.
        changes: where it is told what became of a shard.
        drain_s: how long writes in flight may take when a shard is let go, in seconds.
        take_s: how long one attempt to take a shard may take, in seconds.
        valid: says whether this node is a member at this moment, by the clock.
        sees: says whether this node sees the cluster at this moment, so that the last table it knows is the last there is.
        told: called when `progress` may be other.
    """

    def __init__(
        self,
        node_id: str,
        store: ShardStore,
        hooks: Hooks,
        changes: Changes,
        *,
        drain_s: float,
        take_s: float,
        valid: Callable[[], bool],
        sees: Callable[[], bool],
        told: Callable[[], None],
    ) -> None:
        self._node_id, self._store, self._hooks, self._changes = node_id, store, hooks, changes
        self._drain_s, self._take_s, self._valid, self._sees, self._told = drain_s, take_s, valid, sees, told
        self.open: dict[int, int] = {}
        """The shards that take writes, and their epochs."""
        self._held: dict[int, int] = {}
        self._share = Share(node_id)
        self._wanted: frozenset[int] = frozenset()
        self._incarnation = 0  # 0: no member at the moment
        self._over = False
        self._busy: dict[int, asyncio.Task[None]] = {}
        self._telling: set[asyncio.Task[None]] = set()
        self._failing: set[int] = set()
        self._trouble = Trouble()
        self._room = Room(TAKES_MAX)
        self._asked: set[int] = set()
        self._gate = Gate(self)
        self._pulse = Pulse()

    # What is to be.

    def follow(self, table: Table, position: int) -> None:
        """Take and let go what this table says."""
        self._share.follow(table, position)
        self._reconcile()
        self._gate.wake_all()

    def look(self) -> None:
        """Take it that this node sees the cluster again."""
        self._pulse.beat()

    def hurry(self, shard: int) -> None:
        """Take it that somebody would write to a shard that takes no writes here: where it is taken, it comes before others."""
        self._asked.add(shard)
        self._room.hurry(shard)

    def joined(self, incarnation: int) -> None:
        """Take it that this node is a member (again)."""
        self._incarnation = incarnation
        self._reconcile()

    def parted(self, *, for_good: bool = False) -> None:
        """Close everything at once: the node is no member any more, so others may have its shards.

        Who writes to a shard that the table still gives to this node waits for it to join again, unless that is for good.
        """
        self._incarnation = 0
        self._over = self._over or for_good
        self._store.close_shards()
        for shard in [*self._held]:
            self._lose(shard, "the membership was lost")
        self._reconcile()

    def _lose(self, shard: int, reason: str) -> None:
        """Tell that a shard is no longer ours, without waiting for anything."""
        del self._held[shard]
        self.open.pop(shard, None)
        self._changes.put(ClusterChange(kind="released", shard=shard, reason=reason))
        task = asyncio.create_task(self._hooks.released(shard), name=f"aether-shard-{shard}-lost")
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)
        self._gate.wake(shard)

    def _reconcile(self) -> None:
        self._wanted = self._share.given if self._incarnation and not self._over else frozenset()
        for shard in sorted(self._wanted ^ self._held.keys(), key=lambda shard: shard not in self._asked):
            self._spawn(shard)
        self._pulse.beat()
        self._told()

    def _spawn(self, shard: int, after_s: float = 0.0) -> None:
        if shard not in self._busy:
            task = asyncio.create_task(self._settle(shard, after_s), name=f"aether-shard-{shard}")
            self._busy[shard] = task
            task.add_done_callback(lambda done: self._settled(shard, done))

    def _settled(self, shard: int, done: asyncio.Task[None]) -> None:
        del self._busy[shard]
        if done.cancelled():
            return  # the node, or the whole loop, ends
        error = done.exception()
        if error is not None:
            _LOG.error("shard %d: %r", shard, error, exc_info=error)
        if (shard in self._wanted) != (shard in self._held) and not self._over:
            self._spawn(shard, after_s=RETAKE_S if error is not None else 0.0)
        self._told()

    # Transitions.

    async def _settle(self, shard: int, after_s: float) -> None:
        """Bring one shard to where it is to be."""
        if after_s:
            await self._pause(after_s)
        attempt = 0
        while (shard in self._wanted) != (shard in self._held):
            if shard in self._held:
                await self._let_go(shard)
            elif not self._sees():
                # The table may be an old one: whoever was given the shard since would lose it to this node, and take it back.
                await self._pause(RETRY_S)
            elif shard in self._wanted and not await self._take(shard):
                attempt += 1
            if attempt and shard in self._wanted:
                await self._pause(_retry_s(attempt))

    async def _pause(self, seconds: float) -> None:
        """Wait, unless the table changes or the membership does."""
        await until(self._pulse.next, asyncio.get_running_loop().time() + seconds)

    async def _take(self, shard: int) -> bool:
        """Take a shard, and say whether that went well."""
        incarnation = self._incarnation
        try:
            async with self._room.at(shard, first=shard in self._asked):
                incarnation = self._incarnation
                if shard not in self._wanted:
                    return True
                epoch = await self._store.take(shard, incarnation, asyncio.get_running_loop().time() + self._take_s)
        except AetherError as error:
            # A membership that is over by the clock is told of once, and not for each shard.
            if incarnation == self._incarnation and self._valid():
                self._tell_failure(shard, str(error))
            return False
        if incarnation != self._incarnation:
            self._store.close_shard(shard)  # taken by an earlier life, which nobody may write in
            return False
        self._held[shard] = epoch
        self._failing.discard(shard)
        try:
            await self._hooks.acquired(shard, epoch)
        except BaseException:
            if self._held.get(shard) == epoch:
                self._store.close_shard(shard)
                self._lose(shard, "it could not be opened")
            raise
        if shard in self._wanted and self._held.get(shard) == epoch:
            self._store.open_shard(shard)
            self.open[shard] = epoch
            self._asked.discard(shard)
            self._changes.put(ClusterChange(kind="acquired", shard=shard, epoch=epoch))
            self._gate.wake(shard)
        return True

    def _tell_failure(self, shard: int, reason: str) -> None:
        """Tell that a shard cannot be taken: each once until it is, and of all together a line now and then."""
        if shard not in self._failing:
            self._failing.add(shard)
            self._changes.put(ClusterChange(kind="shard_failed", shard=shard, reason=reason))
        if self._trouble.is_news("shards cannot be taken", asyncio.get_running_loop().time()):
            _LOG.warning("%d shards cannot be taken at the moment, shard %d: %s", len(self._failing), shard, reason)

    async def _let_go(self, shard: int) -> None:
        """Take no more writes to a shard, let those in flight end, and be rid of it."""
        epoch = self._held[shard]
        try:
            async with self._room.at(shard):
                if shard in self._wanted and shard in self.open:
                    return
                self.open.pop(shard, None)
                await self._store.release(shard, asyncio.get_running_loop().time() + self._drain_s)
        except AetherError as error:
            _LOG.warning("shard %d is let go, whatever becomes of a write in flight: %s", shard, error)
        if self._held.get(shard) == epoch:  # else it was lost meanwhile, and that was told
            del self._held[shard]
            await self._hooks.released(shard)
            self._changes.put(ClusterChange(kind="released", shard=shard))

    # Who asks.

    def is_settled(self) -> bool:
        """Say whether everything that the table gives takes writes, and nothing else is held."""
        return not self._busy and self.open.keys() == self._wanted

    def progress(self) -> Progress | None:
        """Return what the leader is to know of how far this node has come with the last table; None: nothing."""
        if not self._incarnation:
            return None
        released = [shard for shard in self._share.leaving if shard not in self._held and shard not in self._busy]
        taken = [shard for shard in self._share.arrived if shard in self.open]
        return Progress(self._node_id, self._share.position, released, taken) if released or taken else None

    def told(self, taken: list[int]) -> None:
        """Take it that the leader knows that these are taken."""
        self._share.done_with(taken)

    def owner_of(self, shard: int) -> str | None:
        """Return who else is to be asked about a shard: its owner, or who gets it where this node lets it go; None: nobody."""
        return self._share.other_owner(shard)

    async def gate(self, shard: int, deadline: float) -> None:
        """Return once a shard takes writes here, waiting while it is on its way here or away.

        Raises:
            NotOwnerError: another node owns it, or nobody does.
            ShardUnavailableError: it was still on its way at the deadline; nothing was written.
        """
        await self._gate.through(shard, deadline)

    def takes_writes(self, shard: int) -> bool:
        """Say whether a shard takes writes; one that ought to, and does not, is looked after."""
        if shard in self.open:
            if self._store.epoch_of(shard) is not None:
                return True
            self._doubt(shard)
        return False

    def is_coming(self, shard: int) -> bool:
        """Say whether a shard is, was or shall be ours by the last table, so that waiting may be worth it."""
        return not self._over and self._share.has(shard)

    def on_its_way(self, shard: int) -> str:
        """Say what a writer waits for."""
        target = self._share.goes_to(shard)
        if not (self._incarnation and self._valid()):
            what = "is not taken again before this node, whose lease has ended, is a member again"
        elif target is not None:
            what = f"is being moved to {target!r}"
        else:
            what = "is not taken yet" if self._sees() else "is not taken before this node sees the cluster again"
        return f"it {what}"

    def _doubt(self, shard: int) -> None:
        """Look why an open shard takes no writes: another node has taken it, unless the membership is over."""
        if self._incarnation and self._valid():
            self._lose(shard, "another node has taken it")
            self._spawn(shard, after_s=RETAKE_S)

    # The end.

    async def aclose(self, deadline: float) -> None:
        """Let everything go, in good order until the deadline, and then at once."""
        self._over = True
        self._reconcile()
        self._gate.wake_all()
        await _until_done([*self._busy.values()], deadline)
        self._store.close_shards()
        for shard in [*self._held]:
            self._lose(shard, "the node was closed")
        await _until_done([*self._telling], deadline)


def _retry_s(attempt: int) -> float:
    """Return how long a shard that could not be taken is left alone; a disk that is full, say, stays so for a while."""
    return backoff_s(attempt) if attempt <= RETRIES_SOON else random.uniform(0.5, 1.0) * RETRY_S  # noqa: S311 - spreads load


async def _until_done(running: list[asyncio.Task[None]], deadline: float) -> None:
    """Return when these have ended; what has not by the deadline is cancelled."""
    if not running:
        return
    left_s = max(0.0, deadline - asyncio.get_running_loop().time())
    _, late = await asyncio.wait(running, timeout=left_s)
    await end_tasks(late)
