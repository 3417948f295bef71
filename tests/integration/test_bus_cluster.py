"""Three nodes: what any node's clients publish right after `subscribe` returned arrives, and the loss of a node is told."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
from faults.stopping import stopped
from faults.waiting import LIMIT_S, hurried_bus, until
from listening import counted, hear, out_of_order, wrong_in

from aether import Event, NATSEventBus, ServersUnreachableError, SubscriptionInterruptedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from conftest import Size

    from aether import EmbeddedServer
    from aether.testing import NatsCluster


FEW = 20


async def repeat(nats_cluster: NatsCluster, namespace: str, times: int, ready: str = "cluster") -> list[str]:
    """Subscribe on the first node and publish at once on each; return what is wrong with what arrives."""
    wrong: list[str] = []
    async with AsyncExitStack() as stack:
        publishers = [await stack.enter_async_context(NATSEventBus(url, namespace=namespace)) for url in nats_cluster.urls]
        ours = await stack.enter_async_context(NATSEventBus(nats_cluster.urls[0], namespace=namespace, ready=ready))
        for publisher in publishers:
            await publisher.flush()
        for number in range(times):
            async with await ours.subscribe(actor_prefix="p", event_type=f"Counted{'' if number % 2 else '*'}") as other, other:
                pass  # what was subscribed and left before leaves nothing behind
            async with await ours.subscribe() as subscription:
                for node, publisher in enumerate(publishers):
                    await publisher.publish_many(counted(f"{number}-{node}", 1, FEW))
                heard = await heard_by_each_end(subscription, publishers, number)
            wrong += [f"{number}-{node}: {FEW} are missing" for node in range(3) if (f"{number}-{node}", FEW) not in heard]
            wrong += wrong_in(heard)
    return wrong


async def heard_by_each_end(subscription: Any, publishers: list[NATSEventBus], round_: int) -> list[tuple[str, int]]:
    """Return what is heard until a mark of each publisher comes; they publish marks until one arrives."""
    ended: set[str] = set()

    async def end(number: int) -> None:
        mark = f"end-{number}-{round_}"
        while mark not in ended:
            await publishers[number].publish(Event(mark, "End", 1))
            await asyncio.sleep(0.001)

    heard: list[tuple[str, int]] = []
    async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as group:
        for number in range(len(publishers)):
            group.create_task(end(number))
        while len(ended) < len(publishers):
            event = await anext(subscription)
            if event.event_type != "End":
                heard.append((event.actor_id, event.version))
            elif event.actor_id.endswith(f"-{round_}"):
                ended.add(event.actor_id)
    return heard


async def test_what_every_node_publishes_at_once_arrives(nats_cluster: NatsCluster, namespace: str, size: Size) -> None:
    """A subscription is ready on all nodes when `subscribe` returns, again and again."""
    assert await repeat(nats_cluster, namespace, size.pick(50, 500, 2_000)) == []


async def test_the_checker_finds_a_bus_that_is_ready_on_its_own_node_only(nats_cluster: NatsCluster, namespace: str) -> None:
    """With `ready="server"` what other nodes publish at once is lost now and then, and the test above finds it."""
    async with asyncio.timeout(60):
        while not (lost := await repeat(nats_cluster, namespace, 20, ready="server")):
            pass
    assert lost


async def test_ready_says_what_was_settled_for(nats_cluster: NatsCluster, namespace: str) -> None:
    """A subscription says on which servers it was proven: on all, or on its own."""
    url = nats_cluster.urls[0]
    for ready in ("cluster", "server"):
        async with NATSEventBus(url, namespace=namespace, ready=ready) as bus, await bus.subscribe() as subscription:
            assert subscription.ready == ready


async def test_the_death_of_a_node_is_told_once_and_the_others_go_on(nats_cluster: NatsCluster, namespace: str) -> None:
    """When another node dies, subscriptions are interrupted once, and hear what the nodes that are left publish after that."""
    urls = nats_cluster.urls
    async with (
        NATSEventBus(urls[0], namespace=namespace) as ours,
        NATSEventBus(urls[1], namespace=namespace) as other,
        await ours.subscribe() as subscription,
    ):
        await other.publish_many(counted("p", 1, 10))
        assert wrong_in(await hear(subscription, 10)) == []
        await nats_cluster.kill(2)
        async with asyncio.timeout(LIMIT_S):
            with pytest.raises(SubscriptionInterruptedError):
                await anext(subscription)
        await other.publish_many(counted("p", 11, 100))
        assert wrong_in(await hear(subscription, 100), first=11) == []
        # A node that comes back is proven before it counts, and what it publishes is heard.
        await nats_cluster.restart(2)
        async with NATSEventBus(urls[2], namespace=namespace) as back:
            await until(lambda: subscription.is_live)
            await back.publish_many(counted("q", 1, 10))
            heard = await heard_whatever_is_told(subscription, 10)
            assert wrong_in(heard) == []


async def heard_whatever_is_told(subscription, count: int) -> list[tuple[str, int]]:
    """Hear so many events, going on after interruptions."""
    heard: list[tuple[str, int]] = []
    async with asyncio.timeout(60):
        while len(heard) < count:
            try:
                event = await anext(subscription)
            except SubscriptionInterruptedError:
                continue
            heard.append((event.actor_id, event.version))
    return heard


async def test_a_node_that_cannot_be_reached_is_named(nats_cluster: NatsCluster, namespace: str) -> None:
    """A node that INFO names and that does not answer by the deadline is named; `ready="server"` settles for less."""
    frozen = nats_cluster.servers[2]
    async with NATSEventBus(nats_cluster.urls[0], namespace=namespace) as bus:
        await bus.flush()
        async with stopped(frozen.pid):
            with hurried_bus(bus, 1.5), pytest.raises(ServersUnreachableError, match=r'ready="server"') as told:
                await bus.subscribe()
            assert [url.rpartition(":")[2] for url in told.value.servers] == [str(frozen.port)]
            async with NATSEventBus(nats_cluster.urls[0], namespace=namespace, ready="server") as modest:
                await (await modest.subscribe()).aclose()


async def test_a_frozen_node_does_not_silence_the_others(
    nats_cluster: NatsCluster, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Subscribers go on without a node that does not answer, are told so, and again when it is back; then it is heard too."""
    frozen, urls = nats_cluster.servers[2], nats_cluster.urls
    async with (
        NATSEventBus(urls[0], namespace=namespace) as ours,
        NATSEventBus(urls[1], namespace=namespace) as other,
        NATSEventBus(urls[2], namespace=namespace) as third,
        await ours.subscribe() as subscription,
    ):
        await third.flush()
        async with stopped(frozen.pid):
            with hurried_bus(ours, 1.5):
                without = await told_about(subscription, str(frozen.port), "until another")
            assert subscription.ready == "server"
            assert subscription.is_live
            assert str(frozen.port) in caplog.text
            await other.publish_many(counted("p", 1, 10))
            assert wrong_in(await hear(subscription, 10)) == []
            with hurried_bus(ours, 1.5), pytest.raises(ServersUnreachableError):
                await ours.subscribe(actor_id="new")
        back = await told_about(subscription, str(frozen.port), "heard again, or")
        assert subscription.ready == "cluster"
        assert without != back
        await third.publish_many(counted("q", 1, 10))
        assert wrong_in(await heard_whatever_is_told(subscription, 10)) == []


