"""Cluster nodes in processes of their own, killed, stopped and told to leave, while all of them write."""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nats
import pytest
from clustering import actors_of, dump, interleaved

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WORKER = Path(__file__).with_name("cluster_worker.py")
PATIENCE_S = 100.0
TTL_S, LONG_TTL_S = 2, 600
"""How long leases live that shall expire, and those that shall not: for longer than anything is waited for."""

SHARDS = random.Random(1).sample(range(1021), 72)
"""At random: shards are dealt in turns, and every second of them may belong to one node; and so many that each of three nodes
surely owns some of them, whoever comes first."""


class Worker:
    """A process of `cluster_worker.py`, and what it has told so far."""

    def __init__(self, url: str, namespace: str, name: str, actors: list[str], ttl: int = TTL_S) -> None:
        self.name = name
        command = [sys.executable, str(WORKER), url, namespace, name, str(ttl), ",".join(actors)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines: list[dict[str, Any]] = []
        self.wrote: list[tuple[float, int, int]] = []  # when, shard, position; in order of time
        self.errors: list[str] = []
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._read, self._read_errors)]
        for reader in self._readers:
            reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with contextlib.suppress(json.JSONDecodeError):  # the last line of a process that was killed
                told = json.loads(line)
                if "wrote" in told:
                    self.wrote.append((told["at"], *told["wrote"]))
                else:
                    self.lines.append(told)

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        self.errors.extend(self.process.stderr)

    def wrote_since(self, since: float) -> list[tuple[float, int, int]]:
        """What it wrote after that."""
        return self.wrote[bisect.bisect_right(self.wrote, (since,)) :]

    def told(self, key: str) -> list[dict[str, Any]]:
        """The lines that have this key."""
        return [line for line in [*self.lines] if key in line]

    def signal(self, number: signal.Signals) -> float:
        """Send a signal; return when."""
        at = time.monotonic()
        os.kill(self.process.pid, number)
        return at

    def end(self) -> None:
        """Be sure that it is gone."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE_S)
        for reader in self._readers:
            reader.join(PATIENCE_S)
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()


@pytest.fixture
def started(nats_server, namespace) -> Iterator[Callable[..., Worker]]:
    """Starts workers of this test's namespace; none of them outlives it."""
    workers: list[Worker] = []

    def start(name: str, actors: list[str], **options: Any) -> Worker:
        workers.append(Worker(nats_server.url, namespace, name, actors, **options))
        return workers[-1]

    yield start
    for worker in workers:
        worker.end()


