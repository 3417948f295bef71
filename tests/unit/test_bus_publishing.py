"""`PublishingEventStore`: what was saved is published, in order per actor, and what was not is not."""

from __future__ import annotations

import asyncio

import pytest

from aether import (
    AetherError,
    Event,
    InMemoryEventStore,
    LocalEventBus,
    NewEvent,
    NotPublishedError,
    PublishingEventStore,
    Snapshot,
    VersionConflictError,
    sync,
)
from aether.testing.bus_contract_base import until
from aether.testing.contract_appending import AppendingContract
from aether.testing.contract_concurrency import ConcurrencyContract
from aether.testing.contract_reading import ReadingContract
from aether.testing.contract_replay import ReplayContract
from aether.testing.contract_saving import SavingContract
from aether.testing.contract_snapshots import SnapshotsContract
from aether.testing.contract_values import ValuesContract


class TestPublishingStore(
    SavingContract,
    AppendingContract,
    ReadingContract,
    ReplayContract,
    ValuesContract,
    SnapshotsContract,
    ConcurrencyContract,
):
    """The store contract, but for ingestion, which this store refuses."""

    @pytest.fixture
    async def store(self):
        """Make a store that publishes."""
        async with PublishingEventStore(InMemoryEventStore(), LocalEventBus()) as store:
            yield store


class SlowStore(InMemoryEventStore):
    """A store that acknowledges every third version late, so that those behind it would overtake it."""

    async def append(self, actor_id, events, *, expected_version=None):
        """Store at once, and let others run before the ack."""
        appended = await super().append(actor_id, events, expected_version=expected_version)
        for _ in range(10 if appended.version % 3 == 2 else 1):
            await asyncio.sleep(0)
        return appended


@pytest.fixture
async def parts():
    """A store, a bus, the two together, and a subscription to everything."""
    bus, inner = LocalEventBus(), SlowStore()
    async with PublishingEventStore(inner, bus) as store, await bus.subscribe() as heard:
        yield inner, bus, store, heard


async def heard_now(subscription):
    """Return what waits."""
    pending = subscription.stats().pending
    return await anext(aiter(subscription.batches(pending))) if pending else []


async def test_what_was_saved_is_published_as_it_is_stored(parts):
    """Saved and appended events are published equal to what the store has, one commit after the other."""
    inner, _, store, heard = parts
    await store.save_event(Event("a", "X", 1, {"n": 1}, metadata={"k": "v"}))
    await store.save_events(Event("a", "X", version) for version in (3, 4))
    appended = await store.append("a", [NewEvent("Y", 5), NewEvent("Y", 6)], expected_version=4)
    await store.append("a", NewEvent("Z"))
    assert appended.version == 6
    assert await heard_now(heard) == await inner.get_events("a")


async def test_what_was_not_saved_is_not_published(parts):
    """A conflict and a misuse publish nothing."""
    _, _, store, heard = parts
    await store.save_event(Event("a", "X", 5))
    assert len(await heard_now(heard)) == 1
    for call, error in (
        (store.save_event(Event("a", "X", 5)), VersionConflictError),
        (store.save_events([Event("a", "X", 2)]), VersionConflictError),
        (store.append("a", NewEvent("X"), expected_version=3), VersionConflictError),
        (store.save_events([]), ValueError),
        (store.append("a", []), ValueError),
        (store.save_event("no event"), TypeError),
        (store.save_events([Event("a", "X", 6), Event("b", "X", 1)]), ValueError),
    ):
        with pytest.raises(error):
            await call
    await store.save_snapshot(Snapshot("a", 5, "state"))
    assert await heard_now(heard) == []


async def test_an_actors_events_are_published_in_order(parts):
    """However the acks of an actor's saves would overtake each other, its events are published in the order of versions."""
    _, _, store, heard = parts
    await asyncio.gather(*(store.append(f"a{index % 3}", NewEvent("X")) for index in range(60)))
    found = await heard_now(heard)
    for actor in ("a0", "a1", "a2"):
        assert [event.version for event in found if event.actor_id == actor] == [*range(1, 21)]
    assert store._saving == {}


