"""The store contract: ingestion of new events, known ids, conflict policies, outcomes, and what tags say."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from aether.errors import AetherError, IdConflictError, IngestError, VersionConflictError, VersionsUsedUpError
from aether.event import Event, NewEvent
from aether.testing.contract_base import StoreCase, drafts, events, facts
from aether.testing.contract_ingest import accounted, told

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aether.store.ingest_base import IngestOutcome, IngestStats
    from aether.testing.contract_base import StoreUnderTest

__all__ = ["IngestWaysContract"]

WAIT_S = 60.0


async def read(outcomes: AsyncIterator[IngestOutcome]) -> list[IngestOutcome]:
    """Return every outcome."""
    return [outcome async for outcome in outcomes]


class IngestWaysContract(StoreCase):
    """What a pipeline promises of new events, and where it is told how to go."""

    async def test_new_events_are_numbered_in_order(self, store: StoreUnderTest, actor: str) -> None:
        """New events of each actor get the versions behind its latest, in the order in which they are put, and nothing else."""
        await store.save_events(events(f"{actor}-0", 1, 7))
        new = drafts(30)
        async with store.ingest() as pipeline:
            await pipeline.put_many((f"{actor}-{index % 3}", draft) for index, draft in enumerate(new))
            await pipeline.put((f"{actor}-9", new[0]))
        assert pipeline.stats()[:7] == (31, 31, 0, 0, 0, 0, 0)
        for number, first in ((0, 8), (1, 1), (2, 1)):
            stored = await store.get_events(f"{actor}-{number}", first)
            assert [event.version for event in stored] == [*range(first, first + 10)]
            assert [facts(event) for event in stored] == [facts(draft) for draft in new[number::3]]
        assert await store.get_latest_version(f"{actor}-9") == 1

    async def test_new_events_and_numbered_ones_keep_their_order(self, store: StoreUnderTest, actor: str) -> None:
        """Events with and without a version may be put of one actor; a version that a new event got is taken."""
        first, second, third = drafts(3)
        async with store.ingest() as pipeline:
            await pipeline.put_many([*events(actor, 5), (actor, first), *events(actor, 6, 9), (actor, second), (actor, third)])
            error = await told(pipeline)
        assert [(event.version, type(why)) for event, why in error.failures] == [(6, VersionConflictError)]
        stored = await store.get_events(actor)
        assert [event.version for event in stored] == [5, 6, 9, 10, 11]
        assert [stored[index].id for index in (1, 3, 4)] == [first.id, second.id, third.id]

    async def test_a_wrong_pair_is_refused(self, store: StoreUnderTest, actor: str) -> None:
        """What is no pair of an actor id and a new event is a `TypeError`, an id that cannot be one a `ValueError`."""
        draft = NewEvent("Happened")
        async with store.ingest() as pipeline:
            for wrong in (draft, (actor,), (draft, actor), (actor, Event(actor, "Happened", 1)), [actor, draft]):
                with pytest.raises(TypeError, match="pair"):
                    await pipeline.put(wrong)  # type: ignore[arg-type]  # wrong on purpose
            with pytest.raises(ValueError, match="actor_id"):
                await pipeline.put(("", draft))
        assert pipeline.stats().put == 0

    async def test_new_events_of_several_pipelines(self, store: StoreUnderTest, peer: StoreUnderTest, actor: str) -> None:
        """Two pipelines and an `append` that number new events of the same actors at once store each once, without gaps."""
        mine = [[NewEvent("Happened", n) for n in range(40)] for _ in range(2)]

        async def ingest(through: StoreUnderTest, new: list[NewEvent]) -> IngestStats:
            async with through.ingest() as pipeline:
                for index, draft in enumerate(new):
                    await pipeline.put((f"{actor}-{index % 2}", draft))
                    await asyncio.sleep(0)
            return pipeline.stats()

        async def append() -> None:
            for _ in range(10):
                await store.append(f"{actor}-0", NewEvent("Appended"))

        *both, _ = await asyncio.gather(ingest(store, mine[0]), ingest(peer, mine[1]), append())
        assert [stats[:7] for stats in both] == [(40, 40, 0, 0, 0, 0, 0)] * 2
        for number, count in ((0, 50), (1, 40)):
            stored = await store.get_events(f"{actor}-{number}")
            assert [event.version for event in stored] == [*range(1, count + 1)]
            for new in mine:
                ids = [draft.id for draft in new[number::2]]
                assert [event.id for event in stored if event.id in ids] == ids

    async def test_known_events_are_skipped(self, store: StoreUnderTest, peer: StoreUnderTest, actor: str) -> None:
        """With `skip_known` new events may be put again, in the same pipeline, in another, and in part: each is stored once."""
        new = [(f"{actor}-{index % 3}", draft) for index, draft in enumerate(drafts(30))]
        async with store.ingest(skip_known=True) as pipeline:
            await pipeline.put_many(new[:20])
            await pipeline.put_many(new[:10])
        assert pipeline.stats()[:7] == (30, 20, 10, 0, 0, 0, 0)
        async with peer.ingest(skip_known=True) as pipeline:
            await pipeline.put_many(new)
        assert pipeline.stats()[:7] == (30, 10, 20, 0, 0, 0, 0)
        for number in range(3):
            stored = await store.get_events(f"{actor}-{number}")
            assert [(event.version, facts(event)) for event in stored] == [
                (version, facts(draft)) for version, (_, draft) in enumerate(new[number::3], 1)
            ]

    async def test_known_ids_bound_their_memory(self, store: StoreUnderTest, actor: str) -> None:
        """Of more actors than ids may be kept the others are read again, and still nothing is stored twice."""
        new = [(f"{actor}-{index % 8}", draft) for index, draft in enumerate(drafts(64))]
        async with store.ingest(skip_known=True, known_ids_max=10) as pipeline:
            for _ in range(3):
                await pipeline.put_many(new)
        assert pipeline.stats()[:7] == (192, 64, 128, 0, 0, 0, 0)

    async def test_a_known_id_with_other_content_is_a_conflict(self, store: StoreUnderTest, actor: str) -> None:
        """An id that is stored with other content, or at another version than is asked for, is an `IdConflictError`."""
        stored = Event(actor, "Happened", 2, 1, id="x")
        await store.save_event(stored)
        changed = NewEvent("Happened", 2, id="x", timestamp=stored.timestamp)
        moved = Event(actor, "Happened", 5, 1, id="x", timestamp=stored.timestamp)
        again = NewEvent("Happened", 3, id="y")
        async with store.ingest(skip_known=True) as pipeline:
            await pipeline.put_many([(actor, changed), moved, (actor, again), (actor, NewEvent("Other", id="y")), stored])
            error = await told(pipeline)
        conflicts = [(why.event_id, why.expected, why.actual) for _, why in error.failures if isinstance(why, IdConflictError)]
        assert conflicts[:2] == [("x", 0, 2), ("x", 5, 2)]
        assert conflicts[2] == ("y", 0, 3)
        assert error.failures[0][0] == (actor, changed)
        assert pipeline.stats()[:7] == (5, 1, 1, 3, 0, 0, 0)
        assert [event.id for event in await store.get_events(actor)] == ["x", "y"]

    async def test_the_same_new_events_at_once(self, store: StoreUnderTest, peer: StoreUnderTest, actor: str) -> None:
        """Two pipelines that put the very same new events at once with `skip_known` store each once."""
        new = [(f"{actor}-{index % 4}", draft) for index, draft in enumerate(drafts(80))]

        async def ingest(through: StoreUnderTest) -> IngestStats:
            async with through.ingest(skip_known=True, commit_events_max=3) as pipeline:
                for pair in new:
                    await pipeline.put(pair)
                    await asyncio.sleep(0)
            return pipeline.stats()

        for stats in await asyncio.gather(ingest(store), ingest(peer)):
            assert stats.put == stats.saved + stats.already_stored == 80
        for number in range(4):
            ids = [draft.id for _, draft in new[number::4]]
            assert [event.id for event in await store.get_events(f"{actor}-{number}")] == ids

    async def test_conflicts_may_be_skipped(self, store: StoreUnderTest, actor: str) -> None:
        """With `on_conflict="skip"` a conflict is counted and told to `on_failure`, and nothing is raised."""
        seen: list[Event] = []
        await store.save_events(events(actor, 1, 2))
        late = events(actor, 1, 2, 3)
        async with store.ingest(on_conflict="skip", on_failure=lambda event, _: seen.append(event)) as pipeline:
            await pipeline.put_many(late)
            await pipeline.flush()
        assert seen == late[:2]
        assert pipeline.stats()[:7] == (3, 1, 0, 2, 0, 0, 0)

    async def test_conflicts_may_be_renumbered(self, store: StoreUnderTest, actor: str) -> None:
        """With `on_conflict="renumber"` an event whose version is taken comes behind the latest, and the order is kept."""
        theirs, mine = events(actor, 1, 2, 3), events(actor, 1, 2, 3, 4)
        await store.save_events(theirs)
        async with store.ingest(on_conflict="renumber") as pipeline:
            await pipeline.put_many([theirs[1], *mine])
        stored = await store.get_events(actor)
        assert [event.version for event in stored] == [*range(1, 8)]
        assert [event.id for event in stored[3:]] == [event.id for event in mine]
        assert pipeline.stats()[:7] == (5, 4, 1, 0, 0, 0, 0)

    async def test_every_outcome_is_told(self, store: StoreUnderTest, actor: str) -> None:
        """Each event put has one outcome: what is stored with its position and as it is stored, what is not as it was put."""
        theirs = events(actor, 1, 4)
        await store.save_events(theirs)
        late, draft = events(actor, 3)[0], NewEvent("Happened", 1)
        pipeline = store.ingest()
        outcomes = asyncio.ensure_future(read(pipeline.outcomes()))
        async with pipeline:
            await pipeline.put_many([theirs[1], late, (actor, draft), *events(f"{actor}-b", 2)])
            await pipeline.flush()
        found = await asyncio.wait_for(outcomes, WAIT_S)
        mine = [outcome for outcome in found if outcome.actor_id == actor]
        assert [outcome.status for outcome in mine] == ["already_stored", "conflict", "saved"]
        assert mine[0].event == theirs[1]
        assert (mine[1].event, mine[1].position, type(mine[1].error)) == (late, None, VersionConflictError)
        saved = (await store.get_events(actor, 5))[0]
        assert (mine[2].event, mine[2].error) == (saved, None)
        positions = {event.id: batch.position async for batch in store.read_all(batch_size=1, actor_id=actor) for event in batch}
        assert mine[2].position == positions[draft.id]
        assert len(found) == 4
        assert pipeline.stats().unread == 0

    async def test_outcomes_that_nobody_reads_hold_the_pipeline_back(self, store: StoreUnderTest, actor: str) -> None:
        """What is not read counts as pending: `put` waits for the reader, and every outcome is told in the end."""
        async with store.ingest(pending_max=10) as pipeline:
            outcomes = pipeline.outcomes()
            work = asyncio.ensure_future(pipeline.put_many([(actor, draft) for draft in drafts(50)]))
            found = [await anext(outcomes)]
            assert not work.done()
            assert pipeline.stats().put < 50
            reading = asyncio.ensure_future(read(outcomes))
            await asyncio.wait_for(work, WAIT_S)
        found += await asyncio.wait_for(reading, WAIT_S)
        assert [outcome.event.version for outcome in found if isinstance(outcome.event, Event)] == [*range(1, 51)]

    async def test_outcomes_are_asked_for_once_and_first(self, store: StoreUnderTest, actor: str) -> None:
        """Asked for a second time, or after an event was put, outcomes are refused."""
        pipeline = store.ingest()
        outcomes = pipeline.outcomes()
        with pytest.raises(AetherError):
            pipeline.outcomes()
        async with pipeline:
            await pipeline.put_many(events(actor, 1))
        assert [outcome.status for outcome in await asyncio.wait_for(read(outcomes), WAIT_S)] == ["saved"]
        async with store.ingest() as another:
            await another.put_many(events(actor, 2))
            with pytest.raises(AetherError):
                another.outcomes()

    async def test_who_reads_outcomes_is_not_told_again(self, store: StoreUnderTest, actor: str) -> None:
        """Failures that were outcomes are not raised by `flush` or at the end."""
        pipeline = store.ingest()
        outcomes = asyncio.ensure_future(read(pipeline.outcomes()))
        async with pipeline:
            await pipeline.put_many(events(actor, 2, 1))
            await pipeline.flush()
        assert [outcome.status for outcome in await asyncio.wait_for(outcomes, WAIT_S)] == ["saved", "conflict"]

    async def test_the_ways_are_checked(self, store: StoreUnderTest) -> None:
        """What is no way to go is refused when the pipeline is made."""
        values: tuple[dict[str, Any], ...] = (
            {"on_conflict": "ignore"},
            {"linger_s": -1},
            {"linger_s": 61},
            {"commit_bytes_max": 0},
            {"known_ids_max": 0},
        )
        for wrong in values:
            with pytest.raises(ValueError, match=next(iter(wrong))):
                store.ingest(**wrong)
        types: tuple[dict[str, Any], ...] = ({"linger_s": "1"}, {"skip_known": 1}, {"commit_bytes_max": 1.5})
        for wrong in types:
            with pytest.raises(TypeError, match=next(iter(wrong))):
                store.ingest(**wrong)

    async def test_lingering_loses_nothing(self, store: StoreUnderTest, actor: str) -> None:
        """Events that are let gather are stored by a flush, by leaving, and by themselves."""
        async with store.ingest(linger_s=0.05) as pipeline:
            await pipeline.put_many(events(actor, 1, 2))
            await pipeline.put_many(events(actor, 3))
            await pipeline.flush()
            assert await store.get_latest_version(actor) == 3
            await pipeline.put_many(events(actor, 4))
            async with asyncio.timeout(WAIT_S):
                while pipeline.stats().saved < 4:  # noqa: ASYNC110 - no event tells it
                    await asyncio.sleep(0.01)
        async with store.ingest(linger_s=60) as pipeline:
            await pipeline.put_many(events(actor, 5))
            await pipeline.put_many(events(actor, 6))
        assert await store.get_latest_version(actor) == 6

    async def test_what_is_not_sent_comes_back_as_it_was_put(self, store: StoreUnderTest, actor: str) -> None:
        """Left by an exception, new events are stored in part: those that failed are the pairs that were put, the last ones."""
        put = [(actor, draft) for draft in drafts(300)]
        failed: list[object] = []
        with suppress(LookupError):
            async with store.ingest(on_failure=lambda pair, _: failed.append(pair), commit_events_max=7) as pipeline:
                await pipeline.put_many(put)
                raise LookupError
        stats = pipeline.stats()
        assert stats.put == accounted(stats) == 300
        assert failed == put[stats.saved :]
        assert [event.id for event in await store.get_events(actor)] == [draft.id for _, draft in put[: stats.saved]]

    async def test_a_failure_carries_the_pair(self, store: StoreUnderTest, actor: str) -> None:
        """A new event that is too large fails as the pair that was put; its neighbours are numbered without a gap."""
        too_large = NewEvent("Happened", b"x" * (self.commit_bytes_max - 60_000), metadata={"k": "x" * 65_000})
        async with store.ingest() as pipeline:
            await pipeline.put_many([(actor, NewEvent("a")), (actor, too_large), (actor, NewEvent("b"))])
            with pytest.raises(IngestError) as caught:
                await pipeline.flush()
        assert [pair for pair, _ in caught.value.failures] == [(actor, too_large)]
        assert [(event.version, event.event_type) for event in await store.get_events(actor)] == [(1, "a"), (2, "b")]

    async def test_an_actor_without_versions_fails_alone(self, store: StoreUnderTest, actor: str) -> None:
        """New events of an actor at the last version there is fail with `VersionsUsedUpError`, and other actors go on."""
        await store.save_event(*events(actor, 2**64 - 1))
        others = [f"{actor}-{number}" for number in range(3)]
        async with store.ingest() as pipeline:
            await pipeline.put((actor, NewEvent("Happened")))
            for other in others:
                await pipeline.put((other, NewEvent("Happened")))
            error = await told(pipeline)
        assert [(put[0], type(why)) for put, why in error.failures] == [(actor, VersionsUsedUpError)]
        assert [await store.get_latest_version(name) for name in (actor, *others)] == [2**64 - 1, 1, 1, 1]
