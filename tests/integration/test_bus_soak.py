"""Publishers and subscribers over connections that are cut, reset, muted and dripped at random: 5 s, 60 s or 600 s long."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import secrets
from contextlib import AsyncExitStack
from itertools import chain
from typing import TYPE_CHECKING

import pytest
from faults.tap import Plan, Tap
from listening import Heard, counted, end, judge, listen

from aether import NATSEventBus, PublishInterruptedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Size
    from faults.tap import Link

    from aether import EmbeddedServer

TIMEOUT_S = 4.0
HARMED, WHOLE = 3, 1
"""How many publishers, and how many subscribers, are reached through the tap, and how many are not."""


class Publisher:
    """One that counts up.

    Attributes:
        number: of the last event that was published.
        lost: how many events it was told may be lost.
    """

    def __init__(self, name: str, bus: NATSEventBus, dice: random.Random) -> None:
        self.name, self.bus, self.dice = name, bus, dice
        self.number = self.lost = 0

    async def publish(self, stop: asyncio.Event) -> None:
        """Publish and flush at random until it is enough."""
        while not stop.is_set():
            count = self.dice.choice([1, 10, 200])
            await self.bus.publish_many(counted(self.name, self.number + 1, count, padding=self.dice.choice([0, 1_000])))
            self.number += count
            if self.dice.randrange(2):
                await self.flush()
            await asyncio.sleep(0.001)  # so that the log of what is heard stays small
        await self.flush()

    async def flush(self) -> None:
        """Flush, and count what is told."""
        try:
            await self.bus.flush()
        except PublishInterruptedError as error:
            self.lost += error.count


def harm(link: Link, dice: random.Random) -> None:
    """Do something bad to a link."""
    plan = link.plan
    plan.reset = bool(dice.randrange(2))
    what = dice.choice(["cut", "cut down", "cut up", "drip", "mute"])
    if what == "cut":
        link.cut()
    elif what == "cut down":
        plan.cut_down_at = link.sent_down + dice.randrange(1, 50_000)
    elif what == "cut up":
        plan.cut_up_at = link.sent_up + dice.randrange(1, 50_000)
    elif what == "drip":
        plan.drip = True
    else:
        plan.mute = True


async def trouble(tap: Tap, dice: random.Random, seconds: float, enough: Callable[[], bool]) -> int:
    """Harm a link every now and then for so long, and until it is enough; return how often.

    What is mute is let go after a while, unless it was left by then.
    """
    loop = asyncio.get_running_loop()
    stop_at, count = loop.time() + seconds, 0
    while loop.time() < stop_at or not enough():
        await asyncio.sleep(dice.uniform(0.01, 0.2))
        if tap.links:
            link = dice.choice(tap.lanes if tap.lanes and dice.randrange(4) else tap.links)
            harm(link, dice)
            count += 1
            if link.plan.mute:
                await asyncio.sleep(dice.choice([0.05, 0.3, 2.5]))
                link.plan.mute = False
    for link in tap.links:
        link.plan.mute = link.plan.drip = False
    return count


@pytest.mark.timeout(900)
async def test_nothing_is_lost_in_silence_over_a_bad_network(nats_server: EmbeddedServer, namespace: str, size: Size) -> None:
    """With connections harmed at random, order holds, nothing comes twice, and whatever is missing was told on either side."""
    seed = int(os.environ.get("AETHER_SEED") or secrets.randbits(32))
    logging.getLogger("soak").warning("AETHER_SEED=%d", seed)
    dice = random.Random(seed)
    async with Tap(nats_server.url) as tap, AsyncExitStack() as stack:

        async def bus(url: str) -> NATSEventBus:
            return await stack.enter_async_context(NATSEventBus(url, namespace=namespace, timeout_s=TIMEOUT_S))

        urls = [tap.url] * HARMED + [nats_server.url] * WHOLE
        publishers = [Publisher(f"p-{number}", await bus(url), dice) for number, url in enumerate(urls)]
        subscriptions = [await (await bus(url)).subscribe(max_pending=2**20) for url in urls]
        heard: list[Heard] = [[] for _ in urls]
        listening = [
            asyncio.create_task(listen(subscription, items, len(publishers)))
            for subscription, items in zip(subscriptions, heard, strict=True)
        ]
        # Some of the connections that follow break while they are made.
        tap.plan = lambda: Plan(cut_down_at=dice.randrange(2_000)) if not dice.randrange(8) else Plan()
        stop = asyncio.Event()
        publishing = [asyncio.create_task(publisher.publish(stop)) for publisher in publishers]
        harms = await trouble(tap, dice, size.pick(5, 60, 600), lambda: any(isinstance(item, str) for item in chain(*heard)))
        tap.plan = Plan
        stop.set()
        await asyncio.gather(*publishing)
        await asyncio.gather(*(end(publisher.bus, listening, publisher.name) for publisher in publishers))
        published = {publisher.name: publisher.number for publisher in publishers}
        lost = {publisher.name: publisher.lost for publisher in publishers}
        told = [sum(isinstance(item, str) for item in items) for items in heard]
        logging.getLogger("soak").warning("%s published, %s lost, %s interruptions, %d harms", published, lost, told, harms)
        assert [judge(items, published, lost) for items in heard] == [[]] * len(heard)
        assert [subscription.stats().missed for subscription in subscriptions] == [0] * len(heard)
        assert told[-1] == 0
        assert lost[publishers[-1].name] == 0
        assert sum(told) > 0
