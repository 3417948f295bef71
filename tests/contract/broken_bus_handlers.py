"""Planted bugs of buses: how handlers run, and what comes of their errors."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from plain_bus import PlainBus
from planted import bus_caught_by

from aether import Event, RequestFailedError
from aether.bus import abstract, handling
from aether.bus.arguments import SubscribeOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from aether.bus.base import Handler
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
