"""The store contract: `save_event` and `save_events`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from aether.errors import CommitTooLargeError, VersionConflictError
from aether.event import Event, NewEvent
from aether.testing.contract_base import StoreCase, events

if TYPE_CHECKING:
    from aether.testing.contract_base import StoreUnderTest

__all__ = ["SavingContract"]

BLOB_BYTES = 900_000
"""Under the limit on one event's payload, which is 1,000,000 bytes."""

TIME = datetime(2026, 3, 1, tzinfo=UTC)

OTHER_CONTENT: dict[str, dict[str, Any]] = {
    "id": {"id": "another"},
    "type": {"event_type": "Cancelled"},
    "data": {"data": {"n": 2}},
    "none": {"data": None},
    "metadata": {"metadata": {"user": "b"}},
    "time": {"timestamp": TIME + timedelta(microseconds=1)},
}


def dated(actor_id: str, version: int, **changes: Any) -> Event:  # noqa: ANN401 - the arguments of `Event`
    """Return an event that differs from another one of its version in `changes` alone."""
    given = {"event_type": "Happened", "data": {"n": 1}, "id": f"id-{version}", "timestamp": TIME, "metadata": {"user": "a"}}
    return Event(actor_id, version=version, **{**given, **changes})


class SavingContract(StoreCase):
    """Events with versions of their own."""

    async def test_a_saved_event_comes_back(self, store: StoreUnderTest, actor: str) -> None:
        """An event that was saved is in the next read, equal as a whole."""
        [event] = events(actor, 1)
        await store.save_event(event)
        assert await store.get_events(actor) == [event]
        assert await store.get_latest_version(actor) == 1

    async def test_an_actor_begins_at_version_0(self, store: StoreUnderTest, actor: str) -> None:
        """An actor that nobody wrote to has no events and the latest version 0."""
        assert await store.get_latest_version(actor) == 0
        assert await store.get_events(actor) == []

    async def test_versions_may_leave_gaps(self, store: StoreUnderTest, actor: str) -> None:
        """A saved version needs to be greater than the latest, not the next."""
        saved = events(actor, 5, 6, 2**40, 2**63)
        for event in saved:
            await store.save_event(event)
        assert await store.get_events(actor) == saved
        assert await store.get_latest_version(actor) == 2**63

    @pytest.mark.parametrize("version", [1, 2, 3, 4, 7])
    async def test_no_version_is_written_twice(self, store: StoreUnderTest, actor: str, version: int) -> None:
        """A version that is not greater than the latest is a conflict that names the latest, and nothing is stored."""
        saved = events(actor, 2, 3, 7)
        for event in saved:
            await store.save_event(event)
        with pytest.raises(VersionConflictError) as caught:
            await store.save_event(*events(actor, version))
        assert (caught.value.actor_id, caught.value.actual) == (actor, 7)
        assert caught.value.expected < version
        assert await store.get_events(actor) == saved

    async def test_positions_increase(self, store: StoreUnderTest, actor: str) -> None:
        """Every commit, of whatever actor, has a greater position than those before it."""
        first = await store.save_event(*events(actor, 1))
        other = await store.save_events(events(f"{actor}-2", 1, 2, 3))
        third = await store.save_event(*events(actor, 2))
        appended = await store.append(actor, NewEvent("Happened"))
        assert 0 < first < other < third < appended.position

    @pytest.mark.parametrize("later", [0, 1, 5])
    async def test_an_equal_event_is_saved_once(self, store: StoreUnderTest, actor: str, later: int) -> None:
        """Saving an event again succeeds with its position and stores nothing, however much was stored since."""
        event = dated(actor, 3)
        position = await store.save_event(event)
        rest = events(actor, *range(10, 10 + later))
        for other in rest:
            await store.save_event(other)
        assert await store.save_event(event) == position
        assert await store.save_event(dated(actor, 3)) == position
        assert await store.get_events(actor) == [event, *rest]

    @pytest.mark.parametrize("what", OTHER_CONTENT)
    async def test_a_different_event_is_no_retry(self, store: StoreUnderTest, actor: str, what: str) -> None:
        """An event that differs in anything from the one stored at its version is a conflict, also under the same id."""
        event = dated(actor, 1)
        await store.save_event(event)
        with pytest.raises(VersionConflictError) as caught:
            await store.save_event(dated(actor, 1, **OTHER_CONTENT[what]))
        assert caught.value.actual == 1
        assert await store.get_events(actor) == [event]

    async def test_a_commit_is_one_position(self, store: StoreUnderTest, actor: str) -> None:
        """A hundred events with gaps are stored as one commit at one position."""
        before = await store.save_event(*events(f"{actor}-2", 1))
        commit = events(actor, *range(2, 202, 2))
        position = await store.save_events(event for event in commit)
        assert position > before
        assert await store.get_events(actor) == commit
        assert {await store.save_event(event) for event in commit[::33]} == {position}

    async def test_an_equal_commit_is_saved_once(self, store: StoreUnderTest, actor: str) -> None:
        """Saving a commit again, whole or a part of it, succeeds with its position and stores nothing."""
        commit = [dated(actor, version) for version in (1, 2, 5, 6)]
        position = await store.save_events(commit)
        last = await store.save_event(*events(actor, 8))
        for again in (commit, commit[:2], commit[1:3], commit[3:], [dated(actor, version) for version in (1, 2, 5, 6)]):
            assert await store.save_events(again) == position
        assert len(await store.get_events(actor)) == 5
        assert last > position

    async def test_equal_events_of_several_commits_are_recognised(self, store: StoreUnderTest, actor: str) -> None:
        """Events that are all stored, in whatever commits, are recognised, and the last one's position is returned."""
        saved = events(actor, 1, 2, 3, 4, 6)
        await store.save_events(saved[:2])
        await store.save_event(saved[2])
        last = await store.save_events(saved[3:])
        assert await store.save_events(saved) == last
        assert await store.save_events([saved[0], saved[3]]) == last
        assert await store.get_events(actor) == saved

    @pytest.mark.parametrize("known", [1, 2, 3])
    async def test_a_partly_stored_commit_is_a_conflict(self, store: StoreUnderTest, actor: str, known: int) -> None:
        """A commit of which some events are stored and some are not is refused whole."""
        stored = events(actor, 1, 2, 3)
        await store.save_events(stored)
        with pytest.raises(VersionConflictError) as caught:
            await store.save_events([*stored[3 - known :], *events(actor, 4, 5)])
        assert caught.value.actual == 3
        assert await store.get_events(actor) == stored

    async def test_a_commit_is_refused_whole(self, store: StoreUnderTest, actor: str) -> None:
        """A commit whose first version is taken stores none of its events, though the others are free."""
        stored = events(actor, 1, 2)
        await store.save_events(stored)
        with pytest.raises(VersionConflictError) as caught:
            await store.save_events(events(actor, 2, 3, 4))
        assert (caught.value.actor_id, caught.value.actual) == (actor, 2)
        assert await store.get_events(actor) == stored

    async def test_a_conflict_in_the_middle_of_stored_events(self, store: StoreUnderTest, actor: str) -> None:
        """Events that fit a gap below the latest version are refused: history is never changed."""
        stored = events(actor, 1, 10)
        await store.save_events(stored)
        with pytest.raises(VersionConflictError):
            await store.save_events(events(actor, 4, 5))
        assert await store.get_events(actor) == stored

    @pytest.mark.parametrize("versions", [(1, 1), (2, 1), (1, 3, 2), (1, 2, 2)])
    async def test_versions_increase_within_a_commit(self, store: StoreUnderTest, actor: str, versions: tuple[int, ...]) -> None:
        """Versions that do not strictly increase are a ValueError, and nothing is stored."""
        with pytest.raises(ValueError, match="version"):
            await store.save_events(events(actor, *versions))
        assert await store.get_latest_version(actor) == 0

    async def test_a_commit_has_one_actor(self, store: StoreUnderTest, actor: str) -> None:
        """Events of two actors in one commit are a ValueError, and nothing is stored."""
        with pytest.raises(ValueError, match="actor"):
            await store.save_events([*events(actor, 1), *events(f"{actor}-2", 2)])
        assert await store.get_latest_version(actor) == await store.get_latest_version(f"{actor}-2") == 0

    async def test_a_commit_has_events(self, store: StoreUnderTest) -> None:
        """A commit without events is a ValueError."""
        with pytest.raises(ValueError, match="event"):
            await store.save_events([])

    @pytest.mark.parametrize("wrong", [None, 1, "event", {"actor_id": "a"}, NewEvent("Happened"), [Event("a", "Happened", 1)]])
    async def test_only_an_event_is_saved(self, store: StoreUnderTest, wrong: Any) -> None:  # noqa: ANN401 - the wrong type
        """Anything but an Event is a TypeError."""
        with pytest.raises(TypeError):
            await store.save_event(wrong)

    @pytest.mark.parametrize("wrong", [None, 1, Event("a", "Happened", 1), "events", [None], [NewEvent("Happened")], [[]]])
    async def test_only_events_are_saved(self, store: StoreUnderTest, wrong: Any) -> None:  # noqa: ANN401
        """Anything but an iterable of Events is a TypeError."""
        with pytest.raises(TypeError):
            await store.save_events(wrong)

    async def test_a_large_commit_is_refused(self, store: StoreUnderTest, actor: str) -> None:
        """A commit beyond the store's bound is refused with its size and the bound, and nothing is stored."""
        count = self.commit_bytes_max // BLOB_BYTES + 1
        with pytest.raises(CommitTooLargeError) as caught:
            await store.save_events(events(actor, *range(1, count + 1), data=b"x" * BLOB_BYTES))
        assert (caught.value.actor_id, caught.value.limit) == (actor, self.commit_bytes_max)
        assert caught.value.size > self.commit_bytes_max
        assert await store.get_latest_version(actor) == 0

    async def test_a_commit_within_the_bound_is_stored(self, store: StoreUnderTest, actor: str) -> None:
        """A commit of nine tenths of the store's bound is stored and comes back."""
        commit = events(actor, *range(1, 11), data=b"x" * (self.commit_bytes_max * 9 // 100))
        await store.save_events(commit)
        assert await store.get_events(actor) == commit
