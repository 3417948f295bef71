"""Cluster nodes on a real server, several in this process: joining, moving, leaving, and what appends see of it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import time
from typing import TYPE_CHECKING

import nats
import pytest
from clustering import Writer, actors_of, balanced, crash, dump, interleaved, join, until
from faults.proxy import Proxy

from aether import Event, JetStreamEventStore, NamespaceMismatchError, NewEvent, NotOwnerError
from aether.cluster.lease import RENEWALS
from aether.cluster.lease_body import LeaseBody
from aether.cluster.members import MEMBERS_MAX
from aether.errors import AetherError, DeadlineError, RequestFailedError
from aether.nats.errors import NobodyListensError
from aether.nats.subjects import leader_subject, member_subject

if TYPE_CHECKING:
    from conftest import Size


async def test_one_node_owns_everything(nats_server, namespace):
    """A node alone leads, owns every shard, and its store takes appends and reads them."""
    async with join(nats_server.url, namespace, "a", address="here", labels={"zone": "x"}, weight=2) as node:
        await node.settled()
        assert len(node.shards) == 1021
        assert (node.leader, node.is_leader) == ("a", True)
        (member,) = node.members.values()
        assert (member.name, member.address, member.labels, member.weight) == ("a", "here", {"zone": "x"}, 2)
        assert member.incarnation == node.incarnation > 0
        assert node.owner_of("order-1") == member
        appended = await node.store.append("order-1", [NewEvent("opened", {"n": 1})])
        assert appended.version == 1
        assert node.epoch_of("order-1") < appended.position
        assert [event.event_type for event in await node.store.get_events("order-1")] == ["opened"]
    assert node.incarnation == 0
    assert node.epoch_of("order-1") is None


async def test_moves_hurt_no_writer(nats_server, namespace):
    """Nodes come and go while actors of every kind are written to: no append fails, and epochs never interleave."""
    nodes = {}
    over = asyncio.Event()
    actors = actors_of(random.Random(1).sample(range(1021), 64))
    async with contextlib.AsyncExitStack() as stack:
        for name in "abc":
            nodes[name] = await stack.enter_async_context(join(nats_server.url, namespace, name))
        await balanced(*nodes.values())
        writers = [Writer(nodes, actor, 0.05) for actor in actors.values()]
        running = [asyncio.create_task(writer.run(over)) for writer in writers]
        try:
            joined_at = time.monotonic()
            async with join(nats_server.url, namespace, "d") as late:
                nodes["d"] = late
                await balanced(*nodes.values())
                assert time.monotonic() - joined_at < 15
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
        await balanced(*nodes.values(), limit_s=40)
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


async def test_hooks_tell_of_every_shard(nats_server, namespace):
    """Each shard's hooks are called in turns, with its epoch, before writes are let through and after they have ended."""
    calls = []

    async def on_acquire(shard, epoch):
        await asyncio.sleep(0)
        calls.append((shard, epoch))

    async with join(
        nats_server.url, namespace, "a", on_acquire=on_acquire, on_release=lambda shard: calls.append((shard, 0))
    ) as node:
        feed = node.changes()
        await node.settled()
        assert sorted(shard for shard, _ in calls) == list(range(1021))
        epochs = dict(calls)
        assert all(epochs.values())
        assert epochs[7] == node._parts.store.epoch_of(7)
        seen = set()
        while len(seen) < 1021:
            change = await asyncio.wait_for(anext(feed), 10)
            if change.kind == "acquired":
                assert change.epoch == epochs[change.shard]
                seen.add(change.shard)
        calls.clear()
    assert sorted(calls) == [(shard, 0) for shard in range(1021)]
    assert [change.kind async for change in feed].count("released") == 1021


async def test_broken_hooks_stop_nothing(nats_server, namespace):
    """A hook that raises is told of in `changes`, and the node takes and gives away its shards all the same."""

    def broken(*_):
        raise RuntimeError("the user's own")

    async with join(nats_server.url, namespace, "a", on_acquire=broken, on_release=broken) as node:
        feed = node.changes()
        await node.settled()
        await node.store.append("order-1", [NewEvent("opened", {})])
    kinds = [change.kind async for change in feed]
    assert kinds.count("hook_failed") == 2042


