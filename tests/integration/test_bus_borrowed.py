"""A bus over the user's own nats-py client: it does the client no harm, and says what becomes of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from faults.dump import stock_client
from faults.stopping import stopped
from faults.waiting import hurried_bus, until

from aether import AetherError, Event, NATSEventBus, SubscriptionInterruptedError
from aether.nats.portable_flush import RoundTrips

if TYPE_CHECKING:
    import nats

    from aether import EmbeddedServer

TURNS = 30


@pytest.mark.parametrize("what", ["subscribe", "flush", "aclose"])
async def test_a_call_that_is_cancelled_leaves_the_client_alive(what: str, nats_server: EmbeddedServer, namespace: str) -> None:
    """A call on the bus, cancelled at whichever turn of the loop, does not make the user's client deaf."""
    async with stock_client(nats_server.url) as client, NATSEventBus(client, namespace=namespace) as bus:
        heard: list[bytes] = []

        async def hear(msg: nats.aio.msg.Msg) -> None:
            heard.append(msg.data)

        await client.subscribe(f"{namespace}.mine", cb=hear)

        async def call() -> None:
            if what == "flush":
                await bus.publish(Event("a", "t", 1))
                await bus.flush()
            subscription = await bus.subscribe(actor_id="a")
            await subscription.aclose()

        for turn in range(1, TURNS):
            task = asyncio.create_task(call())
            for _ in range(2 * turn if what == "aclose" else turn):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            await client.publish(f"{namespace}.mine", b"%d" % turn)
            await until(lambda turn=turn: heard[-1:] == [b"%d" % turn])
        assert heard == [b"%d" % turn for turn in range(1, TURNS)]


async def test_a_flush_that_is_late_leaves_the_client_alive(fresh_nats_server: EmbeddedServer, namespace: str) -> None:
    """A flush that comes to its deadline while the server sleeps does not make the user's client deaf."""
    async with stock_client(fresh_nats_server.url) as client, NATSEventBus(client, namespace=namespace) as bus:
        heard: list[bytes] = []

        async def hear(msg: nats.aio.msg.Msg) -> None:
            heard.append(msg.data)

        await client.subscribe("mine", cb=hear)
        await bus.publish(Event("a", "t", 1))
        await bus.flush()
        async with stopped(fresh_nats_server.pid):
            await bus.publish(Event("a", "t", 2))
            with hurried_bus(bus, 0.3), pytest.raises(AetherError):
                await bus.flush()
        await client.publish("mine", b"here")
        await until(lambda: heard == [b"here"])


async def test_a_client_that_its_owner_drains_is_told_as_such(nats_server: EmbeddedServer, namespace: str) -> None:
    """While a client is drained, and after that, calls raise this package's errors, and readers are told that it is closed."""
    async with stock_client(nats_server.url) as client:
        busy = asyncio.Event()

        async def hear(msg: nats.aio.msg.Msg) -> None:
            await busy.wait()

        await client.subscribe("busy", cb=hear)
        await client.publish("busy", b"")
        await RoundTrips(client).begin()
        bus = NATSEventBus(client, namespace=namespace, timeout_s=2)
        subscription = await bus.subscribe()
        draining = asyncio.create_task(client.drain())
        await until(lambda: client.is_draining)
        with pytest.raises(AetherError):
            await bus.subscribe(actor_id="a")
        busy.set()
        await draining
        assert client.is_closed
        async with asyncio.timeout(60):
            with pytest.raises(SubscriptionInterruptedError):
                await anext(subscription)
            with pytest.raises(AetherError, match="is closed"):
                await anext(subscription)
            with pytest.raises(AetherError, match="is closed"):
                await bus.subscribe(actor_id="b")
            await bus.aclose()
