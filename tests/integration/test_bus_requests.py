"""Requests and answers between buses and processes."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import nats
import pytest
from faults.waiting import until
from listening import peer_process

from aether import AetherError, DeadlineError, Event, NATSEventBus, NoSubscriberError, RequestFailedError
from aether._native import bus_body

if TYPE_CHECKING:
    from conftest import Size

    from aether import EmbeddedServer


async def test_requests_are_answered_by_another_process(nats_server: EmbeddedServer, namespace: str, size: Size) -> None:
    """Many requests at once are each answered with what another process's handler returned for them."""
    count = size.pick(1_000, 10_000, 100_000)
    async with NATSEventBus(nats_server.url, namespace=namespace) as bus, peer_process(nats_server.url, namespace) as peer:
        assert await peer.ask("answer") == "ready"
        for start in range(0, count, 500):
            requests = [bus.request(Event(f"a-{number % 7}", "Asked", 1, number)) for number in range(start, start + 500)]
            assert await asyncio.gather(*requests) == [[number, number] for number in range(start, start + 500)]


async def test_another_processs_request_is_answered_here(nats_server: EmbeddedServer, namespace: str) -> None:
    """A request of another process reaches a handler here, right after `subscribe` returned, and its value goes back."""
    async with NATSEventBus(nats_server.url, namespace=namespace) as bus, peer_process(nats_server.url, namespace) as peer:
        said = await peer.ask("request a 1")
        assert said.startswith("NoSubscriberError")

        async def answer(event: Event) -> object:
            return {"actor": event.actor_id, "value": event.data}

        async with await bus.subscribe(actor_id="a", handler=answer):
            assert json.loads(await peer.ask("request a 7")) == {"actor": "a", "value": "7"}
        assert (await peer.ask("request a 1")).startswith("NoSubscriberError")


@pytest.mark.parametrize(
    "where", ["aether.{0}.17.actor", "aether-bus.{0}.a.Asked", "$JS.API.STREAM.PURGE.AETHER-EVENTS-{0}", "other"]
)
async def test_answers_go_to_inboxes_only(nats_server: EmbeddedServer, namespace: str, where: str) -> None:
    """Nobody can have a handler's answer written to a subject of the store's, the bus's, the server's or anybody else's."""
    client = await nats.connect(nats_server.url)
    subject = where.format(namespace)
    heard = await client.subscribe(subject)
    asked = Event("a", "Asked", 1)
    async with NATSEventBus(nats_server.url, namespace=namespace) as bus, await bus.subscribe(handler=lambda _: 1) as handled:
        for reply in (subject, client.new_inbox()):
            await client.publish(f"aether-bus.{namespace}.a.Asked", bus_body(asked), reply=reply)
        await client.flush()
        await until(lambda: handled.stats().delivered == 2)
        assert await bus.request(asked) == 1
        await client.flush()
        # On the bus's own subject the requests themselves are heard.
        assert heard.pending_msgs == (3 if subject.startswith("aether-bus.") else 0)
    await client.close()


async def test_a_handler_that_raises_answers_with_the_reason(nats_server: EmbeddedServer, namespace: str) -> None:
    """What a handler on another connection raises comes back as `RequestFailedError`; no answer in time is a `DeadlineError`."""

    def refuse(event: Event) -> None:
        raise ValueError(f"not {event.data}")

    async with (
        NATSEventBus(nats_server.url, namespace=namespace) as ours,
        NATSEventBus(nats_server.url, namespace=namespace) as other,
    ):
        await ours.subscribe(actor_id="a", handler=refuse)
        with pytest.raises(RequestFailedError, match="not 5"):
            await other.request(Event("a", "Asked", 1, 5))
        listener = await ours.subscribe(actor_id="b")
        with pytest.raises(DeadlineError):
            await other.request(Event("b", "Asked", 1), timeout=0.2)
        assert (await anext(listener)).actor_id == "b"
        with pytest.raises(NoSubscriberError):
            await other.request(Event("c", "Asked", 1))


async def test_nobody_is_asked_once_the_last_handler_is_closed(nats_server: EmbeddedServer, namespace: str) -> None:
    """When closing a subscription returns the server knows: a request that comes then is told that nobody listens."""
    async with (
        NATSEventBus(nats_server.url, namespace=namespace) as ours,
        NATSEventBus(nats_server.url, namespace=namespace) as other,
    ):
        await other.flush()
        for _ in range(100):
            async with await ours.subscribe(handler=lambda event: event.version):
                assert await other.request(Event("a", "Asked", 1)) == 1
            with pytest.raises(NoSubscriberError):
                await other.request(Event("a", "Asked", 1), timeout=60)


async def test_a_request_that_waits_when_its_bus_is_closed_says_so(nats_server: EmbeddedServer, namespace: str) -> None:
    """Closing a bus ends the requests that wait on it, with an error that says that it was closed."""
    async with NATSEventBus(nats_server.url, namespace=namespace) as other, await other.subscribe() as silent:
        bus = NATSEventBus(nats_server.url, namespace=namespace)
        asking = asyncio.create_task(bus.request(Event("a", "Asked", 1)))
        async with asyncio.timeout(60):
            await anext(silent)
        await bus.aclose()
        with pytest.raises(AetherError, match="closed while a request"):
            await asking