async def test_other_nodes_shards_are_refused_with_their_owner(nats_server, namespace):
    """An append at a node that does not own the actor raises an error that names the owner, and stores nothing."""
    async with join(nats_server.url, namespace, "a") as one, join(nats_server.url, namespace, "b") as two:
        await balanced(one, two)
        for actor in actors_of(range(8)).values():
            owner, other = (one, two) if one.owner_of(actor).name == "a" else (two, one)
            assert two.owner_of(actor).name == owner.node_id
            assert other.epoch_of(actor) is None
            with pytest.raises(NotOwnerError) as caught:
                await other.store.append(actor, [NewEvent("opened", {})])
            assert caught.value.owner == owner.node_id
            assert await owner.store.get_latest_version(actor) == 0
            await owner.store.append(actor, [NewEvent("opened", {})])
            assert await other.store.get_latest_version(actor) == 1


async def test_drained_node_stays_and_owns_nothing(nats_server, namespace):
    """A drained node gives everything away and stays a member; another node may ask it to; alone it cannot."""
    async with join(nats_server.url, namespace, "a") as one:
        await one.settled()
        with pytest.raises(DeadlineError):
            await one.drain(timeout_s=0.3)
        async with join(nats_server.url, namespace, "b") as two:
            await one.drain()
            await two.settled()
            assert not one.shards
            assert len(two.shards) == 1021
            assert two.members["a"].draining
            async with join(nats_server.url, namespace, "c") as three:
                await three.request("b", "drain", b"", asyncio.get_running_loop().time() + 5)
                await until(lambda: len(three.shards) == 1021, "c owns everything")


async def test_replaced_node_stops_for_good(nats_server, namespace):
    """A process that joins under a name in use takes over its shards at once, and the one that had it stops and says so."""
    first = join(nats_server.url, namespace, "a")
    async with first:
        await first.settled()
        feed = first.changes()
        epoch = first.epoch_of("order-1")
        began = time.monotonic()
        async with join(nats_server.url, namespace, "a") as second:
            await second.settled()
            assert time.monotonic() - began < 5
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
                change = await asyncio.wait_for(anext(feed), 10)
                reasons += [change.reason] if change.kind == "membership_lost" else []
            assert "another process joined" in reasons[0]
            await asyncio.sleep(0.3)  # it does not come back
            assert len(second.shards) == 1021


async def test_leader_that_sees_nothing_lets_others_lead(nats_server, namespace):
    """A leader whose watch stays broken gives leadership up to a node that sees, and leads no more until it sees again."""
    async with (
        join(nats_server.url, namespace, "a", ttl=1.0) as one,
        join(nats_server.url, namespace, "b", ttl=1.0) as two,
    ):
        await balanced(one, two)
        assert one.is_leader
        one._parts.watch.unbroken_since = None  # a watch that is broken, and is not mended
        await until(lambda: two.is_leader, "b leads")
        await two.settled()


async def test_who_has_just_come_leaves_leadership_to_others(nats_server, namespace):
    """When the leader dies one leads that was there for long enough to know who is dead, so its shards are given at once."""
    async with contextlib.AsyncExitStack() as stack:
        one = await join(nats_server.url, namespace, "a").__aenter__()
        two = await stack.enter_async_context(join(nats_server.url, namespace, "b"))
        await until(lambda: two._parts.leadership.wanted, "b is old enough to lead")
        await balanced(one, two)
        assert one.is_leader
        began = time.monotonic()
        fresh = await stack.enter_async_context(join(nats_server.url, namespace, "c"))
        assert not fresh._parts.leadership.wanted
        await crash(one)
        await until(lambda: two.is_leader or fresh.is_leader, "another leads")
        assert two.is_leader or time.monotonic() > began + 3.0  # on so slow a machine it has grown old meanwhile
        await balanced(two, fresh)


async def test_nodes_that_all_have_just_come_have_a_leader(nats_server, namespace):
    """Where nobody was there for long the one that came first leads, and the next should that leave."""
    async with contextlib.AsyncExitStack() as stack:
        nodes = [join(nats_server.url, namespace, name, ttl=60.0) for name in "abc"]
        for node in nodes:
            await stack.enter_async_context(node)
        assert nodes[0].is_leader
        await nodes[0].aclose()
        await until(lambda: nodes[1].is_leader, "b leads")
        await balanced(*nodes[1:])


