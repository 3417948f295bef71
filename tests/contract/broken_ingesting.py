"""Planted bugs of ingestion: what pipelines lose, tell twice, or do not tell."""

from __future__ import annotations

from typing import Any, Self

from planted import caught_by
from third_pipeline import ListPipeline
from third_store import ListStore

from aether import AetherError, Event, NewEvent, VersionConflictError


class Piped(ListStore):
    """A store whose pipelines are of a class of their own."""

    pipeline = ListPipeline

    def ingest(self, **options: Any) -> ListPipeline:
        """Return one."""
        return self.pipeline(self, **options)


class Late(ListPipeline):
    """Keeps events back, as one that waits for more does."""

    def __init__(self, store: ListStore, **options: Any) -> None:
        super().__init__(store, **options)
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

        def fail(self, event: Any, error: AetherError) -> None:
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


@caught_by("test_new_events_are_numbered_in_order", "test_new_events_and_numbered_ones_keep_their_order")
class NumberedFromOne(Piped):
    """Numbers new events by what it has seen of their actor itself."""

    class pipeline(ListPipeline):  # noqa: N801
        """Counts."""

        def __init__(self, store: ListStore, **options: Any) -> None:
            super().__init__(store, **options)
            self.seen: dict[str, int] = {}

        async def save(self, actor_id: str, new: Event | NewEvent) -> tuple[Event, int]:
            """Do it the wrong way."""
            if isinstance(new, NewEvent):
                self.seen[actor_id] = self.seen.get(actor_id, 0) + 1
                new = Event(actor_id, new.event_type, self.seen[actor_id], new.data, id=new.id, timestamp=new.timestamp)
            return await super().save(actor_id, new)


@caught_by("test_known_events_are_skipped", "test_known_ids_bound_their_memory", "test_the_same_new_events_at_once")
class ForgetsIds(Piped):
    """Takes what was put again for new."""

    class pipeline(ListPipeline):  # noqa: N801
        """Does not look."""

        def known(self, actor_id: str, new: Event | NewEvent) -> None:
            """Find nothing."""


@caught_by("test_a_known_id_with_other_content_is_a_conflict")
class IdIsEnough(Piped):
    """Takes any event of a known id for the one that is stored."""

    class pipeline(ListPipeline):  # noqa: N801
        """Looks at the id alone."""

        def known(self, actor_id: str, new: Event | NewEvent) -> tuple[Event, int] | None:
            """Compare too little."""
            found = ((event, at) for at, event in self.store.history(actor_id) if event.id == new.id)
            return next(found, None) if self.skip_known else None


@caught_by("test_conflicts_may_be_skipped")
class SkippedIsRaised(Piped):
    """Raises conflicts that were to be skipped."""

    class pipeline(ListPipeline):  # noqa: N801
        """Knows one way."""

        def fail(self, event: Any, error: AetherError) -> None:
            """Do it the wrong way."""
            self.on_conflict = "fail"
            super().fail(event, error)


@caught_by("test_conflicts_may_be_renumbered")
class EqualIsRenumbered(Piped):
    """Gives an event that is stored a second place."""

    class pipeline(ListPipeline):  # noqa: N801
        """Does not look whether it is there."""

        async def save(self, actor_id: str, new: Event | NewEvent) -> tuple[Event, int]:
            """Do it the wrong way."""
            if isinstance(new, Event) and new.version <= self.store.latest(actor_id) and self.on_conflict == "renumber":
                new = new._draft()
            return await super().save(actor_id, new)


@caught_by("test_every_outcome_is_told", "test_who_reads_outcomes_is_not_told_again")
class SilentOutcomes(Piped):
    """Tells of what was saved alone."""

    class pipeline(ListPipeline):  # noqa: N801
        """Forgets the others."""

        def note(self, actor_id: str, event: Any, status: Any, position: int | None, error: AetherError | None = None) -> None:
            """Do it the wrong way."""
            if status == "saved":
                super().note(actor_id, event, status, position, error)


@caught_by("test_outcomes_that_nobody_reads_hold_the_pipeline_back")
class BoundlessOutcomes(Piped):
    """Keeps outcomes without a bound."""

    class pipeline(ListPipeline):  # noqa: N801
        """Has room for all."""

        def __init__(self, store: ListStore, **options: Any) -> None:
            super().__init__(store, **options)
            self.pending_max = 10**9


@caught_by("test_a_failure_carries_the_pair", "test_a_known_id_with_other_content_is_a_conflict")
class FailuresLackTheirActor(Piped):
    """Tells of a new event that failed without its actor."""

    class pipeline(ListPipeline):  # noqa: N801
        """Keeps half of the pair."""

        def fail(self, event: Any, error: AetherError) -> None:
            """Do it the wrong way."""
            super().fail(event[1] if isinstance(event, tuple) else event, error)
