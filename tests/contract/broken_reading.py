"""Planted bugs of reading: where it begins and ends, batches, caches, what is shared with the caller or lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planted import caught_by
from third_store import ListStore

from aether import Event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable


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
