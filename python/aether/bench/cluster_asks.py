"""Asking actors that live on three nodes, beside bare NATS requests whose handlers load and append.

Both sides send the same commands to as many actors, from a process of its own to three others on the same server. The
baseline's handlers keep nothing: they load the actor's events, append at the version that they loaded, and answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import sys
from typing import TYPE_CHECKING

import msgspec

from aether._native import shard_of
from aether.bench.cluster_worker import PROGRAM, TTL_S, Counter, bare_subject
from aether.bench.measure import WALL, Line, Side, compare
from aether.bench.setting import TIMEOUT_S, check
from aether.cluster.host import ActorHost
from aether.cluster.node import ClusterNode
from aether.cluster.table import SHARDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from nats.aio.client import Client

    from aether.bench.setting import Setting

__all__ = ["lines"]

NODES = ("node-1", "node-2", "node-3")
AT_ONCE = 128
"""How many commands are under way at a time."""

START_S = 60.0


async def lines(setting: Setting) -> list[Line]:
    """Measure."""
    actors = setting.count(2_000, 10_000, 10_000)
    repetitions = setting.repetitions(3, 5, 7)
    setting.say(f"cluster: {2 * actors * (repetitions + 1):,} commands to {actors:,} actors over three nodes")
    async with _cluster(setting) as (host, client, namespace, plain):
        asked = Asked(actors)
        ours, theirs = _ours(host), _theirs(client, namespace)
        found = await compare(
            f"cluster, {actors:,} commands, each to another of as many actors, {AT_ONCE} at once",
            Side("aether", lambda _: asked.run(ours, "ours"), actors, samples=asked.samples["ours"]),
            [Side("NATS request, load, append", lambda _: asked.run(theirs, "theirs"), actors, samples=asked.samples["theirs"])],
            repetitions=repetitions,
            clock=WALL,
            server_cpu_ns=setting.server_cpu_ns,
        )
        for stored in (namespace, plain):
            held = (await client.jetstream().stream_info(f"AETHER-EVENTS-{stored}")).state.messages
            epochs = 0 if stored == plain else SHARDS
            check(holds=held >= actors * (repetitions + 1) + epochs, what=f"{stored} lacks commands")
        return found


class Asked:
    """What both sides are asked, and how long each answer took."""

    def __init__(self, actors: int) -> None:
        self._actors = actors
        self._rounds = {"ours": 0, "theirs": 0}
        self.samples: dict[str, list[int]] = {"ours": [], "theirs": []}

    async def run(self, ask: Callable[[str, int], Awaitable[int]], side: str) -> None:
        """Ask each actor once, so many at a time."""
        self._rounds[side] += 1
        left = iter(range(self._actors))
        samples = self.samples[side]

        async def work() -> None:
            for number in left:
                begin = WALL()
                reply = await ask(f"counter-{number}", 1)
                samples.append(WALL() - begin)
                check(holds=reply == self._rounds[side], what=f"{side}: counter-{number} replied {reply}")

        await asyncio.gather(*(work() for _ in range(AT_ONCE)))


def _ours(host: ActorHost) -> Callable[[str, int], Awaitable[int]]:
    async def ask(actor_id: str, command: int) -> int:
        reply: int = await host.ask(actor_id, command, timeout_s=TIMEOUT_S)
        return reply

    return ask


def _theirs(client: Client, namespace: str) -> Callable[[str, int], Awaitable[int]]:
    async def ask(actor_id: str, command: int) -> int:
        subject = bare_subject(namespace, NODES[shard_of(actor_id) % len(NODES)])
        answer = await client.request(subject, msgspec.msgpack.encode((actor_id, command)), timeout=TIMEOUT_S)
        return msgspec.msgpack.decode(answer.data, type=int)

    return ask


@contextlib.asynccontextmanager
async def _cluster(setting: Setting) -> AsyncIterator[tuple[ActorHost, Client, str, str]]:
    """Yield who asks, a stock client, and the two namespaces, while three workers answer."""
    mark = secrets.token_hex(4)
    namespace, plain = f"bench-{mark}", f"bench-plain-{mark}"
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(setting.client())
        stack.push_async_callback(_delete, client, namespace, plain)
        async with setting.made_store(plain):
            for name in NODES:
                await stack.enter_async_context(_worker(setting.url, namespace, plain, name))
        node = await stack.enter_async_context(
            ClusterNode.join(setting.url, namespace=namespace, node_id="asker", weight=0, ttl=TTL_S, timeout_s=TIMEOUT_S)
        )
        host = await stack.enter_async_context(ActorHost(node, Counter, timeout_s=TIMEOUT_S))
        await _spread(node)
        yield host, client, namespace, plain


async def _spread(node: ClusterNode) -> None:
    """Wait until each of the three has its part of the shards."""
    await node.settled(timeout_s=START_S)
    async with asyncio.timeout(START_S):
        feed = node.changes()
        while {getattr(node.owner_of(f"counter-{number}"), "name", None) for number in range(1_000)} != {*NODES}:
            await anext(feed)


@contextlib.asynccontextmanager
async def _worker(url: str, namespace: str, plain: str, name: str) -> AsyncIterator[None]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, url, namespace, plain, name), stdin=pipe, stdout=pipe
    )
    try:
        if process.stdout is None:
            raise AssertionError("a worker was started without its pipe")
        async with asyncio.timeout(START_S):
            said = await process.stdout.readline()
        check(holds=said == b"ready\n", what=f"the worker {name} did not start")
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _delete(client: Client, namespace: str, plain: str) -> None:
    streams = [f"AETHER-{kind}-{name}" for kind in ("EVENTS", "SNAPSHOTS") for name in (namespace, plain)]
    for stream in [*streams, f"AETHER-COORD-{namespace}"]:
        await client.jetstream().delete_stream(stream)
