"""Turns: who writes in the same place in one process takes turns, instead of refusing each other at the server."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Generic, TypeVar

from aether.errors import DeadlineError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Hashable

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
        # Of holders that would rather be asked to give back early: who is called with the place when somebody waits.
        self._recalls: dict[Place, Callable[[Place], None]] = {}

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

    def take_now(self, place: Place, recall: Callable[[Place], None]) -> bool:
        """Hold the place until `give_back` if nobody does; say whether it is held now. `recall`: see `take`."""
        if place in self._held:
            return False
        self._held[place] = deque()
        self._recalls[place] = recall
        return True

    def is_wanted(self, place: Place) -> bool:
        """Say whether somebody waits for the place."""
        return any(not turn.done() for turn in self._held.get(place, ()))

    async def take(self, place: Place, deadline: float, what: str, recall: Callable[[Place], None] | None = None) -> None:
        """Hold the place until `give_back`; errors as `at`.

        Args:
            place: what to hold.
            deadline: on the loop's clock, in seconds.
            what: for what, for errors.
            recall: called when somebody begins to wait while the place is held, so that it can be given back early.
        """
        if place in self._held:
            await self._wait(place, deadline, what)
        else:
            self._held[place] = deque()
        if recall is not None:
            self._recalls[place] = recall

    async def _wait(self, place: Place, deadline: float, what: str) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._held[place].append(turn)
        if (recall := self._recalls.get(place)) is not None:
            recall(place)
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
        self._recalls.pop(place, None)
        waiting = self._held[place]
        while waiting:
            turn = waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        del self._held[place]
