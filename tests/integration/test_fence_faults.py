"""Processes that take one shard from each other while whoever was deposed goes on writing: judged by the raw stream."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from faults.dump import dump
from faults.epochs import Accepted, epoch_violations

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from conftest import Size
    from faults.dump import Stored

    from aether import EmbeddedServer
    from aether.testing import NatsCluster

WORKER = Path(__file__).with_name("fence_worker.py")
SHARD = 17
ANSWER_S = 60.0


class Process:
    """A worker, asked line by line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def hear(self) -> dict[str, Any]:
        """Return its next answer."""
        assert self.process.stdout is not None
        async with asyncio.timeout(ANSWER_S):
            line = await self.process.stdout.readline()
        assert line, "the worker has ended"
        told: dict[str, Any] = json.loads(line)
        return told

    async def ask(self, command: str) -> dict[str, Any]:
        """Give a command, and return the answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n".encode())
        return await self.hear()


@asynccontextmanager
async def worker(urls: Sequence[str], namespace: str, node: str, bug: str) -> AsyncIterator[Process]:
    """Run a worker."""
    arguments = (",".join(urls), namespace, node, str(SHARD), str(len(urls)), bug)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, str(WORKER), *arguments, stdin=pipe, stdout=pipe, limit=2**26)
    try:
        asked = Process(process)
        await asked.hear()
        yield asked
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def take_turns(
    urls: Sequence[str], namespace: str, rounds: int, bug: str = "none"
) -> tuple[list[Stored], list[Accepted], list[float]]:
    """Let two processes take the shard by turns; return the stream, what both were told, and what each take cost in ms."""
    async with worker(urls, namespace, "n1", bug) as first, worker(urls, namespace, "n2", bug) as second:
        took_ms = [(await (first, second)[round_ % 2].ask(f"take {round_ + 1}"))["took_ms"] for round_ in range(rounds)]
        ends = [await each.ask("stop") for each in (first, second)]
    accepted = [Accepted(*write) for end in ends for write in end["accepted"]]
    assert len(accepted) >= rounds, "nobody wrote"
    return await dump(urls, namespace), accepted, took_ms


def told(took_ms: list[float], accepted: list[Accepted]) -> str:
    """Say what a run was like."""
    ordered = sorted(took_ms)
    return (
        f"{len(took_ms)} takeovers from a zombie in a hot loop: median {statistics.median(ordered):.1f} ms, "
        f"p90 {ordered[len(ordered) * 9 // 10]:.1f} ms, longest {ordered[-1]:.1f} ms; {len(accepted):,} writes accepted"
    )


async def test_epochs_never_interleave_on_one_server(nats_server: EmbeddedServer, namespace: str, size: Size) -> None:
    """Takeovers from an owner that ignores them, one server: no write of an old epoch behind a new one, none lost, no gap."""
    stored, accepted, took_ms = await take_turns([nats_server.url], namespace, size.pick(12, 60, 600))
    sys.stdout.write(told(took_ms, accepted) + "\n")
    assert epoch_violations(stored, accepted) == []


async def test_epochs_never_interleave_on_three_servers(nats_cluster: NatsCluster, namespace: str, size: Size) -> None:
    """The same on three servers, whose guards are told apart by their text and whose replicas lag."""
    stored, accepted, took_ms = await take_turns(nats_cluster.urls, namespace, size.pick(8, 60, 600))
    sys.stdout.write(told(took_ms, accepted) + "\n")
    assert epoch_violations(stored, accepted) == []


@pytest.mark.parametrize("bug", ["no fence", "ownership from a read", "stale cache"])
async def test_the_checker_sees_planted_bugs(nats_server: EmbeddedServer, namespace: str, bug: str) -> None:
    """Owners without the fence, with a question in its place, or with a memory from before a takeover are found out."""
    stored, accepted, _ = await take_turns([nats_server.url], namespace, 12, bug)
    assert epoch_violations(stored, accepted)
