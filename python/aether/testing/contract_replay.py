"""The store contract: `read_all`, the whole namespace in position order."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest

from aether._native import shard_of
from aether.errors import InvalidIdError
from aether.event import Event, NewEvent
from aether.testing.contract_base import StoreCase, drafts
from aether.testing.contract_ids import HOSTILE_IDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aether.store.base import EventBatch
    from aether.testing.contract_base import StoreUnderTest

__all__ = ["ReplayContract"]

POSITION_MAX = 2**64 - 1
TYPES = ("Placed", "Paid", "Place")


async def gather(batches: AsyncIterator[EventBatch]) -> list[EventBatch]:
    """Return every batch."""
    return [batch async for batch in batches]


async def events_of(batches: AsyncIterator[EventBatch]) -> list[Event]:
    """Return the events of every batch."""
    return [event for batch in await gather(batches) for event in batch]


class Story:
    """What a test has stored behind `start`: commits of many sizes of several actors, in position order."""

    def __init__(self, start: int) -> None:
        self.start = start
        self.commits: dict[int, list[Event]] = {}

    def events(self, after: int = 0) -> list[Event]:
        """Return the events behind a position."""
        return [event for position, commit in self.commits.items() if position > after for event in commit]


async def told(store: StoreUnderTest, actor: str, sizes: tuple[int, ...] = (1, 3, 1, 1, 7, 2, 1, 20, 1, 5, 1, 1, 4)) -> Story:
    """Store a commit of each size, of three actors in turn, and return the story."""
    story = Story((await store.append(f"{actor}-before", drafts(1))).position)
    versions = [0, 0, 0]
    for index, size in enumerate(sizes):
        who = index * index % 3
        commit = [
            Event(f"{actor}-{who}", TYPES[(index + step) % 3], versions[who] + step + 1, index * 100 + step)
            for step in range(size)
        ]
        versions[who] += size
        story.commits[await store.save_events(commit)] = commit
    return story


class ReplayContract(StoreCase):
    """What a read of all actors returns, from where to where."""

    @pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 1000])
    async def test_all_actors_come_in_position_order(self, store: StoreUnderTest, actor: str, batch_size: int) -> None:
        """Every event comes once, in position order, in batches of whole commits that have at most `batch_size` or one commit."""
        story = await told(store, actor)
        reached = story.start
        for batch in await gather(store.read_all(story.start, batch_size=batch_size)):
            commits = [commit for position, commit in story.commits.items() if reached < position <= batch.position]
            assert list(batch) == [event for commit in commits for event in commit]
            assert batch
            assert len(batch) <= batch_size or len(commits) == 1
            reached = batch.position
        assert reached == max(story.commits)

    async def test_a_read_goes_on_behind_any_position(self, store: StoreUnderTest, peer: StoreUnderTest, actor: str) -> None:
        """A read behind a position begins with the next commit, whichever position that is."""
        story = await told(store, actor)
        for position in [story.start, *story.commits]:
            assert await events_of(peer.read_all(position)) == story.events(position)
            assert await events_of(peer.read_all(after=position, batch_size=2)) == story.events(position)

    async def test_it_begins_with_the_first(self, store: StoreUnderTest, actor: str) -> None:
        """A read without a position begins with the namespace's first event and ends with its last."""
        story = await told(store, actor)
        events = await events_of(store.read_all())
        assert events[-len(story.events()) :] == story.events()
        assert events == await events_of(store.read_all(0, batch_size=3))
        seen: dict[str, int] = {}
        for event in events:
            assert event.version > seen.get(event.actor_id, 0)
            seen[event.actor_id] = event.version
        for name in {f"{actor}-{who}" for who in range(3)}:
            assert [event for event in events if event.actor_id == name] == await store.get_events(name)

    @pytest.mark.parametrize("beyond", [0, 1, 1000, None])
    async def test_nothing_is_behind_the_last_position(self, store: StoreUnderTest, actor: str, beyond: int | None) -> None:
        """A read behind the last position, or any later one, is empty."""
        last = (await store.append(actor, drafts(2))).position
        assert await gather(store.read_all(POSITION_MAX if beyond is None else last + beyond)) == []

    async def test_a_read_of_all_ends_where_it_began(self, store: StoreUnderTest, peer: StoreUnderTest, actor: str) -> None:
        """What is written while a read goes on is not part of it; a read from its last position finds exactly that."""
        story = await told(store, actor)
        seen: list[Event] = []
        later: list[int] = []
        async with aclosing(store.read_all(story.start, batch_size=4)) as batches:  # type: ignore[type-var]  # a generator
            async for batch in batches:
                seen += batch
                later.append((await peer.append(f"{actor}-later", NewEvent("Happened", len(later)))).position)
        assert seen == story.events()
        rest = await events_of(peer.read_all(max(story.commits)))
        assert [event.data for event in rest] == list(range(len(later)))

    async def test_a_read_of_all_is_a_prefix(self, store: StoreUnderTest, peer: StoreUnderTest, actor: str) -> None:
        """A read among writes is the beginning of the final order, and has all that was acked before it began."""
        start = (await store.append(f"{actor}-before", drafts(1))).position
        acked = 0

        async def write(handle: StoreUnderTest, writer: int) -> None:
            nonlocal acked
            for number in range(6):
                await handle.append(f"{actor}-{writer}", drafts(3, number))
                acked += 1

        reads: list[tuple[int, list[Event]]] = []
        writing = asyncio.gather(*(write((store, peer)[writer % 2], writer) for writer in range(4)))

        async def read(handle: StoreUnderTest) -> None:
            while not writing.done():
                known = acked
                reads.append((known, await events_of(handle.read_all(start, batch_size=4))))
                await asyncio.sleep(0)

        await asyncio.gather(writing, read(store), read(peer))
        final = await events_of(store.read_all(start))
        assert len(final) == 4 * 6 * 3
        assert reads
        for known, events in reads:
            assert events == final[: len(events)]
            assert len(events) >= 3 * known
            assert len(events) % 3 == 0

    async def test_filters_take_what_they_name(self, store: StoreUnderTest, actor: str) -> None:
        """A filter yields the events that it names and no other, in order; several hold together."""
        story = await told(store, actor)
        events = story.events()
        shards = [shard_of(f"{actor}-{who}") for who in range(3)]
        cases: list[tuple[dict[str, Any], list[Event]]] = [
            ({"actor_id": f"{actor}-1"}, [event for event in events if event.actor_id == f"{actor}-1"]),
            ({"actor_id": actor}, []),
            ({"actor_prefix": actor}, events),
            ({"actor_prefix": f"{actor}-"}, events),
            ({"actor_prefix": f"{actor}-0"}, [event for event in events if event.actor_id == f"{actor}-0"]),
            ({"shards": shards[:1]}, [event for event in events if shard_of(event.actor_id) == shards[0]]),
            ({"shards": iter(shards)}, events),
            ({"shards": []}, []),
            ({"event_types": ["Paid"]}, [event for event in events if event.event_type == "Paid"]),
            ({"event_types": iter(["Place", "Placed"])}, [event for event in events if event.event_type != "Paid"]),
            ({"event_types": {"None"}}, []),
            ({"event_types": []}, []),
            (
                {"actor_id": f"{actor}-1", "event_types": ["Placed"], "shards": shards, "actor_prefix": actor},
                [event for event in events if event.actor_id == f"{actor}-1" and event.event_type == "Placed"],
            ),
            ({"actor_id": f"{actor}-1", "shards": [(shards[1] + 1) % 1021]}, []),
            ({"actor_id": f"{actor}-1", "actor_prefix": "another"}, []),
        ]
        for given, expected in cases:
            assert await events_of(store.read_all(story.start, batch_size=3, **given)) == expected, given

    @pytest.mark.parametrize("batch_size", [1, 3, 1000])
    async def test_filtered_batches_go_on_behind_their_position(self, store: StoreUnderTest, actor: str, batch_size: int) -> None:
        """A filtered read that goes on from the position of any of its batches misses nothing and repeats nothing."""
        story = await told(store, actor)
        for given in ({"event_types": ["Paid"]}, {"actor_id": f"{actor}-1"}, {"actor_prefix": f"{actor}-0"}):
            wanted: dict[str, Any] = given
            whole = await events_of(store.read_all(story.start, **wanted))
            batches = await gather(store.read_all(story.start, batch_size=batch_size, **wanted))
            assert [event for batch in batches for event in batch] == whole
            for index, batch in enumerate(batches):
                assert batch
                rest = [event for later in batches[index + 1 :] for event in later]
                assert await events_of(store.read_all(batch.position, **wanted)) == rest

    async def test_hostile_ids_are_told_apart(self, store: StoreUnderTest, actor: str) -> None:
        """Whatever an actor is called, a filter by its id takes it alone, and the read of all has it."""
        start = (await store.append(f"{actor}-before", drafts(1))).position
        for name in HOSTILE_IDS:
            await store.append(name, NewEvent("Happened", name))
        assert [event.data for event in await events_of(store.read_all(start))] == list(HOSTILE_IDS)
        for name in HOSTILE_IDS[:: max(1, len(HOSTILE_IDS) // 24)]:
            assert [event.actor_id for event in await events_of(store.read_all(start, actor_id=name))] == [name]
            beginning = [event.actor_id for event in await events_of(store.read_all(start, actor_prefix=name))]
            assert beginning == [other for other in HOSTILE_IDS if other.startswith(name)]

    async def test_large_commits_come_whole(self, store: StoreUnderTest, actor: str) -> None:
        """Commits as large as the store takes, with small ones among them, come in order and whole."""
        start = (await store.append(f"{actor}-before", drafts(1))).position
        large = "x" * (min(self.commit_bytes_max, 1_000_000) - 2_000)
        for number in range(24):
            await store.append(f"{actor}-{number % 5}", NewEvent("Happened", [number, large if number % 3 else ""]))
        for batch_size in (1, 5, 1000):
            batches = await gather(store.read_all(start, batch_size=batch_size))
            assert [event.data[0] for batch in batches for event in batch] == list(range(24))
            assert all(len(event.data[1]) == (len(large) if event.data[0] % 3 else 0) for batch in batches for event in batch)

    async def test_a_read_can_be_left(self, store: StoreUnderTest, actor: str) -> None:
        """A read that is left in the middle hinders no other, nor a write."""
        story = await told(store, actor)
        for _ in range(3):
            batches = store.read_all(story.start, batch_size=2)
            async with aclosing(batches):  # type: ignore[type-var]  # a generator
                assert list(await anext(batches)) == story.events()[:1]
        await store.append(f"{actor}-9", drafts(1))
        assert len(await events_of(store.read_all(story.start))) == len(story.events()) + 1

    @pytest.mark.parametrize(
        ("given", "error"),
        [
            ({"after": -1}, ValueError),
            ({"after": 2**64}, ValueError),
            ({"after": True}, TypeError),
            ({"after": "1"}, TypeError),
            ({"batch_size": 0}, ValueError),
            ({"batch_size": 1.5}, TypeError),
            ({"actor_id": ""}, InvalidIdError),
            ({"actor_prefix": ""}, InvalidIdError),
            ({"shards": [1021]}, ValueError),
            ({"shards": [-1]}, ValueError),
            ({"shards": ["1"]}, TypeError),
            ({"shards": [True]}, TypeError),
            ({"event_types": "Paid"}, TypeError),
            ({"event_types": [1]}, TypeError),
            ({"event_types": [""]}, InvalidIdError),
        ],
        ids=str,
    )
    async def test_what_cannot_be_read_is_refused(
        self, store: StoreUnderTest, given: dict[str, Any], error: type[Exception]
    ) -> None:
        """Positions, sizes and filters that mean nothing are refused."""
        with pytest.raises(error):
            await gather(store.read_all(**given))
