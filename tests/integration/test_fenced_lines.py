"""Pipelines of shards' owners wait by shard: one that stands still holds up no other, and ends by name."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from faults.dump import dump
from faults.epochs import epoch_violations
from faults.waiting import until
from owning import Lease, fenced_store, own, own_actor

from aether import DeadlineError, Event, IngestError, NewEvent, NotOwnerError, ShardUnavailableError
from aether._native import shard_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aether import EmbeddedServer
    from aether.store.fenced import FencedEventStore

STUCK = 7
MANY = 400
"""More actors than commits are on their way at first, and than anything else that is counted in hundreds."""


def actors_of(shard: int, count: int) -> list[str]:
    """Return ids of actors of a shard."""
    names = (f"meter-{number}" for number in range(10**7))
    return [name for name, _ in zip((name for name in names if shard_of(name) == shard), range(count), strict=False)]


OTHERS = [name for name in (f"device-{number}" for number in range(200)) if shard_of(name) != STUCK]


@asynccontextmanager
async def gated_store(url: str, namespace: str, timeout_s: float) -> AsyncIterator[FencedEventStore]:
    """A store whose node waits for the shard `STUCK`, which is being moved here and never comes."""

    async def gate(shard: int, deadline: float) -> None:
        if shard != STUCK:
            raise NotOwnerError(shard, None)
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout_at(deadline):
                await asyncio.get_running_loop().create_future()
        except TimeoutError as error:
            what, waited = "it is being moved to 'n2'", round(deadline - began, 3)
            raise ShardUnavailableError(shard, what, waited) from error

    async with fenced_store(url, namespace, gate=gate, timeout_s=timeout_s) as store:
        yield store


async def test_a_shard_that_never_comes_holds_up_no_other(nats_server: EmbeddedServer, namespace: str) -> None:
    """Hundreds of actors wait for a shard on its way: all others are saved meanwhile, and those end by the shard's name."""
    failed: list[tuple[Any, Any]] = []
    stuck = actors_of(STUCK, MANY)
    async with gated_store(nats_server.url, namespace, timeout_s=5.0) as store:
        await own(store, {shard_of(actor) for actor in OTHERS})
        pipeline = store.ingest(on_failure=lambda event, error: failed.append((event, error)))
        await pipeline.__aenter__()
        await pipeline.put_many((actor, NewEvent("t")) for actor in stuck)
        for _ in range(3):
            await pipeline.put_many((actor, NewEvent("t")) for actor in OTHERS)
        await until(lambda: pipeline.stats().saved == 3 * len(OTHERS), 4.0)
        assert failed == []
        assert pipeline.stats().pending == MANY
        with pytest.raises(IngestError) as caught:
            await pipeline.flush()
        assert caught.value.failed == len(failed) == MANY
        assert {event[0] for event, _ in failed} == set(stuck)
        for _, error in failed:
            assert isinstance(error, ShardUnavailableError)
            assert (error.shard, isinstance(error, DeadlineError)) == (STUCK, True)
        assert "being moved to 'n2'" in str(failed[0][1])
        # It goes on, also with the shard once it is there.
        await own(store, [STUCK])
        await pipeline.put_many((actor, NewEvent("t")) for actor in [*stuck, *OTHERS])
        await pipeline.__aexit__(None, None, None)
        assert pipeline.stats().saved == 4 * len(OTHERS) + MANY
    assert epoch_violations(await dump(nats_server.url, namespace), []) == []


async def test_a_turn_that_is_not_given_back_holds_up_no_other(nats_server: EmbeddedServer, namespace: str) -> None:
    """A write of this node that is stuck in a shard, with hundreds behind it, is that shard's matter alone."""
    stuck = actors_of(STUCK, MANY)
    failed: list[Any] = []
    async with fenced_store(nats_server.url, namespace, timeout_s=3.0) as store:
        await own(store, {STUCK, *(shard_of(actor) for actor in OTHERS)})
        loop = asyncio.get_running_loop()
        await store._fenced._turns.take(STUCK, loop.time() + 10, "a write that hangs")
        pipeline = store.ingest(on_failure=lambda _, error: failed.append(error))
        await pipeline.__aenter__()
        await pipeline.put_many((actor, NewEvent("t")) for actor in [*stuck, *OTHERS])
        await until(lambda: pipeline.stats().saved == len(OTHERS), 2.5)
        with pytest.raises(IngestError):
            await pipeline.__aexit__(None, None, None)
        assert [(type(error), error.shard) for error in failed] == [(ShardUnavailableError, STUCK)] * MANY
        store._fenced._turns.give_back(STUCK)
        assert (await store.append(stuck[0], NewEvent("t"))).version == 1


