"""A server that goes or hangs up: what may be missing is told, once, and the bus goes on."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import nats
import pytest
from faults.tap import Tap
from faults.waiting import hurried_bus, until
from listening import Heard, counted, end, hear, judge, listen, wrong_in

from aether import (
    AetherError,
    Event,
    NATSEventBus,
    PublishInterruptedError,
    ServerUnavailableError,
    SubscriptionInterruptedError,
)
from aether.bus.channels import Channel
from aether.testing.servers import free_ports, running_server

if TYPE_CHECKING:
    from conftest import Size
    from faults.tap import Link

    from aether import EmbeddedServer

TOLD_S = 60.0


async def told(subscription: Any) -> SubscriptionInterruptedError:
    """Read on until an interruption is told."""
    async with asyncio.timeout(TOLD_S):
        while True:
            try:
                await anext(subscription)
            except SubscriptionInterruptedError as error:
                return error


async def test_a_restart_is_told_once_and_all_that_is_published_after_it_arrives(
    fresh_nats_server: EmbeddedServer, namespace: str, size: Size
) -> None:
    """Each restart of the server is one interruption for each subscription, and nothing published after it is missing."""
    url = fresh_nats_server.url
    async with NATSEventBus(url, namespace=namespace) as ours, NATSEventBus(url, namespace=namespace) as other:
        subscriptions = [await ours.subscribe(), await ours.subscribe(actor_id="p"), await ours.subscribe(group="g")]
        at = 1
        for _ in range(size.pick(3, 10, 30)):
            await other.publish_many(counted("p", at, 10))
            for subscription in subscriptions:
                assert wrong_in(await hear(subscription, 10), first=at) == []
            await other.flush()
            await fresh_nats_server.kill()
            await until(lambda: not any(subscription.is_live for subscription in subscriptions))
            await fresh_nats_server.restart()
            for subscription in subscriptions:
                await told(subscription)
            await other.publish_many(counted("p", at + 10, 1_000))
            for subscription in subscriptions:
                assert wrong_in(await hear(subscription, 1_000), first=at + 10) == []
            await other.flush()
            at += 1_010
        assert [subscription.stats().missed for subscription in subscriptions] == [0, 0, 0]


async def publish_and_cut(bus: NATSEventBus, link: Link) -> None:
    """Publish 100 events that arrive, and 7 that are held up until the connection is cut."""
    await bus.publish_many(counted("p", 1, 100))
    await bus.flush()
    link.plan.stalled = True
    await bus.publish_many(counted("p", 101, 7))
    link.cut()


async def check_flush_tells(bus: NATSEventBus) -> None:
    """Flush twice: the first tells of the 7 events, the next is none the worse for it."""
    with pytest.raises(PublishInterruptedError) as error:
        await bus.flush()
    assert error.value.count == 7
    await bus.publish_many(counted("p", 108, 3))
    await bus.flush()


async def test_flush_tells_what_may_be_lost_with_the_connection(fresh_nats_server: EmbeddedServer, namespace: str) -> None:
    """Events published and not flushed when the server dies are counted by the next `flush`, once; flushed ones are not."""
    async with Tap(fresh_nats_server.url) as tap, NATSEventBus(tap.url, namespace=namespace) as bus:
        await publish_and_cut(bus, tap.lane)
        await check_flush_tells(bus)


async def test_an_error_in_the_block_is_not_hidden_by_what_closing_tells(
    fresh_nats_server: EmbeddedServer, namespace: str
) -> None:
    """What a block raises comes out of it; what closing the bus had to tell is a note on it."""

    async def block() -> None:
        async with Tap(fresh_nats_server.url) as tap, NATSEventBus(tap.url, namespace=namespace) as bus:
            await publish_and_cut(bus, tap.lane)
            raise LookupError("of the block")

    with pytest.raises(LookupError) as error:
        await block()
    assert "up to 7 events" in " ".join(error.value.__notes__)


async def test_a_flush_that_waits_is_told_of_the_loss(fresh_nats_server: EmbeddedServer, namespace: str) -> None:
    """Each `flush` that waits when the connection is lost is told, and closing the bus tells what nobody was told."""
    async with Tap(fresh_nats_server.url) as tap:
        bus = NATSEventBus(tap.url, namespace=namespace)
        await bus.publish_many(counted("p", 1, 10))
        tap.lane.plan.mute = True
        flushing = [asyncio.create_task(bus.flush()) for _ in range(3)]
        await asyncio.sleep(0)
        tap.lane.cut()
        for each in await asyncio.gather(*flushing, return_exceptions=True):
            assert isinstance(each, PublishInterruptedError)
            assert each.count == 10
        await bus.publish_many(counted("p", 11, 5))
        tap.lane.plan.stalled = True
        await bus.publish_many(counted("p", 16, 5))
        tap.lane.cut()
        with pytest.raises(PublishInterruptedError) as error:
            await bus.aclose()
        assert 5 <= error.value.count <= 10


async def test_a_borrowed_client_that_reconnects_between_is_told_by_flush(
    fresh_nats_server: EmbeddedServer, namespace: str
) -> None:
    """nats-py reconnects by itself; what may have been lost with the old connection is counted all the same."""
    async with Tap(fresh_nats_server.url) as tap, AsyncExitStack() as stack:
        client = await nats.connect(tap.url, max_reconnect_attempts=-1, reconnect_time_wait=0.05)
        stack.push_async_callback(client.close)
        bus = await stack.enter_async_context(NATSEventBus(client, namespace=namespace))
        (link,) = tap.links
        await publish_and_cut(bus, link)
        await until(lambda: client.stats["reconnects"] == 1 and client.is_connected)
        await check_flush_tells(bus)


async def test_publishing_while_no_server_is_there_waits_and_then_says_so(
    fresh_nats_server: EmbeddedServer, namespace: str
) -> None:
    """Without a server `publish` waits until one is back, or until its deadline, and nothing of it counts as sent."""
    async with NATSEventBus(fresh_nats_server.url, namespace=namespace) as bus:
        await bus.flush()
        await fresh_nats_server.kill()
        await until(lambda: not bus._connection.is_up())
        with hurried_bus(bus, 1.0), pytest.raises(ServerUnavailableError):
            await bus.publish(Event("p", "t", 1))
        await fresh_nats_server.restart()
        await bus.publish(Event("p", "t", 2))
        await bus.flush()


@pytest.mark.parametrize("harmed", ["subscriber", "publisher"])
async def test_connections_killed_under_load(nats_server: EmbeddedServer, namespace: str, size: Size, harmed: str) -> None:
    """With connections cut again and again under load, order holds, and each gap has an interruption in it or was counted."""
    assert await wrong_under_cuts(nats_server.url, namespace, size.pick(15, 100, 1_000), harmed) == []


async def test_the_judge_finds_a_bus_that_does_not_tell(
    nats_server: EmbeddedServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bus that marks no gap is found by the test above."""

    def keep_quiet(self: Channel, reason: str) -> None:
        self.is_proven = False

    monkeypatch.setattr(Channel, "interrupt", keep_quiet)
    async with asyncio.timeout(60):
        while not (wrong := await wrong_under_cuts(nats_server.url, namespace, 5, "subscriber")):
            pass
    assert wrong