async def test_leaders_lease_ends_first(nats_server, namespace):
    """Of the two leases of a leader that dies the one by which it leads ends first, whenever they were renewed."""
    async with join(nats_server.url, namespace, "a", ttl=6.0) as node:
        await until(lambda: node.is_leader and node.leader == "a", "it leads")
        leads, lives = (
            LeaseBody.decode(node._parts.watch.entries[subject].body).ttl_s
            for subject in (leader_subject(namespace), member_subject(namespace, "a"))
        )
        assert leads <= lives - lives / RENEWALS


async def test_node_whose_lease_has_ended_names_itself_no_leader(nats_server, namespace):
    """A leader that was cut off for too long says that nobody leads, as far as it sees, and not that it does."""
    async with Proxy(nats_server.url) as proxy, join(proxy.url, namespace, "a", ttl=1.0) as node:
        await balanced(node)
        assert node.leader == "a"
        proxy.silent = True
        await until(lambda: not node.is_leader, "its lease has ended")
        assert node.leader is None
        assert node._parts.view.leader == "a"  # nothing else was seen yet
        proxy.silent = False
        await until(lambda: node.leader == "a", "it leads again")


async def test_leader_that_leaves_is_followed_at_once(nats_server, namespace):
    """When the leader leaves another leads within moments, and what it owned is owned again."""
    async with join(nats_server.url, namespace, "a") as one:
        await one.settled()
        async with join(nats_server.url, namespace, "b") as two:
            await balanced(one, two)
            assert two.leader == "a"
            began = time.monotonic()
            await one.aclose()
            await until(lambda: two.is_leader, "b leads")
            await two.settled()
            assert time.monotonic() - began < 5
            assert len(two.shards) == 1021


async def test_outage_moves_nothing(fresh_nats_server, namespace):
    """After the server was away for longer than a lease lives, all join again as new lives, and own what they owned."""
    async with contextlib.AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(join(fresh_nats_server.url, namespace, name, ttl=1.0, timeout_s=5.0))
            for name in "abc"
        ]
        await balanced(*nodes)
        before = {node.node_id: (node.shards, node.incarnation) for node in nodes}
        await fresh_nats_server.kill()
        await until(lambda: not any(node.shards for node in nodes), "all have closed their shards")
        await asyncio.sleep(0.5)
        await fresh_nats_server.restart()
        await balanced(*nodes, limit_s=40)
        for node in nodes:
            shards, incarnation = before[node.node_id]
            assert node.shards == shards
            assert node.incarnation > incarnation


async def test_blocked_loop_writes_nothing_and_joins_again(nats_server, namespace):
    """A node whose loop was blocked for longer than its lease lives has lost its shards when it goes on, and comes back."""
    async with join(nats_server.url, namespace, "a", ttl=1.0) as node:
        await node.settled()
        incarnation = node.incarnation
        time.sleep(1.5)  # noqa: ASYNC251 - that is the point
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


async def test_modes_do_not_mix(nats_server, namespace):
    """A node does not join a namespace that plain stores write to, and says why; nor do plain stores write to a node's."""
    async with JetStreamEventStore(nats_server.url, namespace=namespace) as store:
        await store.append("order-1", [NewEvent("opened", {})])
    with pytest.raises(NamespaceMismatchError, match="plain stores write to it"):
        async with join(nats_server.url, namespace, "a"):
            pass
    other = f"{namespace}-2"
    async with join(nats_server.url, other, "a") as node:
        await node.settled()
        await node.store.append("order-1", [NewEvent("opened", {})])
    async with JetStreamEventStore(nats_server.url, namespace=other) as store:
        assert len(await store.get_events("order-1")) == 1
        with pytest.raises(NamespaceMismatchError, match="cluster node"):
            await store.append("order-1", [NewEvent("opened", {})])


async def test_nodes_ask_each_other(nats_server, namespace):
    """A node answers what another asks; a failing handler, one that is not there, and a node that is not there are told apart."""

    def soon():
        return asyncio.get_running_loop().time() + 5

    async def handler(body):
        if body == b"fail":
            raise ValueError("no such thing" * 1_000)
        if body == b"much":
            return bytes(2_000_000)
        return body[::-1]

    async with join(nats_server.url, namespace, "a") as one, join(nats_server.url, namespace, "b.*>") as two:
        two.serve("turn", handler)
        assert await one.request("b.*>", "turn", b"abc", soon()) == b"cba"
        assert await two.request("b.*>", "turn", b"", soon()) == b""
        with pytest.raises(RequestFailedError, match="ValueError: no such thing"):
            await one.request("b.*>", "turn", b"fail", soon())
        with pytest.raises(RequestFailedError, match="2,000,0"):
            await one.request("b.*>", "turn", b"much", soon())
        with pytest.raises(NobodyListensError):
            await one.request("b.*>", "other", b"", soon())
        with pytest.raises(NobodyListensError):
            await one.request("c", "turn", b"", soon())
        with pytest.raises(AetherError, match="already"):
            two.serve("turn", handler)
        await two.unserve("turn")
        with pytest.raises(NobodyListensError):
            await one.request("b.*>", "turn", b"", soon())


