"""Ingestion by a shard's owner: what it owns is stored under its epoch, what it loses fails by name, the rest goes on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from faults.dump import dump
from faults.epochs import epoch_violations
from owning import SHARDS, fenced_store, own, own_actor

from aether import Event, IngestError, NewEvent, NotOwnerError
from aether._native import shard_of

if TYPE_CHECKING:
    from aether import EmbeddedServer

ACTORS = [f"device-{number}" for number in range(40)]


async def test_appends_and_pipelines_of_one_owner_share_its_fences(nats_server: EmbeddedServer, namespace: str) -> None:
    """Two pipelines and many appends on the same actors at once: all stored, no gap, every commit of the owner's epoch."""
    async with fenced_store(nats_server.url, namespace) as store:
        await own(store, {shard_of(actor) for actor in ACTORS})

        async def ingest() -> None:
            async with store.ingest() as pipeline:
                await pipeline.put_many((actor, NewEvent("t", number)) for number in range(10) for actor in ACTORS)

        appends = [store.append(actor, NewEvent("t")) for actor in ACTORS for _ in range(5)]
        await asyncio.gather(ingest(), ingest(), *appends)
        for actor in ACTORS:
            assert [event.version for event in await store.get_events(actor)] == list(range(1, 26))
    assert epoch_violations(await dump(nats_server.url, namespace), []) == []


async def test_events_of_shards_that_are_not_owned_fail_and_the_rest_is_stored(
    nats_server: EmbeddedServer, namespace: str
) -> None:
    """Each event of a foreign shard ends with `NotOwnerError`; the pipeline does not stop for it."""
    ours, theirs = ACTORS[::2], ACTORS[1::2]
    shards = {shard_of(actor) for actor in ours} - {shard_of(actor) for actor in theirs}
    ours = [actor for actor in ours if shard_of(actor) in shards]
    failed: list[tuple[Any, Any]] = []
    async with fenced_store(nats_server.url, namespace) as store:
        await own(store, shards)
        pipeline = store.ingest(on_failure=lambda event, error: failed.append((event, error)))
        await pipeline.__aenter__()
        await pipeline.put_many(Event(actor, "t", version) for version in (1, 2, 3) for actor in [*ours, *theirs])
        with pytest.raises(IngestError) as caught:
            await pipeline.__aexit__(None, None, None)
        assert caught.value.failed == len(failed) == 3 * len(theirs)
        assert {event.actor_id for event, _ in failed} == set(theirs)
        assert all(isinstance(error, NotOwnerError) for _, error in failed)
        for actor in ours:
            assert len(await store.get_events(actor)) == 3


async def test_a_shard_taken_under_a_pipeline_is_stored_up_to_there(nats_server: EmbeddedServer, namespace: str) -> None:
    """Another node takes half of the shards while events go in: no epochs interleave, each event is stored or failed, once."""
    failed: list[Any] = []
    async with fenced_store(nats_server.url, namespace) as store, fenced_store(nats_server.url, namespace, "node-2") as other:
        await own(store, {shard_of(actor) for actor in ACTORS})
        pipeline = store.ingest(on_failure=lambda event, _: failed.append(event))
        await pipeline.__aenter__()
        await pipeline.put_many(Event(actor, "t", version) for version in range(1, 6) for actor in ACTORS)
        for actor in ACTORS[:20]:
            await own_actor(other, actor)
            await other.append(actor, NewEvent("theirs"))
        await pipeline.put_many(Event(actor, "t", version) for version in range(6, 11) for actor in ACTORS)
        with pytest.raises(IngestError):
            await pipeline.__aexit__(None, None, None)
        stored = [event async for batch in store.read_all() for event in batch if event.event_type == "t"]
    assert len(stored) == pipeline.stats().saved
    assert len(stored) + len(failed) == 10 * len(ACTORS)
    assert not {event.id for event in stored} & {event.id for event in failed}
    assert [wrong for wrong in epoch_violations(await dump(nats_server.url, namespace), []) if "epoch" in wrong] == []


async def test_an_owner_of_everything_skips_what_is_known(nats_server: EmbeddedServer, namespace: str) -> None:
    """An import run again stores nothing twice, also over 1021 shards."""
    events = [Event(f"{actor}-{number}", "t", 1) for actor in ACTORS for number in range(5)]
    async with fenced_store(nats_server.url, namespace) as store:
        await own(store, range(SHARDS))
        for saved in (len(events), 0):
            async with store.ingest(skip_known=True) as pipeline:
                await pipeline.put_many(events)
            assert pipeline.stats().saved == saved
            assert pipeline.stats().already_stored == len(events) - saved
