"""Something that may have changed: whoever waits for it looks again."""

from __future__ import annotations

import asyncio

__all__ = ["Pulse"]


class Pulse:
    """Wakes all who wait, each time.

    Whoever waits takes `next` first and looks then, so that what changes between looking and waiting is not missed.
    """

    def __init__(self) -> None:
        self._next = asyncio.Event()

    @property
    def next(self) -> asyncio.Event:
        """The next beat."""
        return self._next

    def beat(self) -> None:
        """Wake all who wait for the next beat."""
        self._next.set()
        self._next = asyncio.Event()


async def until(beat: asyncio.Event, deadline: float | None) -> bool:
    """Wait for a beat; False: it did not come by the deadline, on the loop's clock. None: wait as long as it takes."""
    try:
        async with asyncio.timeout_at(deadline):
            await beat.wait()
    except TimeoutError:
        return False
    return True
