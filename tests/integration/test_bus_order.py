"""Order and accounts: each publisher's events arrive in its order, and what does not arrive is told, event for event."""

from __future__ import annotations

import asyncio
import resource
import secrets
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from bus_accounts import Accounts, work
from faults.waiting import until
from listening import counted, hear, out_of_order, peer_process, wrong_in

from aether import Event, NATSEventBus, SubscriptionLaggedError

if TYPE_CHECKING:
    from conftest import Size

    from aether import EmbeddedServer
    from aether.bus.base import Subscription


PART, LARGE_PART = 50_000, 20_000
"""How many small events, and large ones, are published before anybody looks whether they came: a server hangs up on whoever is
64 MB behind, and on a busy machine those who hear may be slow."""


async def test_each_publishers_order_holds_at_each_subscriber(nats_server: EmbeddedServer, namespace: str, size: Size) -> None:
    """Of 8 publishers at once, each on its own connection, each one's events arrive whole and in order at 4 subscribers."""
    each = size.pick(3_000, 20_000, 100_000)
    async with AsyncExitStack() as stack:
        publishers = [await stack.enter_async_context(NATSEventBus(nats_server.url, namespace=namespace)) for _ in range(8)]
        listeners = [await stack.enter_async_context(NATSEventBus(nats_server.url, namespace=namespace)) for _ in range(4)]
        subscriptions = [await listener.subscribe(max_pending=8 * each, max_pending_bytes=2**31) for listener in listeners]
        async with asyncio.TaskGroup() as group:
            hearing = [group.create_task(hear(subscription, 8 * each)) for subscription in subscriptions]
            for number, publisher in enumerate(publishers):
                group.create_task(publisher.publish_many(counted(f"p-{number}", 1, each)))
        for heard in hearing:
            assert wrong_in(heard.result()) == []


def test_the_checkers_find_a_gap_a_double_and_a_swap() -> None:
    """An event that is missing, doubled or before its time is found."""
    whole = [("a", 1), ("b", 1), ("a", 2), ("b", 2), ("a", 3)]
    assert wrong_in(whole) == out_of_order(whole) == []
    assert wrong_in(whole[:2] + whole[3:]) == ["a: 3 where 2 was due"]
    assert out_of_order(whole[:2] + whole[3:]) == []
    assert wrong_in([*whole, ("b", 2)]) == ["b: 2 where 3 was due"]
    assert out_of_order([*whole, ("b", 2)]) == ["b: 2 after 2"]
    assert wrong_in([whole[2], *whole[:2], *whole[3:]]) != []
    assert out_of_order([whole[2], *whole[:2], *whole[3:]]) == ["a: 1 after 2"]


@pytest.mark.parametrize("how", ["reader", "handler", "async handler"])
async def test_one_who_does_nothing_with_them_misses_none(
    nats_server: EmbeddedServer, namespace: str, how: str, size: Size
) -> None:
    """Many times as many events as may wait, at once from another process, reach one who does nothing with them."""
    many, heard, done = size.pick(100_000, 300_000, 1_000_000), 0, asyncio.Event()

    def plain(_: Event) -> None:
        nonlocal heard
        heard += 1
        if heard == many:
            done.set()

    async def awaited(event: Event) -> None:
        plain(event)

    async def read(subscription: Subscription) -> None:
        async for event in subscription:
            plain(event)
            if heard == many:
                break

    handler = {"handler": plain, "async handler": awaited}.get(how)
    async with (
        peer_process(nats_server.url, namespace) as peer,
        NATSEventBus(nats_server.url, namespace=namespace) as bus,
        await bus.subscribe(handler=handler) as subscription,
    ):
        peer.tell(f"publish p 1 {many}")
        async with asyncio.timeout(120):
            await (done.wait() if handler else read(subscription))
        assert subscription.stats() == (many, 0, 0, 0, 0)
        assert await peer.line() == "published"


