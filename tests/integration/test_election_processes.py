"""Candidates in processes of their own that are killed, stopped, ended and blocked: no two lead at once, and one soon leads."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from faults.waiting import until

if TYPE_CHECKING:
    from conftest import Size

WORKER = Path(__file__).parent / "election_worker.py"
TTL_S, LONG_TTL_S = 1, 600
"""How long leases live that shall expire, and those that shall not: for longer than anything is waited for."""

LIMIT_S = 100.0


class Line(NamedTuple):
    """What a worker said."""

    worker: str
    what: str
    term: int
    at: float


class Worker:
    """A candidate's process, and what it said."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, lines: list[Line]) -> None:
        self.name, self.process, self._lines = name, process, lines
        self.reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self._lines.append(Line(self.name, **json.loads(line)))

    @property
    def said(self) -> list[Line]:
        """What it said so far."""
        return [line for line in self._lines if line.worker == self.name]

    async def end(self) -> None:
        """Kill it, if it still runs."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self.reading


class Field:
    """Workers of one election."""

    def __init__(self, url: str, namespace: str, replicas: int) -> None:
        self.url, self.namespace, self.replicas = url, namespace, replicas
        self.lines: list[Line] = []
        self.workers: list[Worker] = []
        self.started = 0

    async def add(self, *, ttl_s: int = TTL_S, block_s: float = 0.0) -> Worker:
        """Start a worker, and wait until it is a candidate."""
        self.started += 1
        name = f"w{self.started}"
        arguments = [self.url, self.namespace, name, str(ttl_s), str(self.replicas), str(block_s)]
        process = await asyncio.create_subprocess_exec(sys.executable, str(WORKER), *arguments, stdout=asyncio.subprocess.PIPE)
        worker = Worker(name, process, self.lines)
        self.workers.append(worker)
        await until(lambda: worker.said or process.returncode is not None, limit_s=LIMIT_S)
        assert worker.said, f"{name} ended with {process.returncode}"
        return worker

    def leads(self) -> list[Line]:
        """The beginnings of terms, in their order."""
        return sorted((line for line in self.lines if line.what == "leads"), key=lambda line: line.term)

    def said(self, what: str, term: int) -> list[Line]:
        """What was said of a term."""
        return [line for line in self.lines if (line.what, line.term) == (what, term)]

    async def leader_after(self, term: int) -> Line:
        """Wait for the first term behind `term`."""
        await until(lambda: any(line.term > term for line in self.leads()), limit_s=LIMIT_S)
        return next(line for line in self.leads() if line.term > term)

    def worker(self, name: str) -> Worker:
        """Return a worker by its name."""
        return next(worker for worker in self.workers if worker.name == name)


def overlaps(lines: list[Line]) -> list[str]:
    """Return each pair of terms in which somebody acted at the same time, or later in the older one."""
    acts: dict[int, list[float]] = {}
    for line in lines:
        if line.what == "acts":
            acts.setdefault(line.term, []).append(line.at)
    terms = sorted(acts)
    return [
        f"term {older} acts at {max(acts[older]):.3f}, term {newer} from {min(acts[newer]):.3f}"
        for older, newer in pairwise(terms)
        if max(acts[older]) >= min(acts[newer])
    ]


@asynccontextmanager
async def field(url: str, namespace: str, replicas: int, count: int, ttl_s: int = TTL_S):
    """Start workers, and end them."""
    made = Field(url, namespace, replicas)
    try:
        await asyncio.gather(*(made.add(ttl_s=ttl_s) for _ in range(count)))
        yield made
    finally:
        for worker in made.workers:
            await worker.end()


@pytest.fixture(params=[1, 3], ids=["one server", "three servers"])
def servers(request: pytest.FixtureRequest) -> tuple[str, int]:
    """The URL of one server or of three, and how many replicas there can be."""
    if request.param == 1:
        return request.getfixturevalue("nats_server").url, 1
    return ",".join(request.getfixturevalue("nats_cluster").urls), 3


async def test_a_killed_leader_is_followed(servers, namespace, size: Size):
    """After kill -9 of the leader, again and again, another leads once its time to live is over; no two act at once."""
    url, replicas = servers
    async with field(url, namespace, replicas, 3) as made:
        leader = await made.leader_after(0)
        kills = size.pick(2, 10, 50)
        for left in reversed(range(kills)):
            await until(lambda term=leader.term: made.said("acts", term))
            made.worker(leader.worker).process.kill()
            await made.worker(leader.worker).end()
            leader = await made.leader_after(leader.term)
            if left > 1:
                await made.add()  # three at a time, as long as there is one to follow the last
    assert overlaps(made.lines) == []


async def test_a_zombie_knows_that_it_is_one(servers, namespace, size: Size):
    """A leader that stood still for longer than its time to live does nothing in its term any more, from its first step on."""
    url, replicas = servers
    async with field(url, namespace, replicas, 2) as made:
        leader = await made.leader_after(0)
        for _ in range(size.pick(1, 5, 30)):
            zombie = made.worker(leader.worker)
            await until(lambda term=leader.term: made.said("acts", term))
            zombie.process.send_signal(signal.SIGSTOP)
            following = await made.leader_after(leader.term)
            await until(lambda term=following.term: len(made.said("acts", term)) > 3)
            zombie.process.send_signal(signal.SIGCONT)
            await until(lambda term=leader.term: made.said("lost", term))
            leader = following
    assert overlaps(made.lines) == []


async def test_a_leader_that_leaves_hands_over_at_once(servers, namespace):
    """After SIGTERM another leads long before the time to live is over."""
    url, replicas = servers
    async with field(url, namespace, replicas, 4, ttl_s=LONG_TTL_S) as made:
        term = 0
        for _ in range(3):
            leader = await made.leader_after(term)
            term = leader.term
            made.worker(leader.worker).process.terminate()
            await until(lambda term=term: made.said("left", term))
        await made.leader_after(term)
        begins, ends = made.leads(), sorted((line for line in made.lines if line.what == "left"), key=lambda line: line.term)
        assert [line.worker for line in begins[:3]] == [line.worker for line in ends]
    assert overlaps(made.lines) == []


async def test_a_blocked_loop_does_not_act_beyond_its_deadline(nats_server, namespace):
    """A leader whose loop was blocked for longer than its time to live is no leader at the first look, before any timer ran."""
    async with field(nats_server.url, namespace, 1, 0) as made:
        blocked = await made.add(block_s=2.5 * TTL_S)
        await made.add()
        await until(lambda: any(line.what.endswith("after the block") for line in blocked.said))
        assert [line.what for line in blocked.said if line.what.endswith("after the block")] == ["invalid after the block"]
        await made.leader_after(made.leads()[0].term)
    assert overlaps(made.lines) == []


def test_the_check_for_overlaps_finds_one():
    """An act in an older term after one in a newer is found."""
    lines = [Line("a", "acts", 1, 1.0), Line("b", "acts", 5, 2.0), Line("a", "acts", 1, 2.1)]
    assert overlaps(lines) == ["term 1 acts at 2.100, term 5 from 2.000"]
    assert overlaps(lines[:2]) == []