async def wrong_under_cuts(url: str, namespace: str, cuts: int, harmed: str) -> list[str]:
    """Cut one side's connection so many times under load; return what is wrong with what is heard and told."""
    dice = random.Random(7)
    async with (
        Tap(url) as tap,
        NATSEventBus(tap.url if harmed == "subscriber" else url, namespace=namespace) as ours,
        NATSEventBus(tap.url if harmed == "publisher" else url, namespace=namespace) as other,
    ):
        subscription = await ours.subscribe(max_pending=1_000_000)
        heard: Heard = []
        listening = asyncio.create_task(listen(subscription, heard))
        stop, lost, number = False, 0, 0

        async def publish() -> None:
            nonlocal lost, number
            while not stop:
                await other.publish_many(counted("p", number + 1, 200))
                number += 200
                try:
                    await other.flush()
                except PublishInterruptedError as error:
                    lost += error.count

        publishing = asyncio.create_task(publish())
        for _ in range(cuts):
            seen, connections = number, tap.seen
            await until(lambda seen=seen: (tap.lanes and number > seen + 1_000) or publishing.done())
            link = dice.choice(tap.lanes)
            link.plan.reset = bool(dice.randrange(2))
            link.cut()
            await until(lambda connections=connections: tap.seen > connections)
        await until(lambda: subscription.is_live)
        stop = True
        await publishing
        await end(other, [listening])
        assert not subscription.stats().missed
        return judge(heard, {"p": number}, {"p": lost if harmed == "publisher" else 0})


