"""Writers that never rest while nodes of this process come, leave, crash, or lose their server: what they see of it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from typing import TYPE_CHECKING

import pytest
from clustering import Writer, actors_of, balanced, crash, dump, interleaved, join

from aether.errors import AetherError, DeadlineError

if TYPE_CHECKING:
    from conftest import Size


async def test_moves_hurt_no_writer(nats_server, namespace):
    """Nodes come and go while actors of every kind are written to: no append fails, and epochs never interleave."""
    nodes = {}
    over = asyncio.Event()
    actors = actors_of(random.Random(1).sample(range(1021), 64))
    async with contextlib.AsyncExitStack() as stack:
        for name in "abc":
            nodes[name] = await stack.enter_async_context(join(nats_server.url, namespace, name))
        await balanced(*nodes.values())
        writers = [Writer(nodes, actor, 0.2) for actor in actors.values()]
        running = [asyncio.create_task(writer.run(over)) for writer in writers]
        try:
            async with join(nats_server.url, namespace, "d") as late:
                nodes["d"] = late
                await balanced(*nodes.values())
                owners = {actor: late.owner_of(actor) for actor in actors.values()}
            del nodes["d"]
            await balanced(*nodes.values())
        finally:
            over.set()
            await asyncio.gather(*running)
        assert "d" in {owner.name for owner in owners.values()}
    assert [error for writer in writers for error in writer.failed] == []
    assert sum(writer.sent_on for writer in writers) > 0
    messages = await dump(nats_server.url, namespace)
    assert interleaved(messages) == []
    stored = {position for position, _, body in messages if "events" in body}
    assert {position for writer in writers for position, _, _ in writer.acked} == stored


async def test_churn_stays_right(nats_server, namespace, size: Size):
    """Nodes join, leave or crash each second while all is written to: epochs never interleave, and what is acked is there."""
    nodes, over, chance = {}, asyncio.Event(), random.Random(7)
    names = itertools.count(1)
    actors = actors_of(random.Random(1).sample(range(1021), 24))

    async def one_more():
        node = join(nats_server.url, namespace, f"n{next(names)}", ttl=1.0, settle_s=0.3)
        nodes[node.node_id] = await node.__aenter__()

    for _ in range(3):
        await one_more()
    await balanced(*nodes.values())
    writers = [Writer(nodes, actor, 0.1) for actor in actors.values()]
    running = [asyncio.create_task(writer.run(over)) for writer in writers]
    try:
        for _ in range(size.pick(6, 60, 300)):
            kind = chance.choice(
                ("join", "leave", "crash") if 2 < len(nodes) < 5 else ("join",) if len(nodes) < 5 else ("leave",)
            )
            if kind == "join":
                await one_more()
            else:
                node = nodes.pop(chance.choice([*nodes]))
                await (node.aclose() if kind == "leave" else crash(node))
            await asyncio.sleep(1.0)
        await balanced(*nodes.values())
    finally:
        over.set()
        await asyncio.gather(*running)
        await asyncio.gather(*(node.aclose() for node in nodes.values()))
    messages = await dump(nats_server.url, namespace)
    assert interleaved(messages) == []
    stored = {position for position, _, body in messages if "events" in body}
    assert {position for writer in writers for position, _, _ in writer.acked} <= stored
    # What was under way at a node that crashed ended with it, or is unknown.
    failed = [error for writer in writers for error in writer.failed]
    assert all(isinstance(error, AetherError) and not isinstance(error, DeadlineError) for error in failed), failed


@pytest.mark.usefixtures("longer")
async def test_three_servers_lose_their_leader(nats_cluster, namespace):
    """When the server that leads the coordination stream is killed leases may run out; all is owned as it was then."""
    url = ",".join(nats_cluster.urls)
    async with contextlib.AsyncExitStack() as stack:
        nodes = {}
        for name in "abc":
            nodes[name] = await stack.enter_async_context(join(url, namespace, name, ttl=3.0, replicas=3, timeout_s=40.0))
        await balanced(*nodes.values())
        before = {name: node.shards for name, node in nodes.items()}
        writers = [Writer(nodes, actor, 0.1) for actor in actors_of(random.Random(1).sample(range(1021), 6)).values()]
        over = asyncio.Event()
        running = [asyncio.create_task(writer.run(over)) for writer in writers]
        try:
            leader = await nats_cluster.leader_of(f"AETHER-COORD-{namespace}")
            await nats_cluster.kill(leader)
            # An election of the servers' own takes 4.8 to 7.4 s: longer than a lease lives, or not, as it happens.
            await asyncio.sleep(9.0)
            await balanced(*nodes.values())
            assert {name: node.shards for name, node in nodes.items()} == before
        finally:
            over.set()
            await asyncio.gather(*running)
            await nats_cluster.restart(leader)
        assert [error for writer in writers for error in writer.failed] == []
        await asyncio.to_thread(nats_cluster.wait_until_whole)
        messages = await dump(nats_cluster.urls[leader - 1], namespace)
        assert interleaved(messages) == []
        stored = {position for position, _, body in messages if "events" in body}
        assert {position for writer in writers for position, _, _ in writer.acked} <= stored
