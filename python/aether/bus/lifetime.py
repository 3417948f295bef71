"""The end of a subscription, whoever brings it about: closed, drained, failed, or dropped by a caller who forgot to close it.

The bus holds this; the caller holds the `BusSubscription`, and may drop it.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from aether.bus.base import SubscriptionStats
from aether.errors import NotDrainedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aether.bus.handling import Handling
    from aether.bus.intake import Intake

__all__ = ["Lifetime"]


class Lifetime:
    """What a subscription is to its bus, until it has ended.

    Args:
        intake: where its events come in.
        handling: what calls its handler, if it has one.
        detach: takes it off the bus; may be called again.
        forget: called once when all is over.
        timeout_s: what handlers that run get for finishing when it is closed, and all that is pending when it is drained.
    """

    def __init__(
        self,
        intake: Intake,
        handling: Handling | None,
        detach: Callable[[Intake], Awaitable[None]],
        forget: Callable[[Intake], object],
        timeout_s: float,
    ) -> None:
        self.intake, self.handling = intake, handling
        self._detach, self._forget, self._timeout_s = detach, forget, timeout_s
        self._loop = asyncio.get_running_loop()
        self._draining: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._final: SubscriptionStats | None = None
        intake.on_end = self.begin_closing

    @property
    def is_closing(self) -> bool:
        """Whether it was closed, or failed."""
        return self._closing is not None

    @property
    def is_draining(self) -> bool:
        """Whether `drain` was called."""
        return self._draining is not None

    def stats(self) -> SubscriptionStats:
        """Say how many events became what; see `SubscriptionStats`."""
        if self._final is not None:
            return self._final
        box = self.intake.mailbox
        staged, failed = (0, 0) if self.handling is None else (self.handling.staged, self.handling.failed)
        return SubscriptionStats(box.delivered - staged, box.pending + staged, box.missed, box.damaged, failed)

    def is_called_from_here(self) -> bool:
        """Say whether the task that runs now is one of its handler's, which cannot wait for its own end."""
        return self.handling is not None and self.handling.is_called_from_here()

    def note_unsent(self, reply: str, error: Exception) -> bool:
        """Take it that an answer was refused; say whether its handler gave it."""
        return self.handling is not None and self.handling.note_unsent(reply, error)

    # Closing.

    async def aclose(self) -> None:
        """See `Subscription.aclose`."""
        self.intake.close()
        closing = self.begin_closing()
        if self.is_called_from_here():
            return
        # Who is cancelled here stops waiting; the closing goes on.
        await asyncio.shield(closing)
        self._settle()

    def begin_closing(self) -> asyncio.Task[None]:
        """Take it off the bus, once nobody drains it any more; the task ends when no handler runs."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(), name="aether-bus-closing")
        return self._closing

    async def _close(self) -> None:
        try:
            if self._draining is not None:
                await asyncio.wait([self._draining])
            try:
                await self._detach(self.intake)
            finally:
                if self.handling is not None:
                    await self.handling.finish(self._timeout_s)
        finally:
            if self.intake.is_closed:
                self._settle()
            self.intake.ended.set()
            self._forget(self.intake)

    def _settle(self) -> None:
        """Let go of what will never be read, and keep the counters as they stand."""
        if self._final is None:
            self._final = self.stats()
            self.intake.mailbox.clear()

    def abandon(self) -> None:
        """Close it on its loop, from any thread, without waiting: its caller has dropped it."""
        with contextlib.suppress(RuntimeError):  # where the loop is closed, nothing is left to be closed
            self._loop.call_soon_threadsafe(self._close_abandoned)

    def _close_abandoned(self) -> None:
        self.intake.close()
        self.begin_closing()

    # Draining.

    async def drain(self) -> None:
        """See `Subscription.drain`."""
        if self._draining is None and self._closing is None:
            self.intake.is_leaving = True
            self._draining = asyncio.create_task(self._drain(), name="aether-bus-draining")
            self._draining.add_done_callback(self._drained)
        if self.is_called_from_here():
            return
        try:
            if self._draining is not None:
                await asyncio.shield(self._draining)
        finally:
            if self._closing is not None:
                await asyncio.shield(self._closing)

    async def drain_and_wait(self) -> None:
        """Drain it, and wait until its readers too have come to the end, within the same time."""
        give_up_at = self._loop.time() + self._timeout_s
        await self.drain()
        if self.handling is not None:
            return
        try:
            async with asyncio.timeout_at(give_up_at):
                await self.intake.ended.wait()
        except TimeoutError:
            left = self.stats().pending
            if left:
                raise NotDrainedError(str(self.intake.options), left, self._timeout_s) from None

    async def _drain(self) -> None:
        give_up_at = self._loop.time() + self._timeout_s
        try:
            await self._detach(self.intake)
        finally:
            self.intake.hear_no_more()
        if self.handling is not None:
            left = await self.handling.finish(max(0.0, give_up_at - self._loop.time()))
            if left and self.intake.failure is None:
                raise NotDrainedError(str(self.intake.options), left, self._timeout_s)

    def _drained(self, draining: asyncio.Task[None]) -> None:
        if not draining.cancelled():
            draining.exception()  # not everyone waits for it
        if self.handling is not None or self.intake.mailbox.is_ended():
            self.begin_closing()
