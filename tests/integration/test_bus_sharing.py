"""Subscriptions that share one on the server, those that come and go at once, and a bus that is closed with all in flight."""

from __future__ import annotations

import asyncio
import gc
import sys
from typing import TYPE_CHECKING, Any

import pytest
from faults.tap import Tap
from faults.waiting import hurried_bus, until
from listening import counted, hear, wrong_in

from aether import AetherError, Event, NATSEventBus, SubscriptionInterruptedError
from aether.bus.feeds import Feeds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Size

    from aether import EmbeddedServer
    from aether.bus.channels import Channel

FAST_S = 60.0
"""At once, on a machine that others use too; what must not be waited for takes minutes."""


async def test_equal_subscriptions_share_one_on_the_server(nats_server: EmbeddedServer, namespace: str) -> None:
    """Ten subscriptions to the same are one on the server, and an event is decoded once for all of them."""
    async with (
        NATSEventBus(nats_server.url, namespace=namespace) as ours,
        NATSEventBus(nats_server.url, namespace=namespace) as other,
    ):
        same = [await ours.subscribe(actor_prefix="p" if number % 2 else None) for number in range(10)]
        assert len(ours._feeds) == 1
        members = [await ours.subscribe(group="g") for _ in range(2)]
        assert len(ours._feeds) == 3
        await other.publish(Event("p", "t", 1, {"n": 1}))
        async with asyncio.timeout(FAST_S):
            first, *others = [await anext(subscription) for subscription in same]
        assert all(other.id == first.id for other in others)
        for subscription in (*same, *members):
            await subscription.aclose()
        assert len(ours._feeds) == 0


async def test_the_last_may_leave_while_another_joins(nats_server: EmbeddedServer, namespace: str, size: Size) -> None:
    """Joining while the last one leaves, and the other way round, always gives a subscription that hears everything."""
    url = nats_server.url
    async with NATSEventBus(url, namespace=namespace) as ours, NATSEventBus(url, namespace=namespace) as other:
        left = await ours.subscribe()
        for number in range(size.pick(200, 1_000, 5_000)):
            leaving = asyncio.create_task(left.aclose())
            joining = asyncio.create_task(ours.subscribe())
            cancelled = asyncio.create_task(ours.subscribe(actor_id=f"c-{number % 3}"))
            if number % 2:
                await asyncio.sleep(0)
            cancelled.cancel()
            left = await joining
            await other.publish_many(counted(f"p-{number}", 1, 5))
            assert wrong_in(await hear(left, 5)) == []
            await leaving
            await asyncio.gather(cancelled, return_exceptions=True)
        await left.aclose()
        assert len(ours._feeds) == 0


