"""What a cluster says where a server or its limits keep it from working: once, and what it is."""

from __future__ import annotations

import asyncio
import logging

import nats
import pytest
from clustering import LIMIT_S, balanced, join
from faults.waiting import until

from aether import (
    AccessDeniedError,
    DeadlineError,
    EmbeddedServer,
    JetStreamEventStore,
    LeaderElection,
    ServerRefusedError,
    UnsupportedServerError,
)
from aether.nats.subjects import coordination_stream


def told(caplog: pytest.LogCaptureFixture, words: str, level: int = logging.DEBUG) -> int:
    """Count what was logged with these words, at this level or above."""
    return sum(words in record.getMessage() and record.levelno >= level for record in caplog.records)


async def test_a_lease_that_cannot_be_kept_is_told_once(nats_server, namespace, caplog):
    """An error that each attempt meets, as of a stream that was deleted, is one warning, however often it is tried again."""
    caplog.set_level(logging.DEBUG, "aether.cluster")
    async with LeaderElection(nats_server.url, group="g", namespace=namespace, ttl=3) as election:
        term = await election.leadership().__aenter__()
        await election._connection.client.jetstream().delete_stream(coordination_stream(namespace))
        await until(lambda: told(caplog, "stream not found") >= 5)
        assert told(caplog, "stream not found", logging.WARNING) == 1
        assert await term.lost.wait(LIMIT_S)


@pytest.mark.parametrize("limit", [256, 1_024])
async def test_a_server_that_takes_small_messages_only_is_refused_at_once(namespace, limit):
    """Nodes, elections and stores name `max_payload`, what they need and the remedy, instead of waiting for an answer."""
    async with EmbeddedServer(settings={"max_payload": limit}) as server, asyncio.timeout(60):
        with pytest.raises(
            UnsupportedServerError, match=f"max_payload is {limit:,} bytes, and a cluster node needs at least 8,192"
        ):
            await join(server.url, namespace, "a", timeout_s=300).__aenter__()
        with pytest.raises(UnsupportedServerError, match=f"max_payload is {limit:,} bytes, and a leader election needs .* raise"):
            await LeaderElection(server.url, group="g", namespace=namespace, timeout_s=300).__aenter__()
        if limit < 512:
            with pytest.raises(UnsupportedServerError, match="max_payload is 256 bytes, too few for opening stream"):
                await JetStreamEventStore(server.url, namespace=namespace, timeout_s=300).__aenter__()


async def test_a_table_that_cannot_be_written_is_told(namespace, caplog, monkeypatch):
    """Where the table of shards fits no message of the server, nothing is given to anybody, and the leader warns why."""
    caplog.set_level(logging.INFO, "aether.cluster")
    monkeypatch.setattr("aether.cluster.node_parts.PAYLOAD_MIN", 1024)  # as if there were very many nodes
    async with EmbeddedServer(settings={"max_payload": 1024}) as server, join(server.url, namespace, "a") as node:
        with pytest.raises(DeadlineError, match="nobody has got any shard yet"):
            await node.settled(timeout_s=4)
        await until(lambda: told(caplog, "the shard table was not written") >= 5)
        assert told(caplog, "the shard table was not written", logging.WARNING) == 1
        assert "more than the server takes: 1,024" in caplog.text


def may_not(kind: str, namespace: str) -> dict[str, object]:
    """Settings of a server whose user may do everything but this with what nodes say to each other."""
    permissions = {kind: {"deny": [f"aether-node.{namespace}.>"]}}
    return {"authorization": {"users": [{"user": "u", "password": "p", "permissions": permissions}]}}


async def test_a_node_that_cannot_be_asked_does_not_join(namespace):
    """Where the account may not hear what nodes are asked, joining says so, instead of every question in vain."""
    async with EmbeddedServer(settings=may_not("subscribe", namespace)) as server:
        node = join(server.url.replace("nats://", "nats://u:p@"), namespace, "a")
        with pytest.raises(AccessDeniedError, match=f"aether-node.{namespace}"):
            await node.__aenter__()


async def test_a_node_that_cannot_tell_the_leader_warns(namespace, caplog):
    """Where the account may not ask other nodes, shards do not move, and the log says why."""
    async with EmbeddedServer(settings=may_not("publish", namespace)) as server:
        url = server.url.replace("nats://", "nats://u:p@")
        async with join(url, namespace, "a", drain_s=1.0) as one, join(url, namespace, "b", drain_s=1.0) as two:
            await balanced(one, two)
            drained = asyncio.create_task(two.drain(timeout_s=LIMIT_S))
            await until(lambda: told(caplog, f"aether-node.{namespace}", logging.WARNING))
            drained.cancel()


@pytest.mark.parametrize("taken", ["aether", "aether-coord"])
async def test_a_stream_that_cannot_be_made_is_named(nats_server: EmbeddedServer, namespace: str, taken: str) -> None:
    """Where another stream has the subjects already the error says which stream could not be opened, and why."""
    client = await nats.connect(nats_server.url)
    try:
        await client.jetstream().add_stream(name=f"all-{namespace}", subjects=[f"{taken}.{namespace}.>"])
    finally:
        await client.close()
    stream = {"aether": "AETHER-EVENTS", "aether-coord": "AETHER-COORD"}[taken]
    with pytest.raises(ServerRefusedError, match=rf"{stream}-{namespace}: .*10065"):
        async with join(nats_server.url, namespace, "a"):
            pass
