"""Planted bugs of writing: versions, retries, commits, positions."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from planted import caught_by
from third_store import ListStore

from aether import Appended, Event, NewEvent, VersionConflictError
from aether._native import number_events

if TYPE_CHECKING:
    from collections.abc import Iterable


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


@caught_by("test_a_large_commit_is_refused", "test_a_large_append_is_refused")
class NoBound(ListStore):
    """Takes commits of any size."""

    def check_size(self, commit: list[Event]) -> None:
        """Check nothing."""
