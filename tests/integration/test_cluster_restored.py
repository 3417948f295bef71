"""A coordination stream that is deleted, or has no room, while nodes and candidates use it: what is lost, and what comes back."""

from __future__ import annotations

import asyncio
import logging

import nats
import pytest
from clustering import LIMIT_S, balanced, dump, interleaved, join
from faults.waiting import until
from test_cluster_permissions import NAMESPACE, as_user, candidate_may, strict

from aether import LeaderElection, NewEvent
from aether.nats.subjects import coordination_stream
from aether.testing.servers import running_cluster


def told(caplog: pytest.LogCaptureFixture, words: str, level: int = logging.ERROR) -> int:
    """Count what was logged with these words, at this level or above."""
    return sum(words in record.getMessage() and record.levelno >= level for record in caplog.records)


async def delete(url: str, namespace: str) -> None:
    """Delete the coordination stream, as an operator might."""
    client = await nats.connect(url)
    await client.jetstream().delete_stream(coordination_stream(namespace))
    await client.close()


async def test_nodes_make_a_deleted_stream_again_and_keep_their_shards(nats_server, namespace, caplog):
    """Nodes make the stream again, as new incarnations with larger numbers, own what they owned, and no epochs interleave."""
    url = nats_server.url
    async with join(url, namespace, "a", ttl=3.0) as one, join(url, namespace, "b", ttl=3.0) as two:
        await balanced(one, two)
        for number in range(40):
            owner = one if one.owner_of(f"actor-{number}").name == "a" else two
            await owner.store.append(f"actor-{number}", NewEvent("before", {}))
        before = {node: (node.incarnation, node.shards) for node in (one, two)}
        await delete(url, namespace)
        await until(lambda: not one.incarnation and not two.incarnation, "both have lost their leases")
        for node, (incarnation, shards) in before.items():
            await until(lambda node=node, shards=shards: node.shards == shards, f"{node} owns what it owned")
            assert node.incarnation > incarnation + 900_000
            await node.settled(timeout_s=LIMIT_S)
        for number in range(40):
            owner = one if one.owner_of(f"actor-{number}").name == "a" else two
            await owner.store.append(f"actor-{number}", NewEvent("after", {}))
        assert 1 <= told(caplog, "is made again") <= 2  # by each of the nodes at most once
    messages = await dump(url, namespace)
    assert not interleaved(messages)


@pytest.mark.usefixtures("longer")
async def test_servers_that_all_begin_anew_are_not_taken_for_having_lost_the_stream(caplog):
    """While three servers that were killed at once begin anew nobody makes the stream again, and nodes own what they owned."""
    with running_cluster() as servers:
        url = ",".join(servers.urls)
        async with (
            join(url, "killed", "a", ttl=3.0, replicas=3, timeout_s=40.0) as one,
            join(url, "killed", "b", ttl=3.0, replicas=3, timeout_s=40.0) as two,
        ):
            await balanced(one, two)
            before = {node: (node.incarnation, node.shards) for node in (one, two)}
            await asyncio.gather(*(servers.kill(number) for number in range(3)))
            await until(lambda: not one.incarnation and not two.incarnation, "both have lost their leases")
            await asyncio.gather(*(servers.restart(number) for number in range(3)))
            for node, (incarnation, shards) in before.items():
                await until(lambda node=node, shards=shards: node.shards == shards, f"{node} owns what it owned")
                assert incarnation < node.incarnation < 1_000_000
        assert not told(caplog, "is gone")


async def test_candidates_make_a_deleted_stream_again(nats_server, namespace, caplog):
    """An election goes on after its stream was deleted, and the next term has a larger number than any before."""
    async with LeaderElection(nats_server.url, group="g", namespace=namespace, ttl=1) as election:
        async with election.leadership(timeout_s=LIMIT_S) as term:
            await delete(nats_server.url, namespace)
            assert await term.lost.wait(LIMIT_S)
        async with election.leadership(timeout_s=LIMIT_S) as following:
            assert following.number > term.number
        assert told(caplog, "is made again") == 1


async def test_whoever_led_when_the_stream_was_deleted_leads_alone(nats_server, namespace):
    """Nobody else leads for as long as the lease that went with the stream may be held: it did not expire."""
    url = nats_server.url
    async with (
        LeaderElection(url, group="g", namespace=namespace, ttl=60) as one,
        LeaderElection(url, group="g", namespace=namespace, ttl=60) as other,
        one.leadership() as term,
    ):
        waiting = asyncio.create_task(other.leadership(timeout_s=300).__aenter__())
        await delete(url, namespace)
        await until(lambda: other._watch.unbroken_since is None, "the watch is broken")
        await until(lambda: other._watch.unbroken_since is not None, "the watch goes on")
        assert (await asyncio.wait([waiting], timeout=1.0))[1]
        assert term.valid
        waiting.cancel()


async def test_who_has_led_nothing_yet_makes_a_deleted_stream_again(nats_server, namespace):
    """A candidate that heard of no lease yet leads, although somebody deleted the stream before anybody did."""
    async with LeaderElection(nats_server.url, group="g", namespace=namespace, ttl=6) as election:
        await delete(nats_server.url, namespace)
        async with election.leadership(timeout_s=LIMIT_S) as term:
            assert term.valid


async def test_who_may_make_no_stream_says_so(caplog):
    """A candidate whose account may make no stream says so once, and leads again when somebody else has made it."""
    may = candidate_may()
    may["publish"].remove(f"$JS.API.STREAM.CREATE.AETHER-COORD-{NAMESPACE}")
    async with strict(may) as server:
        async with LeaderElection(as_user(server, "any"), group="g", namespace=NAMESPACE):
            """It makes the stream."""
        async with LeaderElection(as_user(server), group="g", namespace=NAMESPACE, ttl=1) as election:
            async with election.leadership(timeout_s=LIMIT_S) as term:
                await delete(as_user(server, "any"), NAMESPACE)
                assert await term.lost.wait(LIMIT_S)
            await until(lambda: told(caplog, "it cannot be made again") == 1)
            assert "stream.create" in caplog.text.lower()
            async with LeaderElection(as_user(server, "any"), group="g", namespace=NAMESPACE):
                """It makes the stream again."""
            await until(lambda: election._watch.unbroken_since is not None)
            async with election.leadership(timeout_s=LIMIT_S) as following:
                assert following.valid


async def test_a_full_stream_costs_leases_says_so_and_gives_them_back_with_room(nats_server, namespace, caplog):
    """Where a lease is not stored for want of room, its end says what is full and what to do, and with room all comes back."""
    url = nats_server.url
    async with join(url, namespace, "a", ttl=3.0) as one, join(url, namespace, "b", ttl=3.0) as two:
        await balanced(one, two)
        feed = one.changes()
        client = await nats.connect(url)
        js = client.jetstream()
        config = (await js.stream_info(coordination_stream(namespace))).config
        config.max_bytes, config.discard = 64, "new"  # as an account, or a disk, that has no more room
        await js.update_stream(config)
        await until(lambda: not one.incarnation and not two.incarnation, "both have lost their leases")
        async with asyncio.timeout(LIMIT_S):
            reason = await anext(change.reason async for change in feed if change.kind == "membership_lost")
        assert "is full" in reason
        assert "free disk space or raise the limit" in reason
        assert told(caplog, "is full", logging.WARNING)
        config.max_bytes = -1
        await js.update_stream(config)
        await balanced(one, two)
        await one.store.append(next(f"x{n}" for n in range(100) if one.owner_of(f"x{n}").name == "a"), NewEvent("after", {}))
        await client.close()
