"""Several processes that ingest into one namespace at once, each actors of its own, beside one process that puts as much.

One event a commit, guarded and acked. What it is for: does the rate grow with the processes, and if not, who is the limit? So
beside the rate stands how much of a core the clients and the servers had, of each side. Where both together have all cores of
the machine, neither is the limit, the machine is: figures of that kind say nothing about a server on a machine of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from typing import TYPE_CHECKING

import msgspec

from aether._native import Event
from aether.bench.lines import Line
from aether.bench.measure import WALL, Side, compare
from aether.bench.setting import PAYLOAD, check
from aether.nats.subjects import events_stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aether.bench.setting import Setting

__all__ = ["Share", "lines", "workers"]

ACTORS = 10_000
WAIT_S = 600.0


class Share(msgspec.Struct, frozen=True):
    """What one process puts, and where.

    Attributes:
        url: the server.
        namespace: where the events go.
        name: of the process; its actors' ids begin with it.
        count: how many events it puts each time.
        actors: how many of its own take turns.
    """

    url: str
    namespace: str
    name: str
    count: int
    actors: int

    def events(self, first: int) -> list[Event]:
        """Make `count` events from this number on, each with its actor's next version."""
        numbers = range(first, first + self.count)
        return [Event(f"{self.name}-{n % self.actors}", "Measured", n // self.actors + 1, PAYLOAD) for n in numbers]


class Worker:
    """One of the processes; see `ingest_process`.

    Attributes:
        share: what it puts.
        cpu_ns: the CPU time that it had used when it last spoke.
        saved: how many events it had saved by then.
    """

    def __init__(self, share: Share, process: asyncio.subprocess.Process) -> None:
        self.share, self._process = share, process
        self.cpu_ns = self.saved = 0

    async def said(self, word: str) -> None:
        """Wait until it says so."""
        if self._process.stdout is None:
            raise RuntimeError("the process was started without its pipes")
        line = await asyncio.wait_for(self._process.stdout.readline(), WAIT_S)
        said, *figures = line.decode().split() or ["nothing"]
        check(holds=said == word, what=f"a process that puts events said {line!r}, not {word!r}")
        self.cpu_ns, self.saved = map(int, figures)

    def tell(self, word: str) -> None:
        """Tell it what to do."""
        if self._process.stdin is None:
            raise RuntimeError("the process was started without its pipes")
        self._process.stdin.write(f"{word}\n".encode())


class Workers:
    """The processes of one side."""

    def __init__(self, workers: list[Worker]) -> None:
        self._workers = workers

    async def make(self) -> None:
        """Let each make its next events."""
        await self._do("make", "made")

    async def put(self, _: None) -> None:
        """Let all put them at once, and wait until each is acked."""
        before = [worker.saved for worker in self._workers]
        await self._do("put", "put")
        for worker, saved in zip(self._workers, before, strict=True):
            count = worker.share.count
            check(holds=worker.saved - saved == count, what=f"{worker.saved - saved:,} of {count:,} events were saved")

    async def _do(self, word: str, answer: str) -> None:
        for worker in self._workers:
            worker.tell(word)
        await asyncio.gather(*(worker.said(answer) for worker in self._workers))

    def cpu_ns(self) -> int:
        """Return the CPU time that all had used when they last spoke."""
        return sum(worker.cpu_ns for worker in self._workers)

    def saved(self) -> int:
        """Return how many events all have saved."""
        return sum(worker.saved for worker in self._workers)


@contextlib.asynccontextmanager
async def workers(setting: Setting, number: int, count: int) -> AsyncIterator[Workers]:
    """Start so many processes on a namespace of their own, which put so many events together; check in the end what is there."""
    async with setting.store() as store, contextlib.AsyncExitStack() as stack:
        namespace = (await store.info()).namespace
        shares = [Share(setting.url, namespace, f"w{n}", count // number, ACTORS // number) for n in range(number)]
        started = [await stack.enter_async_context(_worker(share)) for share in shares]
        await asyncio.gather(*(worker.said("ready") for worker in started))
        putting = Workers(started)
        yield putting
        async with setting.client() as client:
            state = (await client.jetstream().stream_info(events_stream(namespace))).state
        check(holds=state.messages == putting.saved(), what=f"{state.messages:,} commits are stored, not {putting.saved():,}")


@contextlib.asynccontextmanager
async def _worker(share: Share) -> AsyncIterator[Worker]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "aether.bench.ingest_process", msgspec.json.encode(share), stdin=pipe, stdout=pipe
    )
    try:
        yield Worker(share, process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def lines(setting: Setting) -> list[Line]:
    """Measure as many processes as the setting says, and one."""
    number = setting.processes
    # Every process puts as many as the others, and both sides the same.
    count, repetitions = setting.count(20_000, 50_000, 200_000) // number * number, setting.repetitions(3, 5, 5)
    setting.say(f"processes: {number} and one: {count:,} events of {ACTORS:,} actors, {repetitions + 1} times on each side")
    async with workers(setting, number, count) as many, workers(setting, 1, count) as one:
        (line,) = await compare(
            f"processes, {number}",
            Side(f"{number} processes", many.put, count, many.make, cpu_ns=many.cpu_ns),
            [Side("one process", one.put, count, one.make, cpu_ns=one.cpu_ns)],
            repetitions=repetitions,
            clock=WALL,
            server_cpu_ns=setting.server_cpu_ns,
        )
    return [line, *shares(line, number)]


def shares(line: Line, number: int) -> list[Line]:
    """Return how much of a core clients and servers had, on each side; of servers only where that is known."""
    cores = f"of one core, of {os.cpu_count()}"
    return [
        Line(f"processes, {processes}: {who}, {cores}", percent(cpu_us, wall_ns), "%")
        for processes, wall_ns, clients, servers in (
            (number, line.ours, line.cpu_us, line.server_us),
            (1, line.theirs, line.their_cpu_us, line.their_server_us),
        )
        for who, cpu_us in (("clients", clients), ("servers", servers))
        if cpu_us is not None and wall_ns is not None
    ]


def percent(cpu_us: float, wall_ns: float) -> float:
    """Return CPU time through time, in percent."""
    return 100_000 * cpu_us / wall_ns
