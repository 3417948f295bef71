"""The bus contract: reading, giving up a read, counters, and the end."""

from __future__ import annotations

import asyncio
import gc
import itertools
import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from aether.errors import AetherError
from aether.testing.bus_contract_base import BusCase, events, read, soon, until, versions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aether.bus.base import EventBus, Subscription
    from aether.event import Event

__all__ = ["ReadingContract"]


def work(seconds: float) -> None:
    """Keep the loop for so long."""
    done_at = time.perf_counter() + seconds
    while time.perf_counter() < done_at:
        pass


class ReadingContract(BusCase):
    """The reader's side."""

    async def test_it_is_read_by_a_loop(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """`async for` gives event by event, and another loop goes on where the first was left."""
        async with await bus.subscribe(actor_id=actor) as subscription:
            await peer.publish_many(events(actor, range(1, 11)))
            for part in ([1, 2, 3, 4], [5, 6, 7, 8]):
                found: list[int] = []

                async def four(found: list[int] = found) -> None:
                    async for event in subscription:
                        found.append(event.version)
                        if len(found) == 4:
                            break

                await soon(four())
                assert found == part
            assert versions(await read(subscription, 2)) == [9, 10]

    async def test_batches_hold_what_is_there(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """A batch has what waits, at most `batch_size` events, in order; it waits for its first event only."""
        async with await bus.subscribe(actor_id=actor) as subscription:
            batches = aiter(subscription.batches(3))
            await peer.publish_many(events(actor, range(1, 11)))
            await until(lambda: subscription.stats().pending == 10)
            found = [versions(await soon(anext(batches))) for _ in range(4)]
            assert found == [[1, 2, 3], [4, 5, 6], [7, 8, 9], [10]]
            waiting = asyncio.ensure_future(anext(batches))
            await peer.publish(*events(actor, [11]))
            assert versions(await soon(waiting)) == [11]

    async def test_readers_share_a_subscription(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """Of several tasks that read one subscription, by loop and by batches, each event goes to exactly one."""
        found: list[Event] = []

        async def one_by_one(subscription: Subscription) -> None:
            async for event in subscription:
                found.append(event)  # noqa: PERF401 - it is seen by others while it grows

        async def by_batches(subscription: Subscription) -> None:
            async for batch in subscription.batches(7):
                found.extend(batch)

        async with await bus.subscribe(actor_id=actor) as subscription:
            readers = [asyncio.create_task(reader(subscription)) for reader in (one_by_one, by_batches, one_by_one)]
            for start in range(1, 1001, 50):
                await peer.publish_many(events(actor, range(start, start + 50)))
            await until(lambda: len(found) >= 1000)
        await soon(asyncio.gather(*readers))
        assert sorted(versions(found)) == [*range(1, 1001)]

    async def test_both_ways_of_reading_share_a_subscription(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """Read by event and by batch in turn, a subscription gives each event once, in order."""
        found: list[Event] = []
        async with await bus.subscribe(actor_id=actor) as subscription:
            batches = aiter(subscription.batches(7))
            await peer.publish_many(events(actor, range(1, 101)))
            while len(found) < 100:
                found.append(await soon(anext(subscription)))
                if len(found) < 100:
                    found += await soon(anext(batches))
        assert versions(found) == [*range(1, 101)]

    async def test_a_read_given_up_takes_nothing(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """A read that is cancelled, before, while or after its event comes, loses none, by event and by batch."""
        async with await bus.subscribe(actor_id=actor) as subscription:
            batches = aiter(subscription.batches(2))
            found: list[int] = []
            for version in range(1, 201):
                waiting: asyncio.Future[object] = asyncio.ensure_future(anext(batches if version % 2 else subscription))
                if version % 3:
                    await asyncio.sleep(0)
                await peer.publish(*events(actor, [version]))
                if version % 5 == 0:
                    await asyncio.sleep(0)
                waiting.cancel()
                with suppress(asyncio.CancelledError):
                    result = await waiting
                    found += versions(result if isinstance(result, list) else [result])  # type: ignore[list-item]  # an event
            found += versions(await read(subscription, 200 - len(found)))
            assert found == [*range(1, 201)]
            assert subscription.stats()[:3] == (200, 0, 0)

    async def test_a_read_may_time_out(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """Reading goes on behind a read that timed out, with the same iterators."""
        async with await bus.subscribe(actor_id=actor) as subscription:
            batches = aiter(subscription.batches())
            for waiting in (subscription, batches):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(anext(waiting), 0.01)
            await peer.publish(*events(actor, [1]))
            assert versions(await soon(anext(batches))) == [1]
            await peer.publish(*events(actor, [2]))
            assert versions(await read(subscription, 1)) == [2]

    async def test_a_busy_reader_lets_others_run(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """Reading what waits already, by event or by batch, gives the loop to others again and again."""
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        async with await bus.subscribe(actor_id=actor) as subscription:
            for start in range(1, 40_001, 10_000):  # which no connection has to hold back
                await peer.publish_many(events(actor, range(start, start + 10_000)))
                end = start + 9_999
                await until(lambda end=end: subscription.stats().pending == end, subscription.stats)  # type: ignore[misc]  # a default
            task = asyncio.create_task(others())
            await asyncio.sleep(0)
            turns, left = 0, 4_000
            async for _ in subscription:
                left -= 1
                work(0.000_05)
                if not left:
                    break
            assert turns >= 4
            turns, left = 0, 36_000
            async for batch in subscription.batches(500):
                left -= len(batch)
                work(0.002)
                if not left:
                    break
            assert turns >= 3
            task.cancel()
            await asyncio.wait([task])

    async def test_pairs_name_the_namespace(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """`namespaced` gives the bus's namespace with each event, with `all_namespaces` too."""
        namespace = (await bus.info()).namespace
        for everywhere in (False, True):
            async with await bus.subscribe(actor_id=actor, all_namespaces=everywhere) as subscription:
                sent = events(actor, [1, 2])
                await peer.publish_many(sent)
                pairs = aiter(subscription.namespaced())
                assert [await soon(anext(pairs)) for _ in sent] == [(namespace, event) for event in sent]

    # Counters.

    async def test_the_counters_add_up(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """What reached a subscription is delivered or pending, while it is read and after it was closed."""
        subscription = await bus.subscribe(actor_id=actor)
        assert subscription.stats() == (0, 0, 0, 0, 0)
        await peer.publish_many(events(actor, range(1, 101)))
        await until(lambda: subscription.stats().pending == 100)
        await read(subscription, 30)
        assert subscription.stats() == (30, 70, 0, 0, 0)
        await soon(anext(aiter(subscription.batches(20))))
        assert subscription.stats() == (50, 50, 0, 0, 0)
        await subscription.aclose()
        assert subscription.stats() == (50, 50, 0, 0, 0)

    # The end.

    async def test_a_closed_subscription_hears_nothing(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """After `aclose` nothing more is delivered, and others hear on."""
        stays = await bus.subscribe(actor_id=actor)
        leaves = await bus.subscribe(actor_id=actor)
        assert leaves.is_live
        await peer.publish(*events(actor, [1]))
        assert versions(await read(leaves, 1)) == [1]
        await leaves.aclose()
        assert not leaves.is_live
        await peer.publish(*events(actor, [2]))
        assert versions(await read(stays, 2)) == [1, 2]
        assert leaves.stats() == (1, 0, 0, 0, 0)
        with pytest.raises(StopAsyncIteration):
            await soon(anext(leaves))

    async def test_a_dropped_subscription_is_released(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """A subscription that is dropped without being closed warns of that, and gathers nothing more."""

        async def first() -> Event:
            async for event in await bus.subscribe(actor_id=actor, group="g"):
                return event
            raise AssertionError

        async def forget() -> None:
            hearing = asyncio.create_task(soon(first()))
            version = 0
            while not hearing.done():
                version += 1
                await peer.publish(*events(actor, [version]))
                await asyncio.wait([hearing], timeout=0.01)
            await hearing
            del hearing
            while not caught.list:  # the thread of a blocking call lets go of what it read a moment later
                gc.collect()
                await asyncio.sleep(0.01)

        with pytest.warns(ResourceWarning, match="the subscription to .* was never closed") as caught:
            await soon(forget())
        # Another one in the group: what is published goes to him alone, once the dropped one is gone.
        async with await bus.subscribe(actor_id=actor, group="g") as other:
            heard: Counter[int] = Counter()

            async def tens() -> None:
                for ten in itertools.count(1):
                    await peer.publish_many(events(actor, range(10 * ten, 10 * ten + 10)))
                    await peer.flush()
                    await bus.flush()
                    await asyncio.sleep(0.01)  # what is late may come in the next turn
                    heard.update(version // 10 for version in versions(await read(other, other.stats().pending)))
                    if max(heard.values(), default=0) >= 10:
                        return

            await soon(tens())
            assert max(heard.values()) == 10

    async def test_closing_ends_who_reads(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """Readers that wait, by event, batch or pair, come to their end; what was pending is not given any more."""
        subscription = await bus.subscribe(actor_id=actor)

        async def rest(source: AsyncIterator[object]) -> list[object]:
            return [item async for item in source]

        sources = (aiter(subscription), aiter(subscription.batches()), aiter(subscription.namespaced()))
        readers = [asyncio.create_task(rest(source)) for source in sources]
        ending = asyncio.create_task(subscription.wait_closed())
        await asyncio.sleep(0)
        assert not ending.done()
        await subscription.aclose()
        assert await soon(asyncio.gather(*readers)) == [[], [], []]
        await soon(ending)
        full = await bus.subscribe(actor_id=actor)
        await peer.publish_many(events(actor, [1, 2]))
        await until(lambda: full.stats().pending == 2)
        await full.aclose()
        assert [event async for event in full] == []
        assert [batch async for batch in full.batches()] == []

    async def test_closing_twice_is_closing(self, bus: EventBus, actor: str) -> None:
        """A subscription may be closed again, at the same time and later."""
        subscription = await bus.subscribe(actor_id=actor)
        await soon(asyncio.gather(*(subscription.aclose() for _ in range(3))))
        await soon(subscription.aclose())
        await soon(subscription.wait_closed())

    async def test_the_block_closes_it(self, bus: EventBus, actor: str) -> None:
        """Leaving `async with` closes the subscription, also by an exception, which comes out as it is."""
        with pytest.raises(LookupError, match="from inside"):
            async with await bus.subscribe(actor_id=actor) as subscription:
                raise LookupError("from inside")
        assert not subscription.is_live
        with pytest.raises(StopAsyncIteration):
            await soon(anext(subscription))

    async def test_closing_the_bus_closes_all(self, bus: EventBus, actor: str) -> None:
        """When the bus is closed its readers come to their end, and every call on it says that it is closed."""
        subscription = await bus.subscribe(actor_id=actor)
        reader = asyncio.ensure_future(anext(subscription))
        await asyncio.sleep(0)
        await bus.aclose()
        with pytest.raises(StopAsyncIteration):
            await soon(reader)
        assert not subscription.is_live
        [event] = events(actor, [1])
        for call in (
            lambda: bus.publish(event),
            lambda: bus.publish_many([event]),
            lambda: bus.publish_many([]),
            lambda: bus.request(event),
            bus.subscribe,
            bus.flush,
            bus.start,
        ):
            with pytest.raises(AetherError, match="closed; make a new one"):
                await call()
        await soon(bus.aclose())

    async def test_it_says_how_far_it_reaches(self, bus: EventBus, actor: str) -> None:
        """A subscription says how far it was proven to reach, and so does the bus."""
        info = await bus.info()
        async with await bus.subscribe(actor_id=actor) as subscription:
            assert subscription.ready == info.ready
            assert subscription.ready in ("process", "server", "cluster")
        assert info.event_bytes_max == self.event_bytes_max
