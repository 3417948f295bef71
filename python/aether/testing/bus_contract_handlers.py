"""The bus contract: handlers. An actor's events in order, actors at the same time, the end, and handlers of a type."""

from __future__ import annotations

import asyncio
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from aether.errors import AetherError, DecodeError
from aether.event import Event
from aether.testing.bus_contract_base import BusCase, events, soon, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from aether.bus.base import EventBus

__all__ = ["HandlersContract"]


@dataclass
class Placed:
    """An order was placed."""

    amount: int


class HandlersContract(BusCase):
    """What is called with events."""

    async def test_a_plain_function_is_called_in_order(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """A sync handler gets every event of all actors, in order."""
        found: list[Event] = []
        sent = [event for version in range(1, 101) for name in "abc" for event in events(f"{actor}-{name}", [version])]
        async with await bus.subscribe(actor_prefix=f"{actor}-", handler=found.append) as subscription:
            await peer.publish_many(sent)
            await until(lambda: len(found) >= 300)
            assert found == sent
            assert subscription.stats() == (300, 0, 0, 0, 0)

    async def test_actors_overlap_and_each_is_in_order(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """An async handler runs for 4 actors at once, as a barrier of 4 shows, and for each of them in order, one at a time."""
        names = [f"{actor}-{index}" for index in range(4)]
        found: dict[str, list[int]] = {name: [] for name in names}
        barrier = asyncio.Barrier(4)
        running: set[str] = set()

        async def handler(event: Event) -> None:
            assert event.actor_id not in running
            running.add(event.actor_id)
            await soon(barrier.wait())
            found[event.actor_id].append(event.version)
            running.discard(event.actor_id)

        async with await bus.subscribe(actor_prefix=f"{actor}-", handler=handler) as subscription:
            # The first actor's come first: they must not keep the others waiting.
            await peer.publish_many(event for name in names for event in events(name, range(1, 21)))
            await until(lambda: sum(map(len, found.values())) == 80)
            assert found == {name: [*range(1, 21)] for name in names}
            assert subscription.stats() == (80, 0, 0, 0, 0)

    async def test_no_more_than_allowed_run_at_once(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """With `concurrency=3` three handlers run at once, and never a fourth; with 1 all events come in order."""
        running = most = 0
        seen: list[Event] = []

        async def handler(event: Event) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            if most == concurrency:
                all_run.set()
            await soon(all_run.wait())
            await asyncio.sleep(0)  # one more that may not run would now
            seen.append(event)
            running -= 1

        sent = [event for version in range(1, 6) for index in range(10) for event in events(f"{actor}-{index}", [version])]
        for concurrency in (3, 1):
            seen.clear()
            most, all_run = 0, asyncio.Event()
            async with await bus.subscribe(actor_prefix=f"{actor}-", handler=handler, concurrency=concurrency):
                await peer.publish_many(sent)
                await until(lambda: len(seen) == 50)
            assert most == concurrency
        assert {name: [e.version for e in seen if e.actor_id == name] for name in {e.actor_id for e in seen}} == {
            f"{actor}-{index}": [1, 2, 3, 4, 5] for index in range(10)
        }

    async def test_anything_that_can_be_called_is_a_handler(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """Methods, partials, objects that are called and functions that return an awaitable are handlers too."""
        found: list[str] = []

        class Counter:
            async def __call__(self, event: Event) -> None:
                await asyncio.sleep(0)
                found.append(f"object {event.version}")

            async def method(self, event: Event) -> None:
                await asyncio.sleep(0)
                found.append(f"method {event.version}")

        async def named(name: str, event: Event) -> None:
            await asyncio.sleep(0)
            found.append(f"{name} {event.version}")

        counter = Counter()
        handlers: list[Callable[[Event], Any]] = [
            counter,
            counter.method,
            functools.partial(named, "partial"),
            lambda event: named("lambda", event),
        ]
        subscriptions = [await bus.subscribe(actor_id=actor, handler=handler) for handler in handlers]
        await peer.publish_many(events(actor, [1, 2]))
        await until(lambda: len(found) == 8)
        assert sorted(found) == sorted(
            f"{name} {version}" for name in ("object", "method", "partial", "lambda") for version in (1, 2)
        )
        for subscription in subscriptions:
            await subscription.aclose()

    # The end.

    async def test_closing_waits_for_handlers_that_run(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """`aclose` returns when the running handlers have finished; what waited behind them is not handled."""
        began, go_on = asyncio.Event(), asyncio.Event()
        found: list[int] = []

        async def handler(event: Event) -> None:
            began.set()
            await go_on.wait()
            found.append(event.version)

        subscription = await bus.subscribe(actor_id=actor, handler=handler)
        await peer.publish_many(events(actor, [1, 2, 3]))
        await soon(began.wait())
        await until(lambda: sum(subscription.stats()[:2]) == 3)
        closing = asyncio.create_task(subscription.aclose())
        await until(lambda: not subscription.is_live)
        for _ in range(10):
            await asyncio.sleep(0)
        assert not closing.done()
        go_on.set()
        await soon(closing)
        assert found == [1]
        assert subscription.stats() == (1, 2, 0, 0, 0)

    async def test_a_handler_may_close_what_calls_it(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """A handler may close its own subscription, and goes on to its own end."""
        found: list[int] = []

        async def handler(event: Event) -> None:
            await subscription.aclose()
            await asyncio.sleep(0)
            found.append(event.version)

        subscription = await bus.subscribe(actor_id=actor, handler=handler)
        await peer.publish_many(events(actor, [1, 2]))
        await soon(subscription.wait_closed())
        assert found == [1]

    async def test_a_handler_may_close_the_bus(self, bus: EventBus, actor: str) -> None:
        """A handler may close the bus that calls it, and goes on to its own end."""
        found: list[int] = []
        began = asyncio.Event()

        async def handler(event: Event) -> None:
            await bus.aclose()
            began.set()
            for _ in range(10):
                await asyncio.sleep(0)
            found.append(event.version)

        subscription = await bus.subscribe(actor_id=actor, handler=handler)
        await bus.publish(*events(actor, [1]))
        await soon(began.wait())
        await soon(bus.aclose())
        assert found == [1]
        await soon(subscription.wait_closed())

    async def test_a_handlers_events_are_not_for_readers(self, bus: EventBus, actor: str) -> None:
        """A subscription with a handler refuses to be read, and says what to do."""
        async with await bus.subscribe(actor_id=actor, handler=print) as subscription:
            with pytest.raises(AetherError, match="subscribe without handler="):
                await anext(subscription)
            with pytest.raises(AetherError, match="subscribe without handler="):
                await anext(aiter(subscription.batches()))
            with pytest.raises(AetherError, match="subscribe without handler="):
                await anext(aiter(subscription.namespaced()))

    async def test_handlers_may_publish(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """Handlers publish in turn, and a chain of them comes to its end."""
        done = asyncio.Event()

        async def handler(event: Event) -> None:
            if event.version < 50:
                await bus.publish(*events(actor, [event.version + 1]))
            else:
                done.set()

        async with await bus.subscribe(actor_id=actor, handler=handler):
            await peer.publish(*events(actor, [1]))
            await soon(done.wait())

    # Typed handlers.

    async def test_typed_handlers_get_the_value(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """`on` subscribes a handler of decoded values when the bus opens: by the name of the type, or another, sync or async."""
        found: list[tuple[str, Placed, Event]] = []

        @bus.on(Placed, actor_id=actor)
        def plain(value: Placed, event: Event) -> None:
            found.append(("plain", value, event))

        @bus.on(Placed, actor_prefix=actor, event_type="Placed.2")
        async def awaited(value: Placed, event: Event) -> None:
            await asyncio.sleep(0)
            found.append(("awaited", value, event))

        assert (plain.__name__, awaited.__name__) == ("plain", "awaited")
        async with bus:
            first, second = Event(actor, "Placed", 1, Placed(5)), Event(actor, "Placed.2", 2, {"amount": 6})
            await peer.publish_many([first, second, Event(actor, "Else", 3, Placed(7))])
            await until(lambda: len(found) == 2)
            assert ("plain", Placed(5), first) in found
            assert ("awaited", Placed(6), second) in found

    async def test_what_is_of_another_shape_goes_to_the_policy(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """Data that does not decode goes to `on_error`; the handler gets what does."""
        found: list[int] = []
        errors: list[tuple[Exception, Event | None]] = []

        @bus.on(Placed, actor_id=actor, on_error=lambda error, event: errors.append((error, event)))
        def handler(value: Placed, _: Event) -> None:
            found.append(value.amount)

        await bus.start()
        wrong = Event(actor, "Placed", 1, {"amount": "many"})
        await peer.publish_many([wrong, Event(actor, "Placed", 2, Placed(6))])
        await until(lambda: found == [6])
        [(error, event)] = errors
        assert isinstance(error, DecodeError)
        assert event == wrong

    async def test_handlers_are_registered_before(self, bus: EventBus, actor: str) -> None:
        """On an open bus `on` says that it is too late, and what to do."""
        await bus.publish(*events(actor, [1]))
        with pytest.raises(AetherError, match="subscribe"):

            @bus.on(Placed)
            def handler(value: Placed, event: Event) -> None:
                """Never called."""

    async def test_a_registered_handler_may_be_the_end(self, bus: EventBus, actor: str) -> None:
        """What a handler registered with "stop" raised is raised when the bus's block is left."""
        called = asyncio.Event()

        @bus.on(Placed, actor_id=actor, on_error="stop")
        async def handler(value: Placed, _: Event) -> None:
            called.set()
            await asyncio.sleep(0)
            raise LookupError(f"no {value.amount}")

        async def body() -> None:
            async with bus:
                await bus.publish(Event(actor, "Placed", 1, Placed(5)))
                await soon(called.wait())

        with pytest.raises(LookupError, match="no 5"):
            await body()
