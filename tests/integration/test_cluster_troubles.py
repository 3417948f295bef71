"""What a cluster says where a server or its limits keep it from working: once, and what it is."""

from __future__ import annotations

import asyncio
import logging

import pytest
from clustering import join
from faults.waiting import until

from aether import DeadlineError, EmbeddedServer, LeaderElection
from aether.nats.subjects import coordination_stream


def told(caplog: pytest.LogCaptureFixture, words: str, level: int = logging.DEBUG) -> int:
    """Count what was logged with these words, at this level or above."""
    return sum(words in record.getMessage() and record.levelno >= level for record in caplog.records)


async def test_a_lease_that_cannot_be_kept_is_told_once(nats_server, namespace, caplog):
    """An error that each attempt meets, as of a stream that was deleted, is one warning, however often it is tried again."""
    caplog.set_level(logging.DEBUG, "aether.cluster")
    async with LeaderElection(nats_server.url, group="g", namespace=namespace, ttl=1) as election:
        term = await election.leadership().__aenter__()
        await election._connection.client.jetstream().delete_stream(coordination_stream(namespace))
        await until(lambda: told(caplog, "stream not found") >= 5)
        assert told(caplog, "stream not found", logging.WARNING) == 1
        await asyncio.wait_for(term.lost.wait(), 10)


async def test_a_table_that_cannot_be_written_is_told(namespace, caplog):
    """Where the table of shards fits no message of the server, nothing is given to anybody, and the leader warns why."""
    caplog.set_level(logging.INFO, "aether.cluster")
    async with EmbeddedServer(settings={"max_payload": 1024}) as server, join(server.url, namespace, "a") as node:
        with pytest.raises(DeadlineError, match="nobody has got any shard yet"):
            await node.settled(timeout_s=4)
        await until(lambda: told(caplog, "the shard table was not written") >= 5)
        assert told(caplog, "the shard table was not written", logging.WARNING) == 1
        assert "more than the server takes: 1,024" in caplog.text
