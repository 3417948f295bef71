"""Stores with one planted bug each, and the contract's tests that have to catch it.

The bugs are those that stores have had: a lost check, a falsy zero, an await in the wrong place, a shared list, a cache.
pytest does not collect this module; test_planted_bugs.py has it run, to see it fail.
"""

from __future__ import annotations

import asyncio
import fnmatch
from typing import TYPE_CHECKING

import pytest
from third_store import ListStore

from aether import Appended, Event, NewEvent, Snapshot, VersionConflictError
from aether.store.base import number_events
from aether.testing import StoreContract

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

CAUGHT_BY: dict[type[ListStore], tuple[str, ...]] = {}


def caught_by(*tests: str):
    """Name the tests of the contract that must fail on this store."""

    def register(store: type[ListStore]) -> type[ListStore]:
        CAUGHT_BY[store] = tests
        contract = type(f"Test{store.__name__}", (StoreContract,), {"store": pytest.fixture(lambda self: store())})
        globals()[contract.__name__] = contract
        return store

    return register


@caught_by("test_no_version_is_written_twice", "test_one_save_wins", "test_a_commit_is_refused_whole")
class NoVersionCheck(ListStore):
    """Saves whatever comes."""

    async def save_events(self, events: Iterable[Event]) -> int:
        """Check nothing about the latest version."""
        commit = list(events)
        self.check_commit(commit)
        return self.store(commit[0].actor_id, commit)


@caught_by(
    "test_an_equal_event_is_saved_once", "test_an_equal_commit_is_saved_once", "test_one_event_saved_by_many_is_stored_once"
)
class RetryIsConflict(ListStore):
    """Does not know a retry from a rival."""

    def find(self, actor_id: str, commit: list[Event]) -> int | None:
        """Find nothing."""
        return None


@caught_by("test_a_different_event_is_no_retry")
class RetryById(ListStore):
    """Takes an equal id for an equal event."""

    def find(self, actor_id: str, commit: list[Event]) -> int | None:
        """Compare ids."""
        stored = {event.id: position for position, event in self.history(actor_id)}
        return stored.get(commit[-1].id)


@caught_by("test_no_version_is_written_twice", "test_one_save_wins")
class RetryByVersion(ListStore):
    """Takes a taken version for a retry, and so tells the loser of a race that it won."""

    def find(self, actor_id: str, commit: list[Event]) -> int | None:
        """Compare versions."""
        return {event.version: position for position, event in self.history(actor_id)}.get(commit[-1].version)


@caught_by("test_equal_events_of_several_commits_are_recognised")
class RetryOfFirstPosition(ListStore):
    """Answers a retry with the position of its first event."""

    def find(self, actor_id: str, commit: list[Event]) -> int | None:
        """Look at the first."""
        return super().find(actor_id, commit) and super().find(actor_id, commit[:1])


@caught_by("test_a_partly_stored_commit_is_a_conflict")
class CompletesCommits(ListStore):
    """Stores the rest of a commit whose beginning is there."""

    async def save_events(self, events: Iterable[Event]) -> int:
        """Skip what is stored."""
        commit = list(events)
        self.check_commit(commit)
        rest = [event for event in commit if self.find(event.actor_id, [event]) is None]
        return await super().save_events(rest or commit)


@caught_by("test_a_commit_is_one_position", "test_an_append_is_one_position")
class EventByEvent(ListStore):
    """Gives each event of a commit a position of its own."""

    def store(self, actor_id: str, commit: list[Event]) -> int:
        """Store one by one."""
        return [super(EventByEvent, self).store(actor_id, [event]) for event in commit][-1]


@caught_by("test_a_read_is_a_prefix", "test_appends_without_expectation_all_succeed")
class TornCommits(ListStore):
    """Lets others in between the events of a commit."""

    async def append(self, actor_id, events, *, expected_version=None) -> Appended:
        """Append one by one."""
        drafts = [events] if isinstance(events, NewEvent) else list(events)
        for draft in drafts:
            appended = await super().append(actor_id, draft)
            await asyncio.sleep(0)
        return appended


