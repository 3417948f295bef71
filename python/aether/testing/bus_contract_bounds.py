"""The bus contract: bounds. What does not fit is missed, counted exactly, and costs nobody else anything."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from aether.errors import SubscriptionLaggedError
from aether.testing.bus_contract_base import BusCase, events, read, soon, until, versions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import Literal

    from aether.bus.base import EventBus, Subscription

__all__ = ["BoundsContract"]


async def arrived(subscription: Subscription, count: int) -> None:
    """Wait until so many events have reached it, whatever became of them."""
    await until(lambda: sum(subscription.stats()[:3]) == count, subscription.stats)


async def gap(source: AsyncIterator[object]) -> int:
    """Read on, and return how many events are missing there."""
    with pytest.raises(SubscriptionLaggedError) as caught:
        await soon(anext(source))
    return caught.value.missed


class BoundsContract(BusCase):
    """Subscriptions that fall behind."""

    async def test_a_gap_is_told_where_it_is(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """Behind a bound of 10, the events from the 11th on are missed, an error there says how many, and reading goes on."""
        async with await bus.subscribe(actor_id=actor, max_pending=10) as subscription:
            await peer.publish_many(events(actor, range(1, 26)))
            await arrived(subscription, 25)
            assert subscription.stats() == (0, 10, 15, 0, 0)
            assert versions(await read(subscription, 5)) == [1, 2, 3, 4, 5]
            await peer.publish_many(events(actor, range(26, 36)))
            await arrived(subscription, 35)
            assert versions(await read(subscription, 5)) == [6, 7, 8, 9, 10]
            assert await gap(aiter(subscription)) == 15
            assert versions(await read(subscription, 5)) == [26, 27, 28, 29, 30]
            assert await gap(aiter(subscription)) == 5
            await peer.publish(*events(actor, [36]))
            assert versions(await read(subscription, 1)) == [36]
            assert subscription.stats() == (16, 0, 20, 0, 0)

    async def test_a_batch_ends_before_a_gap(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """Batches stop before a gap, raise it once, and the same iterator goes on behind it."""
        async with await bus.subscribe(actor_id=actor, max_pending=4) as subscription:
            batches = aiter(subscription.batches(3))
            await peer.publish_many(events(actor, range(1, 8)))
            await arrived(subscription, 7)
            assert versions(await soon(anext(batches))) == [1, 2, 3]
            await peer.publish_many(events(actor, [8, 9]))
            await arrived(subscription, 9)
            assert versions(await soon(anext(batches))) == [4]
            assert await gap(batches) == 3
            assert versions(await soon(anext(batches))) == [8, 9]

    async def test_a_gap_is_told_to_who_waits(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """A reader that has read everything else is woken by a gap alone."""
        async with await bus.subscribe(actor_id=actor, max_pending_bytes=10_000) as subscription:
            reader = asyncio.ensure_future(anext(subscription))
            await asyncio.sleep(0)
            await peer.publish(*events(actor, [1], data="x" * 20_000))
            with pytest.raises(SubscriptionLaggedError, match="1 events were missed"):
                await soon(reader)

    async def test_the_oldest_give_way(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """Under "drop_oldest" the last 10 remain, the others are counted, and no error is raised."""
        async with await bus.subscribe(actor_id=actor, max_pending=10, policy="drop_oldest") as subscription:
            await peer.publish_many(events(actor, range(1, 26)))
            await arrived(subscription, 25)
            assert subscription.stats() == (0, 10, 15, 0, 0)
            await peer.publish_many(events(actor, [26]))
            await arrived(subscription, 26)
            assert versions(await read(subscription, 10)) == [*range(17, 27)]
            assert subscription.stats() == (10, 0, 16, 0, 0)

    @pytest.mark.parametrize("policy", ["error", "drop_oldest"])
    async def test_bytes_are_bounded(
        self, bus: EventBus, peer: EventBus, actor: str, policy: Literal["error", "drop_oldest"]
    ) -> None:
        """What waits takes no more than `max_pending_bytes`, and what is missed for that is counted exactly."""
        async with await bus.subscribe(actor_id=actor, max_pending_bytes=50_000, policy=policy) as subscription:
            await peer.publish_many(events(actor, range(1, 101), data="x" * 1_000))
            await arrived(subscription, 100)
            waiting = subscription.stats().pending
            assert 30 <= waiting <= 50
            kept = range(1, waiting + 1) if policy == "error" else range(101 - waiting, 101)
            assert versions(await read(subscription, waiting)) == [*kept]
            if policy == "error":
                assert await gap(aiter(subscription)) == 100 - waiting
            # What was read made room again.
            await peer.publish_many(events(actor, range(101, 121), data="x" * 1_000))
            assert versions(await read(subscription, 20)) == [*range(101, 121)]
            assert subscription.stats() == (waiting + 20, 0, 100 - waiting, 0, 0)

    @pytest.mark.parametrize("policy", ["error", "drop_oldest"])
    async def test_one_that_never_fits_is_missed(
        self, bus: EventBus, peer: EventBus, actor: str, policy: Literal["error", "drop_oldest"]
    ) -> None:
        """An event larger than all of the bound is missed by itself; those around it stay."""
        async with await bus.subscribe(actor_id=actor, max_pending_bytes=5_000, policy=policy) as subscription:
            await peer.publish_many([*events(actor, [1]), *events(actor, [2], data="x" * 9_000), *events(actor, [3])])
            await arrived(subscription, 3)
            assert subscription.stats()[:3] == (0, 2, 1)
            assert versions(await read(subscription, 1)) == [1]
            if policy == "error":
                assert await gap(aiter(subscription)) == 1
            assert versions(await read(subscription, 1)) == [3]

    async def test_a_slow_one_costs_others_nothing(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """Beside a subscription that is never read, others hear everything, and publishers do not wait."""
        slow = [await bus.subscribe(actor_id=actor, max_pending=7, policy=policy) for policy in ("error", "drop_oldest")]
        async with await bus.subscribe(actor_id=actor) as fast:
            reading = asyncio.create_task(read(fast, 3000))
            await soon(peer.publish_many(events(actor, range(1, 3001))))
            assert versions(await reading) == [*range(1, 3001)]
        for subscription in slow:
            await arrived(subscription, 3000)
            assert subscription.stats() == (0, 7, 2993, 0, 0)

    async def test_a_slow_reader_knows_what_it_missed(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """However slowly it reads, what it got and what it was told of as missed is everything, in order, without overlap."""
        async with await bus.subscribe(actor_id=actor, max_pending=20) as subscription:
            publishing = asyncio.create_task(peer.publish_many(event for event in events(actor, range(1, 5001))))
            upto = count = 0
            while upto < 5000:
                try:
                    event = await soon(anext(subscription))
                    upto, count = upto + 1, count + 1
                    assert event.version == upto
                except SubscriptionLaggedError as error:
                    upto += error.missed
                if count % 10 == 0:
                    await asyncio.sleep(0)
            await publishing
            assert subscription.stats() == (count, 0, 5000 - count, 0, 0)

    async def test_publishers_may_wait(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """Under "block" nothing is missed: a publisher waits until there is room, and gives up when its time is over."""
        if not self.has_block:
            with pytest.raises(ValueError, match="block"):
                await bus.subscribe(actor_id=actor, policy="block")
            return
        blocking = await bus.subscribe(actor_id=actor, max_pending=10, policy="block")
        beside = await bus.subscribe(actor_id=actor)
        publishing = asyncio.create_task(peer.publish_many(events(actor, range(1, 101))))
        await arrived(blocking, 10)
        await asyncio.sleep(0)
        assert not publishing.done()
        assert sum(beside.stats()[:3]) == 10
        assert versions(await read(blocking, 50)) == [*range(1, 51)]
        found = []
        async for batch in blocking.batches(7):
            found += versions(batch)
            if len(found) == 50:
                break
        assert found == [*range(51, 101)]
        await soon(publishing)
        assert versions(await read(beside, 100)) == [*range(1, 101)]
        # Closing it lets publishers go on.
        publishing = asyncio.create_task(peer.publish_many(events(actor, range(101, 121))))
        await arrived(blocking, 110)
        await blocking.aclose()
        await soon(publishing)
        assert versions(await read(beside, 20)) == [*range(101, 121)]
