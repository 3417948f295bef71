"""What a server denies, and what answers in a bus's place: each is told once, to whom it concerns, and costs nobody else."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

import nats
import pytest
from faults.stopping import stop, wake
from faults.waiting import hurried_bus, until

from aether import (
    AccessDeniedError,
    AetherError,
    ConnectOptions,
    DeadlineError,
    Event,
    NATSEventBus,
    ServerUnavailableError,
    SubscriptionInterruptedError,
)
from aether.testing.servers import running_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from aether import EmbeddedServer

NAMESPACE = "shop"
TOLD_S = 60.0

USERS = [
    {"user": "all", "password": "p"},
    {
        "user": "mute",
        "password": "p",
        "permissions": {"publish": ["aether-bus.>"], "subscribe": ["aether-bus.>", "_INBOX.>"]},
    },
    {
        "user": "some",
        "password": "p",
        "permissions": {"subscribe": {"deny": ["aether-bus.*.secret.>"]}, "publish": {"deny": ["aether-bus.*.fixed.>"]}},
    },
    {
        "user": "one",
        "password": "p",
        "permissions": {"publish": [f"aether-bus.{NAMESPACE}.Order-1.T", "_INBOX.>"], "subscribe": ["aether-bus.>", "_INBOX.>"]},
    },
]


@pytest.fixture(scope="module")
def strict() -> Iterator[EmbeddedServer]:
    """A server with users who may not do everything."""
    with running_server({"authorization": {"users": USERS}}) as server:
        yield server


def bus_of(server: EmbeddedServer, user: str) -> NATSEventBus:
    """A bus of this user."""
    return NATSEventBus(server.url.replace("nats://", f"nats://{user}:p@"), namespace=NAMESPACE)


@pytest.fixture
async def boss(strict: EmbeddedServer) -> AsyncIterator[NATSEventBus]:
    """The bus of one who may do everything."""
    async with bus_of(strict, "all") as bus:
        yield bus


def event(actor_id: str, version: int = 1) -> Event:
    """An event whose type is T."""
    return Event(actor_id, "T", version)


async def test_an_answer_that_the_server_denies_is_told_and_counted(
    strict: EmbeddedServer, boss: NATSEventBus, caplog: pytest.LogCaptureFixture
) -> None:
    """A handler whose answers the server does not let through has failed on them, and a warning says why."""
    async with bus_of(strict, "mute") as bus, await bus.subscribe(handler=lambda _: "answer") as subscription:
        with pytest.raises(DeadlineError):
            await boss.request(event("a"), timeout=2)
        await until(lambda: subscription.stats().failed == 1)
        told = [record for record in caplog.records if record.levelno == logging.WARNING and "an answer" in record.message]
        assert len(told) == 1
        await bus.publish(event("a"))
        await bus.flush()


async def test_a_denied_request_is_told_by_itself_alone(strict: EmbeddedServer, boss: NATSEventBus) -> None:
    """A request that is denied raises; what is published and flushed after it does not."""
    async with await boss.subscribe() as heard, bus_of(strict, "one") as bus:
        for _ in range(3):
            with pytest.raises(AccessDeniedError):
                await bus.request(event("Order-2"))
        await bus.publish(event("Order-1"))
        await bus.flush()
        async with asyncio.timeout(TOLD_S):
            assert (await anext(heard)).actor_id == "Order-1"


async def test_a_denied_publish_is_told_once_and_costs_no_other_subject(strict: EmbeddedServer, boss: NATSEventBus) -> None:
    """A denial is told by the next publish to the same subject, or else by the next flush, once; other publishes go out."""
    async with await boss.subscribe() as heard:
        bus = bus_of(strict, "one")
        for number in range(1, 4):
            await bus.publish(event("ORDER-2"))
            await until(lambda: bus._sender._denied)
            await bus.publish_many([event("Order-1", 2 * number - 1), event("Order-1", 2 * number)])
            with pytest.raises(AccessDeniedError, match=r"(?i)order-2"):
                await (bus.flush() if number == 1 else bus.publish(event("ORDER-2")))
            await bus.flush()
        await bus.publish(event("ORDER-2"))
        with pytest.raises(AccessDeniedError):
            await bus.aclose()
        async with asyncio.timeout(TOLD_S):
            assert [(await anext(heard)).version for _ in range(6)] == [*range(1, 7)]


async def test_what_a_stream_answers_is_no_answer(
    nats_server: EmbeddedServer, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Where a stream keeps a bus's events, a handler's answer counts; without a handler the error says who else answered."""
    client = await nats.connect(nats_server.url)
    await client.jetstream().add_stream(name=namespace, subjects=[f"aether-bus.{namespace}.>"])
    try:
        async with NATSEventBus(nats_server.url, namespace=namespace) as bus:
            async with await bus.subscribe(handler=lambda asked: asked.version):
                assert [await bus.request(event("a", number)) for number in range(1, 20)] == [*range(1, 20)]
            with pytest.raises(DeadlineError, match="does a stream take"):
                await bus.request(event("a"), timeout=0.5)
        assert len([record for record in caplog.records if "no bus answers" in record.message]) == 1
    finally:
        await client.jetstream().delete_stream(namespace)
        await client.close()


