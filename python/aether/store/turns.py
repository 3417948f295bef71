"""Turns: who writes in the same place in one process takes turns, instead of refusing each other at the server."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Generic, TypeVar

from aether.errors import DeadlineError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Hashable

__all__ = ["Turns"]

Place = TypeVar("Place", bound="Hashable")


class Turns(Generic[Place]):
    """One holder at a time for each place, in the order in which they came.

    Args:
        timeout_s: what the caller allowed, for errors.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        # A place is in here while somebody holds it; its value are those who wait, in order.
        self._held: dict[Place, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def at(self, place: Place, deadline: float, what: str) -> AsyncIterator[None]:
        """Hold the place as long as this is entered.

        Raises:
            DeadlineError: the turn did not come by the deadline; `what` says for what it was.
        """
        await self.take(place, deadline, what)
        try:
            yield
        finally:
            self.give_back(place)

    async def take(self, place: Place, deadline: float, what: str) -> None:
        """Hold the place until `give_back`; errors as `at`."""
        if place not in self._held:
            self._held[place] = deque()
            return
        turn = asyncio.get_running_loop().create_future()
        self._held[place].append(turn)
        try:
            async with asyncio.timeout_at(deadline):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self.give_back(place)  # it came at the very moment of giving up
            if isinstance(error, TimeoutError):
                raise DeadlineError(what, self._timeout_s) from error
            raise

    def give_back(self, place: Place) -> None:
        """Let the next one have it."""
        waiting = self._held[place]
        while waiting:
            turn = waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        del self._held[place]
