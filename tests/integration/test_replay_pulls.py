"""Long reads by `read_all` pull from a consumer where they may, and do without where they may not."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from typing import TYPE_CHECKING

import nats
import pytest
from faults.dump import stock_client

from aether import CorruptEventError, EmbeddedServer, Event, JetStreamEventStore
from aether._native import actor_subject
from aether.testing.servers import running_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LONG = 5_000
"""More messages than direct gets are worth for, and several runs."""

USERS = {
    "accounts": {
        "APP": {
            "jetstream": "enabled",
            "users": [
                {"user": "no-making", "password": "x", "permissions": {"publish": {"deny": ["$JS.API.CONSUMER.CREATE.>"]}}},
                {"user": "no-pulling", "password": "x", "permissions": {"publish": {"deny": ["$JS.API.CONSUMER.MSG.NEXT.>"]}}},
            ],
        }
    }
}


@pytest.fixture(params=["lane", "nats-py"])
async def store(request, nats_server: EmbeddedServer, namespace: str) -> AsyncIterator[JetStreamEventStore]:
    """A store on the shared server, by either way that messages travel."""
    if request.param == "lane":
        async with JetStreamEventStore(nats_server.url, namespace=namespace) as store:
            yield store
        return
    client = await nats.connect(nats_server.url)
    async with JetStreamEventStore(client, namespace=namespace) as store:
        yield store
    await client.close()


async def fill(store: JetStreamEventStore, count: int = LONG) -> None:
    """Save one event a commit, of seven actors in turn."""
    async with store.ingest(commit_events_max=1) as pipeline:
        await pipeline.put_many(Event(f"a-{n % 7}", "t", n // 7 + 1, n) for n in range(count))


async def read(store: JetStreamEventStore, after: int = 0) -> list[int]:
    """Read everything behind a position; return the events' data."""
    return [event.data async for batch in store.read_all(after) for event in batch]


async def consumers(server: EmbeddedServer, namespace: str) -> list[str]:
    """The names of the consumers that the namespace's stream has."""
    async with stock_client(server.url) as client:
        return [info.name for info in await client.jetstream().consumers_info(f"AETHER-EVENTS-{namespace}")]


async def test_a_long_read_pulls_everything_in_order(store, nats_server, namespace):
    """A long read is in position order and whole, by a consumer that is gone when the read is over."""
    await fill(store)
    async with aclosing(store.read_all(batch_size=10)) as batches:
        first = await anext(batches)
        assert len(await consumers(nats_server, namespace)) == 1, "it is made for this read"
        expected = [event.data for event in first]
        expected += [event.data async for batch in batches for event in batch]
    assert sorted(expected) == [*range(LONG)]
    assert await read(store) == expected, "again the same"
    await _none_left(nats_server, namespace)


async def _none_left(server: EmbeddedServer, namespace: str) -> None:
    async with asyncio.timeout(60), stock_client(server.url) as client:
        # Each question is a round trip to the server, and so the wait.
        while await client.jetstream().consumers_info(f"AETHER-EVENTS-{namespace}"):
            pass


async def test_a_read_that_is_left_leaves_no_consumer(store, nats_server, namespace):
    """A reader that stops half way leaves no consumer behind."""
    await fill(store)
    async for batch in store.read_all(batch_size=10):
        assert batch
        break
    await _none_left(nats_server, namespace)


async def test_damage_in_a_long_read_is_named_with_its_position(store, nats_server, namespace):
    """A foreign message in a long read ends it there, after everything before it; behind it the read goes on."""
    await fill(store, LONG // 2)
    async with stock_client(nats_server.url) as client:
        damaged = (await client.jetstream().publish(actor_subject(namespace, "a-0"), b"hello")).seq
    async with store.ingest(commit_events_max=1) as pipeline:
        await pipeline.put_many(Event("b", "t", n + 1, n) for n in range(LONG // 2))
    seen: list[int] = []

    async def read_on() -> None:
        async for batch in store.read_all():
            seen.extend(event.data for event in batch)

    with pytest.raises(CorruptEventError) as caught:
        await read_on()
    assert sorted(seen) == [*range(LONG // 2)]
    assert caught.value.position == damaged
    assert await read(store, damaged) == [*range(LONG // 2)]


@pytest.mark.parametrize("user", ["no-making", "no-pulling"])
async def test_an_account_that_may_not_pull_reads_everything_by_direct_gets(user, caplog):
    """Where a consumer may not be made or pulled from, the read is whole all the same, and the log says that it is slower."""
    caplog.set_level(logging.INFO, "aether.nats")
    with running_server(USERS) as server:
        async with JetStreamEventStore(server.url.replace("nats://", f"nats://{user}:x@")) as store:
            await fill(store)
            assert sorted(await read(store)) == [*range(LONG)]
    assert any("slower" in record.getMessage() for record in caplog.records)


async def test_a_consumer_that_is_deleted_in_the_middle_costs_no_event(store, nats_server, namespace):
    """When somebody deletes the consumer under a reader, the read goes on without a gap."""
    await fill(store)
    events: list[int] = []
    async with aclosing(store.read_all(batch_size=10)) as batches:
        events += [event.data for event in await anext(batches)]
        async with stock_client(nats_server.url) as client:
            for name in await consumers(nats_server, namespace):
                await client.jetstream().delete_consumer(f"AETHER-EVENTS-{namespace}", name)
        events += [event.data async for batch in batches for event in batch]
    assert sorted(events) == [*range(LONG)]