async def test_publishing_to_a_server_that_sleeps_says_how_many_were_sent(
    fresh_nats_server: EmbeddedServer, namespace: str
) -> None:
    """When the server is lost in the middle of a long `publish_many`, the error says how many events were sent."""
    bus = NATSEventBus(fresh_nats_server.url, namespace=namespace)
    await bus.flush()
    await stop(fresh_nats_server.pid)
    try:
        with hurried_bus(bus, 1.0), pytest.raises((ServerUnavailableError, DeadlineError), match=r"[1-9][\d,]* events were sent"):
            await bus.publish_many(Event("a", "T", number, "x" * 10_000) for number in range(1, 20_000))
    finally:
        wake(fresh_nats_server.pid)
        with contextlib.suppress(AetherError):  # what it could not send
            await bus.aclose()


async def test_a_denied_subscription_is_an_error_and_the_others_live_on(strict: EmbeddedServer) -> None:
    """Subscribing to what the server denies raises `AccessDeniedError` at once, and costs no other subscription anything."""
    async with bus_of(strict, "some") as bus:
        allowed = await bus.subscribe(actor_id="open")
        for group in (None, "g"):
            with pytest.raises(AccessDeniedError):
                await bus.subscribe(actor_id="secret", group=group)
        await bus.publish(Event("open", "t", 1))
        assert (await asyncio.wait_for(anext(allowed), TOLD_S)).version == 1
        assert len(bus._feeds) == 1


async def test_a_denied_publish_is_told_by_flush(strict: EmbeddedServer) -> None:
    """A publish that the server denies is told by `flush`, or by what is published next, and other events still go out."""
    async with bus_of(strict, "some") as bus:
        subscription = await bus.subscribe(actor_id="open")
        await bus.publish(Event("fixed", "t", 1))
        with pytest.raises(AccessDeniedError):
            await bus.flush()
        await bus.publish(Event("open", "t", 1))
        await bus.flush()
        assert (await asyncio.wait_for(anext(subscription), TOLD_S)).version == 1


async def test_credentials_that_are_revoked_end_the_subscriptions(namespace: str) -> None:
    """When the login is refused for good, subscriptions raise `AccessDeniedError` and end, handlers are told, calls say so."""
    password = "right"
    with running_server({"authorization": {"user": "me", "password": "right"}}) as server:
        options = ConnectOptions(user="me", password=lambda: password)
        bus = NATSEventBus(server.url, namespace=namespace, options=options)
        complaints: list[Exception] = []
        subscription = await bus.subscribe()
        handled = await bus.subscribe(handler=lambda event: None, on_error=lambda error, event: complaints.append(error))
        password = "wrong"
        await server.restart()
        async with asyncio.timeout(TOLD_S):
            with pytest.raises(SubscriptionInterruptedError):
                await anext(subscription)
            with pytest.raises(AccessDeniedError):
                await anext(subscription)
            with pytest.raises(AccessDeniedError):
                await handled.wait_closed()
            with pytest.raises(AccessDeniedError):
                await bus.publish(Event("p", "t", 1))
            assert [event async for event in subscription] == []
        assert any(isinstance(error, AccessDeniedError) for error in complaints)
        await bus.aclose()
