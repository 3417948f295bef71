"""Which of several nodes leads, when another does, and that shards are given out whoever it is."""

from __future__ import annotations

import contextlib
import time

import nats
from clustering import LIMIT_S, TTL_S, balanced, crash, join
from faults.proxy import Proxy
from faults.waiting import until

from aether.cli.cluster_state import reading_cluster
from aether.cli.options import Settings
from aether.cluster.lease import RENEWALS
from aether.cluster.lease_body import LeaseBody
from aether.cluster.members import Member
from aether.nats.coordination import Entry
from aether.nats.subjects import leader_subject, member_subject
from aether.nats.watch import CoordinationWatch


async def test_leader_that_sees_nothing_lets_others_lead(nats_server, namespace):
    """A leader whose watch stays broken gives leadership up to a node that sees, and leads no more until it sees again."""
    async with (
        join(nats_server.url, namespace, "a", ttl=1.0) as one,
        join(nats_server.url, namespace, "b", ttl=1.0) as two,
    ):
        await balanced(one, two)
        await until(lambda: one.is_leader or two.is_leader, "one leads")
        blind, other = (one, two) if one.is_leader else (two, one)
        blind._parts.watch.unbroken_since = None  # a watch that is broken, and is not mended
        await until(lambda: other.is_leader, "the other leads")
        await other.settled(timeout_s=LIMIT_S)


async def test_who_has_just_come_leaves_leadership_to_others(nats_server, namespace):
    """When the leader dies one leads that was there for long enough to know who is dead, so its shards are given at once."""
    async with contextlib.AsyncExitStack() as stack:
        one = await join(nats_server.url, namespace, "a", ttl=3.0).__aenter__()
        two = await stack.enter_async_context(join(nats_server.url, namespace, "b", ttl=3.0))
        await until(lambda: two._parts.leadership.wanted, "b is old enough to lead")
        await balanced(one, two)
        await until(lambda: one.is_leader, "a leads")
        began = time.monotonic()
        fresh = await stack.enter_async_context(join(nats_server.url, namespace, "c", ttl=3.0))
        assert not fresh._parts.leadership.wanted or time.monotonic() > began + 3.0
        await crash(one)
        await until(lambda: two.is_leader or fresh.is_leader, "another leads")
        assert two.is_leader or time.monotonic() > began + 3.0  # on so slow a machine it has grown old meanwhile
        await balanced(two, fresh)


async def test_nodes_that_all_have_just_come_have_a_leader(nats_server, namespace):
    """Where nobody was there for long the one that came first leads, and the next should that leave."""
    async with contextlib.AsyncExitStack() as stack:
        nodes = [join(nats_server.url, namespace, name) for name in "abc"]
        for node in nodes:
            await stack.enter_async_context(node)
        assert nodes[0].is_leader
        await nodes[0].aclose()
        await until(lambda: nodes[1].is_leader, "b leads")
        await balanced(*nodes[1:])


async def test_a_dead_member_that_a_servers_copy_still_has_is_found_dead(nats_server, namespace, caplog):
    """A member of whose end nobody told owns shards for a moment, until it is looked for at the stream's leader."""
    async with (
        join(nats_server.url, namespace, "a", ttl=3.0, settle_s=0.1) as one,
        join(nats_server.url, namespace, "b", ttl=3.0, settle_s=0.1) as two,
    ):
        await balanced(one, two)
        # As three servers had it, one of which had been killed: a lease that the others had dropped, marker and all.
        body = LeaseBody("dead", "of another life", 0, 1, 3, False, Member(name="dead", incarnation=3).facts()).encode()
        for node in (one, two):
            node._parts.watch._hear(Entry(member_subject(namespace, "dead"), 3, body, marker=False), 3.0, 0.0)
        assert {"a", "b", "dead"} == one.members.keys() == two.members.keys()
        await until(lambda: "dead" in one._parts.view.tables.table.owners, "the dead one gets shards")
        await until(lambda: "dead" not in one.members.keys() | two.members.keys(), "it is found dead")
        await balanced(one, two)
        assert "has ended, and the server that tells of it did not say so" in caplog.text


async def test_what_is_shown_of_a_cluster_has_no_member_that_has_ended(nats_server, namespace, monkeypatch):
    """What `aether cluster` shows at once has no member, and no leader, that only a server's own copy of the stream has."""
    start = CoordinationWatch.start

    async def haunted(watch, deadline):
        await start(watch, deadline)
        for subject, name in ((member_subject(namespace, "dead"), "dead"), (leader_subject(namespace), "dead")):
            body = LeaseBody(name, "of another life", 0, 1, 3, False, Member(name="dead", incarnation=3).facts()).encode()
            watch._hear(Entry(subject, 1, body, marker=False), 3.0, 0.0)

    async with join(nats_server.url, namespace, "a") as node:
        await node.settled()
        monkeypatch.setattr(CoordinationWatch, "start", haunted)
        settings = Settings(nats_server.url, namespace, 20.0, as_json=False, options=None)
        async with reading_cluster(settings, nats_server.url) as state:
            assert state.members.keys() == {"a"}
            assert state.leader == "a"


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
    """When the leader leaves another leads long before its lease would expire, and what it owned is owned again."""
    async with join(nats_server.url, namespace, "a") as one:
        await one.settled()
        async with join(nats_server.url, namespace, "b") as two:
            await balanced(one, two)
            assert two.leader == "a"
            await one.aclose()
            await until(lambda: two.is_leader, "b leads, long before a lease expires", limit_s=TTL_S / 3)
            await two.settled()
            assert len(two.shards) == 1021


async def test_table_that_is_gone_is_written_again(nats_server, namespace):
    """When the table is gone from its stream the leader writes it again, and a new node gets its part and nothing else moves."""
    async with join(nats_server.url, namespace, "a") as one, join(nats_server.url, namespace, "b") as two:
        await balanced(one, two)
        before = one.shards
        client = await nats.connect(nats_server.url)
        await client.jetstream().purge_stream(f"AETHER-COORD-{namespace}", subject=f"aether-coord.{namespace}.table")
        await client.close()
        async with join(nats_server.url, namespace, "c") as three:
            await balanced(one, two, three)
            assert one.shards <= before
