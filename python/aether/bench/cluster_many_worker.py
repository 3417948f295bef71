"""Many nodes of the bench `cluster` in one process; its one argument is a `Told` as JSON.

It says "ready", joins with all nodes at the first line from stdin, says "settled" once each of them sees that all shards have
owners, and at each further line what its nodes heard so far, as a `Heard`; it ends with stdin, without a word to the others.
"""

from __future__ import annotations

import asyncio
import os
import sys

import msgspec

from aether.bench.setting import TIMEOUT_S
from aether.cluster.node import ClusterNode

__all__ = ["PROGRAM", "Heard", "Told", "main"]

PROGRAM = "from aether.bench.cluster_many_worker import main; main()"
"""What `python -c` runs; with -m the interpreter would load this module a second time."""


class Told(msgspec.Struct, frozen=True):
    """What a process is told.

    Attributes:
        url: the server.
        namespace: the namespace.
        names: its nodes.
        ttl_s: how long their leases live.
        settle_s: how long they may take to settle.
    """

    url: str
    namespace: str
    names: list[str]
    ttl_s: float
    settle_s: float


class Heard(msgspec.Struct, frozen=True):
    """What the nodes of a process have heard and had.

    Attributes:
        messages: how many messages the server has sent to their watches.
        joined: how often they became members.
        shards: how many each of them owns.
    """

    messages: int
    joined: int
    shards: list[int]


async def serve(told: Told) -> None:
    """Be these nodes until stdin ends."""
    nodes = [
        ClusterNode.join(told.url, namespace=told.namespace, node_id=name, ttl=told.ttl_s, timeout_s=TIMEOUT_S)
        for name in told.names
    ]
    joined = 0

    async def count(node: ClusterNode) -> None:
        nonlocal joined
        async for change in node.changes():
            joined += change.kind == "membership_held"

    _say("ready")
    await _line()
    await asyncio.gather(*(node.__aenter__() for node in nodes))
    counting = [asyncio.create_task(count(node)) for node in nodes]
    await asyncio.gather(*(node.settled(timeout_s=told.settle_s) for node in nodes))
    _say("settled")
    while await _line():
        messages = sum(node._parts.connection.client.stats["in_msgs"] for node in nodes)  # noqa: SLF001 - nobody else needs it
        _say(msgspec.json.encode(Heard(messages, joined, [len(node.shards) for node in nodes])).decode())
    for task in counting:
        task.cancel()
    os._exit(0)  # dozens of nodes that drain one after the other measure nothing


async def _line() -> str:
    return await asyncio.to_thread(sys.stdin.readline)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> None:
    """Be the nodes that the command line tells of."""
    asyncio.run(serve(msgspec.json.decode(sys.argv[1], type=Told)))
