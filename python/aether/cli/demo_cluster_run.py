"""What `aether demo --cluster` does, step by step; each step returns what it measured."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
import statistics
import sys
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from aether.cli import cluster_audit
from aether.cli.demo_node import PROGRAM, Account
from aether.cluster.host import ActorHost
from aether.cluster.node import ClusterNode
from aether.cluster.pulse import Pulse, until
from aether.errors import AetherError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aether.cli.cluster_audit import ClusterAudit
    from aether.cli.cluster_state import ClusterState

__all__ = ["NODES", "ClusterRun", "Gap", "Load"]

NODES = ("node-1", "node-2", "node-3")
ACCOUNTS = 120
ASK_EVERY_S = 0.5
"""How often each account is asked, where it answers as fast."""
ASK_S = 20.0
STEP_S = 20.0
"""What a node's start or end, or the shards' coming to rest, may take."""


class Load(NamedTuple):
    """What was asked and answered in a while.

    Attributes:
        asks: commands answered.
        failed: commands that failed.
        seconds: how long it was.
        p50_ms: half of the answers came within so many milliseconds.
        p99_ms: 99 of 100 did.
    """

    asks: int
    failed: int
    seconds: float
    p50_ms: float
    p99_ms: float


class Gap(NamedTuple):
    """How long accounts were without answers when their shards changed hands.

    Attributes:
        accounts: accounts whose shard went to another node.
        p50_s: half of them waited at most so long for an answer.
        worst_s: the one that waited longest.
        others_p99_ms: how long 99 of 100 answers to all other accounts took meanwhile.
        failed: commands that failed.
    """

    accounts: int
    p50_s: float
    worst_s: float
    others_p99_ms: float
    failed: int


class Answer(NamedTuple):
    """One answered command."""

    account: str
    asked_at: float
    answered_at: float


class ClusterRun:
    """One run: node processes, this process as an asker, and a record of every answer.

    Args:
        url: the server.
        namespace: an empty namespace.

    Attributes:
        acked: for each account and command id, the data that was answered: the demo's own record.
        failures: what went wrong with commands, in words.
    """

    def __init__(self, url: str, namespace: str) -> None:
        self._url, self._namespace = url, namespace
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._stack = contextlib.AsyncExitStack()
        self._asking: list[asyncio.Task[None]] = []
        self._host: ActorHost | None = None
        self._node: ClusterNode | None = None
        self.acked: dict[tuple[str, str], Any] = {}
        self.failures: list[str] = []
        self._answers: list[Answer] = []
        self._answered = Pulse()
        self._over = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for task in self._asking:
            task.cancel()
        if self._asking:
            await asyncio.wait(self._asking)
        await asyncio.gather(*(self._end(process) for process in self._processes.values()))
        await self._stack.aclose()

    # Nodes.

    def pid(self, name: str) -> int:
        """Return a node's process."""
        return self._processes[name].pid

    async def start(self, name: str) -> None:
        """Start a node, and wait until it is a member.

        Raises:
            AetherError: it does not come up.
        """
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", PROGRAM, self._url, self._namespace, name),
            stdin=pipe,
            stdout=pipe,
            start_new_session=True,  # Ctrl-C is for this process alone, which ends the others in order
        )
        self._processes[name] = process
        if process.stdout is None:
            raise AssertionError("a process was started without its pipe")
        try:
            async with asyncio.timeout(STEP_S):
                said = await process.stdout.readline()
        except TimeoutError:
            said = b""
        if said.strip() != b"ready":
            raise AetherError(f"{name} did not come up within {STEP_S:g} s")

    async def kill(self, name: str) -> float:
        """Kill a node with SIGKILL; return when, on the loop's clock."""
        process = self._processes.pop(name)
        killed_at = asyncio.get_running_loop().time()
        process.kill()
        await process.wait()
        return killed_at

    async def leave(self, name: str) -> float:
        """Have a node leave in order; return when it was told to."""
        process = self._processes.pop(name)
        told_at = asyncio.get_running_loop().time()
        process.send_signal(signal.SIGTERM)
        await self._wait(process)
        return told_at

    async def _wait(self, process: asyncio.subprocess.Process) -> None:
        try:
            async with asyncio.timeout(STEP_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise AetherError(f"a node did not end within {STEP_S:g} s, and was killed") from None

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()

    async def settled(self, state: ClusterState, names: set[str]) -> float:
        """Wait until these nodes have all shards and none is moving; return when that was."""
        return await _once(
            state,
            lambda: state.table is not None and not (state.table.moving or state.to_follow) and set(state.table.owners) == names,
        )

    async def expired(self, state: ClusterState, name: str) -> float:
        """Wait until a node is no member any more; return when that was."""
        return await _once(state, lambda: name not in state.members)

    # Load.

    async def begin_load(self) -> None:
        """Join as a node that owns nothing, and let every account ask again and again."""
        node = ClusterNode.join(self._url, namespace=self._namespace, node_id="asker", weight=0)
        self._node = await self._stack.enter_async_context(node)
        self._host = await self._stack.enter_async_context(ActorHost(self._node, Account, timeout_s=ASK_S))
        # Whose turn comes when is spread evenly, so that there is no crowd.
        self._asking = [
            asyncio.create_task(self._ask_on(f"account-{number}", ASK_EVERY_S * number / ACCOUNTS)) for number in range(ACCOUNTS)
        ]

    async def end_load(self) -> None:
        """Let every account have its last answer."""
        self._over = True
        await asyncio.wait(self._asking)

    async def _ask_on(self, account: str, wait_s: float) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(wait_s)
        while not self._over and self._host is not None:
            asked_at = loop.time()
            await self._ask(self._host, account, asked_at)
            await asyncio.sleep(max(0.0, asked_at + ASK_EVERY_S - loop.time()))

    async def _ask(self, host: ActorHost, account: str, asked_at: float) -> None:
        command_id = secrets.token_hex(8)
        try:
            answered = await host.ask(account, {"deposit": 1 + len(self.acked) % 500}, command_id=command_id)
        except AetherError as error:
            self.failures.append(f"{account}: {error}")
            return
        self.acked[account, command_id] = answered
        self._answers.append(Answer(account, asked_at, asyncio.get_running_loop().time()))
        self._answered.beat()

    async def measure(self, seconds: float) -> Load:
        """Let the load go on, and say what it came to."""
        loop = asyncio.get_running_loop()
        begun_at, failures = loop.time(), len(self.failures)
        await asyncio.sleep(seconds)
        times = [answer.answered_at - answer.asked_at for answer in self._answers if answer.answered_at >= begun_at]
        p50, p99 = _percentiles(times)
        return Load(len(times), len(self.failures) - failures, loop.time() - begun_at, p50 * 1000, p99 * 1000)

    def owned_by(self, state: ClusterState, name: str) -> set[str]:
        """Return the accounts that a node owns."""
        accounts = (f"account-{number}" for number in range(ACCOUNTS))
        return {account for account in accounts if state.owner_of(account)[1] == name}

    async def answered(self, accounts: set[str], since: float) -> None:
        """Wait until each of these accounts had an answer to something it asked since then.

        Raises:
            AetherError: that takes too long.
        """
        try:
            async with asyncio.timeout(STEP_S):
                while accounts - {answer.account for answer in self._answers if answer.answered_at >= since}:
                    await self._answered.next.wait()
        except TimeoutError:
            raise AetherError(f"accounts were without an answer for {STEP_S:g} s") from None

    def gap(self, accounts: set[str], since: float, failures: int) -> Gap:
        """Say how long these accounts were without an answer after `since`, and what the others noticed."""
        worst: dict[str, float] = {}
        others: list[float] = []
        for account, asked_at, answered_at in self._answers:
            if answered_at < since:
                continue
            if account in accounts:
                worst[account] = max(worst.get(account, 0.0), answered_at - max(asked_at, since))
            else:
                others.append(answered_at - asked_at)
        waits = [*worst.values()] or [0.0]
        return Gap(
            len(worst), statistics.median(waits), max(waits), _percentiles(others)[1] * 1000, len(self.failures) - failures
        )

    # Proof.

    async def audit(self) -> ClusterAudit:
        """Compare the own record with a raw dump of the stream."""
        return cluster_audit.judge(await cluster_audit.raw_dump(self._url, self._namespace), self.acked)


def _percentiles(times: list[float]) -> tuple[float, float]:
    """Return the median and the 99th percentile; zeros of nothing."""
    if not times:
        return 0.0, 0.0
    ordered = sorted(times)
    return ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]


async def _once(state: ClusterState, holds: Callable[[], bool]) -> float:
    """Wait until something holds of the cluster; return when that was.

    Raises:
        AetherError: it takes too long.
    """
    deadline = asyncio.get_running_loop().time() + STEP_S
    while True:
        beat = state.changed.next
        if holds():
            return asyncio.get_running_loop().time()
        if not await until(beat, deadline):
            raise AetherError(f"the shards did not come to rest within {STEP_S:g} s")
