"""Commands to actors on all nodes of a fleet, from this process, one after the other to each actor."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from typing import TYPE_CHECKING

from aether.bench.cluster_fleet import TTL_S
from aether.bench.cluster_worker import Counter
from aether.bench.setting import TIMEOUT_S
from aether.cluster.ending import end_tasks
from aether.cluster.host import ActorHost
from aether.cluster.node import ClusterNode
from aether.errors import AetherError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aether.bench.setting import Setting

__all__ = ["Asking", "asking"]

ACTORS = 30
PAUSE_S = 0.1
"""How long each actor is left alone between two commands, on average, in seconds."""


ROUND_S = 2 * TIMEOUT_S
"""How long a command that has begun may take to end, in seconds."""


class Asking:
    """Asks counters to count, and knows what they must answer.

    Attributes:
        answered: when a command was answered, and how long that took, on the machine's monotonic clock in nanoseconds.
        failed: when one failed.
        wrong: the answers that tell of a command that was done twice, or not at all.
    """

    def __init__(self, host: ActorHost) -> None:
        self.answered: list[tuple[int, int]] = []
        self.failed: list[int] = []
        self.wrong: list[str] = []
        self._host = host
        self._rounds = [0] * ACTORS
        self._answered = asyncio.Condition()

    async def ask(self, number: int) -> None:
        """Ask one actor for ever."""
        expected = 0
        while True:
            began_ns = time.monotonic_ns()
            try:
                reply = await self._host.ask(f"counter-{number}", 1)
            except AetherError:
                self.failed.append(time.monotonic_ns())
            else:
                at_ns = time.monotonic_ns()
                self.answered.append((at_ns, at_ns - began_ns))
                if reply != expected + 1:
                    self.wrong.append(f"counter-{number} answered {reply}, not {expected + 1}")
                expected = reply
            async with self._answered:
                self._rounds[number] += 1
                self._answered.notify_all()
            await asyncio.sleep(random.uniform(0.5, 1.5) * PAUSE_S)  # noqa: S311 - spreads load

    async def round(self) -> None:
        """Return when every command that is on its way now has ended."""
        goal = [done + 1 for done in self._rounds]
        async with asyncio.timeout(ROUND_S), self._answered:
            await self._answered.wait_for(lambda: all(done >= least for done, least in zip(self._rounds, goal, strict=True)))


@contextlib.asynccontextmanager
async def asking(setting: Setting, namespace: str) -> AsyncIterator[Asking]:
    """Ask while the block runs, from a node of this process that owns nothing."""
    node = ClusterNode.join(setting.url, namespace=namespace, node_id="asker", weight=0, ttl=TTL_S, timeout_s=TIMEOUT_S)
    async with node, ActorHost(node, Counter, timeout_s=TIMEOUT_S) as host:
        made = Asking(host)
        tasks = [asyncio.create_task(made.ask(number)) for number in range(ACTORS)]
        try:
            await made.round()
            yield made
        finally:
            await end_tasks(tasks)
        for task in tasks:
            if not task.cancelled():
                task.result()  # it asks for ever, so this raises what ended it
