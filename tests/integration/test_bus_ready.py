"""Ready by construction: what is published right after `subscribe` returned arrives, whoever publishes, however busy we are."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
from listening import counted, hear, peer_process, wrong_in

from aether import NATSEventBus
from aether.bus.feeds import Feeds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from conftest import Size

    from aether import EmbeddedServer

BURST = 100_000
FEW = 50


@pytest.fixture
async def buses(nats_server: EmbeddedServer, namespace: str) -> AsyncIterator[tuple[NATSEventBus, NATSEventBus]]:
    """One bus that subscribes, and one on a connection of its own that publishes."""
    async with (
        NATSEventBus(nats_server.url, namespace=namespace) as ours,
        NATSEventBus(nats_server.url, namespace=namespace) as other,
    ):
        await other.flush()
        yield ours, other


async def test_a_burst_from_another_connection_arrives_whole(buses: tuple[NATSEventBus, NATSEventBus]) -> None:
    """100,000 events published at once from another connection right after `subscribe` returned arrive, in order."""
    ours, other = buses
    async with await ours.subscribe(max_pending=BURST) as subscription:
        publishing = asyncio.create_task(other.publish_many(counted("p", 1, BURST)))
        assert wrong_in(await hear(subscription, BURST)) == []
        await publishing
        assert subscription.stats().delivered == BURST


async def test_a_burst_from_another_process_arrives_whole(nats_server: EmbeddedServer, namespace: str) -> None:
    """100,000 events published at once by another process right after `subscribe` returned arrive, in order."""
    async with (
        NATSEventBus(nats_server.url, namespace=namespace) as bus,
        peer_process(nats_server.url, namespace) as peer,
        await bus.subscribe(max_pending=BURST) as subscription,
    ):
        peer.tell(f"publish p 1 {BURST}")
        assert wrong_in(await hear(subscription, BURST)) == []
        assert await peer.line() == "published"


async def test_a_burst_to_another_process_arrives_whole(nats_server: EmbeddedServer, namespace: str) -> None:
    """100,000 events published here arrive in another process that said it is ready, in order."""
    async with NATSEventBus(nats_server.url, namespace=namespace) as bus, peer_process(nats_server.url, namespace) as peer:
        assert await peer.ask(f"count {BURST}") == "ready"
        await bus.publish_many(counted("p", 1, BURST))
        assert await peer.line() == "[]"


async def repeat(ours: NATSEventBus, other: NATSEventBus, times: int) -> list[int]:
    """Subscribe, publish at once from another connection, and count what arrives; return the repetitions that lost some."""
    lost = []
    for number in range(times):
        publisher = f"p-{number}"
        async with await ours.subscribe(actor_id=publisher if number % 2 else None) as subscription:
            await other.publish_many(counted(publisher, 1, FEW))
            await other.flush()
            # What comes after that from our own connection comes last: the server had all the others before.
            await ours.publish_many(counted(publisher, FEW + 1, 1))
            heard = [event.version async for event in up_to(subscription, FEW + 1)]
        if heard != [*range(1, FEW + 2)]:
            lost.append(number)
    return lost


async def up_to(subscription, last: int):
    """Yield events up to the one with this version."""
    async with asyncio.timeout(60):
        async for event in subscription:
            yield event
            if event.version == last:
                break


async def test_no_repetition_loses_an_event(buses: tuple[NATSEventBus, NATSEventBus], size: Size) -> None:
    """Subscribing and having another connection publish at once, again and again, never loses an event."""
    assert await repeat(*buses, size.pick(200, 500, 2_000)) == []


async def test_the_checker_finds_a_bus_that_is_not_ready(
    buses: tuple[NATSEventBus, NATSEventBus], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bus whose `subscribe` returns before the server has the subscription loses events, and the test above finds it."""

    async def believe(*_: object) -> None:
        """Prove nothing."""

    ours, other = buses
    monkeypatch.setattr(ours._feeds, "_prove", believe)
    assert isinstance(ours._feeds, Feeds)
    lost: list[int] = []
    async with asyncio.timeout(60):
        while not lost:
            lost = await repeat(ours, other, 20)


async def test_no_repetition_loses_an_event_on_a_busy_loop(buses: tuple[NATSEventBus, NATSEventBus], size: Size) -> None:
    """The same holds while other tasks of the loop hog it, some milliseconds at a time."""
    stop = False

    async def hog() -> None:
        while not stop:
            until = time.perf_counter() + 0.003
            while time.perf_counter() < until:
                pass
            await asyncio.sleep(0)

    hogs = [asyncio.create_task(hog()) for _ in range(3)]
    try:
        assert await repeat(*buses, size.pick(15, 100, 500)) == []
    finally:
        stop = True
        await asyncio.gather(*hogs)


async def test_server_and_clients_may_start_together(fresh_nats_server: EmbeddedServer, namespace: str, size: Size) -> None:
    """A subscription asked for while the server only starts is ready when it returns, like any other."""
    for number in range(size.pick(4, 20, 50)):
        await fresh_nats_server.kill()
        starting = asyncio.create_task(fresh_nats_server.restart())
        url = fresh_nats_server.url
        async with NATSEventBus(url, namespace=namespace) as ours, NATSEventBus(url, namespace=namespace) as other:
            subscribing = asyncio.create_task(ours.subscribe())
            await other.flush()
            async with await subscribing as subscription:
                await other.publish_many(counted(f"p-{number}", 1, 1_000))
                assert wrong_in(await hear(subscription, 1_000)) == []
        await starting
