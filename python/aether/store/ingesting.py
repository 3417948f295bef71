"""What the pipelines of all stores do alike: failures are counted, the first are kept, and all are told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from aether.errors import (
    AetherError,
    CommitTooLargeError,
    CorruptEventError,
    IngestError,
    OutcomeUnknownError,
    VersionConflictError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from aether.event import Event
    from aether.store.base import IngestStats

__all__ = ["CLOSED", "FORKED", "OPENED_BEFORE", "Failures", "Outcome", "is_verdict", "not_sent", "note"]

FAILURES_MAX = 1000
"""How many failures an `IngestError` carries."""

CLOSED = "the pipeline is not open: use it within `async with store.ingest() as pipeline`"
OPENED_BEFORE = "the pipeline was open already; make another one"
FORKED = "the pipeline was opened in another process: after a fork make a store and a pipeline anew"

Outcome = Literal["conflicts", "failed", "unknown"]


class Failures:
    """Failures since the last report.

    Args:
        told: called with each.
    """

    def __init__(self, told: Callable[[Event, AetherError], object] | None) -> None:
        self._told = told
        self._kept: list[tuple[Event, AetherError]] = []
        self._counts: dict[Outcome, int] = {"conflicts": 0, "failed": 0, "unknown": 0}

    def __bool__(self) -> bool:
        return any(self._counts.values())

    def add(self, outcome: Outcome, event: Event, error: AetherError) -> None:
        """Take an event that is not stored, or may not be."""
        self._counts[outcome] += 1
        if len(self._kept) < FAILURES_MAX:
            self._kept.append((event, error))
        if self._told is not None:
            self._told(event, error)

    def report(self) -> None:
        """Raise what was taken since the last report, if anything was.

        Raises:
            IngestError: something was.
        """
        if not self:
            return
        error = IngestError(tuple(self._kept), **self._counts)
        self._kept, self._counts = [], {"conflicts": 0, "failed": 0, "unknown": 0}
        raise error


def not_sent(cause: AetherError) -> AetherError:
    """Return the error of an event that was not sent because of what happened to others."""
    if not isinstance(cause, OutcomeUnknownError):
        return cause
    error = AetherError(f"not sent, because the pipeline stopped: {cause}")
    error.__cause__ = cause
    return error


def is_verdict(error: AetherError) -> bool:
    """Say whether this error is about the event or its actor alone; any other would meet all events alike."""
    return isinstance(error, VersionConflictError | CommitTooLargeError | CorruptEventError)


def note(stats: IngestStats) -> str:
    """Say where a pipeline stood when it was left by an exception."""
    return (
        f"ingestion stood at: {stats.put:,} events put, {stats.saved:,} saved, {stats.already_stored:,} already stored, "
        f"{stats.conflicts:,} conflicts, {stats.failed:,} failed or not sent, {stats.unknown:,} unknown"
    )
