"""Planted bugs of what things are filed under, and of snapshots."""

from __future__ import annotations

import fnmatch

from planted import caught_by
from third_store import ListStore

from aether import Event, NewEvent, Snapshot


@caught_by("test_any_id_is_an_actor", "test_any_id_has_its_own_snapshot", "test_a_wildcard_is_no_pattern")
class FoldsCase(ListStore):
    """Files actors as a case-insensitive file system does."""

    def key(self, actor_id: str) -> str:
        """Fold."""
        return actor_id.casefold()


@caught_by("test_any_id_is_an_actor", "test_a_wildcard_is_no_pattern")
class StripsIds(ListStore):
    """Cleans ids up."""

    def key(self, actor_id: str) -> str:
        """Strip."""
        return actor_id.strip()


@caught_by("test_any_id_is_an_actor")
class ReplacesDots(ListStore):
    """Makes subjects of ids by a replacement that is not injective."""

    def key(self, actor_id: str) -> str:
        """Escape with what other ids contain."""
        return actor_id.replace(".", "=2E").replace("*", "=2A")


@caught_by("test_any_id_is_an_actor")
class CutsAtNul(ListStore):
    """Ends ids at the first NUL, as C does."""

    def key(self, actor_id: str) -> str:
        """Cut."""
        return actor_id.partition("\0")[0]


@caught_by("test_any_id_is_an_actor")
class CutsLongIds(ListStore):
    """Keeps 254 characters."""

    def key(self, actor_id: str) -> str:
        """Cut."""
        return actor_id[:254]


@caught_by("test_any_id_is_an_actor", "test_a_wildcard_is_no_pattern")
class MatchesPatterns(ListStore):
    """Finds actors by pattern."""

    def key(self, actor_id: str) -> str:
        """Return the first actor that matches."""
        return next((known for known in self.commits if fnmatch.fnmatchcase(known, actor_id)), actor_id)


@caught_by("test_a_wildcard_is_no_pattern", "test_actors_are_apart")
class ReadsByPrefix(ListStore):
    """Finds actors by prefix."""

    def history(self, actor_id: str) -> list[tuple[int, Event]]:
        """Take in all whose ids begin so."""
        found = [entry for key in self.commits if key.startswith(actor_id) for entry in super(ReadsByPrefix, self).history(key)]
        return sorted(found, key=lambda entry: entry[0])


@caught_by("test_it_is_never_ahead")
class SnapshotAhead(ListStore):
    """Keeps snapshots of versions that do not exist."""

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        """Check nothing."""
        self.snapshots[snapshot.actor_id] = snapshot


@caught_by("test_an_earlier_one_is_ignored", "test_the_latest_snapshot_wins")
class LastSnapshotWins(ListStore):
    """Keeps the snapshot that came last, of whatever version."""

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        """Forget the one before."""
        self.snapshots.pop(snapshot.actor_id, None)
        await super().save_snapshot(snapshot)


@caught_by("test_one_of_the_same_version_replaces_it")
class FirstSnapshotStays(ListStore):
    """Keeps the first snapshot of a version."""

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        """Compare with <= instead of <."""
        kept = self.snapshots.get(snapshot.actor_id)
        if kept is None or kept.version < snapshot.version:
            await super().save_snapshot(snapshot)


@caught_by("test_it_is_no_event")
class SnapshotIsEvent(ListStore):
    """Logs snapshots among the events."""

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        """Append it too."""
        await super().save_snapshot(snapshot)
        await self.append(snapshot.actor_id, NewEvent("Snapshot"))


@caught_by("test_loading_through_it_is_the_same")
class SnapshotHidesEvents(ListStore):
    """Begins every read behind the snapshot, its own event included."""

    def read(self, actor_id: str, from_version: int) -> list[Event]:
        """Confuse the two shortcuts."""
        kept = self.snapshots.get(actor_id)
        behind = [event for event in super().read(actor_id, from_version) if kept is None or event.version > kept.version + 1]
        return behind if from_version else super().read(actor_id, 0)
