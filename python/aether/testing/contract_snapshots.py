"""The store contract: snapshots, the shortcut that never changes what a load yields."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from aether.codec import Limits, get_default_limits, set_default_limits
from aether.errors import CommitTooLargeError, VersionConflictError
from aether.event import Event, NewEvent, Snapshot
from aether.testing.contract_base import StoreCase, drafts, events

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aether.testing.contract_base import StoreUnderTest

__all__ = ["SnapshotsContract"]


class SnapshotsContract(StoreCase):
    """The latest snapshot of each actor."""

    @pytest.fixture
    def large_states(self) -> Iterator[None]:
        """Let states be larger than a store takes, so that it is the store that refuses them."""
        before = get_default_limits()
        set_default_limits(Limits(payload_bytes_max=2 * self.commit_bytes_max))
        yield
        set_default_limits(before)

    async def test_there_is_none_at_first(self, store: StoreUnderTest, actor: str) -> None:
        """An actor has no snapshot until one is saved, with events or without."""
        assert await store.get_latest_snapshot(actor) is None
        await store.append(actor, NewEvent("Happened"))
        assert await store.get_latest_snapshot(actor) is None

    async def test_a_snapshot_comes_back(self, store: StoreUnderTest, peer: StoreUnderTest, actor: str) -> None:
        """A snapshot comes back equal, its state, version and time included, through every handle."""
        await store.append(actor, drafts(3))
        snapshot = Snapshot(actor, 3, {"total": [1.5, b"x", None]}, timestamp=datetime(2026, 1, 1, tzinfo=UTC))
        await store.save_snapshot(snapshot)
        assert await store.get_latest_snapshot(actor) == snapshot
        assert await peer.get_latest_snapshot(actor) == snapshot

    async def test_a_later_one_replaces_it(self, store: StoreUnderTest, actor: str) -> None:
        """A snapshot of a later version takes the place of the one before."""
        await store.append(actor, drafts(9))
        for version in (1, 4, 9):
            await store.save_snapshot(Snapshot(actor, version, version))
            found = await store.get_latest_snapshot(actor)
            assert found is not None
            assert (found.version, found.state) == (version, version)

    async def test_an_earlier_one_is_ignored(self, store: StoreUnderTest, actor: str) -> None:
        """A snapshot of an earlier version than the one kept is accepted and ignored, so that late workers do no harm."""
        await store.append(actor, drafts(9))
        kept = Snapshot(actor, 7, "kept")
        await store.save_snapshot(kept)
        for version in (1, 6):
            await store.save_snapshot(Snapshot(actor, version, "late"))
        assert await store.get_latest_snapshot(actor) == kept

    async def test_one_of_the_same_version_replaces_it(self, store: StoreUnderTest, actor: str) -> None:
        """A snapshot of the version kept replaces it, so that a better state for it can be stored."""
        await store.append(actor, drafts(2))
        for state in ("first", "second"):
            await store.save_snapshot(Snapshot(actor, 2, state))
        found = await store.get_latest_snapshot(actor)
        assert found is not None
        assert found.state == "second"

    @pytest.mark.parametrize(("latest", "version"), [(0, 1), (3, 4), (3, 2**63)])
    async def test_it_is_never_ahead(self, store: StoreUnderTest, actor: str, latest: int, version: int) -> None:
        """A snapshot newer than the actor's events is a conflict that names both versions, and nothing is kept of it."""
        if latest:
            await store.append(actor, drafts(latest))
            await store.save_snapshot(Snapshot(actor, 1, "kept"))
        with pytest.raises(VersionConflictError) as caught:
            await store.save_snapshot(Snapshot(actor, version, "ahead"))
        assert (caught.value.actor_id, caught.value.expected, caught.value.actual) == (actor, version, latest)
        await store.append(actor, drafts(2))
        found = await store.get_latest_snapshot(actor)
        assert (None if found is None else found.state) == ("kept" if latest else None)

    async def test_it_may_stand_in_a_gap(self, store: StoreUnderTest, actor: str) -> None:
        """A snapshot's version needs to be no greater than the latest; it need not be an event's."""
        await store.save_events(events(actor, 2, 9))
        await store.save_snapshot(Snapshot(actor, 5, "between"))
        found = await store.get_latest_snapshot(actor)
        assert found is not None
        assert found.version == 5

    async def test_it_is_no_event(self, store: StoreUnderTest, actor: str) -> None:
        """Saving a snapshot changes neither the actor's events nor its latest version."""
        await store.append(actor, drafts(3))
        before = await store.get_events(actor)
        await store.save_snapshot(Snapshot(actor, 2, "state"))
        assert await store.get_events(actor) == before
        assert await store.get_latest_version(actor) == 3
        assert (await store.append(actor, NewEvent("Happened"), expected_version=3)).version == 4

    async def test_loading_through_it_is_the_same(self, store: StoreUnderTest, actor: str) -> None:
        """At every version, the latest snapshot and the events behind it fold to the state that all events fold to."""
        chance = random.Random(7)  # noqa: S311 - a fixed sequence
        for version in range(1, 31):
            await store.append(actor, NewEvent("Added", chance.randrange(1000)))
            if chance.random() < 0.3:
                state = await _total(store, actor)
                await store.save_snapshot(Snapshot(actor, version, state))
            snapshot = await store.get_latest_snapshot(actor)
            start, total = (0, 0) if snapshot is None else (snapshot.version, snapshot.state)
            rest = await store.get_events(actor, start + 1)
            assert total + sum(event.data for event in rest) == await _total(store, actor)

    async def test_a_large_one_is_kept(self, store: StoreUnderTest, actor: str) -> None:
        """A state of 900,000 bytes is kept."""
        await store.append(actor, NewEvent("Happened"))
        snapshot = Snapshot(actor, 1, b"x" * 900_000)
        await store.save_snapshot(snapshot)
        assert await store.get_latest_snapshot(actor) == snapshot

    @pytest.mark.usefixtures("large_states")
    async def test_a_too_large_one_is_refused(self, store: StoreUnderTest, actor: str) -> None:
        """A snapshot beyond the store's bound is refused with its size and the bound, and the one kept stays."""
        await store.append(actor, drafts(2))
        kept = Snapshot(actor, 1, "kept")
        await store.save_snapshot(kept)
        with pytest.raises(CommitTooLargeError) as caught:
            await store.save_snapshot(Snapshot(actor, 2, b"x" * self.commit_bytes_max))
        assert (caught.value.actor_id, caught.value.limit) == (actor, self.commit_bytes_max)
        assert caught.value.size > self.commit_bytes_max
        assert await store.get_latest_snapshot(actor) == kept

    @pytest.mark.parametrize("wrong", [None, "state", {"actor_id": "a", "version": 1}, Event("a", "Happened", 1)])
    async def test_only_a_snapshot_is_kept(self, store: StoreUnderTest, wrong: Any) -> None:  # noqa: ANN401 - the wrong type
        """Anything but a Snapshot is a TypeError."""
        with pytest.raises(TypeError):
            await store.save_snapshot(wrong)


async def _total(store: StoreUnderTest, actor: str) -> int:
    return sum(event.data for event in await store.get_events(actor))
