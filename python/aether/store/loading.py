"""How the events of one actor are loaded: from its last commit, and never from one in front of what this store has seen."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from aether._native import events_in
from aether.errors import DeadlineError
from aether.nats.pauses import pause
from aether.store.reading import ActorReader

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from aether._native import HeadCache
    from aether.event import Event
    from aether.nats.stream_log import StreamLog
    from aether.store.opening import Opening
    from aether.store.reading import Tip

__all__ = ["ActorLoader"]

FIRST_WINDOW = 64
"""How many commits a read in batches begins with, before it knows their size."""


class ActorLoader:
    """Loads the events of any actor of a namespace.

    Args:
        log: the namespace's event stream.
        namespace: its name.
        heads: what the store remembers of its actors; what is found here is remembered too.
        opening: opens the namespace where it is not open yet.
    """

    def __init__(self, log: StreamLog, namespace: str, heads: HeadCache, opening: Opening) -> None:
        self._log, self._namespace, self._heads, self._opening = log, namespace, heads, opening

    async def latest_version(self, actor_id: str) -> int:
        """Return the actor's latest version, from the leader; 0: it has no event yet."""
        reader = self._reader(actor_id)
        tip = await self._tip(reader, actor_id, await self._opening.to_read())
        return 0 if tip is None else tip.commit.version

    async def all(self, actor_id: str, from_version: int) -> list[Event]:
        """Return the actor's events from `from_version`."""
        reader = self._reader(actor_id)
        deadline = await self._opening.to_read()
        tip = await self._tip(reader, actor_id, deadline)
        if tip is None:
            return []
        return events_in(await reader.all(tip, from_version, deadline), from_version)

    async def first(self, actor_id: str, from_version: int, limit: int) -> list[Event]:
        """Return the actor's first `limit` events from `from_version`."""
        events: list[Event] = []
        async with aclosing(self._parts(actor_id, from_version, limit)) as parts:
            async for part in parts:
                events += part
                if len(events) >= limit:
                    break
        return events[:limit]

    async def batches(self, actor_id: str, from_version: int, batch_size: int) -> AsyncGenerator[list[Event]]:
        """Yield the actor's events from `from_version` in batches of `batch_size`; only the last has fewer."""
        events: list[Event] = []
        async with aclosing(self._parts(actor_id, from_version, FIRST_WINDOW)) as parts:
            async for part in parts:
                events += part
                whole = len(events) - len(events) % batch_size
                for start in range(0, whole, batch_size):
                    yield events[start : start + batch_size]
                del events[:whole]
        if events:
            yield events

    async def _parts(self, actor_id: str, from_version: int, window: int) -> AsyncGenerator[list[Event]]:
        """Yield the actor's events in parts of bounded size; the first has the events of `window` commits."""
        reader = self._reader(actor_id)
        tip = await self._tip(reader, actor_id, await self._opening.to_read())
        if tip is None:
            return
        async with aclosing(reader.windows(tip, from_version, window, self._opening.deadline)) as windows:
            async for placed in windows:
                yield events_in(placed, from_version)

    def _reader(self, actor_id: str) -> ActorReader:
        return ActorReader(self._log, self._namespace, actor_id)

    async def _tip(self, reader: ActorReader, actor_id: str, deadline: float) -> Tip | None:
        """Return the actor's last commit, none in front of one that this store has seen; remember it for the next write.

        A leader that was deposed behind a partition, or has just begun, may answer with an older one: it is asked again.
        """
        heads, attempt = self._heads, 0
        while True:
            tip = await reader.tip(deadline)
            known = heads.get(actor_id)
            if tip is not None and (known is None or known.sequence < tip.position):
                heads.put(actor_id, tip.commit.head(tip.position))
            if known is None or (tip is not None and known.sequence <= tip.position):
                return tip
            attempt += 1
            try:
                await pause(attempt, deadline, f"reading {actor_id!r} up to its position {known.sequence}", self._log.timeout_s)
            except DeadlineError:
                heads.forget(actor_id)  # should the stream have been made anew, the next call starts without it
                raise
