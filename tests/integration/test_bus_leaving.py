"""A publisher that changes its server: what it published before comes before what it publishes after, at every subscriber.

Two servers; the publisher leaves the one for the other, on which the subscriber is, while the route between them stalls.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Self

import pytest
from faults.routes import stall, two_servers_apart
from faults.tap import Plan, Tap
from faults.waiting import until
from listening import counted, listen

from aether import NATSEventBus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from listening import Heard

    from aether import EmbeddedServer

AHEAD_S = 0.5
"""How long what is published later gets to overtake."""

PATIENT_S, HURRIED_S = 120.0, 0.2
"""How long a publisher waits where the route shall end its wait, and where it shall not."""


MUTE = {"user": "mute", "password": "p", "permissions": {"publish": {"deny": ["_INBOX.>"]}}}
"""Who may not publish to an inbox."""

USERS = {"users": [{"user": "all", "password": "p"}, MUTE]}


class Apart:
    """A publisher on one server, a subscriber on another, and the route between them.

    Args:
        user: who publishes.
        of_left: further settings of the server that the publisher will leave.

    Attributes:
        left: the server that the publisher will leave.
        door: what clients of that server go through.
        heard: the numbers that came.
    """

    def __init__(self, user: str = "all", **of_left: Any) -> None:
        self._user, self._of_left = user, of_left
        self.heard: Heard = []

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            self.door = await stack.enter_async_context(Tap())
            advertised = self.door.url.removeprefix("nats://")
            self.left, self.other, self._routes = await stack.enter_async_context(
                two_servers_apart(client_advertise=advertised, **self._of_left)
            )
            self.door.lead_to(self.left.url)
            url = self.door.url.replace("//", f"//{self._user}:p@")
            self.publisher = await stack.enter_async_context(NATSEventBus(url, timeout_s=2 * PATIENT_S))
            ours = await stack.enter_async_context(NATSEventBus(self.other.url.replace("//", "//all:p@")))
            await until(lambda: len(self.publisher._connection._carrier.transport.info.connect_urls) == 2)
            await until(lambda: len(ours._connection._carrier.transport.info.connect_urls) == 2)
            subscription = await stack.enter_async_context(await ours.subscribe())
            listening = asyncio.create_task(listen(subscription, self.heard))
            stack.callback(listening.cancel)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.left.kill()  # a lame duck would take its time
        await self._stack.__aexit__(*raised)

    def stall(self, *, stalled: bool) -> None:
        """Let the route stall, or go on."""
        stall(self._routes, stalled=stalled)

    async def publish(self, number: int) -> None:
        """Publish the event of this number, and return when the publisher's server has it."""
        await self.publisher.publish_many(counted("p", number, 1))
        await self.publisher.flush()

    async def publish_and_move(self, leave: Callable[[], object]) -> asyncio.Task[None]:
        """Publish 1 while the route stalls, let the publisher leave, and publish 2; return the task that does that."""
        self.stall(stalled=True)
        await self.publish(1)
        leave()
        await until(lambda: self.publisher._connection.is_up() and self._is_elsewhere())
        return asyncio.create_task(self.publish(2))

    def _is_elsewhere(self) -> bool:
        return bool(self.publisher._connection.client.connected_url.port == self.other.port)

    async def numbers(self) -> list[int]:
        """Return both numbers in the order in which they came, once the route goes on."""
        self.stall(stalled=False)
        await until(lambda: len(self._counted()) == 2)
        return self._counted()

    def _counted(self) -> list[int]:
        return [item[1] for item in self.heard if not isinstance(item, str)]


@pytest.fixture
async def apart() -> AsyncIterator[Apart]:
    """Two servers, a publisher and a subscriber."""
    async with Apart() as apart:
        yield apart


def lame_duck(server: EmbeddedServer) -> None:
    """Let a server take no new connections, and tell its clients to go."""
    os.kill(server.pid, signal.SIGUSR2)


async def test_a_publisher_that_is_told_to_go_waits_for_the_route(apart: Apart, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was published and flushed on a lame duck arrives first, though its route stalls while the next server is at hand."""
    monkeypatch.setattr("aether.nats.passing.PASS_ON_S", PATIENT_S)
    second = await apart.publish_and_move(lambda: lame_duck(apart.left))
    await asyncio.wait([second], timeout=AHEAD_S)
    assert not second.done()
    assert await apart.numbers() == [1, 2]
    await second


async def test_a_publisher_that_is_cut_off_waits_for_the_route(apart: Apart, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was flushed on a server to which the connection is lost, and which lives, arrives before what the next server gets."""
    monkeypatch.setattr("aether.nats.passing.PASS_ON_S", PATIENT_S)

    def cut() -> None:
        apart.door.plan = lambda: Plan(cut_down_at=0)
        for link in [*apart.door.links]:
            link.cut()

    second = await apart.publish_and_move(cut)
    apart.door.plan = Plan
    await asyncio.wait([second], timeout=AHEAD_S)
    assert not second.done()
    assert await apart.numbers() == [1, 2]
    await second


async def test_a_route_that_does_not_go_on_does_not_silence_a_publisher(
    apart: Apart, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where it is not proven in time that all has arrived, the log says so, and the publisher goes on."""
    monkeypatch.setattr("aether.nats.passing.PASS_ON_S", HURRIED_S)
    second = await apart.publish_and_move(lambda: lame_duck(apart.left))
    async with asyncio.timeout(60):
        await second
    (told,) = [record.getMessage() for record in caplog.records if "may come first" in record.getMessage()]
    assert told.startswith(apart.other.url)
    assert "no answer in time" in told
    assert sorted(await apart.numbers()) == [1, 2]


async def test_a_publisher_that_may_prove_nothing_goes_on_at_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the server denies the proof, that is logged and not waited for, and no call of the publisher is told of it."""
    monkeypatch.setattr("aether.nats.passing.PASS_ON_S", PATIENT_S)
    async with Apart("mute", authorization=USERS) as apart:
        second = await apart.publish_and_move(lambda: lame_duck(apart.left))
        async with asyncio.timeout(PATIENT_S / 2):
            await second
        await apart.publisher.flush()
        (told,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        assert "may come first" in told
        assert "permissions violation" in told.lower()
        assert sorted(await apart.numbers()) == [1, 2]