async def test_a_subscriber_far_behind_is_told_exactly_and_costs_nobody_else(
    nats_server: EmbeddedServer, namespace: str, size: Size
) -> None:
    """A subscriber that reads nothing while many events pass keeps to its bounds, is told the count, and no other misses one."""
    many, bound = size.pick(100_000, 1_000_000, 3_000_000), 1_000
    url = nats_server.url
    async with NATSEventBus(url, namespace=namespace) as ours, NATSEventBus(url, namespace=namespace) as other:
        slow = await ours.subscribe(max_pending=bound)
        old = await ours.subscribe(max_pending=bound, policy="drop_oldest")
        small = await ours.subscribe(max_pending=many, max_pending_bytes=100_000)
        quick = await ours.subscribe(max_pending=many, max_pending_bytes=2**30)
        hearing = asyncio.create_task(hear(quick, many))
        for first in range(1, many, PART):
            await other.publish_many(counted("p", first, PART))
            await until(lambda first=first: quick.stats().delivered > first - PART or hearing.done())
        assert wrong_in(await hearing) == []
        assert quick.stats()[:3] == (many, 0, 0)
        assert slow.stats()[:3] == (0, bound, many - bound)
        assert old.stats()[:3] == (0, bound, many - bound)
        assert small.stats().pending + small.stats().missed == many
        assert small._mailbox.pending_bytes <= 100_000
        assert [number for _, number in await hear(slow, bound)] == [*range(1, bound + 1)]
        with pytest.raises(SubscriptionLaggedError) as told:
            await anext(slow)
        assert told.value.missed == many - bound
        assert [number for _, number in await hear(old, bound)] == [*range(many - bound + 1, many + 1)]
        # And they go on as any other.
        await other.publish_many(counted("q", 1, 10))
        assert wrong_in(await hear(slow, 10)) == []
        assert wrong_in(await hear(old, 10)) == []


@pytest.mark.timeout(600)
async def test_what_a_subscriber_is_behind_takes_no_memory(nats_server: EmbeddedServer, namespace: str, size: Size) -> None:
    """Hundreds of megabytes that another process publishes to a subscriber that reads nothing leave this process as it was."""
    many, bound = size.pick(200_000, 1_000_000, 3_000_000), 1_000
    async with (
        NATSEventBus(nats_server.url, namespace=namespace) as bus,
        peer_process(nats_server.url, namespace) as peer,
        await bus.subscribe(max_pending=bound) as slow,
    ):
        assert await peer.ask("publish p 1 10000 1000") == "published"
        before = resident_bytes()
        for first in range(10_001, many, LARGE_PART):
            count = min(LARGE_PART, many + 1 - first)
            assert await peer.ask(f"publish p {first} {count} 1000") == "published"
            await until(lambda come=first + count - 1: slow.stats().missed == come - bound)
        assert slow.stats().missed == many - bound
        assert resident_bytes() - before < 50 * 2**20
        assert [number for _, number in await hear(slow, bound)] == [*range(1, bound + 1)]
        with pytest.raises(SubscriptionLaggedError) as told:
            await anext(slow)
        assert told.value.missed == many - bound


def resident_bytes() -> int:
    """Return what this process has in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.timeout(600)
async def test_published_is_delivered_plus_missed(nats_server: EmbeddedServer, namespace: str, size: Size) -> None:
    """While 16 tasks publish, subscribe and unsubscribe at once, every account is exact, and none is out of order."""
    accounts = await kept(nats_server.url, namespace, size.pick(3, 30, 120), opened=50)
    assert accounts.wrong == [], f"seed {accounts.seed}"
    assert accounts.opened > 50
    assert accounts.missed > 0


@pytest.mark.parametrize("bug", ["drops", "doubles", "swaps"])
async def test_the_accounts_find_a_bus_that_is_wrong(
    nats_server: EmbeddedServer, namespace: str, monkeypatch: pytest.MonkeyPatch, bug: str
) -> None:
    """A bus that drops, doubles or swaps an event now and then is found by the accounts."""
    send, chunks = NATSEventBus._send, count(1)

    async def send_wrongly(self: NATSEventBus, events: list[Event], before: int) -> None:
        if len(events) > 2 and next(chunks) % 20 == 0:
            first, second, *rest = events
            events = {"drops": [first, *rest], "doubles": [first, first, second, *rest], "swaps": [second, first, *rest]}[bug]
        await send(self, events, before)

    monkeypatch.setattr(NATSEventBus, "_send", send_wrongly)
    accounts = await kept(nats_server.url, namespace, 30)
    assert accounts.wrong != []


async def kept(url: str, namespace: str, seconds: float, opened: int = 0) -> Accounts:
    """Let 16 tasks do it all at random on four connections, until something is wrong or the time is up, and enough was done."""
    async with AsyncExitStack() as stack:
        buses = [await stack.enter_async_context(NATSEventBus(url, namespace=namespace)) for _ in range(4)]
        accounts = Accounts(buses, secrets.randbits(32))
        await work(accounts, tasks=16, seconds=seconds, opened=opened)
    return accounts
