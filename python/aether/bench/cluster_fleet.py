"""Processes that share the shards of a namespace and write to all of them, and what they noted; see `cluster_writer`."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from aether.bench.cluster_writer import PROGRAM, Told
from aether.bench.setting import check
from aether.cluster.table import SHARDS
from aether.nats.subjects import coordination_stream, events_stream, snapshots_stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection

    from aether.bench.setting import Setting

__all__ = ["TTL_S", "Fleet", "Node", "Noted", "fleet"]

TTL_S = 3
PATIENCE_S = 90.0
"""How long anything that is waited for may take, in seconds."""


class Noted(NamedTuple):
    """Something that a node noted of a shard.

    Attributes:
        at_ns: when, on the machine's monotonic clock.
        node: the node's name.
        shard: the shard.
        took_ns: how long a write took.
    """

    at_ns: int
    node: str
    shard: int
    took_ns: int


class Node:
    """One of the processes.

    Attributes:
        name: of the node.
        said: when it noted last what is not of a shard, by what it was.
    """

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name, self._process = name, process
        self.said: dict[str, int] = {}
        self._reading: asyncio.Task[None] | None = None

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._process.returncode is None

    def go_on(self) -> None:
        """Tell it to join, or, if it has, to leave."""
        if self._process.stdin is None:
            raise RuntimeError("the process was started without its pipes")
        self._process.stdin.write(b"\n")

    async def ended(self) -> int:
        """Wait until it has ended, and what it noted is read; return its exit status."""
        async with asyncio.timeout(PATIENCE_S):
            code = await self._process.wait()
        if self._reading is not None:
            await self._reading
        return code

    async def kill(self) -> int:
        """Kill it with SIGKILL; return when that was, on the machine's monotonic clock in nanoseconds."""
        at_ns = time.monotonic_ns()
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self.ended()
        return at_ns

    def read(self, take: Callable[[bytes], None]) -> asyncio.Task[None]:
        """Have something done with each line that it writes, until it ends."""
        self._reading = asyncio.create_task(self._read(take))
        return self._reading

    async def _read(self, take: Callable[[bytes], None]) -> None:
        if self._process.stdout is None:
            raise RuntimeError("the process was started without its pipes")
        async for line in self._process.stdout:
            take(line)


class Fleet:
    """The nodes of one namespace.

    Attributes:
        namespace: the namespace.
        nodes: those that have joined and were not told to end.
        owners: who was the last to write to each shard, unless it let it go since, or is no more.
        noted: what was noted of shards so far, by what it was.
    """

    def __init__(self, setting: Setting, busy: Collection[int], pause_s: float) -> None:
        self.namespace = f"bench-{secrets.token_hex(4)}"
        self.nodes: list[Node] = []
        self.owners: dict[int, str] = {}
        self.noted: dict[str, list[Noted]] = {what: [] for what in ("first", "wrote", "released", "failed")}
        self._setting, self._busy, self._pause_s = setting, frozenset(busy), pause_s
        self._count = 0
        self._all: list[Node] = []
        self._news = asyncio.Event()

    async def start(self) -> Node:
        """Start a process, and return when it could join at once."""
        node = await self.launch()
        await self.ready(node)
        return node

    async def launch(self) -> Node:
        """Start a process, which takes its time to be ready."""
        self._count += 1
        name, setting, pipe = f"node-{self._count}", self._setting, asyncio.subprocess.PIPE
        told = Told(setting.url, self.namespace, name, setting.replicas, setting.storage, TTL_S, self._busy, self._pause_s)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROGRAM, msgspec.json.encode(told), stdin=pipe, stdout=pipe
        )
        node = Node(name, process)
        self._all.append(node)
        node.read(lambda line: self._take(node, line)).add_done_callback(lambda _: self._news.set())
        return node

    async def ready(self, node: Node) -> None:
        """Wait until a process that was started could join at once."""
        await self.until(lambda: "ready" in node.said or not node.runs, f"{node.name} is ready")
        check(holds="ready" in node.said, what=f"{node.name} ended before it was ready")

    def join(self, node: Node) -> None:
        """Tell a node to join."""
        node.go_on()
        self.nodes.append(node)

    async def leave(self, node: Node) -> None:
        """Tell a node to leave, and return when it has."""
        self.nodes.remove(node)
        node.go_on()
        code = await node.ended()
        check(holds=code == 0, what=f"{node.name} left with {code}")

    async def kill(self, node: Node) -> int:
        """Kill a node with SIGKILL; return when that was."""
        self.nodes.remove(node)
        at_ns = await node.kill()
        for shard in self.owned(node):
            del self.owners[shard]
        return at_ns

    def owned(self, node: Node) -> set[int]:
        """Return the shards that a node owns, as far as its writes tell."""
        return {shard for shard, owner in self.owners.items() if owner == node.name}

    async def even(self) -> None:
        """Return when each node owns as many shards as the others, give or take one, and has written to each of them."""
        await self.until(self._is_even, f"{[node.name for node in self.nodes]} share all shards")

    def _is_even(self) -> bool:
        if len(self.owners) < SHARDS:
            return False
        counts = Counter(self.owners.values())
        return counts.keys() == {node.name for node in self.nodes} and max(counts.values()) - min(counts.values()) <= 1

    def since(self, what: str, at_ns: int) -> dict[int, Noted]:
        """Return the earliest note of this kind after that, for each shard of which there is one."""
        found: dict[int, Noted] = {}
        for noted in self.noted[what]:
            if noted.at_ns > at_ns and (noted.shard not in found or noted.at_ns < found[noted.shard].at_ns):
                found[noted.shard] = noted
        return found

    async def until(self, is_so: Callable[[], object], what: str) -> None:
        """Wait until something is so that notes tell."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not is_so():
                    self._news.clear()
                    await self._news.wait()
                    for node in self._all:
                        check(holds=node.runs or node not in self.nodes, what=f"{node.name} ended by itself")
        except TimeoutError:
            check(holds=False, what=f"after {PATIENCE_S:g} s still not: {what}; {Counter(self.owners.values())}")

    def _take(self, node: Node, line: bytes) -> None:
        """Take what a node noted."""
        what, at_ns, shard, took_ns = msgspec.json.decode(line, type=tuple[str, int, int, int])
        if shard < 0:
            node.said[what] = at_ns
        else:
            self.noted[what].append(Noted(at_ns, node.name, shard, took_ns))
        if what == "first":
            self.owners[shard] = node.name
        elif what == "released" and self.owners.get(shard) == node.name:
            del self.owners[shard]
        if what != "wrote":
            self._news.set()

    async def aclose(self) -> None:
        """Kill what still runs, and delete the streams."""
        self.nodes.clear()
        for node in self._all:
            await node.kill()
        await self._setting.delete(*(name(self.namespace) for name in (events_stream, snapshots_stream, coordination_stream)))


@contextlib.asynccontextmanager
async def fleet(setting: Setting, nodes: int, *, busy: Collection[int] = (), pause_s: float = 1.0) -> AsyncIterator[Fleet]:
    """Run so many nodes, from the moment on when each owns its part, and has written to it.

    Args:
        setting: the server, and where streams lie.
        nodes: how many.
        busy: the shards that are written to again and again.
        pause_s: how long it takes from one write to one of these to the next, on average, in seconds.
    """
    made = Fleet(setting, busy, pause_s)
    try:
        launched = [await made.launch() for _ in range(nodes)]
        for node in launched:
            await made.ready(node)
        for node in launched:
            made.join(node)
        await made.even()
        yield made
    finally:
        await made.aclose()
