"""A third store, as a user might write it from the public names alone: plain lists behind a lock.

An actor is the list of its commits; a commit is the list of its events, with its position.
"""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, Any

from third_pipeline import ListPipeline

from aether import (
    Appended,
    CommitTooLargeError,
    Event,
    EventBatch,
    NewEvent,
    Snapshot,
    VersionConflictError,
    VersionsUsedUpError,
)
from aether._native import EventFilter, check_actor_id, number_events, shard_of
from aether.store.arguments import check_after, check_batch_size, check_expected_version, check_from_version, check_limit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

BYTES_MAX = 1_048_576


class ListStore:
    """Events and snapshots in lists and dictionaries."""

    def __init__(self) -> None:
        self.commits: dict[str, list[tuple[int, list[Event]]]] = {}
        self.snapshots: dict[str, Snapshot] = {}
        self.position = 0
        self.lock = threading.Lock()

    async def save_event(self, event: Event) -> int:
        """Save a commit of one."""
        if not isinstance(event, Event):
            raise TypeError(f"save_event takes an Event, not {type(event).__name__}")
        return await self.save_events([event])

    async def save_events(self, events: Iterable[Event]) -> int:
        """Save above the latest version, or recognise what is there."""
        commit = list(events)
        self.check_commit(commit)
        actor_id = commit[0].actor_id
        with self.lock:
            latest = self.latest(actor_id)
            if commit[0].version > latest:
                return self.store(actor_id, commit)
            position = self.find(actor_id, commit)
        if position is None:
            raise VersionConflictError(actor_id, commit[0].version - 1, latest)
        return position

    def ingest(self, **options: Any) -> ListPipeline:
        """Return a pipeline that saves one event after another."""
        return ListPipeline(self, **options)

    async def append(
        self, actor_id: str, events: NewEvent | Sequence[NewEvent], *, expected_version: int | None = None
    ) -> Appended:
        """Number and store."""
        check_actor_id(actor_id)
        check_expected_version(expected_version)
        drafts = [events] if isinstance(events, NewEvent) else list(events)
        if any(not isinstance(draft, NewEvent) for draft in drafts):
            raise TypeError("append takes NewEvents")
        if not drafts:
            raise ValueError("a commit has at least one event")
        with self.lock:
            latest = self.latest(actor_id)
            if expected_version is not None and expected_version != latest:
                raise VersionConflictError(actor_id, expected_version, latest)
            if latest + len(drafts) > 2**64 - 1:
                raise VersionsUsedUpError(actor_id)
            commit = number_events(actor_id, drafts, latest + 1)
            self.check_size(commit)
            return Appended(commit[-1].version, self.store(actor_id, commit))

    async def get_events(self, actor_id: str, from_version: int = 0, *, limit: int | None = None) -> list[Event]:
        """Return a new list."""
        check_actor_id(actor_id)
        check_from_version(from_version)
        check_limit(limit)
        return self.read(actor_id, from_version)[:limit]

    async def read_events(self, actor_id: str, from_version: int = 0, *, batch_size: int = 1000) -> AsyncIterator[list[Event]]:
        """Cut what is there now into batches."""
        check_actor_id(actor_id)
        check_from_version(from_version)
        check_batch_size(batch_size)
        events = self.read(actor_id, from_version)
        for start in range(0, len(events), batch_size):
            yield events[start : start + batch_size]

    async def read_all(
        self,
        after: int = 0,
        *,
        batch_size: int = 1000,
        actor_id: str | None = None,
        actor_prefix: str | None = None,
        shards: Iterable[int] | None = None,
        event_types: Iterable[str] | None = None,
    ) -> AsyncIterator[EventBatch]:
        """Put what is there now in order, filter it, and fill batches with whole commits."""
        check_after(after)
        check_batch_size(batch_size)
        wanted = event_types if event_types is None or isinstance(event_types, str) else list(event_types)
        shards = None if shards is None else list(shards)
        EventFilter(actor_id, actor_prefix, shards, wanted)  # refuses what is none
        batch = EventBatch([], after)
        for position, commit in self.all_commits(after):
            actor = commit[0].actor_id
            if (
                (actor_id is not None and actor != actor_id)
                or (actor_prefix is not None and not actor.startswith(actor_prefix))
                or (shards is not None and shard_of(actor) not in shards)
            ):
                continue
            found = [event for event in commit if wanted is None or event.event_type in wanted]
            if batch and len(batch) + len(found) > batch_size:
                yield batch
                batch = EventBatch([], position - 1)
            batch.extend(found)
            batch.position = position
        if batch:
            yield batch

    def all_commits(self, after: int) -> list[tuple[int, list[Event]]]:
        """Return all actors' commits behind a position, in order."""
        with self.lock:
            return sorted(
                ((position, commit) for commits in self.commits.values() for position, commit in commits if position > after),
                key=lambda placed: placed[0],
            )

    async def get_latest_version(self, actor_id: str) -> int:
        """Return the last event's version."""
        check_actor_id(actor_id)
        with self.lock:
            return self.latest(actor_id)

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        """Keep it unless a later one is kept."""
        if not isinstance(snapshot, Snapshot):
            raise TypeError(f"save_snapshot takes a Snapshot, not {type(snapshot).__name__}")
        actor_id, size = snapshot.actor_id, len(snapshot.payload)
        with self.lock:
            latest = self.latest(actor_id)
            if snapshot.version > latest:
                raise VersionConflictError(actor_id, snapshot.version, latest)
            if size > BYTES_MAX:
                raise CommitTooLargeError(actor_id, size, BYTES_MAX)
            kept = self.snapshots.get(self.key(actor_id))
            if kept is None or kept.version <= snapshot.version:
                self.snapshots[self.key(actor_id)] = snapshot

    async def get_latest_snapshot(self, actor_id: str) -> Snapshot | None:
        """Return what is kept."""
        check_actor_id(actor_id)
        return self.snapshots.get(self.key(actor_id))

    def check_commit(self, commit: list[Event]) -> None:
        """Refuse what is no commit."""
        if any(not isinstance(event, Event) for event in commit):
            raise TypeError("save_events takes Events")
        if not commit:
            raise ValueError("a commit has at least one event")
        if len({event.actor_id for event in commit}) > 1:
            raise ValueError("a commit has one actor")
        if any(later.version <= earlier.version for earlier, later in itertools.pairwise(commit)):
            raise ValueError("versions must strictly increase")
        self.check_size(commit)

    def check_size(self, commit: list[Event]) -> None:
        """Refuse what is too large."""
        size = sum(len(event.payload) + len(str(event.metadata)) for event in commit)
        if size > BYTES_MAX:
            raise CommitTooLargeError(commit[0].actor_id, size, BYTES_MAX)

    def key(self, actor_id: str) -> str:
        """Return what an actor is filed under."""
        return actor_id

    def latest(self, actor_id: str) -> int:
        """Return the latest version; 0: none."""
        commits = self.commits.get(self.key(actor_id))
        return commits[-1][1][-1].version if commits else 0

    def find(self, actor_id: str, commit: list[Event]) -> int | None:
        """Return the last event's position if all are stored, each equal as a whole."""
        stored = {event.version: (position, event) for position, event in self.history(actor_id)}
        if all(event.version in stored and stored[event.version][1] == event for event in commit):
            return stored[commit[-1].version][0]
        return None

    def history(self, actor_id: str) -> list[tuple[int, Event]]:
        """Return all events with their positions."""
        commits = self.commits.get(self.key(actor_id), [])
        return [(position, event) for position, commit in commits for event in commit]

    def store(self, actor_id: str, commit: list[Event]) -> int:
        """Store a commit and return its position."""
        self.position += 1
        self.commits.setdefault(self.key(actor_id), []).append((self.position, commit))
        return self.position

    def read(self, actor_id: str, from_version: int) -> list[Event]:
        """Return the events from a version on."""
        with self.lock:
            return [event for _, event in self.history(actor_id) if event.version >= from_version]
