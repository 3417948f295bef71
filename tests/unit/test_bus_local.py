"""The local bus by itself: waiting for room, requests that end late, threads."""

from __future__ import annotations

import asyncio
import threading

import pytest

from aether import AetherError, DeadlineError, LocalEventBus, sync
from aether.testing.bus_contract_base import events, read, soon, until, versions


async def test_who_waits_for_room_in_vain_is_told_how_far_it_came():
    """A publisher gives up when no room was made within `timeout_s`, and says how many events of the call were sent."""
    async with LocalEventBus(timeout_s=0.05) as bus:
        subscription = await bus.subscribe(actor_id="a", policy="block", max_pending=300)
        with pytest.raises(DeadlineError, match=r"policy='block' \(300 events of this call were sent\)"):
            await bus.publish_many(events("a", range(1, 1001)))
        with pytest.raises(DeadlineError, match="0 events"):
            await bus.publish(*events("a", [1001]))
        assert versions(await read(subscription, 300)) == [*range(1, 301)]
        await bus.publish(*events("a", [1001]))
        assert versions(await read(subscription, 1)) == [1001]


async def test_the_time_to_wait_for_room_begins_anew_with_progress():
    """A publisher may wait for longer than `timeout_s` in all, as long as room is made again and again."""
    async with LocalEventBus(timeout_s=2.0) as bus:
        subscription = await bus.subscribe(policy="block", max_pending=1)
        publishing = asyncio.create_task(bus.publish_many(events("a", range(1, 9))))
        for version in range(1, 9):
            await until(lambda: subscription.stats().pending == 1)
            await asyncio.sleep(0.3)  # not to synchronise: time is what this is about
            assert versions(await read(subscription, 1)) == [version]
        await soon(publishing)


async def test_a_request_waits_for_room_within_its_own_time():
    """A request that finds no room is over when its own time is, and reaches nobody."""
    async with LocalEventBus() as bus:
        subscription = await bus.subscribe(policy="block", max_pending=1)
        await bus.publish(*events("a", [1]))
        with pytest.raises(DeadlineError, match="request"):
            await bus.request(events("a", [2])[0], timeout=0.02)
        assert subscription.stats().pending == 1


async def test_publishers_that_wait_all_get_on():
    """Several publishers that wait for one subscription all come to their end, each in its order."""
    async with LocalEventBus() as bus:
        subscription = await bus.subscribe(policy="block", max_pending=3)
        publishing = [asyncio.create_task(bus.publish_many(events(f"a{index}", range(1, 51)))) for index in range(5)]
        found = await read(subscription, 250)
        await soon(asyncio.gather(*publishing))
        for index in range(5):
            assert [event.version for event in found if event.actor_id == f"a{index}"] == [*range(1, 51)]


@pytest.mark.parametrize("flavour", ["sync", "async"])
async def test_handlers_make_room(flavour):
    """What handlers take makes room for publishers that wait for it."""
    found = []

    async def handler(event):
        await asyncio.sleep(0)
        found.append(event.version)

    async with LocalEventBus() as bus:
        plain = (lambda event: found.append(event.version)) if flavour == "sync" else handler
        await bus.subscribe(handler=plain, policy="block", max_pending=3)
        await soon(bus.publish_many(events("a", range(1, 101))))
        await until(lambda: found == [*range(1, 101)])


async def test_a_cancelled_publisher_has_sent_a_beginning():
    """What a publisher sent that is cancelled while it waits for room is a beginning of what it was given."""
    async with LocalEventBus() as bus:
        subscription = await bus.subscribe(policy="block", max_pending=5)
        publishing = asyncio.create_task(bus.publish_many(events("a", range(1, 21))))
        await until(lambda: subscription.stats().pending == 5)
        publishing.cancel()
        await asyncio.wait([publishing])
        assert versions(await read(subscription, 5)) == [1, 2, 3, 4, 5]
        assert subscription.stats() == (5, 0, 0, 0, 0)


async def test_a_request_ends_with_its_bus():
    """Who waits for an answer when the bus is closed is told so."""
    bus = LocalEventBus()
    subscription = await bus.subscribe()
    asking = asyncio.create_task(bus.request(*events("a", [1])))
    await asyncio.sleep(0)
    await bus.aclose()
    with pytest.raises(AetherError, match="closed"):
        await soon(asking)
    await subscription.wait_closed()


async def test_late_answers_are_nobodys():
    """An answer that comes after its request has ended goes nowhere, and the next request gets its own."""
    async with LocalEventBus() as bus:
        go_on = asyncio.Event()

        async def handler(event):
            if event.version == 1:
                await go_on.wait()
            return event.version

        await bus.subscribe(handler=handler)
        with pytest.raises(DeadlineError):
            await bus.request(events("a", [1])[0], timeout=0.01)
        go_on.set()
        assert await bus.request(*events("a", [2])) == 2
        assert bus._requests == {}


# Without await.


def test_threads_share_a_blocking_bus():
    """Publishers and readers in threads of their own lose nothing, and each publisher's order holds."""
    with sync.LocalEventBus() as bus, bus.subscribe() as subscription:
        found = []

        def reader():
            for event in subscription:
                found.append(event)
                if len(found) == 3000:
                    return

        reading = threading.Thread(target=reader)
        reading.start()
        publishers = [
            threading.Thread(target=bus.publish_many, args=(events(f"a{index}", range(1, 1001)),)) for index in range(3)
        ]
        for publisher in publishers:
            publisher.start()
        for thread in (*publishers, reading):
            thread.join(60)
            assert not thread.is_alive()
    for index in range(3):
        assert [event.version for event in found if event.actor_id == f"a{index}"] == [*range(1, 1001)]


@pytest.mark.parametrize("way", ["publish", "publish_many"])
async def test_a_publisher_does_not_run_away_from_readers(way):
    """A publisher that never waits leaves readers and handlers of the same loop their turns: none of them falls behind."""
    handled = 0

    async def handler(_):
        nonlocal handled
        handled += 1

    async with LocalEventBus() as bus:
        one_by_one = await bus.subscribe(max_pending=2_000)
        batches = await bus.subscribe(max_pending=2_000)
        await bus.subscribe(max_pending=2_000, handler=handler)
        reading = asyncio.create_task(read(one_by_one, 20_000))

        async def read_batches():
            left = 20_000
            async for batch in batches.batches():
                left -= len(batch)
                if not left:
                    return

        also = asyncio.create_task(read_batches())
        sent = events("a", range(1, 20_001))
        if way == "publish":
            for event in sent:
                await bus.publish(event)
        else:
            await bus.publish_many(sent)
        await soon(asyncio.gather(reading, also))
        await until(lambda: handled == 20_000)