async def test_while_one_node_is_frozen_the_loss_of_another_is_told(nats_cluster: NatsCluster, namespace: str) -> None:
    """Subscribers that go on without a frozen node are told when yet another one is lost, and hear it when it is back."""
    frozen, urls = nats_cluster.servers[2], nats_cluster.urls
    async with (
        NATSEventBus(urls[0], namespace=namespace) as ours,
        await ours.subscribe() as subscription,
    ):
        async with stopped(frozen.pid):
            with hurried_bus(ours, 1.5):
                await told_about(subscription, str(frozen.port), "until another")
                lost = nats_cluster.servers[1].port
                await nats_cluster.kill(1)
                await told_about(subscription, str(lost))
        await nats_cluster.restart(1)
        await told_about(subscription, "heard again, or")
        await until(lambda: subscription.is_live and subscription.ready == "cluster")
        async with NATSEventBus(nats_cluster.urls[1], namespace=namespace) as other:
            await other.publish_many(counted("p", 1, 10))
            assert wrong_in(await heard_whatever_is_told(subscription, 10)) == []


async def told_about(subscription: Any, *words: str) -> str:
    """Read on until an interruption is told whose reason has these words; return the reason."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            try:
                await anext(subscription)
            except SubscriptionInterruptedError as error:
                if all(word in error.reason for word in words):
                    return error.reason


@pytest.fixture
async def make_lame(nats_cluster: NatsCluster) -> AsyncIterator[Callable[[EmbeddedServer], None]]:
    """Put nodes into lame duck mode; whatever the test comes to, they are restarted, for other tests need a whole cluster."""
    lame: list[EmbeddedServer] = []

    def make(server: EmbeddedServer) -> None:
        lame.append(server)
        os.kill(server.pid, signal.SIGUSR2)

    yield make
    for server in lame:
        node = nats_cluster.servers.index(server)
        await nats_cluster.kill(node)
        await nats_cluster.restart(node)


@pytest.mark.timeout(600)
async def test_a_node_in_lame_duck_mode_is_left_and_nothing_is_doubled(
    nats_cluster: NatsCluster, namespace: str, make_lame: Callable[[EmbeddedServer], None]
) -> None:
    """When the own server is about to go, the bus moves to another, tells of the interruption, and no event comes twice."""
    urls = nats_cluster.urls
    async with (
        NATSEventBus(",".join(urls), namespace=namespace) as ours,
        AsyncExitStack() as stack,
        await ours.subscribe() as subscription,
    ):
        port = ours._connection.client.connected_url.port
        (leaving,) = [server for server in nats_cluster.servers if server.port == port]
        (stays,) = [url for url in urls if url != leaving.url][:1]
        other = await stack.enter_async_context(NATSEventBus(stays, namespace=namespace))
        stop = asyncio.Event()

        async def publish() -> int:
            number = 0
            while not stop.is_set():
                number += 1
                await other.publish_many(counted("p", number, 1))
                await other.flush()
            return number

        publishing = asyncio.create_task(publish())
        heard: list[tuple[str, int]] = []
        interruptions = 0
        make_lame(leaving)
        async with asyncio.timeout(60):
            while interruptions < 1 or len(heard) < 500:
                try:
                    event = await anext(subscription)
                    heard.append((event.actor_id, event.version))
                except SubscriptionInterruptedError:
                    interruptions += 1
        await until(lambda: ours._connection.client.connected_url.port != port)
        stop.set()
        await publishing
        assert out_of_order(heard) == []


@pytest.mark.timeout(600)
async def test_a_publisher_leaves_a_node_in_lame_duck_mode_without_a_loss(
    nats_cluster: NatsCluster, namespace: str, monkeypatch: pytest.MonkeyPatch, make_lame: Callable[[EmbeddedServer], None]
) -> None:
    """What a publisher gave to a server that is about to go arrives, and before what it gives to the next one."""
    monkeypatch.setattr("aether.nats.passing.PASS_ON_S", 30.0)  # a busy machine is no reason to go on without the proof
    urls = nats_cluster.urls
    async with NATSEventBus(",".join(urls), namespace=namespace) as publisher:
        await publisher.flush()
        port = publisher._connection.client.connected_url.port
        (leaving,) = [server for server in nats_cluster.servers if server.port == port]
        (stays, *_) = [url for url in urls if url != leaving.url]
        async with NATSEventBus(stays, namespace=namespace) as ours, await ours.subscribe(max_pending=2**20) as subscription:
            number, beyond = 0, 0
            make_lame(leaving)
            async with asyncio.timeout(60):
                while beyond < 20:
                    await publisher.publish_many(counted("p", number + 1, 100))
                    number += 100
                    beyond += publisher._sender._transport.server.port != port
                    await asyncio.sleep(0)
            await publisher.flush()
            heard: list[tuple[str, int]] = []
            async with asyncio.timeout(60):
                while len(heard) < number:
                    with contextlib.suppress(SubscriptionInterruptedError):
                        event = await anext(subscription)
                        heard.append((event.actor_id, event.version))
            assert wrong_in(heard) == []