async def test_a_bus_that_forgets_too_late_is_found(
    nats_server: EmbeddedServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bus that hangs up before it forgets a shared subscription lets a newcomer join what is gone, and that is found."""

    async def release_late(self: Feeds, channel: Channel, _: float | None) -> None:
        channel.users -= 1
        if not channel.users and channel.line is not None and channel.line.feed is not None:
            await channel.line.feed.aclose()
            await asyncio.sleep(0)
            self._forget(channel)

    monkeypatch.setattr(Feeds, "_release", release_late)
    url = nats_server.url
    async with NATSEventBus(url, namespace=namespace) as ours, NATSEventBus(url, namespace=namespace) as other:
        deaf = 0
        for rounds in range(10):
            left = await ours.subscribe()
            leaving = asyncio.create_task(left.aclose())
            for _ in range(rounds):
                await asyncio.sleep(0)
            joined = await ours.subscribe()
            await leaving
            await other.publish_many(counted("p", 1, 5))
            try:
                await hear(joined, 5, deadline_s=0.3)
            except AssertionError:
                deaf += 1
            await joined.aclose()
        assert deaf


async def test_a_thousand_subscriptions_are_back_after_a_restart(fresh_nats_server: EmbeddedServer, namespace: str) -> None:
    """Each of very many subscriptions is interrupted once and hears what is published after that."""
    url = fresh_nats_server.url
    async with NATSEventBus(url, namespace=namespace) as ours, NATSEventBus(url, namespace=namespace) as other:
        many = await asyncio.gather(*(ours.subscribe(actor_id=f"p-{number}") for number in range(1_000)))
        await fresh_nats_server.kill()
        await fresh_nats_server.restart()
        async with asyncio.timeout(FAST_S):
            for subscription in many:
                with pytest.raises(SubscriptionInterruptedError):
                    await anext(subscription)
        await other.publish_many([Event(f"p-{number}", "t", 7) for number in range(1_000)])
        async with asyncio.timeout(FAST_S):
            assert [(await anext(subscription)).version for subscription in many] == [7] * 1_000
        async with asyncio.timeout(FAST_S):
            await ours.aclose()


@pytest.fixture
def unraised() -> Iterator[list[Any]]:
    """What Python could only print: exceptions in finalizers and tasks that nobody asked."""
    told: list[Any] = []
    hook, sys.unraisablehook = sys.unraisablehook, told.append
    yield told
    sys.unraisablehook = hook


async def test_a_bus_closed_with_everything_in_flight_ends_fast_and_leaves_nothing(
    nats_server: EmbeddedServer, namespace: str, unraised: list[Any], size: Size
) -> None:
    """Readers, handlers, publishers, requests and subscribers of a bus that is closed all end at once, and no task is left."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: unraised.append(context))
    before = asyncio.all_tasks()
    for _ in range(size.pick(1, 3, 10)):
        async with Tap(nats_server.url) as tap:
            bus = NATSEventBus(tap.url, namespace=namespace)
            work = await in_flight(bus, tap)
            with hurried_bus(bus, 1.0):
                async with asyncio.timeout(FAST_S):
                    with_error = await asyncio.gather(bus.aclose(), return_exceptions=True)
            assert isinstance(with_error[0], AetherError | None)
            _, running = await asyncio.wait(work, timeout=FAST_S)
            assert not running, running
            for task in work:
                assert isinstance(task.exception(), AetherError | None)
            await until(lambda tap=tap: not tap.tasks)
        del bus, work, tap
    gc.collect()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    assert unraised == []


async def in_flight(bus: NATSEventBus, tap: Tap) -> list[asyncio.Task[Any]]:
    """Have a bus do everything at once, on a connection that has become mute."""

    async def read(subscription: Any) -> None:
        async for _ in subscription:
            pass

    async def read_batches(subscription: Any) -> None:
        async for _ in subscription.batches():
            pass

    async def publish() -> None:
        while True:
            await bus.publish_many(counted("p", 1, 10_000))
            await bus.flush()

    async def hang(event: Event) -> None:
        await asyncio.sleep(0.5)

    readers = [await bus.subscribe(), await bus.subscribe(actor_id="p"), await bus.subscribe(group="g")]
    await bus.subscribe(handler=hang)
    await bus.subscribe(handler=lambda event: None)
    work = [
        asyncio.create_task(read(readers[0])),
        asyncio.create_task(read(readers[0])),
        asyncio.create_task(read_batches(readers[1])),
        asyncio.create_task(read(readers[2])),
    ]
    work.append(asyncio.create_task(publish()))
    await until(lambda: readers[0].stats().delivered > 1_000)
    tap.lane.plan.mute = True
    work += [asyncio.create_task(bus.request(Event("p", "t", 1), timeout=300)) for _ in range(10)]
    work += [asyncio.create_task(bus.subscribe(actor_id=f"new-{number % 2}")) for number in range(4)]
    work += [asyncio.create_task(bus.flush()) for _ in range(3)]
    await asyncio.sleep(0)
    return work


async def test_a_cancelled_subscribe_leaves_nothing_behind(nats_server: EmbeddedServer, namespace: str) -> None:
    """Cancelling a task at any point of `subscribe` leaves no subscription on the server behind."""
    async with NATSEventBus(nats_server.url, namespace=namespace) as bus:
        for rounds in range(12):
            subscribing = asyncio.create_task(bus.subscribe(actor_id="x", group="g" if rounds % 2 else None))
            for _ in range(rounds):
                await asyncio.sleep(0)
            subscribing.cancel()
            (ended,) = await asyncio.gather(subscribing, return_exceptions=True)
            if not isinstance(ended, asyncio.CancelledError):
                await ended.aclose()
            assert len(bus._feeds) == 0