async def test_who_comes_when_the_turn_changes_waits_too(parts):
    """A save that begins at the very moment at which the turn passes from one to the next does not overtake that one."""
    _, _, store, heard = parts
    waiting = []

    async def first():
        await store.append("a", NewEvent("X"))
        waiting.append(asyncio.create_task(store.append("a", NewEvent("X"))))

    beginning = asyncio.create_task(first())
    await asyncio.sleep(0)
    await asyncio.gather(beginning, store.append("a", NewEvent("X")))
    await asyncio.gather(*waiting)
    assert [event.version for event in await heard_now(heard)] == [1, 2, 3]


async def test_actors_do_not_wait_for_each_other(parts):
    """While one actor's publish waits, another's save and publish go through."""
    _, bus, store, heard = parts
    full = await bus.subscribe(actor_id="a", policy="block", max_pending=1)
    await store.append("a", NewEvent("X"))
    waiting = asyncio.create_task(store.append("a", NewEvent("X")))
    await asyncio.sleep(0)
    await store.append("b", NewEvent("X"))
    assert [(event.actor_id, event.version) for event in await heard_now(heard)] == [("a", 1), ("b", 1)]
    assert not waiting.done()
    await anext(full)
    assert (await waiting).version == 2


async def test_a_publish_that_fails_says_what_is_saved(parts):
    """A bus that takes nothing makes `NotPublishedError` with position, events and the reason; the events are stored."""
    inner, bus, store, _ = parts
    await bus.aclose()
    with pytest.raises(NotPublishedError, match="was closed") as caught:
        await store.append("a", [NewEvent("X"), NewEvent("Y")])
    stored = await inner.get_events("a")
    assert list(caught.value.events) == stored
    assert len(stored) == 2
    assert caught.value.position == await inner.save_events(stored)


async def test_a_cancelled_save_that_was_stored_is_published(parts):
    """A caller that is cancelled while its event is being published has it published all the same."""
    inner, bus, store, heard = parts
    full = await bus.subscribe(policy="block", max_pending=1)
    await store.append("a", NewEvent("X"))
    waiting = asyncio.create_task(store.append("a", NewEvent("X")))
    await until(lambda: inner._log.get_latest_version("a") == 2)
    await until(lambda: "aether-bus-publishing" in {task.get_name() for task in asyncio.all_tasks()})
    waiting.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not waiting.done()  # the next save of this actor must not overtake it
    await anext(full)
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    assert [event.version for event in await heard_now(heard)] == [1, 2]


async def test_ingestion_is_refused(parts):
    """A pipeline cannot be published in order, and the refusal says what to do."""
    _, _, store, _ = parts
    with pytest.raises(AetherError, match=r"bus\.publish_many"):
        store.ingest()


async def test_it_opens_and_closes_both():
    """As a context manager it opens and closes store and bus; without, it leaves them as they are."""
    bus = LocalEventBus()
    async with PublishingEventStore(InMemoryEventStore(), bus):
        subscription = await bus.subscribe()
    assert not subscription.is_live
    bus = LocalEventBus()
    async with await bus.subscribe() as subscription:
        store = PublishingEventStore(InMemoryEventStore(), bus)
        await store.append("a", NewEvent("X"))
        await store.aclose()
        assert subscription.is_live
        assert (await store.info()).store == "memory"


def test_what_it_is_made_of_is_checked():
    """The arguments the wrong way round are a TypeError that says which comes first."""
    with pytest.raises(TypeError, match="the store comes first"):
        PublishingEventStore(LocalEventBus(), InMemoryEventStore())
    with pytest.raises(TypeError, match="the bus comes second"):
        PublishingEventStore(InMemoryEventStore(), InMemoryEventStore())


def test_it_is_there_without_await():
    """The blocking face takes blocking stores and buses, opens and closes both, and publishes what was saved."""
    bus = sync.LocalEventBus()
    with sync.PublishingEventStore(sync.InMemoryEventStore(), bus) as store, bus.subscribe(actor_id="a") as subscription:
        store.append("a", [NewEvent("X"), NewEvent("Y")])
        store.save_event(Event("a", "Z", 3))
        assert [next(subscription).version for _ in range(3)] == [1, 2, 3]
        with pytest.raises(AetherError, match=r"bus\.publish_many"):
            store.ingest()
    with pytest.raises(AetherError, match="closed"):
        bus.subscribe()
