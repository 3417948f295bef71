"""Planted bugs of buses: requests and their answers."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from plain_bus import PlainBus
from planted import bus_caught_by

from aether import Event, RequestFailedError
from aether.bus.requests import read_answer


@bus_caught_by("test_many_at_once_get_their_own")
class AnswersWhoeverWaits(PlainBus):
    """Gives an answer to the request that waits longest."""

    async def _reply(self, reply: str, body: bytes) -> None:
        waiting = [key for key, answer in self._requests.items() if not answer.done()]
        await super()._reply(waiting[0] if waiting else reply, body)


@bus_caught_by("test_nobody_is_told_at_once")
class WaitsForNobody(PlainBus):
    """Sends a request to nobody, and waits."""

    def __init__(self) -> None:
        super().__init__()
        exchange = self._exchange
        exchange.takers = lambda event: 1


@bus_caught_by("test_what_a_handler_raises_is_told", "test_an_answer_is_plain_data", "test_an_answer_has_a_size")
class FailuresAreNone(PlainBus):
    """Answers None where the handler raised."""

    async def _request(self, event: Event, timeout_s: float) -> Any:
        with suppress(RequestFailedError):
            return await super()._request(event, timeout_s)


@bus_caught_by("test_the_first_answer_counts")
class LastAnswerCounts(PlainBus):
    """Waits for everybody."""

    async def _request(self, event: Event, timeout_s: float) -> Any:
        takers = self._exchange.takers(event)
        bodies: list[bytes] = []
        reply = self._reply

        async def count(key: str, body: bytes) -> None:
            bodies.append(body)
            if len(bodies) == takers:
                await reply(key, body)

        self._reply = count
        for lifetime in self._subscriptions.values():
            if lifetime.handling is not None:
                lifetime.handling._reply = count
        await super()._request(event, timeout_s)
        return read_answer(bodies[-1])


@bus_caught_by("test_a_handlers_value_is_the_answer")
class NothingIsNoAnswer(PlainBus):
    """Takes a false answer for none."""

    async def _request(self, event: Event, timeout_s: float) -> Any:
        return await super()._request(event, timeout_s) or "no answer"


@bus_caught_by("test_silence_ends", "test_readers_do_not_answer")
class HasTimeOfItsOwn(PlainBus):
    """Waits as long as it likes."""

    async def _request(self, event: Event, timeout_s: float) -> Any:
        return await super()._request(event, 5.0)


@bus_caught_by("test_readers_do_not_answer", "test_a_request_is_an_event_to_others")
class RequestsAreNoEvents(PlainBus):
    """Sends a request to handlers only."""

    async def _request(self, event: Event, timeout_s: float) -> Any:
        members = self._exchange.members
        handlers = {number: member for number, member in members.items() if member[0].options.handler is not None}
        self._exchange.members = handlers
        try:
            return await super()._request(event, timeout_s)
        finally:
            self._exchange.members = members