async def test_borrowed_client_stays_open(nats_server, namespace):
    """A node over a connected nats-py client does all the same, and leaves the client open."""
    client = await nats.connect(nats_server.url)
    async with join(client, namespace, "a") as one, join(nats_server.url, namespace, "b") as two:
        await balanced(one, two)
        for actor in actors_of(range(4)).values():
            owner = one if one.owner_of(actor).name == "a" else two
            await owner.store.append(actor, [NewEvent("opened", {})])
    assert client.is_connected
    await client.close()


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


async def test_a_node_ingests(nats_server, namespace):
    """Many events of many actors go through a node's pipeline, and every node reads them in order."""
    async with join(nats_server.url, namespace, "a") as one:
        await one.settled()
        events = [Event(f"actor-{number % 100}", "counted", number // 100 + 1) for number in range(1000)]
        async with one.store.ingest() as pipeline:
            for event in events:
                await pipeline.put(event)
            await pipeline.flush()
        async with join(nats_server.url, namespace, "b") as two:
            assert [event.version for event in await two.store.get_events("actor-7")] == [*range(1, 11)]


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


async def test_table_that_is_gone_is_written_again(nats_server, namespace):
    """When the table is gone from its stream the leader writes it again, and a new node gets its part and nothing else moves."""
    async with join(nats_server.url, namespace, "a") as one, join(nats_server.url, namespace, "b") as two:
        await balanced(one, two)
        before = one.shards
        client = await nats.connect(nats_server.url)
        await client.jetstream().purge_stream(f"AETHER-COORD-{namespace}", subject=f"aether-coord.{namespace}.table")
        await client.close()
        async with join(nats_server.url, namespace, "c") as three:
            await balanced(one, two, three, limit_s=40)
            assert one.shards <= before


async def test_three_servers_lose_their_leader(nats_cluster, namespace):
    """When the server that leads the coordination stream is killed leases may run out; all is owned as it was then."""
    url = ",".join(nats_cluster.urls)
    async with contextlib.AsyncExitStack() as stack:
        nodes = {}
        for name in "abc":
            nodes[name] = await stack.enter_async_context(join(url, namespace, name, replicas=3, timeout_s=40.0))
        await balanced(*nodes.values(), limit_s=60)
        before = {name: node.shards for name, node in nodes.items()}
        writers = [Writer(nodes, actor, 0.1) for actor in actors_of(random.Random(1).sample(range(1021), 6)).values()]
        over = asyncio.Event()
        running = [asyncio.create_task(writer.run(over)) for writer in writers]
        try:
            leader = await nats_cluster.leader_of(f"AETHER-COORD-{namespace}")
            await nats_cluster.kill(leader)
            # An election of the servers' own takes 4.8 to 7.4 s: longer than a lease lives, or not, as it happens.
            await asyncio.sleep(9.0)
            await balanced(*nodes.values(), limit_s=60)
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


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"node_id": ""}, ValueError),
        ({"node_id": "x" * 129}, ValueError),
        ({"node_id": 7}, TypeError),
        ({"weight": -1}, ValueError),
        ({"weight": 1.5}, TypeError),
        ({"labels": {"a": 1}}, TypeError),
        ({"address": "x" * 256}, ValueError),
        ({"ttl": 0.5}, ValueError),
        ({"ttl": 2.5}, ValueError),
        ({"drain_s": -1}, ValueError),
        ({"settle_s": "1"}, TypeError),
        ({"moves_max": 0}, ValueError),
        ({"namespace": "a.b"}, ValueError),
    ],
)
def test_misuse_is_told(wrong, error):
    """Arguments that cannot be right are refused when the node is made."""
    with pytest.raises(error):
        join(
            "nats://127.0.0.1:1",
            **{"namespace": "n", "name": "a"} | {("name" if k == "node_id" else k): v for k, v in wrong.items()},
        )
