"""Planted bugs of `read_all`: what it skips, repeats, splits, mixes up or takes too literally."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from planted import caught_by
from third_store import ListStore

from aether import Event, EventBatch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

WHOLE = "test_all_actors_come_in_position_order"


@caught_by(WHOLE, "test_a_read_goes_on_behind_any_position")
class SkipsOne(ListStore):
    """Loses the commit at which a batch ends."""

    async def read_all(self, after: int = 0, **given: Any) -> AsyncIterator[EventBatch]:
        """Go on one too late."""
        async for batch in super().read_all(after, **given):
            if batch.position % 5:
                yield batch


@caught_by(WHOLE)
class SplitsCommits(ListStore):
    """Takes the batch size literally."""

    async def read_all(self, after: int = 0, *, batch_size: int = 1000, **given: Any) -> AsyncIterator[EventBatch]:
        """Cut anywhere."""
        async for batch in super().read_all(after, batch_size=batch_size, **given):
            for start in range(0, len(batch), batch_size):
                yield EventBatch(batch[start : start + batch_size], batch.position)


@caught_by(WHOLE, "test_a_read_goes_on_behind_any_position", "test_large_commits_come_whole")
class ByActor(ListStore):
    """Has no order across actors."""

    def all_commits(self, after: int) -> list[tuple[int, list[Event]]]:
        """Forget to sort."""
        return [(at, commit) for commits in self.commits.values() for at, commit in commits if at > after]


@caught_by(WHOLE, "test_a_read_goes_on_behind_any_position", "test_nothing_is_behind_the_last_position")
class IgnoresAfter(ListStore):
    """Always begins with the first."""

    def all_commits(self, after: int) -> list[tuple[int, list[Event]]]:
        """Read everything."""
        return super().all_commits(0)


@caught_by(WHOLE, "test_a_read_goes_on_behind_any_position")
class InclusiveAfter(ListStore):
    """Repeats the commit at the position asked for."""

    def all_commits(self, after: int) -> list[tuple[int, list[Event]]]:
        """Begin one too early."""
        return super().all_commits(max(0, after - 1))


@caught_by(WHOLE, "test_filtered_batches_go_on_behind_their_position")
class PositionTooFar(ListStore):
    """Says that it has read what is only in the next batch."""

    async def read_all(self, after: int = 0, **given: Any) -> AsyncIterator[EventBatch]:
        """Count one too many."""
        async for batch in super().read_all(after, **given):
            yield EventBatch(batch, batch.position + 1)


@caught_by("test_a_read_of_all_ends_where_it_began")
class NeverEndsTheNamespace(ListStore):
    """Reads on into what is written meanwhile."""

    async def read_all(self, after: int = 0, **given: Any) -> AsyncIterator[EventBatch]:
        """Look again after each batch (but give up at some point, so that the test ends)."""
        for _ in range(100):
            async for batch in super().read_all(after, **given):
                yield batch
                after = batch.position
                break


@caught_by("test_filters_take_what_they_name", "test_hostile_ids_are_told_apart")
class FiltersByBeginning(ListStore):
    """Takes an id for the beginning of one."""

    async def read_all(self, after: int = 0, *, actor_id: str | None = None, **given: Any) -> AsyncIterator[EventBatch]:
        """Compare too little."""
        given.setdefault("actor_prefix", actor_id)
        async for batch in super().read_all(after, **given):
            yield batch


@caught_by("test_filters_take_what_they_name")
class FiltersWholeCommits(ListStore):
    """Yields a commit for the sake of one of its events."""

    async def read_all(self, after: int = 0, *, event_types: Any = None, **given: Any) -> AsyncIterator[EventBatch]:
        """Look at the first event only."""
        wanted = None if event_types is None else list(event_types)
        async for batch in super().read_all(after, **given):
            if wanted is None or batch[0].event_type in wanted:
                yield batch


@caught_by("test_a_read_of_all_is_a_prefix")
class StaleReplay(ListStore):
    """Reads what was there when it was last asked."""

    known = 0

    async def read_all(self, after: int = 0, **given: Any) -> AsyncIterator[EventBatch]:
        """End at an old position."""
        end, self.known = self.known, self.position
        async for batch in super().read_all(after, **given):
            if batch.position <= end:
                yield batch
