"""Typed handlers: `@bus.on(OrderPlaced)` notes what to subscribe when the bus opens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from aether.bus.arguments import check_no_generator
from aether.bus.handling import is_async

if TYPE_CHECKING:
    from collections.abc import Callable

    from aether.event import Event

__all__ = ["check_kind", "typed_handler"]

T = TypeVar("T")


def check_kind(kind: object) -> None:
    """Refuse what is no type, as a function where the decorator was written without parentheses."""
    if not isinstance(kind, type):
        raise TypeError(f"on takes the type of the events' data, as @bus.on(OrderPlaced), not {kind!r}")


def typed_handler(handler: Callable[[T, Event], Any], kind: type[T]) -> Callable[[Event], Any]:
    """Return a handler of events, async if the given one is, that decodes the data first."""
    if not callable(handler):
        raise TypeError(f"on decorates a function of a {kind.__name__} and its event, not {handler!r}")
    check_no_generator("handler", handler)
    if is_async(handler):

        async def handle_async(event: Event) -> Any:  # noqa: ANN401 - what the handler returns
            return await handler(event.decode(kind), event)

        return handle_async

    def handle(event: Event) -> Any:  # noqa: ANN401 - what the handler returns
        return handler(event.decode(kind), event)

    return handle
