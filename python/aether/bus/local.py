"""The local bus: publishers and subscribers of one event loop. Matching, fan-out and queues are native."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

from aether._native import Exchange
from aether.bus.abstract import AbstractEventBus
from aether.bus.base import BusInfo
from aether.bus.requests import read_answer, unanswered
from aether.errors import AetherError, DeadlineError, NoSubscriberError, ServerRefusedError

if TYPE_CHECKING:
    from aether.bus.intake import Intake
    from aether.event import Event

__all__ = ["LocalEventBus"]

EVENT_BYTES_MAX = 1_048_576
"""What one event may take: the server's default max_payload, so that what works here works there."""


class LocalEventBus(AbstractEventBus):
    """An `EventBus` within this process, for the tasks of one event loop: for tests, prototypes and one-process services.

    What is published is in the mailboxes of all subscribers when `publish` returns, and they read it when the loop lets them.

    Args:
        timeout_s: what a call may take, in seconds, at most a day: an answer to a request, room where a subscription has
            `policy="block"` (counted anew whenever some is found), handlers that run when a subscription is closed.
    """

    _chunk_max = 256
    """As many as a reader gets in its turn, so that a publisher does not run away from readers on the same loop."""

    def __init__(self, *, timeout_s: float = 10.0) -> None:
        super().__init__(timeout_s)
        self._exchange = Exchange("", EVENT_BYTES_MAX)
        self._intakes: dict[int, Intake] = {}
        self._numbers: dict[Intake, int] = {}
        self._requests: dict[str, asyncio.Future[bytes]] = {}
        self._request_numbers = itertools.count(1)

    def __repr__(self) -> str:
        return f"<LocalEventBus: {len(self._intakes)} subscriptions>"

    async def _open(self, deadline: float) -> None:
        """There is nothing to open."""

    async def _attach(self, intake: Intake, deadline: float) -> str:  # noqa: ARG002 - it is there at once
        key = intake.options.group_key
        # With its length, so that no name and prefix together read like another pair.
        number = self._exchange.attach(intake.mailbox, None if key is None else f"{len(key[0])} {key[0]}{key[1]}")
        self._intakes[number], self._numbers[intake] = intake, number
        return "process"

    async def _detach(self, intake: Intake) -> None:
        number = self._numbers.pop(intake, None)
        if number is not None:
            self._exchange.detach(number)
            del self._intakes[number]
            intake.tell_room()  # who waits for it waits in vain

    async def _send(self, events: list[Event], before: int) -> None:
        sent, full = self._exchange.publish(events)
        self._wake()
        if sent < len(events):
            await self._send_rest(events, sent, full, before)

    async def _send_rest(
        self, events: list[Event], sent: int, full: int | None, before: int = 0, reply: str | None = None
    ) -> None:
        """Send what could not be sent at once, as those who let publishers wait make room; refuse what is too large."""
        give_up_at = self._deadline()
        while sent < len(events):
            if full is not None:
                await self._room_in(self._intakes[full], give_up_at, before + sent)
            reached, full = self._exchange.publish(events, sent, reply)
            self._wake()
            if reached > sent:
                sent, give_up_at = reached, self._deadline()

    async def _room_in(self, intake: Intake, give_up_at: float, sent: int) -> None:
        try:
            async with asyncio.timeout_at(give_up_at):
                await intake.wait_room()
        except TimeoutError:
            what = (
                f"publishing to {intake.options}, which is full and has policy='block' ({sent:,} events of this call were sent)"
            )
            raise DeadlineError(what, self._timeout_s) from None

    def _wake(self) -> None:
        for number in self._exchange.touched():
            intake = self._intakes.get(number)
            if intake is not None:
                intake.wake()

    async def _flush(self, deadline: float) -> None:
        """Whatever was published is there already."""

    async def _request(self, event: Event, timeout_s: float) -> Any:  # noqa: ANN401 - whatever the handler returned
        if not self._exchange.takers(event):
            raise NoSubscriberError(event.event_type, event.actor_id)
        key = str(next(self._request_numbers))
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._requests[key] = answer
        try:
            async with asyncio.timeout(timeout_s):
                await self._send_rest([event], 0, None, reply=key)
                body = await answer
        except TimeoutError:
            raise unanswered(event.event_type, event.actor_id, timeout_s) from None
        finally:
            del self._requests[key]
        return read_answer(body)

    async def _reply(self, reply: str, body: bytes) -> None:
        if len(body) > EVENT_BYTES_MAX:
            raise ServerRefusedError("an answer", 0, f"it has {len(body):,} bytes, the limit is {EVENT_BYTES_MAX:,}")
        answer = self._requests.get(reply)
        if answer is not None and not answer.done():
            answer.set_result(body)

    async def _close(self) -> None:
        for answer in self._requests.values():
            if not answer.done():
                answer.set_exception(AetherError(f"{self!r} was closed while a request waited for its answer"))

    async def info(self) -> BusInfo:
        """Say what this bus is: one process, nothing on a wire."""
        return BusInfo("local", "", "none", "", "process", EVENT_BYTES_MAX)
