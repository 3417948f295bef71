"""Ingestion while connections break and servers die: each event is stored at most once, and ends as the pipeline says."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest
from faults.accounts import Accounts
from faults.dump import dump
from faults.proxy import every_nth, is_ack, is_event
from faults.waiting import LIMIT_S, asking_again, hurried, until
from ingesting import feed, through_proxy, while_saving

from aether import (
    EmbeddedServer,
    Event,
    IngestError,
    JetStreamEventStore,
    OutcomeUnknownError,
    ServerUnavailableError,
    StoreFullError,
)
from aether.testing.servers import running_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from conftest import Size

    from aether import IngestPipeline
    from aether.testing.servers import NatsCluster


@pytest.mark.parametrize(
    ("side", "what"),
    [("lose_from_server", is_ack), ("lose_from_client", is_event), ("double", is_event)],
    ids=["lost acks", "lost events", "doubled events"],
)
async def test_what_the_network_loses_or_doubles_is_stored_once(nats_server, namespace, side, what) -> None:
    """With acks or events lost, or events doubled, and nothing else, every event is saved in the end, once."""
    accounts = Accounts()
    async with through_proxy(nats_server.url, namespace, timeout_s=LIMIT_S) as (proxy, store):
        asking_again(store, 1.0)
        setattr(proxy, side, every_nth(23, what))
        async with store.ingest(on_failure=accounts.on_failure) as pipeline:
            asking_again(pipeline, 1.0)
            await accounts.offer(pipeline, feed(1000))
    assert accounts.complaints([pipeline], await dump(nats_server.url, namespace)) == []
    assert (accounts.failures, accounts.errors) == ([], [])
    assert pipeline.stats().saved + pipeline.stats().already_stored == 1000


@pytest.mark.parametrize("harm", ["cut", "reset"])
async def test_broken_connections_lose_and_double_nothing(nats_server, namespace, harm, size: Size) -> None:
    """Connections that break in mid-flight, again and again, cost time and nothing else."""
    accounts, chance = Accounts(), random.Random(7)
    async with (
        through_proxy(nats_server.url, namespace) as (proxy, store),
        store.ingest(on_failure=accounts.on_failure) as pipeline,
    ):
        work = asyncio.ensure_future(accounts.offer(pipeline, feed(size.pick(20_000, 100_000, 1_000_000))))
        async for _ in while_saving(pipeline, work, size.pick(5, 20, 100), chance, 500):
            getattr(proxy, harm)()
        await work
        await accounts.flush(pipeline)
    assert accounts.complaints([pipeline], await dump(nats_server.url, namespace)) == []
    assert (accounts.failures, accounts.errors) == ([], [])


async def test_a_server_killed_and_restarted_loses_nothing(fresh_nats_server: EmbeddedServer, size: Size) -> None:
    """SIGKILL in mid-flight, again and again: every event is saved once the server is back."""
    accounts = Accounts()
    async with (
        JetStreamEventStore(fresh_nats_server.url, namespace="n", timeout_s=30) as store,
        store.ingest(on_failure=accounts.on_failure, commit_events_max=1) as pipeline,
    ):
        work = asyncio.ensure_future(accounts.offer(pipeline, feed(size.pick(10_000, 50_000, 500_000))))
        for _ in range(size.pick(2, 5, 20)):
            seen = pipeline.stats().saved
            await until(lambda seen=seen: pipeline.stats().saved > seen + 300)
            await fresh_nats_server.kill()
            await fresh_nats_server.start()
        await work
    assert accounts.complaints([pipeline], await dump(fresh_nats_server.url, "n")) == []
    assert (accounts.failures, accounts.errors) == ([], [])


async def test_a_leader_killed_under_ingestion_loses_nothing(nats_cluster: NatsCluster, namespace: str) -> None:
    """Of three servers the one that leads the stream dies: every event is saved once, by whichever leads next."""
    accounts = Accounts()
    async with (
        JetStreamEventStore(",".join(nats_cluster.urls), namespace=namespace, replicas=3, timeout_s=30) as store,
        store.ingest(on_failure=accounts.on_failure, commit_events_max=1, pending_max=300) as pipeline,
    ):
        leader = await nats_cluster.leader_of(f"AETHER-EVENTS-{namespace}")
        work = asyncio.ensure_future(accounts.offer(pipeline, feed(3000)))
        await until(lambda: pipeline.stats().saved > 300)
        await nats_cluster.kill(leader)
        assert not work.done()
        await work
    nats_cluster.heal()
    await nats_cluster.leader_of(f"AETHER-EVENTS-{namespace}")
    assert accounts.complaints([pipeline], await dump(nats_cluster.urls, namespace)) == []
    assert (accounts.failures, accounts.errors) == ([], [])


async def test_a_server_that_stays_away_is_told_and_what_failed_can_be_put_again(nats_server, namespace) -> None:
    """Past the deadline what was sent is unknown, what was not has failed, nobody hangs, and putting all again heals it."""
    accounts = Accounts()
    async with (
        through_proxy(nats_server.url, namespace) as (proxy, store),
        store.ingest(on_failure=accounts.on_failure, in_flight_max=20) as pipeline,
    ):
        await accounts.offer(pipeline, feed(100))
        await accounts.flush(pipeline)
        proxy.silent = True
        with hurried(store, 1.5):
            async with asyncio.timeout(LIMIT_S):
                await accounts.offer(pipeline, [*feed(400)][100:])
                await accounts.flush(pipeline)
        stats = pipeline.stats()
        assert (stats.saved, stats.conflicts) == (100, 0)
        assert stats.unknown > 0 < stats.failed
        assert sum(isinstance(error, OutcomeUnknownError) for _, error in accounts.failures) == stats.unknown
        proxy.silent = False
        proxy.cut()
        failed = [event for event, _ in accounts.failures]
        async with asyncio.timeout(LIMIT_S):
            while failed:
                again = Accounts()
                async with store.ingest(on_failure=again.on_failure) as second:
                    await again.offer(second, sorted(failed, key=lambda event: event.version))
                    await again.flush(second)
                failed = [event for event, _ in again.failures]
    stored = await dump(nats_server.url, namespace)
    ids = [event_id for message in stored for event_id in message.ids]
    assert len(ids) == len(set(ids)) == 400


async def test_no_server_at_all_is_told_in_time(fresh_nats_server: EmbeddedServer) -> None:
    """With the server gone before anything was sent, everything fails, and nothing is unknown."""
    accounts = Accounts()
    async with (
        JetStreamEventStore(fresh_nats_server.url) as store,
        store.ingest(on_failure=accounts.on_failure) as pipeline,
    ):
        await fresh_nats_server.kill()
        await until(lambda: not store._connection.is_up())
        with hurried(store, 0.5):
            async with asyncio.timeout(LIMIT_S):
                await accounts.offer(pipeline, feed(50))
                await accounts.flush(pipeline)
        assert pipeline.stats().failed == 50
        assert {type(error) for _, error in accounts.failures} == {ServerUnavailableError}
        assert [error.failed for error in accounts.errors] == [50]


async def test_a_full_stream_stops_the_pipeline(namespace: str) -> None:
    """Where the server has no room each event is stored or has failed, and the pipeline says so at once."""
    accounts = Accounts()
    with running_server({"jetstream": {"max_file_store": 2_000_000}}) as server:
        async with JetStreamEventStore(server.url, namespace=namespace) as store:
            async with store.ingest(on_failure=accounts.on_failure) as pipeline:
                events = (Event(f"a-{n % 40}", "t", n // 40 + 1, b"x" * 10_000) for n in range(2000))
                with pytest.raises(IngestError, match="full"):
                    await _put_all(pipeline, events)
            stats = pipeline.stats()
        stored = await dump(server.url, namespace)
    assert sum(len(message.ids) for message in stored) == stats.saved + stats.already_stored > 0
    assert stats.put == stats.saved + stats.already_stored + stats.failed + stats.unknown
    assert any(isinstance(error, StoreFullError) for _, error in accounts.failures)


async def test_a_link_that_is_slow_is_not_silent(nats_server: EmbeddedServer, namespace: str) -> None:
    """Commits that wait on the way far longer than an attempt are not asked about while those before them are answered."""
    accounts = Accounts()
    async with through_proxy(nats_server.url, namespace, timeout_s=4) as (proxy, store):
        proxy.delay_s = 0.01
        async with store.ingest(on_failure=accounts.on_failure) as pipeline:
            await accounts.offer(pipeline, feed(300, actors=300))
    assert (accounts.failures, accounts.errors) == ([], [])
    assert pipeline.stats().commits == 300, "each was acked; none was looked for in the log"


async def test_conflicts_that_take_long_to_judge_do_not_stop_it(nats_server: EmbeddedServer, namespace: str) -> None:
    """Where the server goes on answering, each of many conflicts is told, though all together take longer than the time-out."""
    accounts = Accounts()
    async with through_proxy(nats_server.url, namespace, timeout_s=2) as (proxy, store):
        await store.save_events([*feed(30, actors=1)])
        proxy.delay_s = 0.06
        async with store.ingest(on_failure=accounts.on_failure) as pipeline:
            await accounts.offer(pipeline, feed(30, actors=1))
            await accounts.flush(pipeline)
    assert [error.failed for error in accounts.errors] == [0]
    assert pipeline.stats().conflicts == 30


@pytest.mark.parametrize(
    ("side", "what"), [("lose_from_server", is_ack), ("lose_from_client", is_event)], ids=["it was stored", "it was not"]
)
async def test_a_commit_too_large_for_the_server_that_came_back_is_stored_in_parts(tmp_path, namespace, side, what) -> None:
    """A commit in flight that fits no more when the server is back ends event by event, stored by then or not."""
    accounts = Accounts()
    async with (
        EmbeddedServer(tmp_path / "data") as server,
        through_proxy(server.url, namespace) as (proxy, store),
        store.ingest(on_failure=accounts.on_failure) as pipeline,
    ):
        setattr(proxy, side, what)
        work = asyncio.ensure_future(accounts.offer(pipeline, (Event("a", "t", n, b"x" * 1000) for n in range(1, 60))))
        await until(lambda: proxy.lost)
        await server.kill()
        await server.aclose()
        setattr(proxy, side, lambda _: False)
        async with EmbeddedServer(tmp_path / "data", port=server.port, settings={"max_payload": 4096}) as smaller:
            await work
            await accounts.flush(pipeline)
            stored = await dump(smaller.url, namespace)
    assert accounts.complaints([pipeline], stored) == []
    assert (accounts.failures, accounts.errors) == ([], [])


async def test_random_cuts_and_losses_for_a_while(nats_server: EmbeddedServer, namespace: str, size: Size) -> None:
    """Cuts, resets, silences and lost frames at random, some past the deadline, never break the accounts."""
    accounts, chance = Accounts(), random.Random(11)
    loop = asyncio.get_running_loop()
    end = loop.time() + size.pick(4, 60, 600)

    def enough() -> bool:
        return loop.time() > end and pipeline.stats().saved > 500

    async with (
        through_proxy(nats_server.url, namespace, timeout_s=1.5) as (proxy, store),
        store.ingest(on_failure=accounts.on_failure, pending_max=2000) as pipeline,
    ):
        work = asyncio.ensure_future(accounts.offer(pipeline, _until(enough)))
        while not work.done():
            proxy.lose_from_server = every_nth(chance.choice([20, 1000, 100_000]), is_ack)
            await asyncio.wait([work], timeout=chance.uniform(0.05, 0.5))
            chance.choice([proxy.cut, proxy.reset, lambda: None])()
            if chance.random() < 0.1:
                proxy.silent = True
                await asyncio.wait([work], timeout=chance.uniform(0.1, 2))
                proxy.silent = False
                proxy.cut()
        await work
        proxy.lose_from_server = lambda _: False
        await accounts.flush(pipeline)
    assert accounts.complaints([pipeline], await dump(nats_server.url, namespace)) == []


async def _put_all(pipeline: IngestPipeline, events: Iterable[Event]) -> None:
    await pipeline.put_many(events)
    await pipeline.flush()


def _until(enough: Callable[[], bool]) -> Iterator[Event]:
    for event in feed(10**7, actors=200):
        if enough():
            return
        yield event
