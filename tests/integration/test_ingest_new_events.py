"""New events through pipelines while the network loses, doubles and cuts: each is stored once, in order, without a gap."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from faults.dump import dump
from faults.proxy import every_nth, is_ack, is_event
from faults.waiting import LIMIT_S, asking_again, hurried, until
from ingesting import through_proxy, while_saving

from aether import EmbeddedServer, Event, IngestError, JetStreamEventStore, NewEvent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from conftest import Size

    from aether import IngestOutcome, IngestPipeline
    from aether.testing.servers import NatsCluster

ACTORS = 20
Pair = tuple[str, NewEvent]


def feed(count: int, actors: int = ACTORS) -> list[Pair]:
    """Return that many new events of so many actors in turn."""
    return [(f"actor-{index % actors}", NewEvent("Measured", {"n": index})) for index in range(count)]


async def complaints(urls: str | Sequence[str], namespace: str, put: list[Pair], *, foreign: int = 0) -> list[str]:
    """Return what is wrong with the log: events missing, twice, out of order, or numbered with gaps."""
    stored: dict[str, list[tuple[str, int]]] = {}
    for message in await dump(urls, namespace):
        stored.setdefault(message.commit["actor"], []).extend(zip(message.ids, message.versions, strict=True))
    counts = Counter(event_id for events in stored.values() for event_id, _ in events)
    told = [f"{event_id} is stored {count} times" for event_id, count in counts.items() if count > 1]
    told += [f"{draft.id} is not stored" for _, draft in put if not counts[draft.id]]
    if len(counts) != len(put) + foreign:
        told.append(f"{len(counts)} events are stored, {len(put)} were put")
    for actor_id, events in stored.items():
        if [version for _, version in events] != [*range(1, len(events) + 1)]:
            told.append(f"{actor_id} has gaps: {[version for _, version in events]}")
        mine = [draft.id for name, draft in put if name == actor_id]
        ours = set(mine)
        if [event_id for event_id, _ in events if event_id in ours] != mine:
            told.append(f"{actor_id} is out of order")
    return told


@pytest.mark.parametrize("skip_known", [False, True], ids=["plain", "skip known"])
@pytest.mark.parametrize(
    ("side", "what"),
    [("lose_from_server", is_ack), ("lose_from_client", is_event), ("double", is_event)],
    ids=["lost acks", "lost events", "doubled events"],
)
async def test_new_events_are_stored_once_whatever_is_lost_or_doubled(nats_server, namespace, side, what, skip_known) -> None:
    """With acks or events lost, or events doubled, every new event is stored once, in order, without a gap."""
    put = feed(1000)
    async with through_proxy(nats_server.url, namespace, timeout_s=LIMIT_S) as (proxy, store):
        asking_again(store, 1.0)
        setattr(proxy, side, every_nth(17, what))
        async with store.ingest(skip_known=skip_known) as pipeline:
            asking_again(pipeline, 1.0)
            for pair in put:
                await pipeline.put(pair)
    assert await complaints(nats_server.url, namespace, put) == []
    assert pipeline.stats().saved + pipeline.stats().already_stored == 1000


@pytest.mark.parametrize("skip_known", [False, True], ids=["plain", "skip known"])
async def test_cut_connections_double_no_new_event(nats_server, namespace, skip_known, size: Size) -> None:
    """Connections that break while others write to the same actors: each new event is stored once, numbered without a gap."""
    put, chance = feed(size.pick(5000, 50_000, 500_000)), random.Random(5)
    appended = 0
    async with (
        through_proxy(nats_server.url, namespace) as (proxy, store),
        JetStreamEventStore(nats_server.url, namespace=namespace) as other,
        store.ingest(skip_known=skip_known) as pipeline,
    ):
        work = asyncio.ensure_future(pipeline.put_many(iter(put)))
        async for _ in while_saving(pipeline, work, size.pick(6, 20, 100), chance, 300):
            chance.choice([proxy.cut, proxy.reset])()
            for number in range(ACTORS):
                await other.append(f"actor-{number}", NewEvent("Theirs"))
                appended += 1
        await work
        await pipeline.flush()
    assert await complaints(nats_server.url, namespace, put, foreign=appended) == []


async def test_a_killed_server_doubles_no_new_event(fresh_nats_server: EmbeddedServer, size: Size) -> None:
    """SIGKILL in mid-flight, again and again: every new event is stored once when the server is back."""
    put = feed(size.pick(5000, 50_000, 500_000))
    async with (
        JetStreamEventStore(fresh_nats_server.url, namespace="n", timeout_s=30) as store,
        store.ingest(commit_events_max=3) as pipeline,
    ):
        work = asyncio.ensure_future(pipeline.put_many(iter(put)))
        for _ in range(size.pick(2, 5, 20)):
            seen = pipeline.stats().saved
            await until(lambda seen=seen: pipeline.stats().saved > seen + 200 or work.done())
            await fresh_nats_server.kill()
            await fresh_nats_server.start()
        await work
    assert await complaints(fresh_nats_server.url, "n", put) == []


async def test_a_leader_killed_doubles_no_new_event(nats_cluster: NatsCluster, namespace: str) -> None:
    """Of three servers the one that leads the stream dies: every new event is stored once, by whichever leads next."""
    put = feed(3000)
    async with (
        JetStreamEventStore(",".join(nats_cluster.urls), namespace=namespace, replicas=3, timeout_s=30) as store,
        store.ingest(commit_events_max=1, pending_max=300) as pipeline,
    ):
        leader = await nats_cluster.leader_of(f"AETHER-EVENTS-{namespace}")
        work = asyncio.ensure_future(pipeline.put_many(iter(put)))
        await until(lambda: pipeline.stats().saved > 300)
        await nats_cluster.kill(leader)
        await work
    nats_cluster.heal()
    await nats_cluster.leader_of(f"AETHER-EVENTS-{namespace}")
    assert await complaints(nats_cluster.urls, namespace, put) == []


async def test_what_was_unknown_may_be_put_again_where_ids_are_known(nats_server, namespace) -> None:
    """Past the deadline new events are unknown or failed; all of them put again with `skip_known` are stored once."""
    put = feed(400)
    async with through_proxy(nats_server.url, namespace) as (proxy, store):
        pipeline = store.ingest(in_flight_max=10, skip_known=True)
        outcomes = asyncio.ensure_future(_count(pipeline.outcomes()))
        async with pipeline:
            await pipeline.put_many(put[:100])
            await pipeline.flush()
            proxy.silent = True
            with hurried(store, 1.5):
                async with asyncio.timeout(LIMIT_S):
                    await pipeline.put_many(put[100:])
                    await pipeline.flush()  # told as outcomes
                    with pytest.raises(IngestError):
                        await pipeline.put(put[0])
        stats = pipeline.stats()
        assert stats.unknown > 0 < stats.failed
        assert await outcomes == {"saved": stats.saved, "unknown": stats.unknown, "failed": stats.failed}
        proxy.silent = False
        proxy.cut()
        async with JetStreamEventStore(nats_server.url, namespace=namespace) as fresh, fresh.ingest(skip_known=True) as again:
            await again.put_many(put)
    assert await complaints(nats_server.url, namespace, put) == []


async def _count(outcomes: AsyncIterator[IngestOutcome]) -> Counter[str]:
    return Counter([outcome.status async for outcome in outcomes])


async def test_renumbered_events_are_stored_once_whatever_is_lost(nats_server, namespace) -> None:
    """With conflicts renumbered and acks lost, each event is stored once, and those of one actor in their order."""
    mine = [Event(f"actor-{index % 10}", "Mine", index // 10 + 1, index) for index in range(300)]
    async with through_proxy(nats_server.url, namespace, timeout_s=LIMIT_S) as (proxy, store):
        asking_again(store, 0.5)
        for number in range(10):
            await store.save_events(Event(f"actor-{number}", "Theirs", version) for version in (1, 2, 3, 7))
        proxy.lose_from_server = every_nth(13, is_ack)
        proxy.double = every_nth(7, is_event)
        async with store.ingest(on_conflict="renumber") as pipeline:
            asking_again(pipeline, 0.5)
            await pipeline.put_many(iter(mine))
    found = [event_id for message in await dump(nats_server.url, namespace) for event_id in message.ids]
    assert len(found) == len(set(found)) == 340
    place = {event_id: index for index, event_id in enumerate(found)}
    for number in range(10):
        order = [place[event.id] for event in mine[number::10]]
        assert order == sorted(order)


async def test_a_flush_in_another_task_takes_no_halt_from_who_puts(nats_server, namespace) -> None:
    """A task that flushes is told of what failed, and each that put before learns once that what came before is not stored."""
    go_on, paused = asyncio.Event(), asyncio.Semaphore(0)
    told: list[tuple[str, int]] = []

    async def produce(pipeline: IngestPipeline, name: str) -> None:
        for version in range(1, 31):
            if version == 21:
                paused.release()
                await go_on.wait()
            try:
                await pipeline.put(Event(name, "Measured", version))
            except IngestError:
                told.append((name, version))

    async with through_proxy(nats_server.url, namespace) as (proxy, store), store.ingest() as pipeline:
        await pipeline.put(Event("x", "Measured", 1))
        await pipeline.flush()
        proxy.silent = True
        work = [asyncio.ensure_future(produce(pipeline, name)) for name in ("a", "b")]
        for _ in work:
            await paused.acquire()
        with hurried(store, 1.5):
            async with asyncio.timeout(LIMIT_S):
                with pytest.raises(IngestError):
                    await pipeline.flush()
        proxy.silent = False
        proxy.cut()
        await pipeline.put(Event("x", "Measured", 2))  # this task knows
        go_on.set()
        await asyncio.wait_for(asyncio.gather(*work), LIMIT_S)
        await pipeline.flush()
    assert sorted(told) == [("a", 21), ("b", 21)]
