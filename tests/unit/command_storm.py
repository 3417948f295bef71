# ruff: noqa: D102 - what `apply` and `handle` do is said by `Behaviour`
"""Commands asked from anywhere, often twice, while shards move and questions, answers and acks are lost; and what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from typing import TYPE_CHECKING

from aether import NewEvent
from aether.cluster.host import ActorHost

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from memory_cluster import MemoryCluster

ACTORS = 5
ROUNDS = 30
ASKS = 20
"""In a round; each command is asked twice in it."""


class Account:
    """A balance, by deposits; "balance" asks for it, anything negative is refused."""

    initial = 0
    handled: Counter[str] = Counter()  # noqa: RUF012 - of all accounts together

    def __init__(self, actor_id):
        self.actor_id = actor_id

    def apply(self, state, event):
        return state + event.data

    def handle(self, state, command):
        Account.handled[self.actor_id] += 1
        if command == "balance":
            return None, state
        if command < 0:
            raise ValueError(f"cannot deposit {command}")
        return NewEvent("Deposited", command), state + command


@contextlib.asynccontextmanager
async def hosts(cluster: MemoryCluster, *names: str, **options: object) -> AsyncIterator[list[ActorHost]]:
    """Hosts on nodes of these names; the first one owns all shards."""
    async with contextlib.AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(ActorHost(cluster.node(name), Account, **{"timeout_s": 60, **options}))
            for name in names
        ]


async def versions(cluster: MemoryCluster, actor_id: str) -> list[tuple[str | None, int]]:
    """Return each stored event's command and what it deposited."""
    return [(event.command_id, event.data) for event in await cluster.log.get_events(actor_id)]


class Storm:
    """One run.

    Attributes:
        problems: what was found to be wrong.
    """

    def __init__(self, cluster: MemoryCluster, seed: int) -> None:
        self._cluster, self._chance = cluster, random.Random(seed)
        self._replies: dict[tuple[str, str], int] = {}
        self._known = Counter[str]()
        self.problems: list[str] = []

    async def run(self) -> list[str]:
        """Ask, disturb, and compare; return the problems."""
        options = {"timeout_s": 60, "idle_s": 0.02, "snapshot_every": 7}
        async with hosts(self._cluster, "a", "b", "c", **options) as found:
            disturbing = asyncio.create_task(self._disturb())
            try:
                for begin in range(0, ROUNDS * ASKS, ASKS):
                    await asyncio.gather(*(self._ask(self._chance.choice(found), n) for n in range(begin, begin + ASKS)))
            finally:
                disturbing.cancel()
        for number in range(ACTORS):
            await self._compare(f"x-{number}")
        self.problems += [f"replied and not stored: {lost}" for lost in self._replies]
        return self.problems

    async def _disturb(self) -> None:
        chance, cluster = self._chance, self._cluster
        while True:
            await asyncio.sleep(chance.uniform(0, 0.01))
            match chance.randrange(6):
                case 0 | 1:
                    cluster.give(chance.choice("abc"), taken=chance.random() < 0.5)
                    if cluster.holder is None:
                        asyncio.get_running_loop().call_later(chance.uniform(0, 0.02), cluster.take)
                case 2:
                    cluster.lost_requests += 1
                case 3:
                    cluster.lost_answers += 1
                case 4:
                    cluster.nodes[chance.choice("abc")].store.lost_acks += 1
                case 5:
                    cluster.nodes[chance.choice("abc")].store.lost_writes += 1

    async def _ask(self, host: ActorHost, number: int) -> None:
        actor_id, command_id = f"x-{number % ACTORS}", f"c-{number // ASKS}-{number % (ASKS // 2)}"
        reply = await host.ask(actor_id, 1 + number % (ASKS // 2), command_id=command_id)
        if self._replies.setdefault((actor_id, command_id), reply) != reply:
            self.problems.append(f"{command_id} was answered with {reply}, and otherwise before")
        known = self._known[actor_id] = max(reply, self._known[actor_id])
        seen = await host.ask(actor_id, "balance")
        if seen < known:
            self.problems.append(f"{actor_id} was told to be at {seen}, and was at {known} before")

    async def _compare(self, actor_id: str) -> None:
        """Compare an actor's events with the replies."""
        balance, commands = 0, set()
        for event in await self._cluster.log.get_events(actor_id):
            balance += event.data
            if event.command_id in commands:
                self.problems.append(f"{event.command_id} was done twice")
            commands.add(event.command_id)
            if self._replies.pop((actor_id, str(event.command_id)), balance) != balance:
                self.problems.append(f"{event.command_id} was answered with another balance than its event made")