async def test_appends_take_turns_with_a_pipeline_that_is_never_idle(nats_server: EmbeddedServer, namespace: str) -> None:
    """An append gets its turn in a shard for which a pipeline has thousands of commits, and both stores' versions are right."""
    (actor,) = actors_of(STUCK, 1)
    busy = actors_of(STUCK, MANY)[1:]
    async with fenced_store(nats_server.url, namespace) as store:
        await own(store, [STUCK])
        async with store.ingest(commit_events_max=1) as pipeline:
            await pipeline.put_many((name, NewEvent("t")) for _ in range(5) for name in busy)
            for version in range(1, 11):
                assert (await store.append(actor, NewEvent("t"))).version == version
            assert pipeline.stats().pending > 0
        assert pipeline.stats().saved == 5 * len(busy)
        for name in (actor, *busy[:5]):
            events = await store.get_events(name)
            assert [event.version for event in events] == list(range(1, len(events) + 1))
    assert epoch_violations(await dump(nats_server.url, namespace), []) == []


async def test_a_pipeline_gives_its_turns_back_whatever_ends_it(nats_server: EmbeddedServer, namespace: str) -> None:
    """After pipelines that were left by an error or cancelled, appends to their shards need not wait for anything."""
    names = actors_of(STUCK, 50)
    async with fenced_store(nats_server.url, namespace, timeout_s=5.0) as store:
        await own(store, [STUCK])

        async def leave() -> None:
            async with store.ingest() as pipeline:
                await pipeline.put_many((name, NewEvent("t")) for name in names)
                raise RuntimeError("left")

        with pytest.raises(RuntimeError, match="left"):
            await leave()

        async def ingest() -> None:
            async with store.ingest() as pipeline:
                while True:
                    await pipeline.put_many((name, NewEvent("t")) for name in names)

        task = asyncio.create_task(ingest())
        await until(lambda: store._fenced._turns._held != {})
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert store._fenced._turns._held == {}
        await store.append(names[0], NewEvent("t"))
        await store.release(STUCK, asyncio.get_running_loop().time() + 5)


async def test_a_release_waits_for_the_commit_on_its_way_and_lets_no_other_out(
    nats_server: EmbeddedServer, namespace: str
) -> None:
    """A shard that is let go under a busy pipeline is let go in good time, and what was told as saved is there."""
    names = actors_of(STUCK, MANY)
    failed: list[Any] = []
    async with fenced_store(nats_server.url, namespace) as store, fenced_store(nats_server.url, namespace, "n2") as other:
        await own(store, [STUCK])
        pipeline = store.ingest(commit_events_max=1, on_failure=lambda event, _: failed.append(event))
        await pipeline.__aenter__()
        await pipeline.put_many(Event(name, "t", version) for version in range(1, 11) for name in names)
        await until(lambda: pipeline.stats().saved > 10)
        await store.release(STUCK, asyncio.get_running_loop().time() + 5)
        saved = pipeline.stats().saved
        await own_actor(other, names[0])
        with pytest.raises(IngestError) as caught:
            await pipeline.__aexit__(None, None, None)
        assert caught.value.failed == len(failed) == 10 * MANY - saved
        assert {type(error) for _, error in caught.value.failures} == {NotOwnerError}
        stored = [event async for batch in store.read_all() for event in batch]
        assert len(stored) == saved == pipeline.stats().saved
    assert epoch_violations(await dump(nats_server.url, namespace), []) == []


async def test_a_lease_that_is_over_lets_nothing_more_out(nats_server: EmbeddedServer, namespace: str) -> None:
    """The clock is asked before each batch: what is not sent when the lease ends fails with `NotOwnerError`."""
    lease, names = Lease(), [f"device-{number}" for number in range(300)]
    async with fenced_store(nats_server.url, namespace, lease=lease) as store:
        await own(store, {shard_of(name) for name in names})
        pipeline = store.ingest()
        await pipeline.__aenter__()
        await pipeline.put_many((name, NewEvent("t")) for name in names)
        await pipeline.flush()
        lease.valid = False
        await pipeline.put_many((name, NewEvent("t")) for name in names)
        with pytest.raises(IngestError) as caught:
            await pipeline.__aexit__(None, None, None)
        assert (caught.value.failed, caught.value.unknown) == (300, 0)
        assert {type(error) for _, error in caught.value.failures} == {NotOwnerError}
        assert len([1 async for batch in store.read_all() for _ in batch]) == 300
