"""Heads that a pipeline of a shards' owner reads for many actors at once: none is written on that is not proven."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import nats
import pytest
from faults.dump import dump
from faults.epochs import epoch_violations
from lagging import MULTI, CarriedConnection, forget, lagging
from owning import TIMEOUT_S, Lease, fenced_store, own, own_actor

from aether import CorruptEventError, IngestError, NewEvent, NotOwnerError
from aether._native import shard_of
from aether.store.fence import ShardFence
from aether.store.fenced import FencedEventStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from aether import EmbeddedServer
    from aether.nats.transport import Reply, Transport

OTHERS = [name for name in (f"device-{number}" for number in range(60)) if shard_of(name) != shard_of("a")]


class Meddler:
    """Carries what a transport carries, and does something around questions for last messages, or to their answers."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.before: Callable[[], Awaitable[object]] | None = None
        self.after: Callable[[], Awaitable[object]] | None = None
        self.hidden = ""
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    async def request_batch(self, subject: str, payload: bytes, deadline: float) -> list[Reply]:
        """Ask, and meddle."""
        if not payload.startswith(MULTI):
            return await self._transport.request_batch(subject, payload, deadline)
        self.asked += 1
        before, self.before = self.before, None
        if before is not None:
            await before()
        replies = await self._transport.request_batch(subject, payload, deadline)
        after, self.after = self.after, None
        if after is not None:
            await after()
        return [reply for reply in replies if not self.hidden or reply.subject != self.hidden]


@asynccontextmanager
async def meddled(url: str, namespace: str) -> AsyncIterator[tuple[FencedEventStore, Meddler]]:
    """A store that owns the shards of all actors here, each of which has an event."""
    connection = CarriedConnection(url, TIMEOUT_S, Meddler)
    store = FencedEventStore(connection, namespace, node="n1", valid=Lease(), owner_of=lambda _: None)
    try:
        async with store:
            await own(store, {shard_of(name) for name in ["a", *OTHERS]})
            async with store.ingest() as pipeline:
                await pipeline.put_many((name, NewEvent("t")) for name in ["a", *OTHERS])
            forget(store)
            assert connection.carrier is not None
            connection.carrier.asked = 0
            yield store, connection.carrier
    finally:
        await connection.aclose()


async def ingest(store: FencedEventStore) -> list[tuple[str, Any]]:
    """Put one event of each actor; return what failed, with its actor."""
    failed: list[tuple[str, Any]] = []
    pipeline = store.ingest(on_failure=lambda event, error: failed.append((event[0], error)))
    await pipeline.__aenter__()
    await pipeline.put_many((name, NewEvent("t")) for name in ["a", *OTHERS])
    if failed := await ended(pipeline, failed):
        assert pipeline.stats().unknown == 0
    assert pipeline.stats().saved == len(OTHERS) + 1 - len(failed)
    return failed


