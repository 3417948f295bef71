"""Node processes with actor hosts, accounts that are asked for ever, and the raw stream held against every answer."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aether import AetherError
from aether.cli.cluster_audit import ClusterAudit, judge, raw_dump
from aether.cli.demo_node import Account
from aether.cluster import ActorHost, ClusterNode

if TYPE_CHECKING:
    import signal
    from collections.abc import AsyncIterator, Callable

TTL_S, LONG_TTL_S = 2, 600
"""How long leases live that shall expire, and those that shall not: for longer than anything is waited for."""

LIMIT_S = 100.0
PAUSE_S = 0.25
WORKER = Path(__file__).with_name("host_worker.py")


class Workers:
    """Node processes by name."""

    def __init__(self, url: str, namespace: str, ttl_s: int, replicas: int) -> None:
        self._url, self._namespace, self._rest = url, namespace, [str(ttl_s), str(replicas)]
        self.processes: dict[str, subprocess.Popen[str]] = {}

    async def start(self, name: str) -> None:
        """Start one, and wait until it has joined."""
        command = [sys.executable, str(WORKER), self._url, self._namespace, name, *self._rest]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220 - it returns at once
        self.processes[name] = process
        assert process.stdout is not None
        assert await asyncio.wait_for(asyncio.to_thread(process.stdout.readline), LIMIT_S) == "joined\n", name

    def kill(self, name: str) -> None:
        """Kill one without mercy."""
        self._end(self.processes.pop(name))

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send one a signal."""
        self.processes[name].send_signal(number)

    async def leave(self, name: str) -> None:
        """Have one leave in good order."""
        process = self.processes.pop(name)
        process.terminate()
        assert await asyncio.to_thread(process.wait, LIMIT_S) == 0
        self._end(process)

    def _end(self, process: subprocess.Popen[str]) -> None:
        process.kill()
        process.wait(LIMIT_S)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def close(self) -> None:
        """Kill all that are left."""
        for name in [*self.processes]:
            self.kill(name)


class Asking:
    """Accounts that are asked one command after another, each for ever.

    Attributes:
        acked: for each account and command id, what was answered.
        failures: errors of commands.
    """

    def __init__(self, host: ActorHost, accounts: int) -> None:
        self._host, self._accounts = host, accounts
        self._over = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.acked: dict[tuple[str, str], Any] = {}
        self.failures: list[str] = []

    def begin(self) -> None:
        """Ask."""
        self._tasks = [asyncio.create_task(self._ask_on(f"account-{number}")) for number in range(self._accounts)]

    async def end(self) -> None:
        """Wait for the last answers."""
        self._over.set()
        await asyncio.wait_for(asyncio.gather(*self._tasks), LIMIT_S)

    async def more(self, accounts: int) -> None:
        """Wait until so many accounts had another answer."""
        before = {account: 0 for account, _ in self.acked}
        for account, _ in self.acked:
            before[account] += 1

        def enough() -> bool:
            now = dict.fromkeys(before, 0)
            for account, _ in self.acked:
                now[account] = now.get(account, 0) + 1
            return sum(now[account] > before.get(account, 0) for account in now) >= accounts

        await until(enough, f"{accounts} accounts had an answer")

    async def _ask_on(self, account: str) -> None:
        number = 0
        while not self._over.is_set():
            number += 1
            command_id = f"{account}-{number}"
            try:
                answered = await self._host.ask(account, {"deposit": number}, command_id=command_id, timeout_s=LIMIT_S)
            except AetherError as error:
                self.failures.append(f"{command_id}: {type(error).__name__}: {error}")
            else:
                self.acked[account, command_id] = answered
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), PAUSE_S)


async def until(holds: Callable[[], bool], what: str) -> None:
    """Wait until something holds, or fail."""
    deadline = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < deadline, f"not within {LIMIT_S:g} s: {what}"
        await asyncio.sleep(0.02)


def counts(node: ClusterNode) -> dict[str, int]:
    """Return how many of the accounts each node owns, as this node sees it; "": nobody does."""
    found: dict[str, int] = {}
    for number in range(1_000):
        owner = node.owner_of(f"account-{number}")
        name = "" if owner is None else owner.name
        found[name] = found.get(name, 0) + 1
    return found


@contextlib.asynccontextmanager
async def cluster(
    url: str, namespace: str, *names: str, accounts: int = 40, ttl_s: int = TTL_S, replicas: int = 1
) -> AsyncIterator[tuple[Workers, ClusterNode, Asking]]:
    """Yield node processes of these names, a node that owns nothing, and accounts that are asked from it."""
    workers = Workers(url, namespace, ttl_s, replicas)
    try:
        await asyncio.gather(*(workers.start(name) for name in names))
        node = ClusterNode.join(url, namespace=namespace, node_id="asker", weight=0, ttl=float(ttl_s), timeout_s=30)
        async with node, ActorHost(node, Account) as host:
            await until(lambda: counts(node).keys() == {*names}, f"{names} own all shards")
            asking = Asking(host, accounts)
            asking.begin()
            yield workers, node, asking
    finally:
        workers.close()


async def audit(url: str, namespace: str, asking: Asking) -> ClusterAudit:
    """Hold the raw stream against what was answered."""
    return judge(await raw_dump(url, namespace), asking.acked)
