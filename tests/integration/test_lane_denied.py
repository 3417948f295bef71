"""Feeds and publishes that a server refuses, on every transport: told by themselves, and they cost nothing else."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from faults.reloading import reload
from faults.waiting import until
from feeding import KINDS, Listener, due, events_of, publish, transport_to, url_of

from aether import AccessDeniedError
from aether.testing.servers import free_ports, running_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from aether import EmbeddedServer
    from aether.nats.transport import Transport

# nats-py's call of aiohttp is of an old form; nothing here can change that.
pytestmark = pytest.mark.filterwarnings("ignore:parameter 'timeout' of type 'float' is deprecated:DeprecationWarning")

ALLOWED = {
    "publish": {"deny": ["aether-bus.*.secret.>"]},
    "subscribe": {"allow": ["_INBOX.>", "aether-bus.mine.>", "aether-bus.Mine.a.*", "aether-bus.shared.> workers"]},
}


def users(permissions: dict[str, Any]) -> dict[str, Any]:
    """Settings with one user who may do this, and one who may do anything."""
    listed = [{"user": "me", "password": "p", "permissions": permissions}, {"user": "all", "password": "p"}]
    return {"authorization": {"users": listed}}


@pytest.fixture
def strict_server() -> Iterator[EmbeddedServer]:
    """A server whose user may do little."""
    listen = {"websocket": {"listen": f"127.0.0.1:{free_ports(1)[0]}", "no_tls": True}}
    with running_server({**users(ALLOWED), **listen}) as server:
        yield server


@asynccontextmanager
async def strangers(server: EmbeddedServer, kind: str) -> AsyncIterator[tuple[Transport, Transport]]:
    """The transports of the user who may do little, and of the other."""
    async with transport_to(url_of(server, kind, "me:p@"), kind) as mine, transport_to(url_of(server, "lane", "all:p@")) as other:
        yield mine, other


@pytest.mark.parametrize("kind", KINDS)
async def test_a_denied_subscription_ends_alone(kind: str, strict_server: EmbeddedServer) -> None:
    """A subscription that is denied, by its subject or its group, is lost with `AccessDeniedError`; all others go on."""
    async with strangers(strict_server, kind) as (transport, other):
        mine, theirs, shared, plain = Listener("mine"), Listener("theirs"), Listener("shared"), Listener("shared")
        await mine.listen(transport)
        await theirs.listen(transport)
        await shared.listen(transport, "aether-bus.shared.>", "workers")
        await plain.listen(transport, "aether-bus.shared.>")
        await transport.flush(due())
        await until(lambda: theirs.lost and plain.lost)
        for lost in (theirs.lost, plain.lost):
            (reason,) = lost
            assert isinstance(reason, AccessDeniedError)
            assert "aether-bus." in str(reason)
        for listener in (mine, shared):
            await publish(other, listener.namespace, events_of("a", 10))
            assert len(await listener.heard(10)) == 10
            assert listener.lost == []
        assert transport.is_open()


async def test_a_denied_subscription_is_told_from_another_by_case(strict_server: EmbeddedServer) -> None:
    """Actors "a" and "A" are two: where one of them is denied, the other's feed goes on."""
    async with strangers(strict_server, "lane") as (transport, other):
        allowed, denied = Listener("Mine"), Listener("Mine")
        await allowed.listen(transport, "aether-bus.Mine.a.*")
        await denied.listen(transport, "aether-bus.Mine.A.*")
        await until(lambda: denied.lost)
        await publish(other, "Mine", events_of("a", 1))
        assert await allowed.heard(1)
        assert allowed.lost == []


@pytest.mark.parametrize("kind", KINDS)
async def test_what_a_reload_takes_back_is_lost_then(kind: str, strict_server: EmbeddedServer) -> None:
    """Subscriptions that stop being allowed are lost with `AccessDeniedError`; those that are still allowed can go on."""
    async with strangers(strict_server, kind) as (transport, other):
        kept, one, two = Listener("mine"), Listener("Mine"), Listener("shared")
        await kept.listen(transport)
        await one.listen(transport, "aether-bus.Mine.a.*")
        await two.listen(transport, "aether-bus.shared.>", "workers")
        await transport.flush(due())
        assert not one.lost + two.lost + kept.lost
        reload(strict_server, users({"subscribe": {"allow": ["_INBOX.>", "aether-bus.mine.>"]}}))
        await until(lambda: one.lost and two.lost)
        for listener, subject, queue in ((one, "aether-bus.Mine.a.*", None), (two, "aether-bus.shared.>", "workers")):
            if not isinstance(listener.lost[-1], AccessDeniedError):
                # A borrowed client remembers one of them; the others learn it when they begin again.
                assert kind == "borrowed"
                await listener.listen(transport, subject, queue)
            assert isinstance(listener.lost[-1], AccessDeniedError)
        if kept.lost:
            assert kind == "borrowed"
            await kept.listen(transport)
            await transport.flush(due())
        await publish(other, "mine", events_of("a", 10))
        assert len(await kept.heard(10)) == 10


@pytest.mark.parametrize("kind", KINDS)
async def test_a_denied_publish_is_told_and_costs_nothing_else(kind: str, strict_server: EmbeddedServer) -> None:
    """A publish that is denied is told with its subject, once an event; what was published around it arrives."""
    async with strangers(strict_server, kind) as (transport, _):
        told: list[tuple[str, Exception]] = []
        transport.on_denied = lambda subject, error: told.append((subject, error))
        listener = Listener("mine")
        await listener.listen(transport)
        good, bad = events_of("open", 50), events_of("secret", 1)
        await publish(transport, "mine", [*good[:25], *bad, *good[25:]])
        assert await listener.heard(50) == good
        await until(lambda: told)
        assert [subject for subject, _ in told] == ["aether-bus.mine.secret.happened"]
        assert isinstance(told[0][1], AccessDeniedError)


async def test_a_subscription_too_many_is_refused_alone() -> None:
    """With as many subscriptions as the server allows, those beyond are lost with `AccessDeniedError`; the others go on."""
    with running_server({"max_subscriptions": 5}) as server:
        async with transport_to(server.url) as transport, transport_to(server.url) as other:
            listeners = [Listener(f"ns-{number}") for number in range(7)]
            for listener in listeners:
                await listener.listen(transport)
            await transport.flush(due())
            assert [len(listener.lost) for listener in listeners] == [0, 0, 0, 0, 1, 1, 1]  # the lane's own inbox is the fifth
            assert all(isinstance(listener.lost[0], AccessDeniedError) for listener in listeners[4:])
            assert transport.is_open()
            for listener in listeners[:4]:
                await publish(other, listener.namespace, events_of("a", 10))
                assert len(await listener.heard(10)) == 10
