"""Ingestion on real servers: the portable path, back pressure, and cancellation."""

from __future__ import annotations

import asyncio
import time
import uuid
from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest
from faults.accounts import Accounts
from faults.dump import dump, stock_client
from faults.proxy import Proxy, is_event
from faults.waiting import until
from ingesting import feed

from aether import AetherError, Event, IngestError, InMemoryEventStore, JetStreamEventStore, sync
from aether.testing.contract_ingest import IngestContract
from aether.testing.contract_ingest_ways import IngestWaysContract

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aether import EmbeddedServer, IngestPipeline


@pytest.fixture(scope="class")
def class_namespace() -> str:
    """A namespace for the whole class: tests keep to actors of their own."""
    return f"ingest-{uuid.uuid4().hex[:8]}"


class TestPortablePath(IngestContract, IngestWaysContract):
    """The contract over a borrowed nats-py client."""

    @pytest.fixture
    async def store(self, nats_server, class_namespace):
        """A store on a client of somebody else's."""
        async with stock_client(nats_server.url) as client, JetStreamEventStore(client, namespace=class_namespace) as store:
            assert (await store.info()).transport == "nats-py"
            yield store

    @pytest.fixture
    async def peer(self, nats_server, class_namespace):
        """Another client."""
        async with stock_client(nats_server.url) as client, JetStreamEventStore(client, namespace=class_namespace) as peer:
            yield peer


@pytest.mark.parametrize("bounds", [{"pending_max": 100}, {"pending_bytes_max": 12_000}], ids=["events", "bytes"])
async def test_no_more_is_taken_than_may_be_pending(nats_server: EmbeddedServer, namespace: str, bounds: dict[str, int]) -> None:
    """While the server takes nothing, a pipeline takes no more of a generator than its bounds allow, and goes on later."""
    taken = 0

    def counted() -> Iterator[Event]:
        nonlocal taken
        for event in feed(5000, 50):
            taken += 1
            yield event

    async with (
        Proxy(nats_server.url) as proxy,
        JetStreamEventStore(proxy.url, namespace=namespace) as store,
        store.ingest(**bounds) as pipeline,
    ):
        proxy.silent = True
        work = asyncio.ensure_future(pipeline.put_many(counted()))
        await until(lambda: pipeline.stats().in_flight == 50)
        stood = pipeline.stats()
        assert taken == stood.put == stood.pending <= 130
        proxy.silent = False
        await work
    assert pipeline.stats().saved == taken == 5000


async def test_events_that_wait_become_one_commit(nats_server: EmbeddedServer, namespace: str) -> None:
    """What is put while a commit of its actor is on its way goes out together, `commit_events_max` events at most."""
    async with (
        JetStreamEventStore(nats_server.url, namespace=namespace) as store,
        store.ingest(commit_events_max=10) as pipeline,
    ):
        await pipeline.put_many([*feed(31, 1)])
    assert [len(message.ids) for message in await dump(nats_server.url, namespace)] == [10, 10, 10, 1]


async def test_an_unknown_head_is_read_and_many_at_once(nats_server: EmbeddedServer, namespace: str) -> None:
    """A pipeline that knows none of its actors reads all their heads, and stores above them without a conflict."""
    async with JetStreamEventStore(nats_server.url, namespace=namespace) as store, store.ingest() as pipeline:
        await pipeline.put_many(feed(600, 300))
    async with (
        JetStreamEventStore(nats_server.url, namespace=namespace, heads_max=7) as another,
        another.ingest() as pipeline,
    ):
        await pipeline.put_many(Event(f"actor-{n}", "Measured", 3 + step, n) for step in range(3) for n in range(300))
    assert pipeline.stats()[:7] == (900, 900, 0, 0, 0, 0, 0)
    assert pipeline.stats().commits >= 300


async def test_cancelled_it_finishes_what_is_on_its_way(nats_server: EmbeddedServer, namespace: str) -> None:
    """A cancelled task leaves its pipeline with nothing pending, what was sent settled, and a note that says where it stood."""
    accounts = Accounts()
    pipelines: list[IngestPipeline] = []

    async def ingest(store: JetStreamEventStore) -> None:
        async with store.ingest(on_failure=accounts.on_failure, pending_max=500, commit_events_max=1) as pipeline:
            pipelines.append(pipeline)
            await accounts.offer(pipeline, feed(10**6, 40))

    async with JetStreamEventStore(nats_server.url, namespace=namespace) as store:
        work = asyncio.ensure_future(ingest(store))
        await until(lambda: pipelines and pipelines[0].stats().saved > 500)
        work.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await work
    assert "ingestion stood at" in caught.value.__notes__[0]
    stats = pipelines[0].stats()
    assert (stats.unknown, stats.pending) == (0, 0)
    assert accounts.complaints(pipelines, await dump(nats_server.url, namespace)) == []


async def test_cancelled_twice_it_says_what_is_unknown(nats_server: EmbeddedServer, namespace: str) -> None:
    """Cancelled while it waits for answers, a pipeline ends at once and counts what was sent as unknown."""
    async with Proxy(nats_server.url) as proxy, JetStreamEventStore(proxy.url, namespace=namespace) as store:
        pipeline = store.ingest(commit_events_max=1)

        async def ingest() -> None:
            async with pipeline:
                await pipeline.put_many(feed(60, 20))

        proxy.lose_from_client = is_event
        work = asyncio.ensure_future(ingest())
        await until(lambda: pipeline.stats().in_flight == 20)
        work.cancel()
        await until(lambda: pipeline.stats().failed == 40)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
    stats = pipeline.stats()
    assert (stats.put, stats.unknown, stats.failed, stats.pending, stats.in_flight) == (60, 20, 40, 0, 0)


