"""A process with one cluster node that writes to every actor it owns, and notes what it was told in a file that outlives it.

Its one argument is a JSON object: url, namespace, node, ttl, replicas, log, actors, pause_s, timeout_s, block_s, clock, bug. It
leaves in good order at SIGTERM, and blocks its loop for `block_s` at SIGUSR1. A line of the file is a JSON list:

    ["joined", time, incarnation]  ["held", time, incarnation]  ["lost", time, reason]  ["left", time]
    ["accepted", time, shard, epoch or 0, position, event id]     0: the epoch changed while the write was on its way
    ["refused", time, shard, event id, error]                     an error that promises that nothing was stored
    ["unknown", time, shard, event id, error]
    ["ingested", time, event ids]                                 a pipeline told that these are stored

Times are the machine's monotonic clock, which all processes share. With the clock "stopped" a lease seems to go on however long
the process stood still, as where a machine is suspended and its clock with it: then nothing but the log refuses a zombie.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import random
import signal
import sys
import time
from typing import Any, NoReturn

from faults.planted import PLANTED
from moving import as_told

from aether import AetherError, NewEvent, OutcomeUnknownError
from aether._native import shard_of
from aether.cluster import ClusterNode
from aether.cluster.lease_keeper import LeaseKeeper
from aether.nats.boot_clock import boot_time

LOOK_S = 0.25
INGEST_EVERY, INGEST_EVENTS = 2, 3
"""After how many pauses of a writer something is ingested, and how many events of each actor."""

STEP_S_MAX = 0.5
"""A clock that stops goes on by no more between two looks."""


class Notes:
    """The file. Each line is one system call, so it is there whole whatever happens to this process in the next moment."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(self, what: str, *facts: object) -> None:
        """Add a line."""
        os.write(self._file, json.dumps([what, time.monotonic(), *facts]).encode() + b"\n")


class StoppingClock:
    """A clock that does not notice how long the process stood still."""

    def __init__(self) -> None:
        self._last, self._hidden = boot_time(), 0.0

    def __call__(self) -> float:
        """Return the time."""
        now = boot_time()
        self._hidden += max(0.0, now - self._last - STEP_S_MAX)
        self._last = now
        return now - self._hidden


def _id(put: Any) -> str:
    return str((put[1] if isinstance(put, tuple) else put).id)


class Pulse:
    """Wakes who waits for shards: nobody polls, for the processors are needed elsewhere."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def beat(self) -> None:
        """Wake all who wait."""
        now, self._next = self._next, asyncio.Event()
        now.set()

    async def wait(self) -> None:
        """Wait for the next beat, or for a while."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_S):
                await self._next.wait()


class Writers:
    """Appends to actors for ever, whenever their node may, by its clock."""

    def __init__(self, node: ClusterNode, pause_s: float, notes: Notes, pulse: Pulse) -> None:
        self._node, self._pause_s, self._notes, self._pulse = node, pause_s, notes, pulse
        self._count = 0

    async def write(self, actor: str) -> None:
        """Append to one actor."""
        shard = shard_of(actor)
        while True:
            epoch = self._node.epoch_of(actor)
            if epoch is None:
                await self._pulse.wait()
                continue
            self._count += 1
            await self._append(actor, shard, epoch, f"{self._node.node_id}/{os.getpid()}/{self._count}")
            await asyncio.sleep(self._pause_s * random.uniform(0.5, 1.5))

    async def ingest(self, actors: list[str]) -> None:
        """Put some events into a pipeline at a time, to all actors that the node owns, so that commits hold several."""
        while True:
            await asyncio.sleep(INGEST_EVERY * self._pause_s)
            news: list[tuple[str, NewEvent]] = []
            for actor in actors:
                if self._node.epoch_of(actor) is not None:
                    for _ in range(INGEST_EVENTS):
                        self._count += 1
                        news.append((actor, NewEvent("t", id=f"{self._node.node_id}/{os.getpid()}/{self._count}")))
            if news:
                await self._put(news)

    async def _put(self, news: list[tuple[str, NewEvent]]) -> None:
        ended: dict[str, AetherError] = {}
        all_put = False
        with contextlib.suppress(AetherError):  # each event's end is told apart
            async with self._node.store.ingest(on_failure=lambda put, error: ended.update({_id(put): error})) as pipeline:
                await pipeline.put_many(news)
                all_put = True
        shards = {new.id: shard_of(actor) for actor, new in news}
        for event_id, error in ended.items():
            what = "unknown" if isinstance(error, OutcomeUnknownError) else "refused"
            self._notes.note(what, shards[event_id], event_id, repr(error))
        if all_put:
            self._notes.note("ingested", [event_id for event_id in shards if event_id not in ended])

    async def _append(self, actor: str, shard: int, epoch: int, event_id: str) -> None:
        try:
            appended = await self._node.store.append(actor, NewEvent("t", id=event_id))
        except AetherError as error:
            what = "unknown" if isinstance(error, OutcomeUnknownError) else "refused"
            self._notes.note(what, shard, event_id, repr(error))
        else:
            is_same = self._node.epoch_of(actor) == epoch
            self._notes.note("accepted", shard, epoch if is_same else 0, appended.position, event_id)


async def tell(node: ClusterNode, notes: Notes, pulse: Pulse, shards: set[int]) -> None:
    """Note what becomes of the membership, and wake the writers of shards that come."""
    async for change in node.changes():
        if change.kind == "acquired" and change.shard in shards:
            pulse.beat()
        elif change.kind == "membership_held":
            notes.note("held", node.incarnation)
        elif change.kind in ("membership_lost", "hook_failed", "shard_failed"):
            notes.note("lost" if change.kind == "membership_lost" else change.kind, change.reason)


def give_up(tasks: list[asyncio.Task[Any]]) -> NoReturn:
    """Say what ended a writer, which is no error of ours, and end the process at once, for whoever watches it."""
    for task in tasks:
        if task.done():
            sys.stderr.write(f"{task!r}\n")
            task.print_stack()
    os._exit(1)


async def main(told: dict[str, Any]) -> None:
    """Join, write, and leave when told to."""
    notes, over, loop = Notes(told["log"]), asyncio.Event(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, over.set)
    loop.add_signal_handler(signal.SIGUSR1, time.sleep, told["block_s"])
    node = ClusterNode.join(
        told["url"],
        namespace=told["namespace"],
        node_id=told["node"],
        ttl=told["ttl"],
        settle_s=0.2,
        replicas=told["replicas"],
        timeout_s=told["timeout_s"],
    )
    async with node:
        notes.note("joined", node.incarnation)
        pulse, actors = Pulse(), told["actors"]
        writers = Writers(node, told["pause_s"], notes, pulse)
        tasks = [asyncio.create_task(writers.write(actor)) for actor in actors]
        tasks.append(asyncio.create_task(writers.ingest(actors)))
        tasks.append(asyncio.create_task(tell(node, notes, pulse, {shard_of(actor) for actor in actors})))
        ended = asyncio.create_task(over.wait())
        await asyncio.wait([ended, *tasks], return_when=asyncio.FIRST_COMPLETED)
        if not over.is_set():
            give_up(tasks)
        await node.aclose()
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks)
    notes.note("left")


if __name__ == "__main__":
    facts = json.loads(sys.argv[1])
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    if facts["clock"] == "stopped":
        LeaseKeeper.__init__.__kwdefaults__["clock"] = StoppingClock()
    PLANTED[facts["bug"]]()
    with as_told():
        asyncio.run(main(facts))
