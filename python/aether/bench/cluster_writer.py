"""One node of the benches in which shards change their owners, in a process of its own: it writes to every shard it gets.

There is an actor for each shard. To each the node writes as soon as it owns the shard, and goes on writing to some of them. Its
one argument is a `Told` as JSON. It says "ready", joins at the first line from stdin, and leaves in good order at the next, or
at the end of stdin. It notes what happens on stdout, each note a line and one system call, so that it is there whole however
this process ends: a JSON list of what, when on the machine's monotonic clock in nanoseconds, the shard (-1: none), and for how
long, in nanoseconds.

    ready, joining, joined, left
    first       the first write to a shard since it was taken was accepted
    wrote       a later one was
    released    no write to a shard is on its way any more, and it is no longer this node's
    failed      a write raised something else than that another node owns the shard
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from functools import cache
from typing import Literal

import msgspec

from aether._native import shard_of
from aether.bench.cluster_worker import Counter
from aether.bench.setting import PAYLOAD, TIMEOUT_S
from aether.cluster.host import ActorHost
from aether.cluster.node import ClusterNode
from aether.cluster.table import SHARDS
from aether.errors import AetherError, NotOwnerError
from aether.event import NewEvent

__all__ = ["PROGRAM", "Told", "actor_of", "main"]

PROGRAM = "from aether.bench.cluster_writer import main; main()"
"""What `python -c` runs; with -m the interpreter would load this module a second time."""

AGAIN_S = 0.01
"""How long a writer rests that was told that another node owns its shard, until this node lets it go."""


class Told(msgspec.Struct, frozen=True):
    """What a node is told.

    Attributes:
        url, namespace, node, replicas, storage: of `ClusterNode.join`.
        ttl_s: how long its lease lives, in seconds.
        busy: the shards that it goes on writing to.
        pause_s: how long it rests between two writes to one of these, on average, in seconds.
    """

    url: str
    namespace: str
    node: str
    replicas: int
    storage: Literal["file", "memory"]
    ttl_s: int
    busy: frozenset[int]
    pause_s: float


@cache
def _actors() -> tuple[str, ...]:
    found: dict[int, str] = {}
    number = 0
    while len(found) < SHARDS:
        actor_id = f"writer-{number}"
        found.setdefault(shard_of(actor_id), actor_id)
        number += 1
    return tuple(found[shard] for shard in range(SHARDS))


def actor_of(shard: int) -> str:
    """Return the actor of a shard."""
    return _actors()[shard]


def note(what: str, shard: int = -1, took_ns: int = 0) -> None:
    """Tell that something happened just now."""
    os.write(1, msgspec.json.encode((what, time.monotonic_ns(), shard, took_ns)) + b"\n")


class Writers:
    """Write to what the node owns, from the moment it does."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._owned = [asyncio.Event() for _ in range(SHARDS)]
        self._gone = [asyncio.Event() for _ in range(SHARDS)]

    def acquired(self, shard: int, epoch: int) -> None:  # noqa: ARG002 - as the hook is called
        """Wake the writer of a shard."""
        self._gone[shard].clear()
        self._owned[shard].set()

    def released(self, shard: int) -> None:
        """Let the writer of a shard rest."""
        note("released", shard)
        self._owned[shard].clear()
        self._gone[shard].set()

    async def write(self, node: ClusterNode, shard: int) -> None:
        """Write to a shard whenever the node owns it."""
        while True:
            await self._owned[shard].wait()
            if await self._append(node, shard, "first"):
                while shard in self._told.busy and self._owned[shard].is_set():
                    await asyncio.sleep(random.uniform(0.5, 1.5) * self._told.pause_s)  # noqa: S311 - spreads load
                    if self._owned[shard].is_set():
                        await self._append(node, shard, "wrote")
                await self._gone[shard].wait()
            else:
                await asyncio.sleep(AGAIN_S)

    async def _append(self, node: ClusterNode, shard: int, what: str) -> bool:
        began = time.monotonic_ns()
        try:
            await node.store.append(actor_of(shard), NewEvent("Written", PAYLOAD))
        except NotOwnerError:
            return False
        except AetherError as error:
            note("failed", shard)
            sys.stderr.write(f"{node.node_id}: shard {shard}: {error!r}\n")
            return False
        note(what, shard, time.monotonic_ns() - began)
        return True


async def serve(told: Told) -> None:
    """Join when told to, write, and leave when told to."""
    _actors()
    note("ready")
    if not await asyncio.to_thread(sys.stdin.readline):
        return
    note("joining")
    writers = Writers(told)
    node = ClusterNode.join(
        told.url,
        namespace=told.namespace,
        node_id=told.node,
        ttl=told.ttl_s,
        on_acquire=writers.acquired,
        on_release=writers.released,
        timeout_s=TIMEOUT_S,
        replicas=told.replicas,
        storage=told.storage,
    )
    async with node, ActorHost(node, Counter, timeout_s=TIMEOUT_S), asyncio.TaskGroup() as group:
        note("joined")
        # One that ends by an error ends the process.
        writing = [group.create_task(writers.write(node, shard)) for shard in range(SHARDS)]
        await asyncio.to_thread(sys.stdin.readline)
        await node.drain()  # while the host still answers
        for task in writing:
            task.cancel()
    note("left")


def main() -> None:
    """Be the node that the command line describes."""
    asyncio.run(serve(msgspec.json.decode(sys.argv[1], type=Told)))
