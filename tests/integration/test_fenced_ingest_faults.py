"""Ingestion by a shards' owner while the network loses, doubles and breaks: each event is stored once, and ends as it is told."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import nats
import pytest
from faults.accounts import Accounts
from faults.dump import dump
from faults.epochs import epoch_violations
from faults.proxy import Proxy, every_nth, is_ack, is_event
from ingesting import feed, while_saving
from owning import SHARDS, fenced_store, own

from aether import NewEvent

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Size
    from faults.proxy import Frame

    from aether import EmbeddedServer


async def complaints(accounts: Accounts, pipeline: object, url: str, namespace: str) -> list[str]:
    """Return what is wrong with what is stored."""
    stored = await dump(url, namespace)
    found = accounts.complaints([pipeline], [message for message in stored if not message.is_epoch])
    return found + epoch_violations(stored, [])


@pytest.mark.parametrize(
    ("side", "what"),
    [("lose_from_server", is_ack), ("lose_from_client", is_event), ("double", is_event)],
    ids=["lost acks", "lost events", "doubled events"],
)
async def test_what_the_network_loses_or_doubles_is_stored_once(
    nats_server: EmbeddedServer, namespace: str, side: str, what: Callable[[Frame], bool]
) -> None:
    """With acks or events lost, or events doubled, every event of an owner's pipeline is saved in the end, once."""
    accounts = Accounts()
    async with Proxy(nats_server.url) as proxy, fenced_store(proxy.url, namespace, timeout_s=4) as store:
        await own(store, range(SHARDS))
        setattr(proxy, side, every_nth(23, what))
        async with store.ingest(on_failure=accounts.on_failure) as pipeline:
            await accounts.offer(pipeline, feed(1000))
    assert await complaints(accounts, pipeline, nats_server.url, namespace) == []
    assert (accounts.failures, accounts.errors) == ([], [])
    assert pipeline.stats().saved + pipeline.stats().already_stored == 1000


@pytest.mark.parametrize("harm", ["cut", "reset"])
async def test_broken_connections_lose_and_double_nothing(
    nats_server: EmbeddedServer, namespace: str, harm: str, size: Size
) -> None:
    """Connections that break in mid-flight, while appends go to the same shards, cost time and nothing else."""
    accounts, chance = Accounts(), random.Random(7)
    async with Proxy(nats_server.url) as proxy, fenced_store(proxy.url, namespace, timeout_s=20) as store:
        await own(store, range(SHARDS))
        async with store.ingest(on_failure=accounts.on_failure) as pipeline:
            work = asyncio.ensure_future(accounts.offer(pipeline, feed(size.pick(10_000, 50_000, 500_000))))
            async for _ in while_saving(pipeline, work, size.pick(4, 20, 100), chance, 500):
                getattr(proxy, harm)()
            await work
            await accounts.flush(pipeline)
    assert await complaints(accounts, pipeline, nats_server.url, namespace) == []
    assert (accounts.failures, accounts.errors) == ([], [])


async def test_a_client_that_is_borrowed_sends_under_the_same_guards(nats_server: EmbeddedServer, namespace: str) -> None:
    """Over a stock nats-py client, which is given message by message, versions and epochs are right, too."""
    client = await nats.connect(nats_server.url)
    names = [f"device-{number}" for number in range(40)]
    async with fenced_store(client, namespace) as store:
        await own(store, range(SHARDS))
        async with store.ingest() as pipeline:
            await pipeline.put_many((name, NewEvent("t")) for _ in range(5) for name in names)
        assert pipeline.stats().saved == 5 * len(names)
        assert {await store.get_latest_version(name) for name in names} == {5}
    await client.close()
    assert epoch_violations(await dump(nats_server.url, namespace), []) == []
