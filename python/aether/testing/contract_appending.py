"""The store contract: `append`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from aether.errors import CommitTooLargeError, VersionConflictError, VersionsUsedUpError
from aether.event import Event, NewEvent
from aether.testing.contract_base import StoreCase, drafts, events, facts

if TYPE_CHECKING:
    from aether.testing.contract_base import StoreUnderTest

__all__ = ["AppendingContract"]

BLOB_BYTES = 900_000


class AppendingContract(StoreCase):
    """Events that the store numbers."""

    async def test_append_numbers_from_1(self, store: StoreUnderTest, actor: str) -> None:
        """The first event appended gets version 1, and keeps its id, type, data, time and metadata."""
        draft = NewEvent("Happened", {"n": 1}, metadata={"user": "a"})
        appended = await store.append(actor, draft)
        [event] = await store.get_events(actor)
        assert (appended.version, event.version, event.actor_id) == (1, 1, actor)
        assert facts(event) == facts(draft)
        assert appended.position > 0

    async def test_append_numbers_without_gaps(self, store: StoreUnderTest, actor: str) -> None:
        """Appended events get the latest version + 1, + 2, …, in order, also behind a gap that a save left."""
        await store.save_event(*events(actor, 7))
        first, second = drafts(3, "first"), drafts(2, "second")
        assert (await store.append(actor, first)).version == 10
        assert (await store.append(actor, tuple(second))).version == 12
        stored = await store.get_events(actor, 8)
        assert [event.version for event in stored] == [8, 9, 10, 11, 12]
        assert [facts(event) for event in stored] == [facts(draft) for draft in (*first, *second)]

    async def test_an_append_is_one_position(self, store: StoreUnderTest, actor: str) -> None:
        """The events of an append are stored at the one position that it returns."""
        appended = await store.append(actor, drafts(100))
        stored = await store.get_events(actor)
        assert len(stored) == 100
        assert await store.save_events(stored) == appended.position
        assert {await store.save_event(event) for event in stored[::33]} == {appended.position}

    async def test_save_and_append_mix(self, store: StoreUnderTest, actor: str) -> None:
        """Saved and appended events are numbered as one history."""
        await store.append(actor, NewEvent("Happened"))
        await store.save_event(*events(actor, 2))
        assert (await store.append(actor, NewEvent("Happened"), expected_version=2)).version == 3
        with pytest.raises(VersionConflictError):
            await store.save_event(*events(actor, 3))
        assert [event.version for event in await store.get_events(actor)] == [1, 2, 3]

    @pytest.mark.parametrize("version", [0, 1, 5])
    async def test_the_expected_version_holds(self, store: StoreUnderTest, actor: str, version: int) -> None:
        """An append that expects the latest version, 0 for a new actor, succeeds."""
        if version:
            await store.save_event(*events(actor, version))
        appended = await store.append(actor, NewEvent("Happened"), expected_version=version)
        assert appended.version == version + 1

    @pytest.mark.parametrize(("actual", "expected"), [(0, 1), (0, 9), (1, 0), (3, 0), (3, 2), (3, 4), (3, 2**63)])
    async def test_the_expected_version_is_enforced(self, store: StoreUnderTest, actor: str, actual: int, expected: int) -> None:
        """An append that expects any version but the latest is a conflict that names both, and nothing is stored."""
        if actual:
            await store.save_events(events(actor, *range(1, actual + 1)))
        with pytest.raises(VersionConflictError) as caught:
            await store.append(actor, drafts(2), expected_version=expected)
        assert (caught.value.actor_id, caught.value.expected, caught.value.actual) == (actor, expected, actual)
        assert await store.get_latest_version(actor) == actual

    async def test_a_refused_append_can_be_decided_again(self, store: StoreUnderTest, peer: StoreUnderTest, actor: str) -> None:
        """After a conflict the error's version is the one to expect next."""
        await store.append(actor, NewEvent("Happened"))
        await peer.append(actor, NewEvent("Happened"))
        with pytest.raises(VersionConflictError) as caught:
            await store.append(actor, NewEvent("Happened"), expected_version=1)
        assert (await store.append(actor, NewEvent("Happened"), expected_version=caught.value.actual)).version == 3

    async def test_append_knows_no_ids(self, store: StoreUnderTest, actor: str) -> None:
        """The same NewEvent appended twice is stored twice: only a version makes a retry recognisable."""
        draft = NewEvent("Happened", id="the-same")
        await store.append(actor, draft)
        assert (await store.append(actor, draft)).version == 2
        assert [(event.version, event.id) for event in await store.get_events(actor)] == [(1, "the-same"), (2, "the-same")]

    async def test_an_append_has_events(self, store: StoreUnderTest, actor: str) -> None:
        """An append of no events is a ValueError."""
        with pytest.raises(ValueError, match="event"):
            await store.append(actor, [])

    @pytest.mark.parametrize("wrong", [None, 1, "event", [None], Event("a", "Happened", 1), [Event("a", "Happened", 1)], [[]]])
    async def test_only_new_events_are_appended(
        self,
        store: StoreUnderTest,
        actor: str,
        wrong: Any,  # noqa: ANN401 - the wrong type
    ) -> None:
        """Anything but NewEvents is a TypeError."""
        with pytest.raises(TypeError):
            await store.append(actor, wrong)
        assert await store.get_latest_version(actor) == 0

    @pytest.mark.parametrize("wrong", ["1", 1.0, True, b"1"])
    async def test_an_expected_version_is_an_int(
        self,
        store: StoreUnderTest,
        actor: str,
        wrong: Any,  # noqa: ANN401
    ) -> None:
        """An expected version that is no int is a TypeError, True included, and nothing is stored."""
        with pytest.raises(TypeError, match="expected_version"):
            await store.append(actor, NewEvent("Happened"), expected_version=wrong)
        assert await store.get_latest_version(actor) == 0

    @pytest.mark.parametrize("wrong", [-1, -(2**70), 2**64])
    async def test_an_expected_version_is_a_version(self, store: StoreUnderTest, actor: str, wrong: int) -> None:
        """An expected version that no actor can have is a ValueError."""
        with pytest.raises(ValueError, match="expected_version"):
            await store.append(actor, NewEvent("Happened"), expected_version=wrong)

    async def test_numbering_ends_where_versions_end(self, store: StoreUnderTest, actor: str) -> None:
        """An append that would pass version 2**64 - 1 is refused, and nothing is stored: versions never wrap around."""
        await store.save_event(*events(actor, 2**64 - 2))
        with pytest.raises(VersionsUsedUpError, match="used up"):
            await store.append(actor, drafts(2))
        assert (await store.append(actor, NewEvent("Happened"))).version == 2**64 - 1
        with pytest.raises(VersionsUsedUpError, match="used up"):
            await store.append(actor, NewEvent("Happened"))
        assert [event.version for event in await store.get_events(actor)] == [2**64 - 2, 2**64 - 1]

    async def test_a_large_append_is_refused(self, store: StoreUnderTest, actor: str) -> None:
        """An append beyond the store's bound is refused, nothing is stored, and the actor can be appended to."""
        count = self.commit_bytes_max // BLOB_BYTES + 1
        with pytest.raises(CommitTooLargeError) as caught:
            await store.append(actor, [NewEvent("Happened", b"x" * BLOB_BYTES)] * count)
        assert (caught.value.actor_id, caught.value.limit) == (actor, self.commit_bytes_max)
        assert (await store.append(actor, NewEvent("Happened"), expected_version=0)).version == 1
