"""Tasks that publish, subscribe and unsubscribe at once, and the accounts of every subscription."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from listening import counted, out_of_order, wrong_in

from aether import Event, SubscriptionLaggedError

if TYPE_CHECKING:
    from aether import NATSEventBus

DEADLINE_S = 60.0

Heard = list[tuple[str, int]]


class Accounts:
    """What was published, and what became of it.

    Attributes:
        seed: what the dice began with.
        begun: how many events each publisher has begun to publish.
        settled: how many of them the server has for certain.
        wrong: what does not add up.
        opened: how many subscriptions there were.
        missed: how many events were told to be missed.
    """

    def __init__(self, buses: list[NATSEventBus], seed: int) -> None:
        self.buses, self.seed, self.dice = buses, seed, random.Random(seed)
        self.begun: Counter[str] = Counter()
        self.settled: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.opened = self.missed = 0

    async def publish(self, publisher: str, count: int) -> None:
        """Have a publisher go on by so many events; one publisher uses one bus, as its order is its own."""
        bus = self.buses[int(publisher.removeprefix("p-")) % len(self.buses)]
        first = self.begun[publisher] + 1
        self.begun[publisher] += count
        await bus.publish_many(counted(publisher, first, count))
        await bus.flush()
        self.settled[publisher] += count

    async def publish_some(self, publisher: str) -> int:
        """Have a publisher go on; return by how many events."""
        count = self.dice.randrange(200)
        await self.publish(publisher, count)
        return count

    async def short(self, publisher: str) -> None:
        """A subscription to one publisher: it hears or misses exactly what was published while it was there."""
        bus = self.dice.choice(self.buses)
        policy = self.dice.choice(["error", "drop_oldest"])
        subscription = await bus.subscribe(actor_id=publisher, max_pending=self.dice.choice([5, 50, 5_000]), policy=policy)
        self.opened += 1
        async with subscription:
            count = await self.publish_some(publisher)
            await settled(bus)
            heard, missed = await self.read(subscription, policy)
            self.judge(f"short of {publisher}", heard, missed, count, count)

    async def grouped(self, publisher: str) -> None:
        """Members of a group share what was published, each event to one of them."""
        async with AsyncExitStack() as stack:
            buses = [self.dice.choice(self.buses) for _ in range(3)]
            members = [await stack.enter_async_context(await bus.subscribe(actor_id=publisher, group="all")) for bus in buses]
            self.opened += 3
            first = self.begun[publisher] + 1
            count = await self.publish_some(publisher)
            for bus in buses:
                await settled(bus)
            heard = [item for member in members for item in (await self.read(member, "error"))[0]]
            if sorted(heard) != [(publisher, number) for number in range(first, first + count)]:
                self.wrong.append(f"group of {publisher}: {count} published, {len(heard)} heard")

    async def broad(self, publisher: str) -> None:
        """A subscription to all publishers: it hears or misses at least what was published while it was surely there."""
        bus, before = self.dice.choice(self.buses), self.settled.copy()
        what = self.dice.choice([{"event_type": "Counted"}, {"actor_prefix": "p-"}])
        subscription = await bus.subscribe(**what, max_pending=self.dice.choice([100, 100_000]))
        after = self.begun.copy()
        self.opened += 1
        async with subscription:
            await self.publish_some(publisher)
            sure = self.settled.copy()
            await settled(bus)
            heard, missed = await self.read(subscription, "error")
        # Of what was on its way when it came and when it went, it may have heard any part.
        self.judge(f"broad at {publisher}", heard, missed, (sure - after).total(), (self.begun - before).total())
        if not missed and (gaps := wrong_in(heard, first=None)):
            self.wrong.append(f"broad at {publisher}: nothing is missed, and {gaps[:3]}")

    async def read(self, subscription: Any, policy: str) -> tuple[Heard, int]:
        """Read until nothing is left; return what was heard, and how many events were told to be missed."""
        heard: Heard = []
        told = 0
        async with asyncio.timeout(DEADLINE_S):
            while (stats := subscription.stats()).pending or (policy == "error" and told < stats.missed):
                try:
                    event = await anext(subscription)
                except SubscriptionLaggedError as error:
                    told += error.missed
                else:
                    heard.append((event.actor_id, event.version))
        if subscription.stats().delivered != len(heard):
            self.wrong.append(f"{len(heard)} were heard, {subscription.stats()} says another")
        return heard, subscription.stats().missed

    def judge(self, what: str, heard: Heard, missed: int, least: int, most: int) -> None:
        """Take note of what does not add up."""
        self.missed += missed
        if not least <= len(heard) + missed <= most:
            self.wrong.append(f"{what}: {least} to {most} published, {len(heard)} heard and {missed} missed")
        self.wrong += [f"{what}: {each}" for each in out_of_order(heard)[:3]]


async def settled(bus: NATSEventBus) -> None:
    """Return when all that the server had before for this bus has arrived: its answer comes on the same connection, last."""
    await bus.publish(Event("settled", "Settled", 1))
    await bus.flush()


async def work(accounts: Accounts, *, tasks: int, seconds: float, opened: int = 0) -> list[str]:
    """Let so many tasks do it all at random for a while, and until so many subscriptions were opened and some missed events.

    Returns what does not add up; then it ends at once.
    """
    stop_at = asyncio.get_running_loop().time() + seconds

    async def one(number: int) -> None:
        while not accounts.wrong and (
            asyncio.get_running_loop().time() < stop_at or (opened and (accounts.opened <= opened or not accounts.missed))
        ):
            what = accounts.dice.choice([accounts.short, accounts.short, accounts.grouped, accounts.broad])
            await what(f"p-{number}")

    async with asyncio.TaskGroup() as group:
        for number in range(tasks):
            group.create_task(one(number))
    return accounts.wrong