@caught_by("test_one_append_wins", "test_reload_and_retry_counts_right", "test_appends_without_expectation_all_succeed")
class ChecksTooEarly(ListStore):
    """Checks the version, waits, and then writes."""

    async def append(self, actor_id, events, *, expected_version=None) -> Appended:
        """Check, wait, write."""
        latest = self.latest(actor_id)
        if expected_version not in (None, latest):
            raise VersionConflictError(actor_id, expected_version, latest)
        await asyncio.sleep(0)
        commit = number_events(actor_id, events, latest + 1)
        return Appended(commit[-1].version, self.store(actor_id, commit))


@caught_by("test_the_expected_version_is_enforced", "test_one_append_wins")
class ZeroIsNone(ListStore):
    """Takes 0, "the actor is new", for no expectation."""

    async def append(self, actor_id, events, *, expected_version=None) -> Appended:
        """Trip over a falsy number."""
        return await super().append(actor_id, events, expected_version=expected_version or None)


@caught_by(
    "test_the_expected_version_is_enforced", "test_no_version_is_written_twice", "test_a_refused_append_can_be_decided_again"
)
class ConflictLies(ListStore):
    """Says in a conflict that the actor is where the caller thought."""

    async def append(self, actor_id, events, *, expected_version=None) -> Appended:
        """Lie."""
        try:
            return await super().append(actor_id, events, expected_version=expected_version)
        except VersionConflictError as error:
            raise VersionConflictError(actor_id, error.expected, error.expected) from None

    async def save_events(self, events: Iterable[Event]) -> int:
        """Lie too."""
        try:
            return await super().save_events(events)
        except VersionConflictError as error:
            raise VersionConflictError(error.actor_id, error.expected, error.expected) from None


@caught_by("test_append_numbers_without_gaps")
class NumbersByCount(ListStore):
    """Numbers by how many events there are, which gaps make wrong."""

    async def append(self, actor_id, events, *, expected_version=None) -> Appended:
        """Count."""
        drafts = [events] if isinstance(events, NewEvent) else list(events)
        commit = number_events(actor_id, drafts, len(self.history(actor_id)) + 1)
        return Appended(commit[-1].version, self.store(actor_id, commit))


@caught_by("test_append_knows_no_ids")
class AppendsEachIdOnce(ListStore):
    """Swallows an append whose id was seen before."""

    async def append(self, actor_id, events, *, expected_version=None) -> Appended:
        """Remember ids."""
        known = {event.id: (event.version, position) for position, event in self.history(actor_id)}
        if isinstance(events, NewEvent) and events.id in known:
            return Appended(*known[events.id])
        return await super().append(actor_id, events, expected_version=expected_version)


@caught_by("test_positions_increase")
class PositionsByActor(ListStore):
    """Counts positions for each actor."""

    def store(self, actor_id: str, commit: list[Event]) -> int:
        """Count commits of this actor."""
        self.position = len(self.commits.get(actor_id, []))
        return super().store(actor_id, commit)


@caught_by("test_from_version_is_inclusive", "test_batches_make_the_same_read")
class ExclusiveFrom(ListStore):
    """Reads from behind the version asked for."""

    def read(self, actor_id: str, from_version: int) -> list[Event]:
        """Begin one too late."""
        return super().read(actor_id, from_version + 1 if from_version else 0)


@caught_by("test_from_version_is_inclusive", "test_limit_bounds_a_read")
class WholeCommits(ListStore):
    """Reads from the commit that holds a version, not from the version."""

    def read(self, actor_id: str, from_version: int) -> list[Event]:
        """Forget to cut the first commit."""
        commits = self.commits.get(actor_id, [])
        return [event for _, commit in commits if commit[-1].version >= from_version for event in commit]


@caught_by("test_from_version_is_inclusive")
class VersionIsIndex(ListStore):
    """Takes the version for an index, which gaps make wrong."""

    def read(self, actor_id: str, from_version: int) -> list[Event]:
        """Slice."""
        return [event for _, event in self.history(actor_id)][max(0, from_version - 1) :]


