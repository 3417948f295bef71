"""What the parts of the bus contract share: the fixtures that a user overrides, and how events are made and awaited."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import pytest

from aether.event import Event

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aether.bus.base import EventBus, Subscription

__all__ = ["WAIT_S", "BusCase", "events", "read", "soon", "until", "versions"]

T = TypeVar("T")

WAIT_S = 60.0
"""What the tests wait at most for anything, in seconds; nothing is expected to take so long, on a busy machine either."""


class BusCase:
    """The fixtures of every part of the contract. See `BusContract`."""

    # What a test leaves open its bus closes.
    pytestmark: ClassVar = [
        pytest.mark.asyncio,
        pytest.mark.filterwarnings("ignore:the subscription to .* was never closed:ResourceWarning"),
    ]

    event_bytes_max = 1_048_576
    """What one event may take as a message, in bytes; override it for a bus with another bound."""

    has_block = False
    """Whether the bus knows `policy="block"`; override it for one that does."""

    @pytest.fixture
    def bus(self) -> EventBus:
        """Return the bus under test, not opened yet; override this."""
        raise NotImplementedError("a subclass of BusContract has a fixture `bus` that returns or yields the bus under test")

    @pytest.fixture
    def peer(self, bus: EventBus) -> EventBus:
        """Return another handle on the same bus, as another process would have; override it where there can be one."""
        return bus

    @pytest.fixture
    def actor(self) -> str:
        """Return an actor that no other test uses; ids that begin with it and "-" are this test's too."""
        return f"actor-{uuid.uuid4().hex}"

    @pytest.fixture
    def kind(self) -> str:
        """Return an event type that no other test uses."""
        return f"Happened{uuid.uuid4().hex}"


def events(actor_id: str, versions: range | list[int], kind: str = "Happened", data: Any = None) -> list[Event]:  # noqa: ANN401 - any data
    """Return an event for each version."""
    return [Event(actor_id, kind, version, {"n": version} if data is None else data) for version in versions]


def versions(found: list[Event]) -> list[int]:
    """Return the events' versions."""
    return [event.version for event in found]


async def soon(result: Awaitable[T]) -> T:
    """Return what is awaited; fail if it does not come."""
    async with asyncio.timeout(WAIT_S):
        return await result


async def read(subscription: Subscription, count: int) -> list[Event]:
    """Return the next events, read one by one."""
    found: list[Event] = []
    try:
        async with asyncio.timeout(WAIT_S):
            while len(found) < count:
                found.append(await anext(subscription))
    except TimeoutError:
        pytest.fail(f"{len(found)} of {count} events came within {WAIT_S:g} s: {found[-3:]}, {subscription.stats()}")
    return found


async def until(condition: Callable[[], bool], facts: Callable[[], object] = str) -> None:
    """Wait until a condition holds; fail with the facts if it never does."""
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + WAIT_S
    while not condition():
        if loop.time() > give_up_at:
            pytest.fail(f"it did not come to be within {WAIT_S:g} s: {facts()}")
        await asyncio.sleep(0.001)