def until(is_so: Callable[[], bool], what: str) -> None:
    """Wait until something is so, or fail."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, f"after {PATIENCE_S:g} s still not: {what}"
        time.sleep(0.05)


def writers(workers: list[Worker], since: float) -> dict[int, tuple[float, str]]:
    """For each shard that was written to since then: the first time, and by whom."""
    first: dict[int, tuple[float, str]] = {}
    for worker in workers:
        for at, shard, _ in worker.wrote_since(since):
            if shard not in first or at < first[shard][0]:
                first[shard] = (at, worker.name)
    return first


def all_write(workers: list[Worker], shards: set[int], since: float) -> None:
    """Wait until every shard is written to by some of these, and each of them writes."""

    def is_so() -> bool:
        return writers(workers, since).keys() >= shards and all(worker.wrote_since(since) for worker in workers)

    until(is_so, f"{[worker.name for worker in workers]} write to every shard")


async def nothing_moves(url: str, namespace: str, count: int) -> list[str]:
    """Wait until so many nodes share the table evenly and it moves nothing; return the owner of each shard."""
    client = await nats.connect(url)
    deadline = time.monotonic() + PATIENCE_S
    try:
        while True:
            message = await client.jetstream().get_last_msg(f"AETHER-COORD-{namespace}", f"aether-coord.{namespace}.table")
            table = json.loads(message.data or b"{}")
            shares = Counter(table["owners"]).values()
            if len(shares) == count and max(shares) - min(shares) <= 1 and not table["moving"]:
                return [table["nodes"][place] for place in table["owners"]]
            assert time.monotonic() < deadline, "shards still move"
            await asyncio.sleep(0.05)
    finally:
        await client.close()


def accepted(workers: list[Worker]) -> set[int]:
    """The positions that these were told."""
    return {position for worker in workers for _, _, position in worker.wrote_since(0.0)}


async def check(url: str, namespace: str, workers: list[Worker]) -> None:
    """Hold what was told against the raw stream: epochs do not interleave, and nothing that was accepted is missing."""
    told = accepted(workers)
    messages = await dump(url, namespace)
    assert interleaved(messages) == []
    assert told <= {position for position, _, body in messages if "events" in body}


async def test_killed_owner_is_followed(nats_server, namespace, started):
    """After an owner is killed with -9 others write to its shards once its lease has expired, and nothing is lost."""
    actors = actors_of(SHARDS)
    workers = [started(name, [*actors.values()]) for name in "abc"]
    all_write(workers, {*actors}, 0.0)
    killed_at = workers[1].signal(signal.SIGKILL)
    workers[1].end()
    all_write([workers[0], workers[2]], {*actors}, killed_at)
    await check(nats_server.url, namespace, workers)


async def test_zombie_writes_nothing_and_joins_again(nats_server, namespace, started):
    """An owner that is stopped for longer than its lease lives writes nothing when it goes on, and joins as a new life."""
    actors = actors_of(SHARDS)
    workers = [started(name, [*actors.values()]) for name in "abc"]
    all_write(workers, {*actors}, 0.0)
    zombie, others = workers[0], workers[1:]
    stopped_at = zombie.signal(signal.SIGSTOP)
    all_write(others, {*actors}, stopped_at)
    went_on_at = zombie.signal(signal.SIGCONT)
    until(lambda: bool(zombie.told("change")), "the zombie knows")
    until(lambda: any(line["change"] == "membership_held" for line in zombie.told("change")), "it joined again")
    assert zombie.told("change")[-1]["incarnation"] > zombie.told("joined")[0]["joined"]
    held_at = zombie.told("change")[-1]["at"]
    all_write(workers, {*actors}, max(went_on_at, held_at))
    late = [position for _, _, position in zombie.wrote_since(went_on_at)]
    messages = await dump(nats_server.url, namespace)
    epochs = {position: body for position, subject, body in messages if subject.endswith(".=epoch")}
    fresh = {
        position
        for position, body in epochs.items()
        if body["node"] == "a" and body["incarnation"] > zombie.told("joined")[0]["joined"]
    }
    by_position = {position: body for position, _, body in messages}
    # What it had sent before it was stopped may have been answered after it went on: those bear positions from before.
    assert all(by_position[position]["epoch"] in fresh or position < min(fresh) for position in late)
    await check(nats_server.url, namespace, workers)


async def test_terminated_owner_leaves_in_good_order(nats_server, namespace, started):
    """A node that is told to leave gives its shards away, long before leases expire, and no append of any node fails."""
    actors = actors_of(SHARDS)
    workers = [started(name, [*actors.values()], ttl=LONG_TTL_S) for name in "abc"]
    all_write(workers, {*actors}, 0.0)
    workers[2].signal(signal.SIGTERM)
    assert workers[2].process.wait(PATIENCE_S) == 0
    workers[2].end()
    all_write(workers[:2], {*actors}, workers[2].told("left")[0]["at"])
    failures = [line for worker in workers for line in worker.told("failed") if line["error"] != "NotOwnerError"]
    assert failures == []
    await check(nats_server.url, namespace, workers)


async def test_restart_before_expiry_moves_nothing(nats_server, namespace, started):
    """A node that is killed and starts again under its name at once has its shards back, and no other node's change."""
    actors = actors_of(SHARDS)
    workers = [started(name, [*actors.values()], ttl=LONG_TTL_S) for name in "abc"]
    all_write(workers, {*actors}, 0.0)
    before = await nothing_moves(nats_server.url, namespace, 3)
    killed_at = workers[1].signal(signal.SIGKILL)
    workers[1].end()
    workers.append(started("b", [*actors.values()], ttl=LONG_TTL_S))
    all_write([workers[0], workers[2], workers[3]], {*actors}, killed_at)
    assert await nothing_moves(nats_server.url, namespace, 3) == before
    for shard, (_, name) in writers(workers, workers[3].told("joined")[0]["at"]).items():
        assert name == before[shard]
    await check(nats_server.url, namespace, workers)


async def test_replaced_while_it_was_stopped_it_stops_for_good(nats_server, namespace, started):
    """A leader that was stopped until its lease ran out, and replaced meanwhile, never leads or writes again, and says why."""
    actors = actors_of(SHARDS)
    stopped = started("a", [*actors.values()])
    all_write([stopped], {*actors}, 0.0)
    other = started("b", [*actors.values()])
    all_write([stopped, other], {*actors}, 0.0)
    stopped_at = stopped.signal(signal.SIGSTOP)
    later = started("a", [*actors.values()])
    until(lambda: bool(later.told("joined")), "another process joined as a")
    all_write([later, other], {*actors}, later.told("joined")[0]["at"])
    await asyncio.sleep(stopped_at + TTL_S + 1.0 - time.monotonic())  # not to wait for anybody: its lease must have run out
    last = (await dump(nats_server.url, namespace))[-1][0]
    went_on_at = stopped.signal(signal.SIGCONT)
    until(lambda: any("another process joined" in line["reason"] for line in stopped.told("change")), "it knows why it stops")
    all_write([later, other], {*actors}, went_on_at)
    left_at = other.signal(signal.SIGTERM)
    until(lambda: bool(other.told("left")), "b has left")
    all_write([later], {*actors}, max(left_at, other.told("left")[0]["at"]))
    # What it had sent before it was stopped may have been answered after it went on; nothing of it was stored after that.
    assert all(position <= last for position in accepted([stopped]))
    await check(nats_server.url, namespace, [stopped, other, later])
