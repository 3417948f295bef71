"""What a cluster node is to its users: its shards and hooks, its store, what it asks others, and misuse."""

from __future__ import annotations

import asyncio

import nats
import pytest
from clustering import LIMIT_S, actors_of, balanced, join
from faults.waiting import until

from aether import Event, JetStreamEventStore, NamespaceMismatchError, NewEvent, NotOwnerError
from aether.cluster import ActorHost, ClusterNode
from aether.errors import AetherError, RequestFailedError
from aether.nats.errors import NobodyListensError


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


async def test_a_node_that_has_settled_has_its_part(nats_server, namespace):
    """Though only a few shards move at a time, `settled` returns when the last was given, at the new node and at the old one."""
    async with join(nats_server.url, namespace, "a") as one:
        await one.settled()
        async with join(nats_server.url, namespace, "b") as two:
            await two.settled()
            assert (len(one.shards), len(two.shards)) in ((510, 511), (511, 510))
            async with join(nats_server.url, namespace, "c") as three:
                await until(lambda: three.shards)
                await one.settled()
                assert len(one._parts.view.tables.table.shards_of("c")) in (340, 341)


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
            change = await asyncio.wait_for(anext(feed), LIMIT_S)
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
        return asyncio.get_running_loop().time() + LIMIT_S

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


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"node_id": ""}, ValueError),
        ({"node_id": "x" * 129}, ValueError),
        ({"node_id": 7}, TypeError),
        ({"weight": -1}, ValueError),
        ({"weight": 1.5}, TypeError),
        ({"labels": {"a": 1}}, TypeError),
        ({"labels": ["a"]}, TypeError),
        ({"address": "x" * 256}, ValueError),
        ({"ttl": 0.5}, ValueError),
        ({"ttl": 2.5}, ValueError),
        ({"drain_s": -1}, ValueError),
        ({"settle_s": "1"}, TypeError),
        ({"moves_max": 0}, ValueError),
        ({"moves_max": "5"}, TypeError),
        ({"on_acquire": 5}, TypeError),
        ({"namespace": "a.b"}, ValueError),
    ],
)
def test_misuse_is_told(wrong, error):
    """Arguments that cannot be right are refused by name when the node is made."""
    with pytest.raises(error, match=next(iter(wrong)).rstrip("s")):
        join(
            "nats://127.0.0.1:1",
            **{"namespace": "n", "name": "a"} | {("name" if k == "node_id" else k): v for k, v in wrong.items()},
        )


def test_a_node_is_made_by_joining():
    """Who calls the class as other classes are called is told how a node is made; so is who hosts actors on a URL."""
    with pytest.raises(TypeError, match=r"ClusterNode\.join\(url"):
        ClusterNode("nats://127.0.0.1:1")
    with pytest.raises(TypeError, match=r"ClusterNode\.join\(url"):
        ActorHost("nats://127.0.0.1:1", lambda _: None)
