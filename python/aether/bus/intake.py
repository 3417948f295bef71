"""What comes in for one subscription: its mailbox, who waits for it, and how it ends.

The mailbox is native and knows no tasks; the intake lets tasks wait for it. A bus puts events into the mailbox and calls
`wake`, a reader takes them out and calls `wait` when there are none. All of one intake happens on one event loop.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NoReturn

from aether._native import Mailbox
from aether.bus.turns import Turn

if TYPE_CHECKING:
    from collections.abc import Callable

    from aether.bus.arguments import SubscribeOptions

__all__ = ["Intake"]


class Intake:
    """The inner side of a subscription.

    Args:
        options: what is subscribed to, and the bounds.

    Attributes:
        mailbox: what waits to be read.
        options: as given.
        turn: how long those who take may go on without the loop.
        ready: how far the subscription is proven to reach: "process", "server" or "cluster".
        failure: what ended it, if it was not closed.
        ended: set when all is over: it hears nothing, and no handler runs.
        is_leaving: whether it is being taken off the bus, while what is pending can still be had.
        on_end: called when it fails, or all that it heard was given, so that whoever owns it takes it off the bus.
    """

    def __init__(self, options: SubscribeOptions) -> None:
        self.options = options
        self.mailbox = Mailbox(options.filter, options.max_pending, options.max_pending_bytes, options.policy)
        self.turn = Turn()
        self.ready = ""
        self.failure: Exception | None = None
        self.ended = asyncio.Event()
        self.is_leaving = False
        self.on_end: Callable[[], object] | None = None
        self._told = False
        self._waiting: set[asyncio.Future[None]] = set()
        self._kept_out: set[asyncio.Future[None]] = set()
        self._holds: set[int] = set()
        self._closed = False

    @property
    def is_live(self) -> bool:
        """Whether it hears what is published now."""
        return not (self._closed or self.is_leaving or self._holds) and self.failure is None

    @property
    def is_closed(self) -> bool:
        """Whether nothing more is to be given."""
        return self._closed

    @property
    def lends_itself(self) -> bool:
        """Whether events may be taken without the loop: where publishers wait for room, it is the loop that tells them."""
        return self.options.policy != "block"

    def wake(self) -> None:
        """Let those go on who wait for something to come."""
        _release(self._waiting)

    async def wait(self) -> bool:
        """Return True when there may be something to take, False when there will be nothing more."""
        if self._closed:
            return False
        if self.mailbox.has_next():
            if self.turn.is_over():  # many were taken in a row
                await asyncio.sleep(0)
            return True
        if self.mailbox.is_ended():
            if self.on_end is not None:
                self.on_end()
            return False
        await _released(self._waiting)
        return True

    def interrupt(self, reason: str) -> int:
        """Take it that events may be missed from here on, until `resume` is called with what this returns."""
        token = self.mailbox.interrupt(reason)
        self._holds.add(token)
        return token

    def resume(self, token: int) -> None:
        """Take it that events are heard again; the reader is told of the gap now."""
        self._holds.discard(token)
        self.mailbox.resume(token)
        self.wake()

    def note_gap(self, reason: str) -> None:
        """Take it that events may be missed here, and hold nothing that comes."""
        self.resume(self.interrupt(reason))

    def fail(self, error: Exception) -> None:
        """End it with an error: what is pending is given first, then the error once, then the end.

        Of a subscription that is being closed, the error is what its closing ends with.
        """
        if self.failure is not None or self.ended.is_set():
            return
        self.failure = error
        if self._closed:
            return
        self.hear_no_more()
        if self.on_end is not None:
            self.on_end()

    def hear_no_more(self) -> None:
        """Take nothing any more: what is pending is given, then it ends. No interruption holds that up."""
        self.mailbox.close()
        self.wake()
        self.tell_room()

    def close(self) -> None:
        """End it: what is pending is not given any more."""
        self._closed = True
        self.hear_no_more()

    def raise_end(self) -> NoReturn:
        """Raise what a reader gets at the end: the failure, once, then that there is no more."""
        self.raise_failure()
        raise StopAsyncIteration

    def raise_failure(self, *, again: bool = False) -> None:
        """Raise what ended it, if something did and nobody was told yet (or `again`)."""
        if self.failure is not None and (again or not self._told):
            self._told = True
            raise self.failure

    # For publishers, where the policy is "block".

    def tell_room(self) -> None:
        """Let those go on who wait for room."""
        _release(self._kept_out)

    async def wait_room(self) -> None:
        """Wait until something was taken, or it ended."""
        await _released(self._kept_out)


def _release(waiting: set[asyncio.Future[None]]) -> None:
    for future in waiting:
        if not future.done():
            future.set_result(None)


async def _released(waiting: set[asyncio.Future[None]]) -> None:
    future = asyncio.get_running_loop().create_future()
    waiting.add(future)
    try:
        await future
    finally:
        waiting.discard(future)
