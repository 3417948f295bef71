"""Planted bugs of buses: what is to be refused, and what a subscription is."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from plain_bus import PlainBus
from planted import bus_caught_by

from aether import Event
from aether._native import EventFilter
from aether.bus.arguments import SubscribeOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aether.bus.intake import Intake


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
