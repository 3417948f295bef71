"""The bus contract: what becomes of what handlers raise."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from aether.errors import SubscriptionLaggedError
from aether.testing.bus_contract_base import BusCase, events, soon, until

if TYPE_CHECKING:
    from aether.bus.base import EventBus
    from aether.event import Event

__all__ = ["FailuresContract"]


class FailuresContract(BusCase):
    """Handlers that fail."""

    @pytest.mark.parametrize("flavour", ["sync", "async"])
    async def test_a_failing_handler_is_logged_and_goes_on(
        self, bus: EventBus, peer: EventBus, actor: str, flavour: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """What a handler raises is logged with the event, counted, and the next event is handled."""
        found: list[int] = []

        def plain(event: Event) -> None:
            if event.version % 2:
                raise LookupError(f"odd {event.version}")
            found.append(event.version)

        async def awaited(event: Event) -> None:
            await asyncio.sleep(0)
            plain(event)

        handler = plain if flavour == "sync" else awaited
        with caplog.at_level(logging.ERROR, "aether.bus"):
            async with await bus.subscribe(actor_id=actor, handler=handler) as subscription:
                await peer.publish_many(events(actor, [1, 2, 3, 4]))
                await until(lambda: len(found) == 2)
                assert subscription.stats() == (4, 0, 0, 0, 2)
        told = [record for record in caplog.records if record.name == "aether.bus"]
        assert [str(record.exc_info[1]) for record in told if record.exc_info] == ["odd 1", "odd 3"]
        assert all(actor in record.getMessage() for record in told)

    @pytest.mark.parametrize("flavour", ["sync", "async"])
    async def test_a_failing_handler_may_be_the_end(self, bus: EventBus, peer: EventBus, actor: str, flavour: str) -> None:
        """Under "stop" the first error ends the subscription: nothing more is handled, `wait_closed` and leaving raise it."""
        found: list[int] = []

        def plain(event: Event) -> None:
            found.append(event.version)
            if event.version == 2:
                raise LookupError("the second")

        async def awaited(event: Event) -> None:
            plain(event)

        handler = plain if flavour == "sync" else awaited

        async def leave() -> None:
            async with await bus.subscribe(actor_id=actor, handler=handler, on_error="stop") as subscription:
                await peer.publish_many(events(actor, [1, 2, 3, 4]))
                await until(lambda: not subscription.is_live)

        with pytest.raises(LookupError, match="the second"):
            await leave()
        assert found == [1, 2]
        found.clear()
        subscription = await bus.subscribe(actor_id=actor, handler=handler, on_error="stop")
        await peer.publish_many(events(actor, [1, 2, 3]))
        for _ in range(2):
            with pytest.raises(LookupError, match="the second"):
                await soon(subscription.wait_closed())
        await peer.publish(*events(actor, [4]))
        await subscription.aclose()
        assert found == [1, 2]
        assert subscription.stats()[0] == 2
        assert subscription.stats().failed == 1

    async def test_errors_may_go_to_a_function(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """A function gets each error with its event, sync or async; what it raises ends the subscription."""
        seen: list[tuple[str, int]] = []

        def handler(event: Event) -> None:
            raise LookupError(f"no {event.version}")

        def plain(error: Exception, event: Event | None) -> None:
            assert event is not None
            seen.append((str(error), event.version))

        async def awaited(error: Exception, event: Event | None) -> None:
            await asyncio.sleep(0)
            plain(error, event)
            if event is not None and event.version == 2:
                raise RuntimeError("enough")

        async with await bus.subscribe(actor_id=actor, handler=handler, on_error=plain) as subscription:
            await peer.publish_many(events(actor, [1, 2, 3]))
            await until(lambda: len(seen) == 3)
            assert subscription.stats().failed == 3
        assert seen == [("no 1", 1), ("no 2", 2), ("no 3", 3)]
        seen.clear()
        subscription = await bus.subscribe(actor_id=actor, handler=handler, on_error=awaited)
        await peer.publish_many(events(actor, [1, 2, 3]))
        with pytest.raises(RuntimeError, match="enough"):
            await soon(subscription.wait_closed())
        assert seen == [("no 1", 1), ("no 2", 2)]

    async def test_a_gap_goes_to_the_policy(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """What a handler's subscription missed is told to `on_error`, without an event, and counted exactly."""
        missed: list[int] = []
        seen: list[int] = []
        go_on = asyncio.Event()

        async def handler(event: Event) -> None:
            await go_on.wait()
            seen.append(event.version)

        def on_error(error: Exception, event: Event | None) -> None:
            assert event is None
            assert isinstance(error, SubscriptionLaggedError)
            missed.append(error.missed)

        async with await bus.subscribe(
            actor_id=actor, handler=handler, on_error=on_error, max_pending=50, concurrency=1
        ) as subscription:
            await peer.publish_many(events(actor, range(1, 4001)))
            await until(lambda: sum(subscription.stats()[:3]) == 4000)
            go_on.set()
            await until(lambda: len(seen) + sum(missed) == 4000)
            assert subscription.stats() == (len(seen), 0, sum(missed), 0, 0)
        assert missed
        assert seen == sorted(seen)

    async def test_a_handler_that_was_cancelled_inside_goes_on(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """A handler that waits for something that is cancelled has failed, and the next event is handled."""
        found: list[int] = []

        async def handler(event: Event) -> None:
            if event.version == 1:
                task = asyncio.ensure_future(asyncio.Event().wait())
                task.cancel()
                await task
            found.append(event.version)

        async with await bus.subscribe(actor_id=actor, handler=handler) as subscription:
            await peer.publish_many(events(actor, [1, 2]))
            await until(lambda: found == [2])
            assert subscription.stats() == (2, 0, 0, 0, 1)
