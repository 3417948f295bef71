"""A node's lives: how it comes, is drained, replaced, cut off and back again, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest
from clustering import LIMIT_S, TIMEOUT_S, TTL_S, balanced, join
from faults.waiting import until

from aether import NewEvent, NotOwnerError
from aether.cluster import ActorHost
from aether.cluster.lease_body import LeaseBody
from aether.cluster.members import MEMBERS_MAX
from aether.errors import AetherError, DeadlineError
from aether.nats.subjects import member_subject


class Counter:
    """An actor that counts."""

    initial = 0

    def apply(self, state, event):
        """One more."""
        return state + 1

    def handle(self, state, command):
        """Count."""
        return NewEvent("Counted"), state + 1


async def test_drained_node_stays_and_owns_nothing(nats_server, namespace):
    """A drained node gives everything away and stays a member; another node may ask it to; alone it cannot."""
    async with join(nats_server.url, namespace, "a") as one:
        await one.settled()
        with pytest.raises(DeadlineError, match="no other node is there that takes shards"):
            await one.drain(timeout_s=0.3)
        async with join(nats_server.url, namespace, "b") as two:
            await one.drain()
            await two.settled()
            assert not one.shards
            assert len(two.shards) == 1021
            assert two.members["a"].draining
            async with join(nats_server.url, namespace, "c") as three:
                await three.request("b", "drain", b"", asyncio.get_running_loop().time() + TIMEOUT_S)
                await until(lambda: len(three.shards) == 1021, "c owns everything")


async def test_replaced_node_stops_for_good(nats_server, namespace):
    """A process that joins under a name in use takes over its shards at once, and the one that had it stops and says so."""
    first = join(nats_server.url, namespace, "a")
    async with first:
        await first.settled()
        feed = first.changes()
        epoch = first.epoch_of("order-1")
        async with join(nats_server.url, namespace, "a") as second:
            await second.settled(timeout_s=TTL_S / 3)  # long before the first one's lease would expire
            assert len(second.shards) == 1021
            assert second.incarnation > 0
            assert second.epoch_of("order-1") > epoch
            await until(lambda: not first.shards, "the first has closed its shards")
            with pytest.raises(AetherError, match="another process joined"):
                await first.settled()
            with pytest.raises(NotOwnerError):
                await first.store.append("order-1", [NewEvent("opened", {})])
            await second.store.append("order-1", [NewEvent("opened", {})])
            reasons = []
            while not reasons:
                change = await asyncio.wait_for(anext(feed), LIMIT_S)
                reasons += [change.reason] if change.kind == "membership_lost" else []
            assert "another process joined" in reasons[0]
            assert len(second.shards) == 1021
            assert first._parts.membership.replaced, "so it does not come back"


async def test_replaced_node_answers_for_its_successor_no_more(nats_server, namespace):
    """What is asked of a name is answered by the process that has it now, as long as the one that had it may go on living."""
    first = join(nats_server.url, namespace, "a")
    async with (
        join(nats_server.url, namespace, "b", weight=0) as asking,
        ActorHost(asking, lambda _: Counter(), timeout_s=TIMEOUT_S) as host,
        first,
    ):
        async with ActorHost(first, lambda _: Counter()):
            await first.settled()
            assert await host.ask("x", None) == 1
            second = await join(nats_server.url, namespace, "a").__aenter__()
        async with contextlib.aclosing(second), ActorHost(second, lambda _: Counter()) as successor:
            await until(lambda: first._parts.calls._heard is None, "the first one hears nothing any more")
            assert [await host.ask("x", None) for _ in range(20)] == [*range(2, 22)]
            assert (successor.stats().handled, host.stats().sent) == (20, 21)


async def test_outage_moves_nothing(fresh_nats_server, namespace):
    """After the server was away for longer than a lease lives, all join again as new lives, and own what they owned."""
    async with contextlib.AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(join(fresh_nats_server.url, namespace, name, ttl=2.0)) for name in "abc"]
        await balanced(*nodes)
        before = {node.node_id: (node.shards, node.incarnation) for node in nodes}
        await fresh_nats_server.kill()
        await until(lambda: not any(node.shards or node.incarnation for node in nodes), "all have closed their shards")
        await fresh_nats_server.restart()
        await balanced(*nodes)
        for node in nodes:
            shards, incarnation = before[node.node_id]
            assert node.shards == shards
            assert node.incarnation > incarnation


async def test_blocked_loop_writes_nothing_and_joins_again(nats_server, namespace):
    """A node whose loop was blocked for longer than its lease lives has lost its shards when it goes on, and comes back."""
    async with join(nats_server.url, namespace, "a", ttl=2.0) as node:
        await node.settled()
        await until(lambda: node.incarnation, "it is a member")
        incarnation = node.incarnation
        time.sleep(2.5)  # noqa: ASYNC251 - that is the point
        assert node.epoch_of("order-1") is None
        assert node.incarnation == 0
        await until(lambda: node.incarnation > incarnation, "a new life")
        await node.settled()
        await node.store.append("order-1", [NewEvent("opened", {})])


async def test_one_member_too_many_is_told(nats_server, namespace):
    """Where there are as many members as there may be one more is told so at once, and how to go on."""
    async with join(nats_server.url, namespace, "n0") as node:
        until_s = node._parts.coordination.until(20)
        for number in range(1, MEMBERS_MAX):
            body = LeaseBody(f"n{number}", "s", 0, 1, 60, free=False, data={"weight": 0}).encode()
            await node._parts.coordination.write(member_subject(namespace, f"n{number}"), body, 0, until_s, ttl_s=60)
        await until(lambda: node._parts.view.members.is_full, "all members are seen")
        late = join(nats_server.url, namespace, "late")
        with pytest.raises(AetherError, match=r"1,021 members are there already.*end one of them.*join again"):
            await late.__aenter__()
        assert "late" not in node.members
        async with join(nats_server.url, namespace, "n7") as again:  # a restart needs no room
            assert len(again.members) == MEMBERS_MAX


async def test_cancelled_node_ends_cleanly(nats_server, namespace):
    """A node whose task is cancelled gives its shards away and leaves no task."""
    async with join(nats_server.url, namespace, "b") as other:
        ready = asyncio.Event()

        async def work():
            async with join(nats_server.url, namespace, "a") as node:
                await balanced(node, other)
                ready.set()
                await asyncio.sleep(3600)

        task = asyncio.create_task(work())
        await ready.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert "a" not in other.members
        await other.settled()
        assert len(other.shards) == 1021
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_ends_once_whoever_ends_it(nats_server, namespace):
    """Several that close a node at a time all return when it has ended, and closing it again does nothing."""
    async with join(nats_server.url, namespace, "a") as node:
        await node.settled()
        await asyncio.gather(node.aclose(), node.aclose())
        assert not node.shards
        await node.aclose()
        with pytest.raises(AetherError, match="not open"):
            await node.settled()
    with pytest.raises(AetherError, match="make a new one"):
        await node.__aenter__()
