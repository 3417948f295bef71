"""Planted bugs of ingestion: what pipelines lose, tell twice, or do not tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from planted import caught_by
from third_store import ListPipeline, ListStore

from aether import AetherError, Event, VersionConflictError

if TYPE_CHECKING:
    from collections.abc import Callable


class Piped(ListStore):
    """A store whose pipelines are of a class of their own."""

    pipeline = ListPipeline

    def ingest(self, *, on_failure: Callable[[Event, AetherError], object] | None = None, **_: int) -> ListPipeline:
        """Return one."""
        return self.pipeline(self, on_failure)


class Late(ListPipeline):
    """Keeps events back, as one that waits for more does."""

    def __init__(self, store: ListStore, on_failure: Callable[[Event, AetherError], object] | None) -> None:
        super().__init__(store, on_failure)
        self.kept: list[Event] = []

    async def put(self, event: Event) -> None:
        """Keep it."""
        self.kept.append(event)

    async def save_kept(self) -> None:
        """Save what was kept."""
        kept, self.kept = self.kept, []
        for event in kept:
            await super().put(event)


@caught_by("test_a_flush_returns_when_everything_before_is_stored")
class FlushDoesNotWait(Piped):
    """Returns from a flush while events are still on their way."""

    class pipeline(Late):  # noqa: N801 - stands in for an attribute
        """Saves what it kept only when it is left."""

        async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
            await self.save_kept()
            await super().__aexit__(kind, error, traceback)


@caught_by("test_ingested_events_are_stored_in_order", "test_ingestion_goes_on_where_an_actor_stands")
class LastInFirstOut(Piped):
    """Takes the newest event first."""

    class pipeline(Late):  # noqa: N801
        """A stack."""

        async def flush(self) -> None:
            """Save what was kept, then tell."""
            self.kept.reverse()
            await self.save_kept()
            await super().flush()

        async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
            self.kept.reverse()
            await self.save_kept()
            await super().__aexit__(kind, error, traceback)


@caught_by(
    "test_conflicts_are_reported_exactly",
    "test_a_version_put_out_of_order_is_a_conflict",
    "test_the_error_at_the_end_carries_the_failures",
    "test_after_an_error_the_pipeline_goes_on",
    "test_an_event_that_is_too_large_fails_alone",
)
class SilentFailures(Piped):
    """Counts failures, and tells nobody."""

    class pipeline(ListPipeline):  # noqa: N801
        """Forgets them."""

        def fail(self, event: Event, error: AetherError) -> None:
            """Count it."""
            self.counts["conflicts" if isinstance(error, VersionConflictError) else "failed"] += 1


@caught_by("test_after_an_error_the_pipeline_goes_on")
class ToldTwice(Piped):
    """Tells again what it has told."""

    class pipeline(ListPipeline):  # noqa: N801
        """Keeps them."""

        def report(self) -> None:
            """Raise them, and keep them."""
            failures = list(self.failures)
            try:
                super().report()
            finally:
                self.failures = failures


@caught_by("test_ingested_again_is_already_stored")
class RetryIsSaved(Piped):
    """Counts what was there as stored now."""

    class pipeline(ListPipeline):  # noqa: N801
        """Does not look."""

        async def put(self, event: Event) -> None:
            """Do it the wrong way."""
            await super().put(event)
            self.counts["saved"] += self.counts["already_stored"]
            self.counts["already_stored"] = 0


@caught_by("test_what_came_before_a_wrong_item_is_stored")
class AllOrNothing(Piped):
    """Takes the whole input before it stores any of it."""

    class pipeline(ListPipeline):  # noqa: N801
        """Lists it first."""

        async def put_many(self, events):
            """Look at all first."""
            batch = list(events)
            if all(isinstance(event, Event) for event in batch):
                await super().put_many(batch)
            else:
                raise TypeError("a pipeline takes Events")


@caught_by("test_an_exception_in_the_body_says_where_it_stood")
class Dropped(Piped):
    """Loses what it kept when it is left by an exception."""

    class pipeline(Late):  # noqa: N801
        """Saves only in good order."""

        async def flush(self) -> None:
            """Save what was kept, then tell."""
            await self.save_kept()
            await super().flush()

        async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
            if error is None:
                await self.save_kept()
            await super().__aexit__(kind, error, traceback)


@caught_by("test_an_ended_pipeline_takes_nothing")
class NeverEnds(Piped):
    """Takes events after its end."""

    class pipeline(ListPipeline):  # noqa: N801
        """Is always open."""

        async def put(self, event: Event) -> None:
            """Do it the wrong way."""
            self.open = True
            await super().put(event)


@caught_by("test_outside_its_context_every_call_is_refused")
class Reopened(Piped):
    """Begins anew as often as it is asked to."""

    class pipeline(ListPipeline):  # noqa: N801
        """Forgets that it was open."""

        async def __aenter__(self) -> Self:
            self.opened_before = False
            return await super().__aenter__()


@caught_by("test_two_pipelines_on_the_same_actors")
class NoRetry(Piped):
    """Takes an equal event for a rival."""

    def find(self, actor_id: str, commit: list[Event]) -> int | None:
        """Find nothing."""
        return None
