"""The bus within a process, beside the in-memory bus of eventsource-py."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import uuid
from typing import TYPE_CHECKING

from aether._native import Event
from aether.bench.measure import WALL, Side, Target, compare
from aether.bench.setting import PAYLOAD, check
from aether.bus.local import LocalEventBus

if TYPE_CHECKING:
    from aether.bench.measure import Line
    from aether.bench.setting import Setting
    from aether.bus.base import Subscription

__all__ = ["lines", "read"]

NS_MAX = 1_000
"""What an event may take, published and read, with one subscriber."""


async def lines(setting: Setting) -> list[Line]:
    """Publish a list of events that are made beforehand to one subscriber."""
    count, repetitions = setting.count(20_000, 20_000, 50_000), setting.repetitions(5, 9, 15)
    events = [Event("device-1", "Measured", n + 1, PAYLOAD) for n in range(count)]

    async def prepare() -> tuple[LocalEventBus, Subscription]:
        bus = LocalEventBus()
        return bus, await bus.subscribe(max_pending=count, max_pending_bytes=2**30)

    async def run(given: tuple[LocalEventBus, Subscription]) -> None:
        bus, subscription = given
        await bus.publish_many(events)
        await read(subscription, count)
        await subscription.aclose()

    async def call(_: None) -> None:
        heard = 0

        async def take(_: Event) -> None:
            nonlocal heard
            heard += 1
            if heard == count:
                done.set()

        bus, done = LocalEventBus(), asyncio.Event()
        await bus.subscribe(handler=take, max_pending=count, max_pending_bytes=2**30)
        await bus.publish_many(events)
        await done.wait()
        await bus.aclose()

    scenario = f"LocalEventBus, 1 subscriber, {count:,} events"
    ours = Side("aether", run, count, prepare)
    if importlib.util.find_spec("eventsource") is None:
        setting.say("bus: eventsource-py, the baseline of the local bus, is not installed: pip install 'aether-events[bench]'")
        return await compare(scenario, ours, [], repetitions=repetitions, clock=WALL, targets=[[Target("most", NS_MAX)]])
    theirs, targets = [_eventsource(count)], [[Target("faster", 5), Target("most", NS_MAX)]]
    lines = await compare(scenario, ours, theirs, repetitions=repetitions, clock=WALL, targets=targets)
    # The same as theirs: a coroutine function called for each event.
    called, targets = Side("aether", call, count), [[Target("faster", 5)]]
    scenario = f"LocalEventBus, 1 async handler, {count:,} events"
    return [*lines, *await compare(scenario, called, theirs, repetitions=repetitions, clock=WALL, targets=targets)]


async def read(subscription: Subscription, count: int) -> None:
    """Read so many events, in batches."""
    left = count
    async for batch in subscription.batches():
        left -= len(batch)
        if left <= 0:
            break
    check(holds=left == 0, what=f"{left:,} events were not heard")


def _eventsource(count: int) -> Side:
    """The same by eventsource-py: one handler that counts, no tracing."""
    from eventsource import DomainEvent, InMemoryEventBus  # noqa: PLC0415 - optional, and slow to import

    logging.getLogger("eventsource").setLevel(logging.ERROR)

    class Measured(DomainEvent):
        """An event with the same payload."""

        aggregate_type: str = "Device"
        v: str

    device = uuid.uuid4()
    events: list[DomainEvent] = [Measured(aggregate_id=device, aggregate_version=n + 1, v=PAYLOAD["v"]) for n in range(count)]

    async def run(_: None) -> None:
        bus, heard = InMemoryEventBus(enable_tracing=False), 0

        async def take(_: DomainEvent) -> None:
            nonlocal heard
            heard += 1

        bus.subscribe(Measured, take)
        await bus.publish(events)
        check(holds=heard == count, what=f"{heard:,} of {count:,} events were heard")

    return Side("eventsource-py", run, count)