def test_the_judge_finds_a_gap_that_nobody_was_told() -> None:
    """A gap counts unless an interruption stands in it or the publisher was told of as many."""
    three, told, quiet = {"p": 3}, {"p": 1}, {"p": 0}
    assert judge([("p", 1), ("p", 2), ("p", 3)], three, quiet) == []
    assert judge([("p", 1), "interrupted", ("p", 3)], three, quiet) == []
    assert judge([("p", 1), ("p", 2), "interrupted"], three, quiet) == []
    assert judge([("p", 1), ("p", 3)], three, told) == []
    assert judge([("p", 1), ("p", 3)], three, quiet) != []
    assert judge([("p", 1), ("p", 2)], three, quiet) != []
    assert judge(["interrupted", ("p", 1), ("p", 3)], three, quiet) != []
    assert judge([("p", 1), "interrupted", ("q", 1), ("p", 3)], {"p": 3, "q": 1}, {"p": 0, "q": 0}) == []
    assert judge([("p", 2), ("p", 1), ("p", 3)], three, told) == []
    assert judge([("p", 2), ("p", 1), ("p", 3)], three, quiet) != []
    assert judge([("p", 1), ("p", 2), ("p", 2), ("p", 3)], three, told) != []
    assert judge([("p", 1), "interrupted", ("p", 3), ("p", 2), ("p", 2)], three, told) != []


async def test_a_borrowed_client_that_reconnects_is_an_interruption(fresh_nats_server: EmbeddedServer, namespace: str) -> None:
    """nats-py subscribes again by itself and says nothing; here the gap is told all the same, and then all arrives."""
    async with AsyncExitStack() as stack:
        client = await nats.connect(fresh_nats_server.url, max_reconnect_attempts=-1, reconnect_time_wait=0.05)
        stack.push_async_callback(client.close)
        ours = await stack.enter_async_context(NATSEventBus(client, namespace=namespace))
        other = await stack.enter_async_context(NATSEventBus(fresh_nats_server.url, namespace=namespace))
        assert (await ours.info()).transport == "nats-py"
        subscription = await ours.subscribe()
        await other.publish_many(counted("p", 1, 10))
        await other.flush()
        assert wrong_in(await hear(subscription, 10)) == []
        await fresh_nats_server.kill()
        await fresh_nats_server.restart()
        await told(subscription)
        await other.publish_many(counted("p", 11, 1_000))
        assert wrong_in(await hear(subscription, 1_000), first=11) == []


# nats-py's call of aiohttp is of an old form; nothing here can change that.
@pytest.mark.filterwarnings("ignore:parameter 'timeout' of type 'float' is deprecated:DeprecationWarning")
async def test_a_restart_is_told_over_websocket(namespace: str) -> None:
    """Over WebSocket too each restart is one interruption, and all that is published after it arrives."""
    place = f"127.0.0.1:{free_ports(1)[0]}"
    with running_server({"websocket": {"listen": place, "no_tls": True}}) as server:
        async with NATSEventBus(f"ws://{place}", namespace=namespace) as ours, await ours.subscribe() as subscription:
            for start in (1, 1_001):
                await server.kill()
                await server.restart()
                await told(subscription)
                async with NATSEventBus(server.url, namespace=namespace) as other:
                    await other.publish_many(counted("p", start, 1_000))
                    assert wrong_in(await hear(subscription, 1_000), first=start) == []


async def test_a_borrowed_client_that_is_closed_ends_the_subscriptions(nats_server: EmbeddedServer, namespace: str) -> None:
    """When the owner closes a borrowed client, subscriptions end with an error that says so."""
    client = await nats.connect(nats_server.url)
    async with NATSEventBus(client, namespace=namespace) as bus:
        subscription = await bus.subscribe()
        await client.close()
        async with asyncio.timeout(TOLD_S):
            with pytest.raises(SubscriptionInterruptedError):
                await anext(subscription)
            with pytest.raises(AetherError, match="closed"):
                await anext(subscription)


async def test_an_error_that_nobody_expected_ends_subscriptions_and_no_more(
    nats_server: EmbeddedServer, namespace: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What goes wrong while subscriptions are made anew is logged and ends them; those that come later are kept as ever."""
    async with NATSEventBus(nats_server.url, namespace=namespace) as bus:
        subscription = await bus.subscribe()

        async def fail(*_: object) -> None:
            raise RuntimeError("planted")

        with monkeypatch.context() as planted:
            planted.setattr(bus._feeds, "_prove", fail)
            bus._feeds.doubt("a test says so")
            await told(subscription)
            with pytest.raises(AetherError, match="planted"):
                await anext(subscription)
        assert "planted" in caplog.text
        later = await bus.subscribe()
        bus._feeds.doubt("a test says so")
        await told(later)
        assert later.is_live
