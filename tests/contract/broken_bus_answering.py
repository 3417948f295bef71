"""Planted bugs of buses: handlers, requests, and what is to be refused."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from plain_bus import PlainBus
from planted import bus_caught_by

from aether import Event, RequestFailedError
from aether._native import EventFilter
from aether.bus import abstract, handling
from aether.bus.arguments import SubscribeOptions
from aether.bus.requests import read_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aether.bus.base import Handler
    from aether.bus.intake import Intake
    from aether.bus.subscription import BusSubscription


class Changing(PlainBus):
    """A bus that changes what is subscribed to."""

    def change(self, options: SubscribeOptions) -> dict[str, Any]:
        """Return what to put in place of what was given."""
        raise NotImplementedError

    async def _subscribe(self, options: SubscribeOptions, *, registered: bool = False) -> BusSubscription:
        return await super()._subscribe(dataclasses.replace(options, **self.change(options)), registered=registered)


@bus_caught_by("test_actors_overlap_and_each_is_in_order", "test_no_more_than_allowed_run_at_once", "test_silence_ends")
class OneAtATime(Changing):
    """Runs one handler at a time."""

    def change(self, options: SubscribeOptions) -> dict[str, Any]:
        """Forget the concurrency."""
        return {"concurrency": 1}


@bus_caught_by("test_no_more_than_allowed_run_at_once")
class AllAtOnce(Changing):
    """Runs as many handlers as there are actors."""

    def change(self, options: SubscribeOptions) -> dict[str, Any]:
        """Forget the concurrency."""
        return {"concurrency": 4096}


class Wrapping(Changing):
    """A bus that puts something around handlers."""

    def wrap(self, handler: Handler) -> Handler:
        """Return what is called in the handler's place."""
        raise NotImplementedError

    def change(self, options: SubscribeOptions) -> dict[str, Any]:
        """Wrap."""
        return {} if options.handler is None else {"handler": self.wrap(options.handler)}


@bus_caught_by(
    "test_actors_overlap_and_each_is_in_order",
    "test_closing_waits_for_handlers_that_run",
    "test_a_handlers_value_is_the_answer",
)
class FireAndForget(Wrapping):
    """Starts a task for each event."""

    def wrap(self, handler: Handler) -> Handler:
        """Do not wait."""

        def call(event: Event) -> None:
            result = handler(event)
            if inspect.isawaitable(result):
                asyncio.ensure_future(result)  # noqa: RUF006 - a bug

        return call


@bus_caught_by(
    "test_a_failing_handler_is_logged_and_goes_on",
    "test_a_failing_handler_may_be_the_end",
    "test_errors_may_go_to_a_function",
    "test_what_a_handler_raises_is_told",
    "test_what_is_of_another_shape_goes_to_the_policy",
    "test_a_registered_handler_may_be_the_end",
)
class SwallowsErrors(Wrapping):
    """Passes over what handlers raise."""

    def wrap(self, handler: Handler) -> Handler:
        """Suppress."""

        async def call(event: Event) -> Any:
            with suppress(Exception):
                result = handler(event)
                return await result if inspect.isawaitable(result) else result

        return call


@bus_caught_by("test_a_failing_handler_may_be_the_end", "test_errors_may_go_to_a_function", "test_a_gap_goes_to_the_policy")
class LogsWhateverIsWanted(Changing):
    """Knows no other policy than to log."""

    def change(self, options: SubscribeOptions) -> dict[str, Any]:
        """Forget the policy."""
        return {"on_error": "log"}


@bus_caught_by("test_a_failing_handler_is_logged_and_goes_on", "test_a_handler_that_was_cancelled_inside_goes_on")
class EndsAtTheFirstError(Changing):
    """Takes every error of a handler for the end."""

    def change(self, options: SubscribeOptions) -> dict[str, Any]:
        """Forget the policy."""
        return {"on_error": "stop"} if options.on_error == "log" else {}


@bus_caught_by("test_anything_that_can_be_called_is_a_handler", "test_typed_handlers_get_the_value")
class KnowsCoroutineFunctions(Wrapping):
    """Waits for coroutine functions only, and not for whatever returns something to wait for."""

    def wrap(self, handler: Handler) -> Handler:
        """Drop what is not known."""
        if inspect.isfunction(handler) and handler.__name__ != "<lambda>" and not handler.__closure__:
            return handler

        def call(event: Event) -> Any:
            result = handler(event)
            if inspect.iscoroutine(result):
                result.close()
                return None
            return result

        return call


