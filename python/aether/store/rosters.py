"""Rosters: who is in the shards of an owner, so that the first event of a new actor asks the server nothing.

Under a fence a new actor is new only if that is proven (docs/decisions/0006), and a question for each costs more than the
write. An owner is the only writer of its shards, so it can know who is there: it lists a shard's subjects once, adds whoever
it writes for, and then tells by itself who is new. Each roster belongs to one key of one fence, and is dropped with it:

- Who comes while the listing is under way is added from when it begins, which is before the question goes out.
- The listing counts only if the answer holds everything up to the shard's last position when it began. Whoever wrote behind that
  is one of ours, and was added, or breaks the guard of our next write, and then the key is changed.
- Hashes are kept, not names: a new actor may be taken for one that is there, and is asked about, never the other way round.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from aether._native import RosterBudget
from aether.errors import AetherError
from aether.nats.pauses import pause
from aether.nats.subjects import shard_filter

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aether.nats.messages import Subjects
    from aether.nats.stream_log import StreamLog
    from aether.store.fence import ShardFence

__all__ = ["ROSTERS_BYTES_MAX", "Rosters", "is_whole"]

_LOG = logging.getLogger("aether.store")

ABSENT_MIN = 16
"""A shard is listed once so many of its actors were asked for in vain: about what the listing costs, whatever comes after."""

LISTINGS_AT_ONCE = 2
"""Shards listed at the same time: a server that does nothing else keeps others waiting."""

LISTING_ATTEMPTS = 4
"""How often a shard's subjects are asked for until an answer holds all that it must."""

ROSTERS_BYTES_MAX = 64 * 2**20
"""What all rosters of a node may take, in bytes: 11 to 22 an actor. Beyond, new actors of further shards are asked for."""


def is_whole(found: Subjects, fence: ShardFence, through: int) -> bool:
    """Say whether these are all subjects that the fence's shard had when its last message was at `through`."""
    return found.is_all and found.reached >= through and fence.epoch_subject in found.names


class Rosters:
    """Makes the rosters of a writer's shards.

    Args:
        log: the namespace's event stream.
        namespace: the namespace.
        bytes_max: what all of them may take.
    """

    def __init__(self, log: StreamLog, namespace: str, bytes_max: int = ROSTERS_BYTES_MAX) -> None:
        self._log, self._namespace = log, namespace
        self._bytes_max = bytes_max
        self.budget = RosterBudget(bytes_max)
        self._slots = asyncio.Semaphore(LISTINGS_AT_ONCE)
        self._said_spent = False

    async def list_due(self, fences: Iterable[ShardFence]) -> None:
        """List those shards of which actors were asked for in vain often enough, as many as a quarter of `timeout_s` allows.

        Whoever is in a shard that could not be listed is asked for as before.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._log.timeout_s / 4
        for fence in fences:
            is_due = fence.absent >= ABSENT_MIN and fence.is_open and not fence.mark.has_roster
            if is_due and not self._is_spent() and loop.time() < deadline:
                fence.absent = 0  # should it fail, the next comes after as many again
                await self._list(fence, deadline)

    def _is_spent(self) -> bool:
        is_spent = self.budget.is_spent
        if is_spent and not self._said_spent:
            self._said_spent = True
            _LOG.warning(
                "%s: its shards hold more actors than %d bytes of rosters have room for; the server is asked about new ones",
                self._log.stream,
                self._bytes_max,
            )
        return is_spent

    async def _list(self, fence: ShardFence, deadline: float) -> None:
        serial = fence.mark.begin_roster(self.budget)
        through, is_filled = fence.last, False
        try:
            async with asyncio.timeout_at(deadline), self._slots:
                subjects = await self._subjects(fence, through, deadline)
            is_filled = subjects is not None and fence.mark.fill_roster(serial, subjects)
        except (AetherError, TimeoutError) as error:
            _LOG.info("%s: the actors of shard %d: %s", self._log.stream, fence.shard, error)
        finally:
            if not is_filled:
                fence.mark.end_roster(serial)

    async def _subjects(self, fence: ShardFence, through: int, deadline: float) -> list[str] | None:
        """Return all subjects of a shard, its epoch records' among them, as the stream has them at `through` or later."""
        for attempt in range(1, LISTING_ATTEMPTS + 1):
            found = await self._log.subjects(shard_filter(self._namespace, fence.shard), deadline)
            if fence.closed or not found.is_all:
                return None
            if is_whole(found, fence, through):
                return found.names
            await pause(attempt, deadline, f"listing shard {fence.shard} up to position {through}", self._log.timeout_s)
        return None
