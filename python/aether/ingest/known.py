"""What actors hold, read once from the store before their first commit and kept as long as there is room."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from aether.errors import StoreFullError
from aether.ingest.plan import Holdings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aether.event import Event
    from aether.store.base import EventStore

__all__ = ["IDS_MAX", "KnownActors"]

IDS_MAX = 500_000
"""How many ids are kept, of all actors together; about 250 bytes each."""


class KnownActors:
    """The holdings of the actors used last.

    At most one task may work on one actor at a time.

    Args:
        store: where the events are.
        ids_max: how many ids are kept. Actors used longest ago are let go and read again when they come back.
    """

    def __init__(self, store: EventStore, ids_max: int = IDS_MAX) -> None:
        self._store = store
        self._ids_max = ids_max
        self._ids = 0
        self._kept: OrderedDict[str, Holdings] = OrderedDict()

    async def of(self, actor_id: str) -> Holdings:
        """Return what an actor holds.

        Raises:
            StoreFullError: the actor alone has more events than ids may be kept.
        """
        holdings = self._kept.get(actor_id)
        if holdings is None:
            holdings = Holdings()
            await self._read(actor_id, holdings)
            self._kept[actor_id] = holdings
            self._ids += len(holdings)
            self._make_room(actor_id)
        self._kept.move_to_end(actor_id)
        return holdings

    def add(self, actor_id: str, holdings: Holdings, events: Sequence[Event]) -> None:
        """Note what was stored."""
        before = len(holdings)
        holdings.add(events)
        self._check(actor_id, holdings)
        if self._kept.get(actor_id) is holdings:
            self._ids += len(holdings) - before
            self._make_room(actor_id)

    async def _read(self, actor_id: str, holdings: Holdings) -> None:
        async for batch in self._store.read_events(actor_id, holdings.version + 1):
            holdings.add(batch)
            self._check(actor_id, holdings)

    def _check(self, actor_id: str, holdings: Holdings) -> None:
        if len(holdings) > self._ids_max:
            raise StoreFullError(
                f"the memory of ids for {actor_id!r}", f"ids_max={self._ids_max:,}", "allow more; each takes about 250 bytes"
            )

    def _make_room(self, but: str) -> None:
        """Let go of the actors used longest ago, but not of the one in hand."""
        while self._ids > self._ids_max:
            actor_id, holdings = next(iter(self._kept.items()))
            if actor_id == but:
                self._kept.move_to_end(actor_id)
                continue
            del self._kept[actor_id]
            self._ids -= len(holdings)