@pytest.mark.parametrize("by_exception", [False, True], ids=["normally", "by an exception"])
async def test_closing_lets_go_of_who_puts(nats_server: EmbeddedServer, namespace: str, by_exception: bool) -> None:
    """Tasks that put into a pipeline while it is left end with an error, the counters add up, and what is stored has no hole."""
    async with JetStreamEventStore(nats_server.url, namespace=namespace) as store:
        pipeline = store.ingest(pending_max=100)

        async def use() -> None:
            async with pipeline:
                tasks.append(asyncio.create_task(pipeline.put_many(feed(10**6, 1))))
                tasks.append(asyncio.create_task(put_one_by_one()))
                await until(lambda: pipeline.stats().saved > 500)
                if by_exception:
                    raise LookupError

        async def put_one_by_one() -> None:
            for version in range(1, 10**6):
                await pipeline.put(Event("another", "Measured", version))

        tasks: list[asyncio.Task[None]] = []
        with pytest.raises(LookupError) if by_exception else nullcontext():
            await use()
        done, hanging = await asyncio.wait(tasks, timeout=60)
        assert not hanging
        assert ["not open" in str(task.exception()) for task in done] == [True, True]
        stats = pipeline.stats()
        assert (stats.put, stats.pending, stats.unknown) == (stats.saved + stats.failed, 0, 0)
        assert stats.failed == 0 or by_exception
    stored = await dump(nats_server.url, namespace)
    for name in ("actor-0", "another"):
        versions = [version for message in stored if message.commit["actor"] == name for version in message.versions]
        assert versions == [*range(1, len(versions) + 1)]
    assert sum(len(message.ids) for message in stored) == stats.saved


async def test_cancelled_at_any_moment_the_counters_add_up(nats_server: EmbeddedServer, namespace: str) -> None:
    """Cancelled twice in whatever turn of the loop, while commits are in doubt, every event is accounted for and told once."""
    async with JetStreamEventStore(nats_server.url, namespace=namespace) as store:
        await store.save_event(Event("first", "Measured", 1))
        async with store.ingest() as pipeline:
            await pipeline.put_many(feed(400, 200))
        rivals = [Event(event.actor_id, "Rival", event.version) for event in feed(400, 200)]
        for turns in range(30):
            told: list[Event] = []
            pipeline = store.ingest(on_failure=lambda event, _, told=told: told.append(event))

            async def ingest(pipeline: IngestPipeline) -> None:
                async with pipeline:
                    await pipeline.put_many(rivals)

            work = asyncio.ensure_future(ingest(pipeline))
            await until(lambda pipeline=pipeline: pipeline.stats().put > 0)
            for _ in range(turns):
                await asyncio.sleep(0)
            work.cancel()
            await asyncio.sleep(0)
            work.cancel()
            with pytest.raises(asyncio.CancelledError):
                await work
            stats = pipeline.stats()
            assert (stats.put, stats.pending) == (stats.conflicts + stats.failed + stats.unknown, 0)
            assert len(told) == len({event.id for event in told}) == stats.put


async def test_an_on_failure_that_raises_loses_nothing(nats_server: EmbeddedServer, namespace: str) -> None:
    """What `on_failure` raises comes out of the next call, and every event is accounted for."""

    def refuse(event: Event, error: AetherError) -> None:
        raise LookupError(event.actor_id)

    async with JetStreamEventStore(nats_server.url, namespace=namespace) as store, store.ingest(on_failure=refuse) as pipeline:
        await pipeline.put_many([Event("a", "t", 2), Event("a", "t", 1), Event("b", "t", 2), Event("b", "t", 1)])
        with pytest.raises(LookupError):
            await pipeline.flush()
        with pytest.raises(IngestError) as caught:
            await pipeline.flush()
        assert caught.value.conflicts == 2
        await pipeline.put(Event("a", "t", 3))
    assert pipeline.stats()[:7] == (5, 3, 0, 2, 0, 0, 0)


@pytest.mark.parametrize("in_memory", [False, True], ids=["JetStream", "memory"])
async def test_a_long_put_many_lets_others_run(nats_server: EmbeddedServer, namespace: str, in_memory: bool) -> None:
    """While many events are put, other tasks of the loop get their turn before the last is taken."""
    store = InMemoryEventStore() if in_memory else JetStreamEventStore(nats_server.url, namespace=namespace)
    async with store, store.ingest() as pipeline:
        work = asyncio.create_task(pipeline.put_many(feed(20_000, 100)))
        await until(lambda: pipeline.stats().put > 0)
        assert not work.done()
        await work
    assert pipeline.stats().saved == 20_000


async def test_a_second_opening_is_refused(nats_server: EmbeddedServer, namespace: str) -> None:
    """A pipeline serves one context; what failed in it is told there and not in the next."""
    async with JetStreamEventStore(nats_server.url, namespace=namespace) as store:
        pipeline = store.ingest()
        with pytest.raises(IngestError):
            async with pipeline:
                await pipeline.put_many([Event("a", "t", 2), Event("a", "t", 1)])
        with pytest.raises(sync.AetherError, match="another"):
            await pipeline.__aenter__()


async def test_what_a_slow_source_gives_goes_out_as_it_comes(nats_server, namespace):
    """A generator that takes its time is not waited for to its end: what it gave before is put already."""
    put: list[int] = []

    def readings(pipeline: IngestPipeline) -> Iterator[Event]:
        for version in range(1, 9):
            time.sleep(0.01)  # a device that reports now and then
            put.append(pipeline.stats().put)
            yield Event("sensor", "Measured", version)

    async with JetStreamEventStore(nats_server.url, namespace=namespace) as store, store.ingest() as pipeline:
        await pipeline.put_many(readings(pipeline))
    assert put[-1] >= 6
    assert pipeline.stats().saved == 8