class BusWithHandling(PlainBus):
    """A bus with another way to call handlers."""

    handling_type: type[handling.Handling]

    async def _subscribe(self, options: SubscribeOptions, *, registered: bool = False) -> BusSubscription:
        before, abstract.Handling = abstract.Handling, self.handling_type
        try:
            return await super()._subscribe(options, registered=registered)
        finally:
            abstract.Handling = before


class Impatient(handling.Handling):
    """Cancels what runs."""

    async def finish(self, timeout_s: float) -> int:
        """Do not wait."""
        return await super().finish(0)


@bus_caught_by("test_closing_waits_for_handlers_that_run")
class CancelsHandlers(BusWithHandling):
    """Cancels the handlers of a subscription that is closed."""

    handling_type = Impatient


class SelfBound(handling.Handling):
    """Does not know itself."""

    def is_called_from_here(self) -> bool:
        """Deny it."""
        return False


@bus_caught_by("test_a_handler_may_close_what_calls_it", "test_a_handler_may_close_the_bus")
class WaitsForItself(BusWithHandling):
    """Has a handler that closes its subscription wait for its own end."""

    handling_type = SelfBound


@bus_caught_by("test_handlers_are_registered_before")
class RegistersTooLate(PlainBus):
    """Takes a handler that will never be subscribed."""

    def on(self, kind: type, /, **options: Any) -> Callable[[Any], Any]:
        """Note it if it is too late."""
        return super().on(kind, **options) if self._loop is None else lambda handler: handler


@bus_caught_by("test_typed_handlers_get_the_value", "test_typed_handlers_answer")
class HandsOverPlainData(PlainBus):
    """Does not decode."""

    def on(self, kind: type, /, **options: Any) -> Callable[[Any], Any]:
        """Register a handler that gets data."""
        options.setdefault("event_type", kind.__name__)

        def register(handler: Callable[[Any, Event], Any]) -> Callable[[Any, Event], Any]:
            self._registered.append(SubscribeOptions(handler=lambda event: handler(event.data, event), **options))
            return handler

        return register


@bus_caught_by("test_handlers_may_publish", "test_a_handler_may_ask_others", "test_many_at_once_get_their_own")
class OneCallAtATime(PlainBus):
    """Does one thing at a time, handlers included."""

    def __init__(self) -> None:
        super().__init__()
        self.busy = False

    async def _send(self, events: list[Event], before: int) -> None:
        if asyncio.current_task().get_name() != "aether-bus-handler":
            await super()._send(events, before)

    async def _request(self, event: Event, timeout_s: float) -> Any:
        if self.busy:
            raise RequestFailedError("one at a time")
        self.busy = True
        try:
            return await super()._request(event, timeout_s)
        finally:
            self.busy = False


# Requests.


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


# What is to be refused.


class Unchecked(SubscribeOptions):
    """Options that nobody looked at."""

    def __post_init__(self) -> None:
        """Check nothing."""

    @property
    def filter(self) -> EventFilter:
        """Return something."""
        return EventFilter()


@bus_caught_by("test_wrong_options_are_refused", "test_an_invalid_name_is_refused")
class ChecksNothing(PlainBus):
    """Subscribes to anything."""

    async def subscribe(self, **options: Any) -> Any:
        """Go on."""
        await self.start()
        with suppress(TypeError):
            return await self._subscribe(Unchecked(**options))

    async def _attach(self, intake: Intake, deadline: float) -> str:
        return "process"


@bus_caught_by("test_only_events_are_published")
class PublishesAnything(PlainBus):
    """Drops what is no event."""

    async def publish(self, event: Event) -> None:
        """Look the other way."""
        if isinstance(event, Event):
            await super().publish(event)

    async def publish_many(self, events: Iterable[Event]) -> None:
        """Look the other way."""
        await super().publish_many([event for event in events if isinstance(event, Event)])


@bus_caught_by("test_a_wrong_timeout_is_refused")
class AnyTimeout(PlainBus):
    """Takes any time to wait."""

    async def request(self, event: Event, timeout: Any = None) -> Any:  # noqa: ASYNC109
        """Wait as usual."""
        return await super().request(event)


@bus_caught_by("test_on_takes_a_type", "test_on_takes_the_same_options")
class OnTakesAnything(PlainBus):
    """Registers whatever it is given."""

    def on(self, kind: Any, /, **options: Any) -> Callable[[Any], Any]:
        """Look at nothing."""
        return lambda handler: handler


@bus_caught_by("test_they_are_what_they_should_be")
class Nameless(PlainBus):
    """Gives subscriptions that say nothing of themselves."""

    async def subscribe(self, **options: Any) -> Any:
        """Hide it."""
        found = await super().subscribe(**options)
        return type("Hidden", (), {name: getattr(found, name) for name in ("batches", "aclose", "__aenter__", "__aexit__")})
