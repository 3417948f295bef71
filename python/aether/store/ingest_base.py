"""What ingestion is: the pipeline's protocol, its bounds, and what it tells of the events that are put."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from types import TracebackType
    from typing import Self

    from aether.errors import AetherError
    from aether.event import Event, NewEvent

__all__ = ["IngestOutcome", "IngestPipeline", "IngestStats"]

PENDING_MAX = 65_536
PENDING_BYTES_MAX = 64 * 2**20
IN_FLIGHT_MAX = 4_096
COMMIT_EVENTS_MAX = 256
KNOWN_IDS_MAX = 2_000_000
"""Bounds of an ingestion pipeline."""

OnConflict = Literal["fail", "skip", "renumber"]
IngestStatus = Literal["saved", "already_stored", "conflict", "failed", "unknown"]


class IngestStats(NamedTuple):
    """What became of the events put: `put` is the sum of `saved`, `already_stored`, `conflicts`, `failed`, `unknown`, `pending`.

    Attributes:
        put: events that the pipeline took.
        saved: stored.
        already_stored: found in the log, equal as a whole: stored before, or by a copy whose ack was lost.
        conflicts: their actor was at their version or beyond, with other events.
        failed: not stored, for another reason.
        unknown: sent, and nobody can say.
        pending: not settled yet.
        in_flight: commits on their way.
        commits: commits acked at once, without a question to the log.
        bytes: their bytes.
        unread: outcomes kept for who asked for them, and not read yet; `put` waits where they and `pending` reach `pending_max`.
    """

    put: int
    saved: int
    already_stored: int
    conflicts: int
    failed: int
    unknown: int
    pending: int
    in_flight: int
    commits: int
    bytes: int
    unread: int = 0


class IngestOutcome(NamedTuple):
    """What became of one event that was put.

    Attributes:
        actor_id: its actor.
        event: as it is stored, an `Event`; where it is not stored, as it was put: an `Event` or a `NewEvent`.
        status: "saved": stored by this pipeline; "already_stored": an equal event is there; "conflict", "failed": not stored;
            "unknown": sent, and nobody can say.
        position: where its commit lies; None where it is not stored, or that was not needed to know that it is.
        error: why it is not stored, or is not known to be.
    """

    actor_id: str
    event: Event | NewEvent
    status: IngestStatus
    position: int | None
    error: AetherError | None


@runtime_checkable
class IngestPipeline(Protocol):
    """Acknowledged, guarded, ordered writes of many actors at once; `EventStore.ingest` makes it, an async context manager.

    Each event ends as `save_event` would end it. Those of one actor are stored in the order in which they are put; what waits
    for an actor becomes one commit. Leaving the context flushes. Left by an exception, it finishes what is on its way, sends
    nothing more, and adds a note to the exception that says where it stood.
    """

    async def __aenter__(self) -> Self:
        """Begin."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Flush, and end."""
        ...

    async def put(self, event: Event | tuple[str, NewEvent]) -> None:
        """Take one event, or an actor id and a new event to be numbered; wait while too much is pending.

        Raises:
            IngestError: the server did not answer, or took nothing; what failed since the last `flush`.
        """
        ...

    async def put_many(self, events: Iterable[Event | tuple[str, NewEvent]]) -> None:
        """Take events, from a list or a generator of any length; wait while too much is pending.

        Raises:
            IngestError: the server did not answer, or took nothing; what failed since the last `flush`. `stats().put` says how
                many events were taken.
        """
        ...

    async def flush(self) -> None:
        """Return once everything put before is stored.

        Raises:
            IngestError: some of the events put since the last `flush` are not stored; the pipeline can go on.
        """
        ...

    def outcomes(self) -> AsyncIterator[IngestOutcome]:
        """Iterate over what becomes of each event, in the order in which it comes to be known, until the pipeline has ended.

        Ask for it once, before the first event is put, and read it in a task or thread of its own: what is not read counts as
        pending. What is told here is not raised as `IngestError` by `flush` or at the end.

        Raises:
            AetherError: events were put already, or it was asked for before.
        """
        ...

    def stats(self) -> IngestStats:
        """Say how many events became what."""
        ...