@caught_by("test_limit_bounds_a_read")
class LimitsCommits(ListStore):
    """Counts commits against the limit."""

    async def get_events(self, actor_id, from_version=0, *, limit=None) -> list[Event]:
        """Limit the wrong thing."""
        events = await super().get_events(actor_id, from_version)
        return [event for _, commit in self.commits.get(actor_id, [])[:limit] for event in commit if event in events]


@caught_by("test_batches_make_the_same_read")
class LosesTheRest(ListStore):
    """Yields full batches only."""

    async def read_events(self, actor_id, from_version=0, *, batch_size=1000) -> AsyncIterator[list[Event]]:
        """Forget the last one."""
        async for batch in super().read_events(actor_id, from_version, batch_size=batch_size):
            if len(batch) == batch_size:
                yield batch


@caught_by("test_batches_make_the_same_read")
class BatchesOfCommits(ListStore):
    """Yields commits, however many events that makes."""

    async def read_events(self, actor_id, from_version=0, *, batch_size=1000) -> AsyncIterator[list[Event]]:
        """Never cut a commit."""
        for _, commit in self.commits.get(actor_id, []):
            if commit[-1].version >= from_version:
                yield [event for event in commit if event.version >= from_version]


@caught_by("test_iteration_ends_where_it_began")
class NeverEnds(ListStore):
    """Reads on into what is written meanwhile."""

    async def read_events(self, actor_id, from_version=0, *, batch_size=1000) -> AsyncIterator[list[Event]]:
        """Ask for the end each time (but give up at some point, so that the test ends)."""
        while (batch := self.read(actor_id, from_version)[:batch_size]) and from_version < 50:
            yield batch
            from_version = batch[-1].version + 1


@caught_by("test_writes_are_read_at_once")
class CachesReads(ListStore):
    """Keeps what it read once."""

    def __init__(self) -> None:
        super().__init__()
        self.cache: dict[tuple[str, int], list[Event]] = {}

    def read(self, actor_id: str, from_version: int) -> list[Event]:
        """Look into the cache first."""
        return list(self.cache.setdefault((actor_id, from_version), super().read(actor_id, from_version)))


@caught_by("test_what_was_got_back_can_change")
class LeaksItsList(ListStore):
    """Hands out the very list that it keeps."""

    async def get_events(self, actor_id, from_version=0, *, limit=None) -> list[Event]:
        """Save a copy where a commit is the whole history."""
        commits = self.commits.get(actor_id, [])
        return commits[0][1] if len(commits) == 1 else await super().get_events(actor_id, from_version, limit=limit)


@caught_by("test_what_was_passed_in_can_change")
class KeepsTheCallersList(ListStore):
    """Stores the caller's list instead of a copy."""

    async def save_events(self, events: Iterable[Event]) -> int:
        """Save a copy."""
        position = await super().save_events(events)
        for commits in self.commits.values():
            if isinstance(events, list):
                commits[-1] = (position, events)
        return position


@caught_by("test_nanoseconds_are_kept", "test_append_numbers_from_1")
class CutsTimes(ListStore):
    """Keeps microseconds."""

    def store(self, actor_id: str, commit: list[Event]) -> int:
        """Go through datetime."""
        return super().store(
            actor_id,
            [
                Event(e.actor_id, e.event_type, e.version, e.data, id=e.id, timestamp=e.timestamp, metadata=e.metadata)
                for e in commit
            ],
        )


@caught_by("test_metadata_comes_back")
class LosesMetadata(ListStore):
    """Keeps everything else."""

    def store(self, actor_id: str, commit: list[Event]) -> int:
        """Forget an argument."""
        return super().store(
            actor_id, [Event(e.actor_id, e.event_type, e.version, e.data, id=e.id, timestamp=e.timestamp) for e in commit]
        )


@caught_by("test_a_large_commit_is_refused", "test_a_large_append_is_refused")
class NoBound(ListStore):
    """Takes commits of any size."""

    def check_size(self, commit: list[Event]) -> None:
        """Check nothing."""


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
