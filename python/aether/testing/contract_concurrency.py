"""The store contract: what many writers and readers at once can and cannot see."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from aether.errors import VersionConflictError
from aether.event import Event, NewEvent, Snapshot
from aether.testing.contract_base import StoreCase, drafts, events

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

    from aether.testing.contract_base import StoreUnderTest

__all__ = ["ConcurrencyContract"]

T = TypeVar("T")

WRITERS = 8
COMMIT = 3


class ConcurrencyContract(StoreCase):
    """Eight writers, half of them through another handle."""

    async def test_one_save_wins(self, store: StoreUnderTest, peer: StoreUnderTest, actor: str) -> None:
        """Of eight events for one version exactly one is stored, and every other writer learns the version that is there."""
        for version in range(1, 6):
            rivals = [Event(actor, "Claimed", version, writer) for writer in range(WRITERS)]
            outcomes = await _all(_of(store, peer, writer).save_event(event) for writer, event in enumerate(rivals))
            _check_one_winner(outcomes, actual=version)
            assert await store.get_latest_version(actor) == version
        stored = await peer.get_events(actor)
        assert [event.version for event in stored] == [1, 2, 3, 4, 5]

    async def test_one_append_wins(self, store: StoreUnderTest, peer: StoreUnderTest, actor: str) -> None:
        """Of eight commits that expect one version exactly one is stored, whole."""
        for latest in (0, COMMIT, 2 * COMMIT):
            outcomes = await _all(
                _of(store, peer, writer).append(actor, drafts(COMMIT, writer), expected_version=latest)
                for writer in range(WRITERS)
            )
            _check_one_winner(outcomes, actual=latest + COMMIT)
        assert len(_whole_commits(await store.get_events(actor))) == 3

    async def test_appends_without_expectation_all_succeed(self, store: StoreUnderTest, peer: StoreUnderTest, actor: str) -> None:
        """Eight commits at once that expect nothing are all stored, one behind the other, at the versions that they return."""
        outcomes = await asyncio.gather(
            *(_of(store, peer, writer).append(actor, drafts(COMMIT, writer)) for writer in range(WRITERS))
        )
        stored = await store.get_events(actor)
        assert [event.version for event in stored] == list(range(1, WRITERS * COMMIT + 1))
        _whole_commits(stored)
        assert len({outcome.position for outcome in outcomes}) == WRITERS
        for writer, outcome in enumerate(outcomes):
            own = stored[outcome.version - COMMIT : outcome.version]
            assert [event.data["mark"] for event in own] == [writer] * COMMIT
        by_version = sorted(outcomes, key=lambda outcome: outcome.version)
        assert by_version == sorted(outcomes, key=lambda outcome: outcome.position)

    async def test_reload_and_retry_counts_right(self, store: StoreUnderTest, peer: StoreUnderTest, actor: str) -> None:
        """Writers that read, decide, and on conflict do it again lose no update, and are refused only for another's sake."""
        each = 3

        async def count(handle: StoreUnderTest) -> None:
            tries = 0
            for _ in range(each):
                while True:
                    # Each conflict is another writer's commit, and there are only so many.
                    tries += 1
                    assert tries <= WRITERS * each
                    history = await handle.get_events(actor)
                    total = history[-1].data if history else 0
                    try:
                        await handle.append(actor, NewEvent("Counted", total + 1), expected_version=len(history))
                    except VersionConflictError:
                        continue
                    break

        await asyncio.gather(*(count(_of(store, peer, writer)) for writer in range(WRITERS)))
        assert [event.data for event in await store.get_events(actor)] == list(range(1, WRITERS * each + 1))

    async def test_one_event_saved_by_many_is_stored_once(self, store: StoreUnderTest, peer: StoreUnderTest, actor: str) -> None:
        """Eight writers with the same event all succeed, with one position."""
        [event] = events(actor, 1)
        positions = await asyncio.gather(*(_of(store, peer, writer).save_event(event) for writer in range(WRITERS)))
        assert len(set(positions)) == 1
        assert await store.get_events(actor) == [event]

    async def test_actors_do_not_conflict(self, store: StoreUnderTest, peer: StoreUnderTest, actor: str) -> None:
        """Writers of different actors never refuse each other."""

        async def write(handle: StoreUnderTest, name: str) -> None:
            for version in range(5):
                await handle.append(name, NewEvent("Happened", name), expected_version=version)

        names = [f"{actor}-{writer}" for writer in range(WRITERS)]
        await asyncio.gather(*(write(_of(store, peer, writer), name) for writer, name in enumerate(names)))
        for name in names:
            assert [event.data for event in await store.get_events(name)] == [name] * 5

    async def test_a_read_is_a_prefix(self, store: StoreUnderTest, peer: StoreUnderTest, actor: str) -> None:
        """A read among writes returns whole commits, the beginning of the final history, and never less than an earlier one."""
        reads: list[list[Event]] = []
        writing = asyncio.gather(*(_write(_of(store, peer, writer), actor, 5) for writer in range(4)))

        async def read(handle: StoreUnderTest) -> None:
            seen = 0
            while not writing.done():
                history = await handle.get_events(actor)
                assert len(history) >= seen
                seen = len(history)
                reads.append(history)
                batches = [batch async for batch in handle.read_events(actor, batch_size=4)]
                reads.append([event for batch in batches for event in batch])
                await asyncio.sleep(0)

        await asyncio.gather(writing, read(store), read(peer))
        final = await store.get_events(actor)
        assert len(final) == 4 * 5 * COMMIT
        assert reads
        for history in reads:
            assert history == final[: len(history)]
            _whole_commits(history)

    async def test_the_latest_snapshot_wins(self, store: StoreUnderTest, peer: StoreUnderTest, actor: str) -> None:
        """Of snapshots saved at once the one of the highest version is kept."""
        await store.append(actor, drafts(WRITERS))
        snapshots = [Snapshot(actor, version, version) for version in (3, 8, 1, 6, 2, 7, 5, 4)]
        await asyncio.gather(*(_of(store, peer, writer).save_snapshot(each) for writer, each in enumerate(snapshots)))
        assert await store.get_latest_snapshot(actor) == snapshots[1]


def _of(store: StoreUnderTest, peer: StoreUnderTest, writer: int) -> StoreUnderTest:
    return (store, peer)[writer % 2]


async def _write(handle: StoreUnderTest, actor: str, commits: int) -> None:
    for number in range(commits):
        await handle.append(actor, drafts(COMMIT, number))


async def _all(calls: Iterable[Coroutine[Any, Any, T]]) -> list[T | BaseException]:
    return await asyncio.gather(*calls, return_exceptions=True)


def _check_one_winner(outcomes: list[Any], *, actual: int) -> None:
    refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert len(outcomes) - len(refused) == 1
    assert [(type(error), getattr(error, "actual", None)) for error in refused] == [(VersionConflictError, actual)] * len(refused)


def _whole_commits(history: list[Event]) -> list[int]:
    """Check that events come in whole commits of one mark, next to each other; return the marks."""
    commits = [history[start : start + COMMIT] for start in range(0, len(history), COMMIT)]
    for commit in commits:
        assert [event.data["n"] for event in commit] == list(range(COMMIT))
        assert len({event.data["mark"] for event in commit}) == 1
    return [commit[0].data["mark"] for commit in commits]
