"""Room for so many at a time; whoever has to wait comes in order, unless somebody needs him sooner."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aether.nats.waiting import finish

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["Room"]


class Room:
    """Lets in so many at a time.

    Args:
        most: how many.
    """

    def __init__(self, most: int) -> None:
        self._free = most
        self._queue: OrderedDict[int, asyncio.Future[None]] = OrderedDict()

    @asynccontextmanager
    async def at(self, number: int, *, first: bool = False) -> AsyncIterator[None]:
        """Be in the room as long as this is entered; nobody waits twice under one number at the same time.

        Args:
            number: by which `hurry` knows who waits.
            first: before all who wait by now.
        """
        await self._enter(number, first=first)
        try:
            yield
        finally:
            self._leave()

    def hurry(self, number: int) -> None:
        """Let this one in before all others, if it waits."""
        if number in self._queue:
            self._queue.move_to_end(number, last=False)

    async def _enter(self, number: int, *, first: bool) -> None:
        if self._free:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._queue[number] = turn
        if first:
            self.hurry(number)
        try:
            await turn
        except BaseException:
            if self._queue.get(number) is turn:
                del self._queue[number]
            else:
                self._leave()  # let in at the very moment of giving up
            raise

    def _leave(self) -> None:
        if self._queue:
            _, turn = self._queue.popitem(last=False)
            finish(turn)
        else:
            self._free += 1
