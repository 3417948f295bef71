"""The store contract: ingestion. Each event ends as `save_event` would end it, and is accounted for exactly once."""

from __future__ import annotations

import asyncio
import pickle
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

import pytest

from aether.errors import AetherError, CommitTooLargeError, IngestError, VersionConflictError
from aether.event import Event
from aether.testing.contract_base import StoreCase, events

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aether.store.ingest_base import IngestPipeline, IngestStats
    from aether.testing.contract_base import StoreUnderTest

__all__ = ["IngestContract"]


def accounted(stats: IngestStats) -> int:
    """Return how many events the counters account for."""
    return stats.saved + stats.already_stored + stats.conflicts + stats.failed + stats.unknown + stats.pending


async def told(pipeline: IngestPipeline) -> IngestError:
    """Return what flush tells."""
    with pytest.raises(IngestError) as caught:
        await pipeline.flush()
    return caught.value


class IngestContract(StoreCase):
    """What a pipeline promises."""

    async def test_ingested_events_are_stored_in_order(self, store: StoreUnderTest, actor: str) -> None:
        """What was put of an actor is read back in the order in which it was put, whatever came in between."""
        actors = [f"{actor}-{index}" for index in range(7)]
        async with store.ingest() as pipeline:
            await pipeline.put_many(event for version in range(1, 31) for name in actors for event in events(name, version))
            stats = pipeline.stats()
            assert stats.put == accounted(stats) == 210
        for name in actors:
            assert [event.version for event in await store.get_events(name)] == [*range(1, 31)]
        assert pipeline.stats()[:7] == (210, 210, 0, 0, 0, 0, 0)

    async def test_ingested_events_are_the_very_same(self, store: StoreUnderTest, actor: str) -> None:
        """An event comes back equal as a whole: id, type, version, time, data, metadata."""
        event = Event(actor, "Happened", 1, {"n": [1, "x"]}, id="an id of its own", metadata={"k": "v"})
        async with store.ingest() as pipeline:
            await pipeline.put(event)
        assert await store.get_events(actor) == [event]

    async def test_a_flush_returns_when_everything_before_is_stored(self, store: StoreUnderTest, actor: str) -> None:
        """After a flush a load has what was put, and the pipeline goes on."""
        async with store.ingest() as pipeline:
            for version in range(1, 4):
                await pipeline.put(Event(actor, "Happened", version))
                await pipeline.flush()
                assert await store.get_latest_version(actor) == version
                assert pipeline.stats().saved == version

    async def test_ingestion_goes_on_where_an_actor_stands(self, store: StoreUnderTest, actor: str) -> None:
        """Versions go on above what others stored, gaps allowed, as with `save_event`."""
        await store.save_events(events(actor, 1, 2))
        async with store.ingest() as pipeline:
            await pipeline.put_many(events(actor, 3, 7))
            await pipeline.put_many(events(f"{actor}-new", 5))
        assert [event.version for event in await store.get_events(actor)] == [1, 2, 3, 7]
        assert await store.get_latest_version(f"{actor}-new") == 5

    async def test_ingested_again_is_already_stored(self, store: StoreUnderTest, peer: StoreUnderTest, actor: str) -> None:
        """Putting equal events again stores nothing twice and fails nothing, in the same pipeline, a later one, and elsewhere."""
        batch = [event for name in (actor, f"{actor}-b") for event in events(name, *range(1, 6))]
        async with store.ingest() as pipeline:
            await pipeline.put_many(batch)
            await pipeline.put_many(batch)
        assert pipeline.stats()[:7] == (20, 10, 10, 0, 0, 0, 0)
        more = [*batch, *events(actor, 6)]
        async with peer.ingest() as pipeline:
            await pipeline.put_many(more)
        assert pipeline.stats()[:7] == (11, 1, 10, 0, 0, 0, 0)
        assert [event.version for event in await store.get_events(actor)] == [*range(1, 7)]

    async def test_conflicts_are_reported_exactly(self, store: StoreUnderTest, actor: str) -> None:
        """Of stored, conflicting and new events each ends as with `save_event` one by one, and only conflicts are told."""
        mine, theirs = events(actor, *range(1, 7)), events(actor, 1, 3, 5)
        await store.save_events([mine[0], theirs[1], theirs[2]])
        async with store.ingest() as pipeline:
            await pipeline.put_many(mine)
            error = await told(pipeline)
        assert [(event, type(why)) for event, why in error.failures] == [(event, VersionConflictError) for event in mine[1:5]]
        assert (error.conflicts, error.failed, error.unknown) == (4, 0, 0)
        assert await store.get_events(actor) == [mine[0], theirs[1], theirs[2], mine[5]]
        assert pipeline.stats()[:7] == (6, 1, 1, 4, 0, 0, 0)

    async def test_a_version_put_out_of_order_is_a_conflict(self, store: StoreUnderTest, actor: str) -> None:
        """A version that is not greater than one put before it for the same actor is a conflict of that event alone."""
        async with store.ingest() as pipeline:
            await pipeline.put_many(events(actor, 1, 2, 5, 3, 5, 6))
            error = await told(pipeline)
        assert [event.version for event, _ in error.failures] == [3, 5]
        assert [event.version for event in await store.get_events(actor)] == [1, 2, 5, 6]

    async def test_the_error_at_the_end_carries_the_failures(self, store: StoreUnderTest, actor: str) -> None:
        """Leaving the context raises what no flush told, it survives pickling, and `on_failure` saw each."""
        seen: list[tuple[Event, AetherError]] = []
        await store.save_events(events(actor, 3))
        late = events(actor, 1, 2, 4)
        with pytest.raises(IngestError, match="2 conflicts") as caught:
            async with store.ingest(on_failure=lambda event, error: seen.append((event, error))) as pipeline:
                await pipeline.put_many(late)
        assert [event for event, _ in seen] == late[:2]
        again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - made here
        assert [event for event, _ in again.failures] == late[:2]
        assert await store.get_latest_version(actor) == 4

    async def test_after_an_error_the_pipeline_goes_on(self, store: StoreUnderTest, actor: str) -> None:
        """A failure is told once; what is put later is stored, and told only if it fails itself."""
        await store.save_events(events(actor, 2))
        async with store.ingest() as pipeline:
            await pipeline.put_many(events(actor, 1))
            assert (await told(pipeline)).conflicts == 1
            await pipeline.put_many(events(actor, 3))
            await pipeline.flush()
        assert pipeline.stats()[:7] == (2, 1, 0, 1, 0, 0, 0)

    async def test_an_event_that_is_too_large_fails_alone(self, store: StoreUnderTest, actor: str) -> None:
        """What does not fit one message fails with `CommitTooLargeError`; its neighbours are stored, however large together."""
        half = b"x" * (self.commit_bytes_max // 2)
        too_large = Event(actor, "Happened", 4, b"x" * (self.commit_bytes_max - 60_000), metadata={"k": "x" * 65_000})
        async with store.ingest() as pipeline:
            await pipeline.put_many([*events(actor, 1, 2, 3, data=half), too_large, *events(actor, 5)])
            error = await told(pipeline)
        assert [(event.version, type(why)) for event, why in error.failures] == [(4, CommitTooLargeError)]
        assert [event.version for event in await store.get_events(actor)] == [1, 2, 3, 5]

    async def test_an_exception_in_the_body_says_where_it_stood(self, store: StoreUnderTest, actor: str) -> None:
        """The body's exception comes out with a note; every event put is accounted for, and what is stored is a prefix."""
        batch = [event for version in range(1, 21) for event in events(actor, version)]

        async def body() -> NoReturn:
            async with store.ingest() as pipeline:
                pipelines.append(pipeline)
                await pipeline.put_many(batch)
                raise LookupError("line 731,204 is no JSON")

        pipelines: list[IngestPipeline] = []
        with pytest.raises(LookupError) as caught:
            await body()
        stats = pipelines[0].stats()
        assert any("ingestion stood at" in note for note in caught.value.__notes__)
        assert stats.put == accounted(stats) == 20
        assert (stats.pending, stats.unknown) == (0, 0)
        assert await store.get_events(actor) == batch[: stats.saved]

    async def test_what_came_before_a_wrong_item_is_stored(self, store: StoreUnderTest, actor: str) -> None:
        """A generator that raises, or yields no event, loses nothing that it gave before."""

        def broken() -> Iterator[Event]:
            yield from events(actor, 1, 2)
            raise LookupError("no more")

        async with store.ingest() as pipeline:
            with pytest.raises(LookupError):
                await pipeline.put_many(broken())
            with pytest.raises(TypeError, match="Event"):
                await pipeline.put_many([*events(actor, 3), "no event"])  # type: ignore[list-item]  # wrong on purpose
            await pipeline.flush()
            assert pipeline.stats().saved == 3
        assert await store.get_latest_version(actor) == 3

    async def test_an_ended_pipeline_takes_nothing(self, store: StoreUnderTest, actor: str) -> None:
        """Outside its context a pipeline refuses events instead of losing them."""
        pipeline = store.ingest()
        with pytest.raises(AetherError):
            await pipeline.put(Event(actor, "Happened", 1))
        async with pipeline:
            pass
        with pytest.raises(AetherError):
            await pipeline.put_many(events(actor, 1))
        assert await store.get_latest_version(actor) == 0

    async def test_outside_its_context_every_call_is_refused(self, store: StoreUnderTest) -> None:
        """Before and after its context a pipeline refuses even to take nothing or to flush, and it cannot be opened again."""
        pipeline = store.ingest()

        async def refused() -> None:
            with pytest.raises(AetherError):
                await pipeline.put_many([])
            with pytest.raises(AetherError):
                await pipeline.flush()

        await refused()
        async with pipeline:
            await pipeline.put_many([])
        await refused()
        with pytest.raises(AetherError):
            await pipeline.__aenter__()

    async def test_two_pipelines_on_the_same_actors(self, store: StoreUnderTest, peer: StoreUnderTest, actor: str) -> None:
        """Two pipelines that put the same events store each once, and neither is told of a failure."""
        batch = [event for version in range(1, 11) for n in range(5) for event in events(f"{actor}-{n}", version)]

        async def ingest(through: StoreUnderTest) -> IngestStats:
            async with through.ingest() as pipeline:
                await pipeline.put_many(batch)
            return pipeline.stats()

        both = await asyncio.gather(ingest(store), ingest(peer))
        for stats in both:
            assert stats.put == stats.saved + stats.already_stored == 50
        for n in range(5):
            assert [event.version for event in await store.get_events(f"{actor}-{n}")] == [*range(1, 11)]

    async def test_a_pipeline_beside_other_writers(self, store: StoreUnderTest, peer: StoreUnderTest, actor: str) -> None:
        """A pipeline and `save_event` on one actor at once: each version has one winner, and whoever lost is told."""
        ours, theirs = events(actor, *range(1, 31)), events(actor, *range(1, 31))
        won: list[Event] = []

        async def save(through: StoreUnderTest, mine: list[Event]) -> None:
            for event in mine:
                try:
                    await through.save_event(event)
                    won.append(event)
                except VersionConflictError:
                    pass

        lost: list[Event] = []
        async with store.ingest(on_failure=lambda event, _: lost.append(event)) as pipeline:
            await asyncio.gather(pipeline.put_many(ours), save(store, theirs[::2]), save(peer, theirs[1::2]))
            with suppress(IngestError):
                await pipeline.flush()
        stored = await store.get_events(actor)
        stats = pipeline.stats()
        assert stats.put == stats.saved + stats.conflicts == 30
        assert stats.conflicts == len(lost)
        winners = [*won, *(event for event in ours if event not in lost)]
        assert sorted(event.version for event in winners) == [event.version for event in stored]
        assert {event.id for event in winners} == {event.id for event in stored}
