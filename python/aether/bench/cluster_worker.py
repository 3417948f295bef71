"""One node of the bench `cluster`, in a process of its own.

It hosts actors as a node of a cluster, and beside that answers the same commands as a program over bare NATS would: a request,
the actor's events loaded from a plain store (in the namespace PLAIN), an append at the version that was loaded, and the answer.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import msgspec
import nats

from aether.bench.setting import TIMEOUT_S
from aether.cluster.host import ActorHost
from aether.cluster.node import ClusterNode
from aether.errors import VersionConflictError
from aether.event import NewEvent
from aether.store.jetstream import JetStreamEventStore

if TYPE_CHECKING:
    from nats.aio.msg import Msg

    from aether.event import Event

__all__ = ["PROGRAM", "TTL_S", "Counter", "bare_subject", "main"]

PROGRAM = "from aether.bench.cluster_worker import main; main()"
"""What `python -c` runs; with -m the interpreter would load this module a second time."""


TTL_S = 30.0
"""So long that a machine that others use as well takes no shard away while something is measured."""


class Counter:
    """An actor that counts."""

    initial = 0

    def __init__(self, actor_id: str) -> None:
        """Take the actor's id, which makes no difference."""

    def apply(self, state: int, event: Event) -> int:
        """Return the count after an event."""
        return state + int(event.data)

    def handle(self, state: int, command: int) -> tuple[NewEvent, int]:
        """Count further, and reply the count."""
        return NewEvent("Counted", command), state + command


def bare_subject(namespace: str, name: str) -> str:
    """Name where a worker answers without a cluster."""
    return f"bench.{namespace}.{name}"


class Bare:
    """The same without a host: every command loads, decides, appends."""

    def __init__(self, store: JetStreamEventStore) -> None:
        self._store, self._behaviour = store, Counter("")
        self._running: set[asyncio.Task[None]] = set()

    async def take(self, msg: Msg) -> None:
        """Answer in a task, so that commands of other actors need not wait."""
        task = asyncio.create_task(self._answer(msg))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _answer(self, msg: Msg) -> None:
        actor_id, command = msgspec.msgpack.decode(msg.data, type=tuple[str, int])
        while True:
            state, version = self._behaviour.initial, 0
            for event in await self._store.get_events(actor_id):
                state, version = self._behaviour.apply(state, event), event.version
            draft, reply = self._behaviour.handle(state, command)
            try:
                await self._store.append(actor_id, draft, expected_version=version)
            except VersionConflictError:
                continue
            await msg.respond(msgspec.msgpack.encode(reply))
            return


async def serve(url: str, namespace: str, plain: str, name: str) -> None:
    """Answer until stdin ends."""
    client = await nats.connect(url, pending_size=64 * 2**20)
    node = ClusterNode.join(url, namespace=namespace, node_id=name, ttl=TTL_S, timeout_s=TIMEOUT_S)
    try:
        async with node, ActorHost(node, Counter), JetStreamEventStore(url, namespace=plain, timeout_s=TIMEOUT_S) as store:
            await client.subscribe(bare_subject(namespace, name), cb=Bare(store).take)
            await client.flush()
            sys.stdout.write("ready\n")
            sys.stdout.flush()
            await asyncio.to_thread(sys.stdin.readline)
    finally:
        await client.close()


def main() -> None:
    """Be the node that the command line names: URL NAMESPACE PLAIN NAME."""
    asyncio.run(serve(*sys.argv[1:5]))