async def ended(pipeline: Any, failed: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Leave the pipeline, and return what failed."""
    try:
        await pipeline.__aexit__(None, None, None)
    except IngestError:
        assert failed
    return failed


async def versions(store: FencedEventStore) -> set[int]:
    """Return the versions at which the other actors are."""
    return {await store.get_latest_version(name) for name in OTHERS}


async def test_many_heads_are_read_with_few_questions(nats_server: EmbeddedServer, namespace: str) -> None:
    """One question tells the heads of all actors that are not known, and the next versions are right."""
    async with meddled(nats_server.url, namespace) as (store, meddler):
        assert await ingest(store) == []
        assert meddler.asked <= 10  # as many batches as were put
        seen = store._fenced.heads.get("a")
        assert seen is not None
        assert seen.version == 2  # whoever reads it next knows how far it must reach
        assert await versions(store) == {2}
    assert epoch_violations(await dump(nats_server.url, namespace), []) == []


async def test_answers_that_lag_are_no_heads(nats_server: EmbeddedServer, namespace: str) -> None:
    """Replicas that do not have the last writes are asked again, together and then one by one; no version is wrong."""
    async with lagging(nats_server.url, namespace) as (store, carrier):
        await own(store, {shard_of(name) for name in OTHERS})
        for stale in (0, 2, 9):
            forget(store)
            carrier.stale, carrier.asked = stale, 0
            assert await ingest(store) == []
            assert carrier.asked > stale
        assert (await versions(store), await store.get_latest_version("a")) == ({3}, 3)
    assert epoch_violations(await dump(nats_server.url, namespace), []) == []


async def test_without_the_proof_a_version_is_given_twice(
    nats_server: EmbeddedServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planted bug, a pipeline that believes any answer, is what the tests above would see."""
    proves = ShardFence.proves
    monkeypatch.setattr(ShardFence, "proves", lambda self, record, _reached, _through=None: proves(self, record, 10**18))
    async with lagging(nats_server.url, namespace) as (store, carrier):
        await store.append("a", NewEvent("t"))
        await carrier.remember()
        await store.append("a", NewEvent("t"))
        forget(store)
        carrier.stale = 1
        async with store.ingest() as pipeline:
            await pipeline.put(("a", NewEvent("t")))
    assert epoch_violations(await dump(nats_server.url, namespace), [])


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_shard_taken_while_heads_are_read(nats_server: EmbeddedServer, namespace: str, when: str) -> None:
    """Whether the answer knows of the other node or not: events of its shard fail with its name, all others are saved."""
    async with meddled(nats_server.url, namespace) as (store, meddler), fenced_store(nats_server.url, namespace, "n2") as other:

        async def take() -> None:
            await own_actor(other, "a")
            await other.append("a", NewEvent("theirs"))

        setattr(meddler, when, take)
        ((name, error),) = await ingest(store)
        assert (name, type(error), error.owner) == ("a", NotOwnerError, "n2")
        assert await versions(store) == {2}
        assert [event.event_type for event in await store.get_events("a")] == ["t", "theirs"]
    assert epoch_violations(await dump(nats_server.url, namespace), []) == []


async def test_an_append_while_heads_are_read_is_not_overtaken(nats_server: EmbeddedServer, namespace: str) -> None:
    """An answer from before an append, which this very node made meanwhile, does not bring back the head before it."""
    async with meddled(nats_server.url, namespace) as (store, meddler):
        meddler.after = lambda: store.append("a", NewEvent("between"))
        assert await ingest(store) == []
        assert [(event.event_type, event.version) for event in await store.get_events("a")] == [
            ("t", 1),
            ("between", 2),
            ("t", 3),
        ]
    assert epoch_violations(await dump(nats_server.url, namespace), []) == []


async def test_a_damaged_last_message_is_its_actors_matter(nats_server: EmbeddedServer, namespace: str) -> None:
    """Among heads that are read at once, one that is no commit fails its own actor's events by position, and no other's."""
    async with meddled(nats_server.url, namespace) as (store, _):
        client = await nats.connect(nats_server.url)
        ack = await client.jetstream().publish(f"aether.{namespace}.{shard_of('a')}.a", b"no commit")
        await client.close()
        ((name, error),) = await ingest(store)
        assert (name, type(error), error.position) == ("a", CorruptEventError, ack.seq)
        assert await versions(store) == {2}


async def test_a_last_message_that_the_server_has_lost_makes_no_new_actor(nats_server: EmbeddedServer, namespace: str) -> None:
    """An actor that has messages, though its last one is not found, is not taken for new."""
    async with meddled(nats_server.url, namespace) as (store, meddler):
        meddler.hidden = f"aether.{namespace}.{shard_of('a')}.a"
        ((name, error),) = await ingest(store)
        assert (name, type(error)) == ("a", CorruptEventError)
        assert "lost the last message" in str(error)
        assert await versions(store) == {2}


async def test_a_memory_of_one_head_gives_right_versions(nats_server: EmbeddedServer, namespace: str) -> None:
    """Where heads are forgotten as soon as others come, pipelines and appends on the same actors still number without a gap."""
    names = OTHERS[:12]
    async with fenced_store(nats_server.url, namespace, heads_max=1) as store:
        await own(store, {shard_of(name) for name in names})

        async def put() -> None:
            async with store.ingest() as pipeline:
                for _ in range(3):
                    await pipeline.put_many((name, NewEvent("t")) for name in names)
                    await asyncio.sleep(0)

        appends = [store.append(name, NewEvent("t")) for name in names for _ in range(3)]
        await asyncio.gather(put(), put(), *appends)
        for name in names:
            assert [event.version for event in await store.get_events(name)] == list(range(1, 10))
    assert epoch_violations(await dump(nats_server.url, namespace), []) == []
