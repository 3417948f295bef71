"""What the in-memory store does beyond the contract: its bounds, what it says about itself, threads."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from aether import CommitTooLargeError, Event, InMemoryEventStore, NewEvent, Snapshot, StoreFullError, VersionConflictError

THREADS = 8


async def test_it_holds_as_many_events_as_allowed():
    """A save or append that would pass max_events is refused whole, names the bound, and smaller ones still fit."""
    store = InMemoryEventStore(max_events=3)
    await store.append("a", [NewEvent("T")] * 2)
    for refused in (store.append("a", [NewEvent("T")] * 2), store.save_events([Event("b", "T", version) for version in (1, 2)])):
        with pytest.raises(StoreFullError, match="max_events=3"):
            await refused
    assert await store.get_latest_version("a") == 2
    assert await store.get_latest_version("b") == 0
    await store.append("b", NewEvent("T"))
    with pytest.raises(StoreFullError):
        await store.append("c", NewEvent("T"))


async def test_a_full_store_still_recognises_retries_and_conflicts():
    """In a full store an equal save succeeds, a conflict is a conflict, and snapshots are kept."""
    store = InMemoryEventStore(max_events=1)
    event = Event("a", "T", 1)
    position = await store.save_event(event)
    assert await store.save_event(event) == position
    with pytest.raises(VersionConflictError):
        await store.append("a", NewEvent("T"), expected_version=0)
    snapshot = Snapshot("a", 1, "state")
    await store.save_snapshot(snapshot)
    assert await store.get_latest_snapshot("a") == snapshot


async def test_its_commit_bound_is_its_own():
    """The bound given to the constructor is enforced for events and snapshots, and is the one that info tells."""
    store = InMemoryEventStore(commit_bytes_max=2000)
    assert (await store.info()).commit_bytes_max == 2000
    await store.append("a", NewEvent("T", b"x" * 1000))
    for refused in (
        store.append("a", NewEvent("T", b"x" * 2000)),
        store.save_event(Event("a", "T", 2, b"x" * 2000)),
        store.save_snapshot(Snapshot("a", 1, b"x" * 2000)),
    ):
        with pytest.raises(CommitTooLargeError) as caught:
            await refused
        assert caught.value.limit == 2000
        assert caught.value.size > 2000
    assert (await InMemoryEventStore().info()).commit_bytes_max == 1_048_576


async def test_it_says_what_an_ack_means():
    """An ack means that the event is in this process's memory and ends with it."""
    info = await InMemoryEventStore().info()
    assert (info.store, info.storage, info.replicas) == ("memory", "memory", 1)
    assert info.ack_means == "held in this process's memory, gone with it"


@pytest.mark.parametrize("name", ["max_events", "commit_bytes_max"])
@pytest.mark.parametrize(
    ("wrong", "error"), [(0, ValueError), (-1, ValueError), (2**64, ValueError), ("3", TypeError), (True, TypeError)]
)
def test_bounds_are_positive_ints(name, wrong, error):
    """A bound that is no int is a TypeError, one below 1 a ValueError, and both name the argument."""
    with pytest.raises(error, match=name):
        InMemoryEventStore(**{name: wrong})


async def test_stores_are_apart():
    """Two stores share nothing."""
    one, two = InMemoryEventStore(), InMemoryEventStore()
    await one.append("a", NewEvent("T"))
    assert await two.get_latest_version("a") == 0


async def test_it_goes_on_after_closing():
    """Closing does nothing, so that stores can be exchanged in code that closes them."""
    async with InMemoryEventStore() as store:
        await store.append("a", NewEvent("T"))
    await store.aclose()
    assert await store.get_latest_version("a") == 1


def test_event_loops_of_many_threads_share_it():
    """Event loops in several threads race for each version through one store: one winner each, and no gap."""
    store = InMemoryEventStore()
    together = threading.Barrier(THREADS)

    async def race(writer: int) -> list[int]:
        won = []
        for version in range(1, 101):
            with contextlib.suppress(VersionConflictError):
                await store.save_event(Event("a", "Claimed", version, writer))
                won.append(version)
        return won

    def run(writer: int) -> list[int]:
        together.wait()
        return asyncio.run(race(writer))

    with ThreadPoolExecutor(THREADS) as threads:
        won = list(threads.map(run, range(THREADS)))
    stored = asyncio.run(store.get_events("a"))
    assert [event.version for event in stored] == list(range(1, 101))
    assert sorted(version for own in won for version in own) == list(range(1, 101))
    assert all(event.version in won[event.data] for event in stored)
