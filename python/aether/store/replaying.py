"""How a whole namespace is read: in position order, natively, with the leader's word where a position does not come.

The crate asks ahead and decodes (`aether._native.Replay`); here is what needs time or judgement. A position that did not come
is read from the leader. What the leader does not have, or what is no commit, ends the read with its position, after everything
before it has been given out.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from aether._native import Replay, actor_subject
from aether.errors import CorruptEventError, DeadlineError
from aether.nats.messages import GONE
from aether.store.base import EventBatch, PlacedBatch
from aether.store.reading import ActorReader

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from aether._native import ArrowRows, EventFilter
    from aether.nats.messages import Message
    from aether.nats.stream_log import StreamLog

__all__ = ["Replaying"]

T = TypeVar("T")

ELSEWHERE = "the server that answered has lost it, though the leader has it: that server's disk is damaged"


class Replaying:
    """A read of a namespace.

    Args:
        log: its stream.
        namespace: its name.
        wanted: which events.
        deadline: called whenever something came, for the time on the loop's clock by which the next must have come.
    """

    def __init__(self, log: StreamLog, namespace: str, wanted: EventFilter, deadline: Callable[[], float]) -> None:
        self._log, self._namespace, self._wanted, self._deadline = log, namespace, wanted, deadline

    def batches(self, after: int, batch_size: int) -> AsyncGenerator[EventBatch]:
        """Yield the events behind `after` in batches of whole commits, up to the last position there is now."""

        def take(replay: Replay) -> EventBatch | None:
            taken = replay.take(batch_size)
            return None if taken is None else EventBatch(*taken)

        return self._each(take, after, None)

    def placed(self, after: int, batch_size: int, last: int | None) -> AsyncGenerator[PlacedBatch]:
        """Yield the same batches, with the position of each event, up to the last position there is now, or to `last`."""

        def take(replay: Replay) -> PlacedBatch | None:
            taken = replay.take_placed(batch_size)
            return None if taken is None else PlacedBatch(*taken)

        return self._each(take, after, last)

    def fill(self, rows: ArrowRows, after: int, limit: int) -> AsyncGenerator[object]:
        """Put the events behind `after` into rows, up to the last position there is now; yield after at most `limit` of them."""
        return self._each(lambda replay: replay.take_rows(rows, limit) or None, after, None)

    async def _each(self, take: Callable[[Replay], T | None], after: int, last: int | None) -> AsyncGenerator[T]:
        """Yield whatever `take` makes of what has come; it says None as long as it wants more."""
        deadline = self._deadline()
        through = await self._log.last_position(deadline)
        if last is not None:
            through = min(through, last)
        replay = Replay(self._namespace, after, through, self._wanted)
        feed = self._log.feed(replay)
        received = 0
        try:
            while True:
                taken = take(replay)
                if taken is not None:
                    await feed.ask_ahead()
                    yield taken
                    deadline = self._deadline()
                    continue
                if replay.is_done():
                    return
                if not await self._settle(replay, through, deadline):
                    await feed.ask(deadline)
                    await feed.heard(deadline)
                if replay.received > received:
                    received, deadline = replay.received, self._deadline()
                elif asyncio.get_running_loop().time() >= deadline:
                    raise DeadlineError(f"reading {self._log.stream}", self._log.timeout_s)
        finally:
            await feed.aclose()

    async def _settle(self, replay: Replay, through: int, deadline: float) -> bool:
        """Look into what keeps the read from going on by itself; say whether there was something."""
        fault = replay.fault()
        if fault is not None:
            position, actor_id, error = fault
            if error is None:
                await self._find(replay, position, actor_id or "", deadline)
            elif actor_id is not None and position in await self._passed(actor_id, position, deadline):
                replay.step_over()
            else:
                raise CorruptEventError(self._log.stream, position, actor_id, str(error)) from error
            return True
        stuck = replay.stuck()
        if stuck is None:
            return False
        message = await self._from_leader(stuck, replay.subject, deadline)
        if message is not None:
            replay.put(*message)
        elif replay.subject is not None:
            replay.put(through + 1, "", b"")
        else:
            raise CorruptEventError(self._log.stream, stuck, None, GONE)
        return True

    async def _from_leader(self, position: int, subject: str | None, deadline: float) -> Message | None:
        """Return the message at this position, or the next of the subject; None: a leader that is not behind has none."""
        for _ in range(2):
            if subject is None:
                message = await self._log.get(position, deadline)
            else:
                message = await self._log.next(subject, position, deadline)
            if message is not None:
                return message
            await self._log.last_position(deadline)
        return None

    async def _find(self, replay: Replay, position: int, actor_id: str, deadline: float) -> None:
        """Judge a commit's word that its actor has one at `position`, which did not come."""
        message = await self._from_leader(position, None, deadline)
        if message is None:
            raise CorruptEventError(self._log.stream, position, actor_id, GONE)
        if message.subject != actor_subject(self._namespace, actor_id):
            replay.disprove(position)
        elif not replay.put(*message):
            raise CorruptEventError(self._log.stream, position, actor_id, ELSEWHERE)

    async def _passed(self, actor_id: str, position: int, deadline: float) -> frozenset[int]:
        """Return the positions that a repair of this actor says to step over."""
        subject = actor_subject(self._namespace, actor_id)
        latest = await self._log.last(subject, deadline)
        if latest is None or latest.position <= position:
            return frozenset()
        return await ActorReader(self._log, self._namespace, actor_id).passed(position, latest.position, lambda: deadline)
