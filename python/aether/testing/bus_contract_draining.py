"""The bus contract: ending without a loss. What reached a subscription that is drained is handled or read before it ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from aether.errors import AetherError
from aether.testing.bus_contract_base import BusCase, events, read, soon, until, versions

if TYPE_CHECKING:
    from aether.bus.base import EventBus, Subscription
    from aether.event import Event

__all__ = ["DrainingContract"]


class Slow:
    """A handler that waits until it is let go on."""

    def __init__(self) -> None:
        self.began, self.go_on = asyncio.Event(), asyncio.Event()
        self.handled: list[int] = []

    async def __call__(self, event: Event) -> None:
        """Wait, then note the event."""
        self.began.set()
        await self.go_on.wait()
        self.handled.append(event.version)


async def rest(subscription: Subscription) -> list[Event]:
    """Read to the end."""
    return [event async for event in subscription]


class DrainingContract(BusCase):
    """Draining subscriptions, and a whole bus."""

    async def test_draining_handles_what_is_pending(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """A drained subscription hears nothing new, and has ended when its handler had everything that reached it."""
        handler = Slow()
        subscription = await bus.subscribe(actor_id=actor, handler=handler)
        beside = await bus.subscribe(actor_id=actor)
        await peer.publish_many(events(actor, range(1, 2001)))
        await read(beside, 2000)
        await soon(handler.began.wait())
        draining = asyncio.create_task(subscription.drain())
        await until(lambda: not subscription.is_live)
        for _ in range(10):
            await asyncio.sleep(0)
        assert not draining.done()
        handler.go_on.set()
        await soon(draining)
        assert handler.handled == [*range(1, 2001)]
        await soon(subscription.wait_closed())
        await peer.publish_many(events(actor, [2001]))
        await read(beside, 1)
        assert subscription.stats() == (2000, 0, 0, 0, 0)

    async def test_a_drained_reader_reads_to_the_end(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """After `drain` what has come is read, and nothing that is published later; then reading ends, and it has ended."""
        subscription = await bus.subscribe(actor_id=actor)
        beside = await bus.subscribe(actor_id=actor)
        await peer.publish_many(events(actor, range(1, 101)))
        await read(beside, 100)
        await soon(subscription.drain())
        assert not subscription.is_live
        await peer.publish_many(events(actor, [101]))
        await read(beside, 1)
        assert versions(await soon(rest(subscription))) == [*range(1, 101)]
        await soon(subscription.wait_closed())
        await subscription.aclose()
        assert subscription.stats() == (100, 0, 0, 0, 0)

    async def test_a_reader_that_waits_comes_to_the_end(self, bus: EventBus, actor: str) -> None:
        """Who waits for the next event when there is none comes to the end when the subscription is drained, also twice."""
        subscription = await bus.subscribe(actor_id=actor)

        hearing = asyncio.create_task(rest(subscription))
        await asyncio.sleep(0)
        await soon(asyncio.gather(subscription.drain(), subscription.drain()))
        assert await soon(hearing) == []
        await soon(subscription.wait_closed())
        await soon(subscription.drain())

    async def test_members_that_are_drained_lose_nothing(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """While members of a group come and go by `drain`, each event is handled or read by exactly one."""
        heard: list[int] = []
        done = asyncio.Event()

        async def handler(event: Event) -> None:
            await asyncio.sleep(0)
            heard.append(event.version)

        async def come_and_go(*, reads: bool) -> None:
            while not done.is_set():
                subscription = await bus.subscribe(actor_id=actor, group="g", handler=None if reads else handler)
                await asyncio.sleep(0.002)
                await subscription.drain()
                if reads:
                    heard.extend([event.version async for event in subscription])

        async with await bus.subscribe(actor_id=actor, group="g", handler=handler):
            members = [asyncio.create_task(come_and_go(reads=bool(number % 2))) for number in range(4)]
            for start in range(1, 3000, 20):
                await peer.publish_many(events(actor, range(start, start + 20)))
                await asyncio.sleep(0.001)
            await peer.flush()
            await bus.flush()
            done.set()
            await soon(asyncio.gather(*members))
        assert sorted(heard) == [*range(1, 3001)]

    async def test_leaving_a_handlers_block_drains(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """Leaving the block of a subscription with a handler handles what is pending; leaving it by an error does not."""

        async def leave(handler: Slow, *, badly: bool) -> None:
            async def let_go(subscription: Subscription) -> None:
                await until(lambda: not subscription.is_live)
                handler.go_on.set()

            beside, subscription = await bus.subscribe(actor_id=actor), await bus.subscribe(actor_id=actor, handler=handler)
            going = asyncio.create_task(let_go(subscription))
            try:
                async with subscription:
                    await peer.publish_many(events(actor, range(1, 501)))
                    await read(beside, 500)
                    await soon(handler.began.wait())
                    if badly:
                        raise LookupError("in the block")
            finally:
                await going

        well, badly = Slow(), Slow()
        await soon(leave(well, badly=False))
        assert well.handled == [*range(1, 501)]
        with pytest.raises(LookupError, match="in the block"):
            await soon(leave(badly, badly=True))
        assert len(badly.handled) < 500

    async def test_leaving_the_bus_drains_its_handlers(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """Leaving the bus's block handles what has reached its handlers, which may publish until then."""
        handled: list[int] = []
        onward = await peer.subscribe(actor_id=f"{actor}-onward") if peer is not bus else None

        async def handler(event: Event) -> None:
            await bus.publish(*events(f"{actor}-onward", [event.version]))
            handled.append(event.version)

        async def block() -> None:
            async with bus:
                await bus.subscribe(actor_id=actor, handler=handler)
                beside = await bus.subscribe(actor_id=actor)
                await bus.publish_many(events(actor, range(1, 501)))
                await read(beside, 500)

        await soon(block())
        assert handled == [*range(1, 501)]
        if onward is not None:
            assert versions(await read(onward, 500)) == [*range(1, 501)]

    async def test_a_bus_is_drained(self, bus: EventBus, actor: str) -> None:
        """`bus.drain` returns when handlers and readers had everything, and the bus is closed then."""
        handler = Slow()
        await bus.subscribe(actor_id=actor, handler=handler)
        subscription = await bus.subscribe(actor_id=actor)
        await bus.publish_many(events(actor, range(1, 101)))
        await bus.flush()
        await until(lambda: subscription.stats().pending == 100)
        draining = asyncio.create_task(bus.drain())
        await until(lambda: not subscription.is_live)
        handler.go_on.set()
        assert not draining.done()
        assert versions(await soon(rest(subscription))) == [*range(1, 101)]
        await soon(draining)
        assert handler.handled == [*range(1, 101)]
        with pytest.raises(AetherError, match="closed"):
            await bus.publish(*events(actor, [101]))

    async def test_closing_cuts_draining_short(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """`aclose` ends a subscription that is being drained once the running handler has finished."""
        began, go_on = asyncio.Event(), asyncio.Semaphore(0)
        handled: list[int] = []

        async def handler(event: Event) -> None:
            began.set()
            await go_on.acquire()
            handled.append(event.version)

        subscription = await bus.subscribe(actor_id=actor, handler=handler)
        await peer.publish_many(events(actor, range(1, 101)))
        await soon(began.wait())
        await until(lambda: sum(subscription.stats()[:2]) == 100)
        draining = asyncio.create_task(subscription.drain())
        await until(lambda: not subscription.is_live)
        closing = asyncio.create_task(subscription.aclose())
        while not closing.done():  # the bus gives up in time
            await asyncio.wait([closing], timeout=0.05)
            go_on.release()
        await soon(asyncio.gather(closing, draining))
        assert len(handled) < 50
        assert subscription.stats()[:2] == (len(handled), 100 - len(handled))

    async def test_a_handler_may_drain_what_calls_it(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """A handler may drain its own subscription: what has come is handled, then it has ended."""
        handled: list[int] = []

        async def handler(event: Event) -> None:
            if event.version == 1:
                await until(lambda: sum(subscription.stats()[:2]) == 3)
                await subscription.drain()
            handled.append(event.version)

        subscription = await bus.subscribe(actor_id=actor, handler=handler)
        await peer.publish_many(events(actor, [1, 2, 3]))
        await soon(subscription.wait_closed())
        assert handled == [1, 2, 3]
