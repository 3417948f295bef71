"""The reader's side of a subscription, the same on every bus: iteration, batches, counters, the end."""

from __future__ import annotations

import asyncio
import warnings
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from aether.errors import AetherError
from aether.store.arguments import check_batch_size

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from aether.bus.base import SubscriptionStats
    from aether.bus.intake import Intake
    from aether.bus.lifetime import Lifetime
    from aether.event import Event

__all__ = ["BusSubscription", "Reading"]

T = TypeVar("T")

AT_ONCE = 4096
"""Events that batches give before it is asked whether the loop is to have a turn."""


class Reading(Generic[T]):
    """An iterator over a subscription. It can go on after an error or a cancelled wait, as an async generator could not.

    Args:
        intake: what is read.
        take: takes out what is there now; what is false is nothing.
        size: how many events one result has.
    """

    def __init__(self, intake: Intake, take: Callable[[], T], size: Callable[[T], int]) -> None:
        self._intake, self._take, self._size = intake, take, size
        self._unrested = 0

    def __aiter__(self) -> Self:
        return self

    def _next_now(self) -> T | None:
        """Return what is there now, without the loop; None: it takes the loop to tell. For `aether.sync`, from any thread."""
        return self._take() or None if self._intake.lends_itself else None

    async def __anext__(self) -> T:
        if self._unrested >= AT_ONCE:
            self._unrested = 0
            if self._intake.turn.is_over():
                await asyncio.sleep(0)  # before anything is taken: a reader that is cancelled here loses nothing
        while True:
            taken = self._take()
            if taken:
                self._unrested += self._size(taken)
                self._intake.tell_room()
                return taken
            self._unrested = 0
            if not await self._intake.wait():
                self._intake.raise_end()


class BusSubscription:
    """A `Subscription`, as its caller holds it.

    Args:
        lifetime: its end, and what the bus holds of it.
    """

    def __init__(self, lifetime: Lifetime) -> None:
        intake = lifetime.intake
        self._lifetime, self._intake, self._mailbox = lifetime, intake, intake.mailbox
        self._take_next = self._next_for_publishers if intake.options.policy == "block" else intake.mailbox.next
        if lifetime.handling is not None:
            self._take_next = self._refuse

    def __del__(self) -> None:
        lifetime = self._lifetime
        if lifetime.handling is not None or lifetime.is_closing:
            return  # a handler goes on until the bus is closed, without anyone who holds this
        if not lifetime.is_draining:
            text = f"{self._intake.options} was never closed; use async with, or await aclose()"
            warnings.warn(text, ResourceWarning, stacklevel=2, source=self)
        lifetime.abandon()

    @property
    def ready(self) -> str:
        """How far it is proven to reach: "process", "server" or "cluster"; "server" also while another server is not reached."""
        return self._intake.ready

    @property
    def is_live(self) -> bool:
        """Whether it hears what is published now: it is not closed, and its connection is not lost."""
        return self._intake.is_live

    def __repr__(self) -> str:
        states = {"live": self.is_live, "closed": self._lifetime.is_closing, "draining": self._lifetime.is_draining}
        state = next((state for state, holds in states.items() if holds), "interrupted")
        return f"<{str(self._intake.options).removeprefix('the ')}: {state}, {self._mailbox.pending:,} pending>"

    # Reading.

    def __aiter__(self) -> Self:
        return self

    def _next_now(self) -> Event | None:
        """Return what is there now, without the loop; None: it takes the loop to tell. For `aether.sync`, from any thread."""
        return self._take_next() if self._intake.lends_itself else None

    async def __anext__(self) -> Event:
        """Wait for the next event; see `Subscription.__anext__`."""
        while True:
            event = self._take_next()
            if event is not None:
                return event
            if not await self._intake.wait():
                self._intake.raise_end()

    def batches(self, batch_size: int = 1000) -> Reading[list[Event]]:
        """Read what is there, 1 to `batch_size` events at a time; see `Subscription.batches`."""
        check_batch_size(batch_size)
        self._refuse_beside_handler()
        return Reading(self._intake, lambda: self._mailbox.take(batch_size), len)

    def namespaced(self) -> Reading[tuple[str, Event]]:
        """Read pairs of namespace and event; see `Subscription.namespaced`."""
        self._refuse_beside_handler()
        return Reading(self._intake, self._take_pair, lambda _: 1)

    def _take_pair(self) -> tuple[str, Event]:
        pairs = self._mailbox.take_with_namespaces(1)
        return pairs[0] if pairs else ()  # type: ignore[return-value]  # nothing is what is false

    def _next_for_publishers(self) -> Event | None:
        event = self._mailbox.next()
        self._intake.tell_room()
        return event

    def _refuse(self) -> Event | None:
        raise AetherError(
            f"{self._intake.options} has a handler, which gets its events; to read them here, subscribe without handler="
        )

    def _refuse_beside_handler(self) -> None:
        if self._lifetime.handling is not None:
            self._refuse()

    def stats(self) -> SubscriptionStats:
        """Say how many events became what; see `SubscriptionStats`."""
        return self._lifetime.stats()

    # The end.

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None and self._lifetime.handling is not None:
            await self.drain()
        await self.aclose()
        if error is None:
            self._intake.raise_failure()

    async def wait_closed(self) -> None:
        """Wait until it has ended; raise what ended it; see `Subscription.wait_closed`."""
        await self._intake.ended.wait()
        self._intake.raise_failure(again=True)

    async def drain(self) -> None:
        """Hear nothing new, and let what is pending be handled, or read; see `Subscription.drain`."""
        await self._lifetime.drain()

    async def aclose(self) -> None:
        """End it; see `Subscription.aclose`."""
        await self._lifetime.aclose()
