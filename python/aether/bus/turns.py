"""Turns on the event loop: how long readers and handlers that need not wait may go on before others are let in.

A turn ends by time, not by a count of events: one chunk of a socket brings thousands, and who takes only hundreds of them a turn
falls behind a publisher that he is faster than. What all turns of one round of the loop take together is bounded too.
"""

from __future__ import annotations

import asyncio
import time
from weakref import WeakKeyDictionary

__all__ = ["Turn"]

TURN_S = 0.005
"""How long one subscription may go on in a round of the loop, in seconds; one call of the user's can take longer."""

ROUND_S = 0.05
"""How long all of them together may, in seconds; from then on each gets what it takes in one step."""


class Round:
    """One pass of an event loop over all that is ready.

    Attributes:
        number: tells rounds apart.
    """

    def __init__(self) -> None:
        self.number = 0
        self._is_on = False
        self._began = 0.0

    def go_on(self, now: float) -> bool:
        """Begin a new round, unless one is on; say whether there is time left in it."""
        if not self._is_on:
            self._is_on = True
            self.number += 1
            self._began = now
            asyncio.get_running_loop().call_soon(self._end)  # which is in the loop's next pass
        return now - self._began < ROUND_S

    def _end(self) -> None:
        self._is_on = False


_ROUNDS: WeakKeyDictionary[asyncio.AbstractEventLoop, Round] = WeakKeyDictionary()


class Turn:
    """The turns of one subscription's readers, or of its handlers, who share them."""

    def __init__(self) -> None:
        self._round: Round | None = None
        self._number = 0
        self._began = 0.0

    def is_over(self) -> bool:
        """Say whether it is time to let the loop go on; the first question in each round of it begins a turn."""
        if self._round is None:
            self._round = _ROUNDS.setdefault(asyncio.get_running_loop(), Round())
        now = time.monotonic()
        has_time = self._round.go_on(now)
        if self._number != self._round.number:
            self._number, self._began = self._round.number, now
        return not has_time or now - self._began > TURN_S
