"""The bus contract: what is refused, and that the refusal says what to do."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import pytest

from aether.bus.base import EventBus, Subscription
from aether.errors import InvalidIdError
from aether.event import Event, NewEvent
from aether.testing.bus_contract_base import BusCase, events, read
from aether.testing.contract_ids import INVALID_IDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

__all__ = ["MisuseContract"]

WRONG: tuple[tuple[dict[str, Any], type[Exception], str], ...] = (
    ({"actor_id": "a", "actor_prefix": "b"}, ValueError, "not both"),
    ({"actor_id": 1}, TypeError, "str"),
    ({"actor_prefix": b"a"}, TypeError, "str"),
    ({"event_type": ["Placed"]}, TypeError, "event_type"),
    ({"event_type": Event}, TypeError, "event_type"),
    ({"group": 1}, TypeError, "group"),
    ({"group": ""}, InvalidIdError, "1 to 255"),
    ({"group": "x" * 256}, InvalidIdError, "1 to 255"),
    ({"group": "\ud800"}, InvalidIdError, "UTF-8"),
    ({"handler": "print"}, TypeError, "function of one event"),
    ({"max_pending": 0}, ValueError, "1 to"),
    ({"max_pending": 1.5}, TypeError, "int"),
    ({"max_pending": True}, TypeError, "int"),
    ({"max_pending_bytes": 0}, ValueError, "1 to"),
    ({"max_pending_bytes": None}, TypeError, "int"),
    ({"concurrency": 0}, ValueError, "1 to"),
    ({"concurrency": "16"}, TypeError, "int"),
    ({"policy": "newest"}, ValueError, '"drop_oldest"'),
    ({"policy": None}, ValueError, '"drop_oldest"'),
    ({"on_error": "ignore"}, ValueError, '"stop"'),
    ({"all_namespaces": "yes"}, TypeError, "True or False"),
)


class MisuseContract(BusCase):
    """What is refused."""

    async def test_they_are_what_they_should_be(self, bus: EventBus, actor: str) -> None:
        """A bus is an `EventBus`, and what it returns a `Subscription`."""
        assert isinstance(bus, EventBus)
        async with await bus.subscribe(actor_id=actor) as subscription:
            assert isinstance(subscription, Subscription)
            assert actor in repr(subscription)

    @pytest.mark.parametrize(("options", "error", "words"), WRONG, ids=lambda value: str(value)[:40].encode("ascii", "replace"))
    async def test_wrong_options_are_refused(
        self, bus: EventBus, options: dict[str, Any], error: type[Exception], words: str
    ) -> None:
        """What cannot be subscribed to is refused with what is allowed, before anything happens."""
        with pytest.raises(error, match=words):
            await bus.subscribe(**options)

    @pytest.mark.parametrize("invalid", INVALID_IDS, ids=lambda value: f"{len(value)}-{value[:4]!a}")
    async def test_an_invalid_name_is_refused(self, bus: EventBus, invalid: str) -> None:
        """A name that is empty, over 255 bytes or not UTF-8 is an InvalidIdError, as an id, a prefix and a type."""
        for name in ("actor_id", "actor_prefix", "event_type"):
            with pytest.raises(InvalidIdError):
                await bus.subscribe(**{name: invalid})  # type: ignore[arg-type]  # a string for one of them

    @pytest.mark.parametrize("wrong", [None, "event", NewEvent("Happened"), {"actor_id": "a"}])
    async def test_only_events_are_published(self, bus: EventBus, actor: str, wrong: Any) -> None:  # noqa: ANN401 - the wrong type
        """Anything but an Event is a TypeError that says what is wanted, and the bus goes on."""
        calls: list[Callable[[], Any]] = [
            lambda: bus.publish(wrong),
            lambda: bus.request(wrong),
            lambda: bus.publish_many([wrong]),
            lambda: bus.publish_many(wrong for _ in range(1)),
        ]
        async with await bus.subscribe(actor_id=actor) as subscription:
            for call in calls:
                with pytest.raises(TypeError, match="takes an Event"):
                    await call()
            await bus.publish(*events(actor, [1]))
            assert len(await read(subscription, 1)) == 1

    async def test_one_event_is_not_many(self, bus: EventBus, actor: str) -> None:
        """`publish_many` of one event says that `publish` takes it."""
        with pytest.raises(TypeError, match="publish takes one"):
            await bus.publish_many(events(actor, [1])[0])  # type: ignore[arg-type]  # wrong on purpose

    @pytest.mark.parametrize("size", [0, -1, 1.5, True, None])
    async def test_a_wrong_batch_size_is_refused(self, bus: EventBus, actor: str, size: Any) -> None:  # noqa: ANN401 - the wrong type
        """A batch has 1 event or more."""
        async with await bus.subscribe(actor_id=actor) as subscription:
            with pytest.raises((TypeError, ValueError), match="batch_size"):
                subscription.batches(size)

    @pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), float("inf"), True, "1"])
    async def test_a_wrong_timeout_is_refused(self, bus: EventBus, actor: str, timeout_s: Any) -> None:  # noqa: ANN401 - the wrong type
        """A request waits for a time that can be waited for."""
        with pytest.raises((TypeError, ValueError), match="timeout"):
            await bus.request(events(actor, [1])[0], timeout=timeout_s)

    @pytest.mark.parametrize("wrong", [print, "OrderPlaced", None, functools.partial(print)])
    async def test_on_takes_a_type(self, bus: EventBus, wrong: Any) -> None:  # noqa: ANN401 - the wrong type
        """`on` without a type, as without parentheses, says how it is written."""
        with pytest.raises(TypeError, match=r"@bus\.on\(OrderPlaced\)"):
            bus.on(wrong)

    async def test_on_takes_the_same_options(self, bus: EventBus) -> None:
        """`on` refuses what `subscribe` refuses, and what is no function."""
        with pytest.raises(ValueError, match="1 to"):
            bus.on(dict, max_pending=0)(print)
        with pytest.raises(TypeError, match="decorates a function"):
            bus.on(dict)("print")  # type: ignore[arg-type]  # wrong on purpose

    async def test_a_handler_with_a_yield_is_refused(self, bus: EventBus, actor: str) -> None:
        """A generator is no handler, sync or async: calling it would run nothing, so it is refused at once."""

        def generator(event: Event) -> Iterator[Event]:
            yield event

        async def async_generator(event: Event) -> AsyncIterator[Event]:
            yield event

        functions: list[Any] = [generator, async_generator]
        for function in functions:
            with pytest.raises(TypeError, match="yield"):
                await bus.subscribe(actor_id=actor, handler=function)
            with pytest.raises(TypeError, match="yield"):
                await bus.subscribe(actor_id=actor, handler=print, on_error=function)
