"""What the pipelines of all stores do alike: each event's end is counted, the first failures are kept, and all are told."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from aether.errors import (
    AetherError,
    CommitTooLargeError,
    CorruptEventError,
    IdConflictError,
    IngestError,
    NotOwnerError,
    OutcomeUnknownError,
    ShardUnavailableError,
    StoreFullError,
    VersionConflictError,
    VersionsUsedUpError,
)
from aether.store.ingest_base import IngestOutcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from typing import Self

    from aether._native import Pending
    from aether.event import Event, NewEvent
    from aether.store.ingest_base import IngestStats, OnConflict

    Putable = Event | tuple[str, NewEvent]

__all__ = [
    "CLOSED",
    "FORKED",
    "OPENED_BEFORE",
    "Fate",
    "Ledger",
    "Outcomes",
    "as_put",
    "caller",
    "id_conflict",
    "is_verdict",
    "not_sent",
    "note",
    "too_many_ids",
]

FAILURES_MAX = 1000
"""How many failures an `IngestError` carries."""

OUTCOMES_AT_ONCE = 1024

CLOSED = "the pipeline is not open: use it within `async with store.ingest() as pipeline`"
OPENED_BEFORE = "the pipeline was open already; make another one"
FORKED = "the pipeline was opened in another process: after a fork make a store and a pipeline anew"
ONE_READER = "outcomes are asked for once, before the first event is put: `outcomes = pipeline.outcomes()`"

COUNTED: dict[str, str] = {"conflict": "conflicts", "failed": "failed", "unknown": "unknown"}
"""Under which name an `IngestError` counts what is not stored."""


class Fate(NamedTuple):
    """What becomes of an event: it ends with a status of `IngestOutcome`, or goes back to its queue.

    Attributes:
        status: how it ended; "again": it goes back as it was put; "renumber": it goes back without its version.
        version: at which it is stored; 0: at its own, or it is not.
        position: where; 0: that is not known, or it is not.
        error: why it is not stored.
    """

    status: str
    version: int = 0
    position: int = 0
    error: AetherError | None = None


@dataclass
class _Kept:
    """An error that outcomes will name, and how many of them are still to come."""

    error: AetherError
    left: int


def caller() -> object:
    """Return who is calling: the task, or outside of an event loop the thread."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    return task or threading.current_thread()


class Ledger:
    """What became of what was put, and who has to be told.

    A failure is told once: by `IngestError`, or as an outcome where outcomes are read. A pipeline that *halts* has dropped what
    waited, so whoever puts must learn of it before they put what comes next. Each caller that put before a halt learns of it,
    even where another, as one that flushes now and then, was told of the failures.

    Args:
        pending: the bookkeeping.
        on_failure: called with each event that is not stored.
        on_conflict: whether conflicts are failures.
    """

    def __init__(
        self, pending: Pending, on_failure: Callable[[Any, AetherError], object] | None, on_conflict: OnConflict
    ) -> None:
        self._pending, self._on_failure, self._on_conflict = pending, on_failure, on_conflict
        self.on_tagged: Callable[[int, str, Putable, AetherError], None] | None = None
        self._kept: list[tuple[Putable, AetherError]] = []
        self._counts = dict.fromkeys(COUNTED.values(), 0)
        self._complaint: Exception | None = None
        self._errors: dict[int, _Kept] = {}
        self._next_key = 1
        self.is_told = False
        self.is_halted = False
        self._halts = 0
        self._halt_report: IngestError | None = None
        self._learned: WeakKeyDictionary[object, int] = WeakKeyDictionary()
        self._latest: tuple[object, int] | None = None

    # What became of events.

    def settle(self, ticket: int, events: Sequence[tuple[Putable, int]], fates: Sequence[Fate]) -> None:
        """Account for a commit in trouble: its events as they were put, with their tags, and what becomes of each."""
        keys = [self._key(fate.error, 1) for fate in fates]
        ends = [(fate.status, fate.version, fate.position, key) for fate, key in zip(fates, keys, strict=True)]
        self._pending.settle(ticket, ends)
        for (event, tag), fate in zip(events, fates, strict=True):
            if fate.error is not None and fate.status in COUNTED:
                self._fail(fate.status, event, fate.error, tag)

    def give_up(self, ticket: int, events: Sequence[tuple[Putable, int]], status: str, error: AetherError) -> None:
        """Account for a commit in trouble whose events all end alike."""
        self.settle(ticket, events, [Fate(status, error=error)] * len(events))

    def drop_queued(self, error: AetherError) -> None:
        """Account for what was not sent, and will not be."""
        self._drop(error, self._pending.drop_queued)

    def drop_shard(self, shard: int, error: AetherError) -> None:
        """Account for what was not sent to a shard that takes nothing."""
        self._drop(error, partial(self._pending.drop_shard, shard))

    def _drop(self, error: AetherError, drop: Callable[[int], list[tuple[Any, int]]]) -> None:
        key = self._key(error, 0)
        dropped = drop(key)
        if key and not dropped:
            del self._errors[key]
        elif key:
            self._errors[key].left = len(dropped)
        for event, tag in dropped:
            self._fail("failed", event, error, tag)

    def _key(self, error: AetherError | None, left: int) -> int:
        """Keep an error for so many outcomes, and return its key."""
        if error is None or not self.is_told:
            return 0
        key, self._next_key = self._next_key, self._next_key + 1
        self._errors[key] = _Kept(error, left)
        return key

    def _fail(self, status: str, event: Putable, error: AetherError, tag: int) -> None:
        if not (status == "conflict" and self._on_conflict == "skip"):
            self._counts[COUNTED[status]] += 1
            if len(self._kept) < FAILURES_MAX and not self.is_told:
                self._kept.append((event, error))
        try:
            if self._on_failure is not None:
                self._on_failure(event, error)
            if self.on_tagged is not None:
                self.on_tagged(tag, status, event, error)
        except Exception as raised:  # noqa: BLE001 - the caller's function raised it: the caller's next call raises it
            self._complaint = self._complaint or raised

    # Outcomes.

    def tell_outcomes(self) -> None:
        """Keep each outcome until it is read.

        Raises:
            AetherError: they were asked for before, or something was put.
        """
        if self.is_told or self._pending.counts()[0]:
            raise AetherError(ONE_READER)
        self.is_told = True
        self._pending.tell_outcomes()

    def outcomes(self) -> list[IngestOutcome]:
        """Take some of the outcomes that nobody has read."""
        return [
            IngestOutcome(actor_id, event, status, position or None, self._error(key))
            for actor_id, event, status, position, key in self._pending.outcomes(OUTCOMES_AT_ONCE)
        ]

    def _error(self, key: int) -> AetherError | None:
        if not key:
            return None
        kept = self._errors[key]
        kept.left -= 1
        if not kept.left:
            del self._errors[key]
        return kept.error

    # Telling who puts and who flushes.

    def halt(self, error: AetherError) -> None:
        """Take it that nothing more is sent until the callers know: what would come next stands behind what failed."""
        self.is_halted = True
        self._halts += 1
        self._halt_report = None
        self.drop_queued(not_sent(error))

    def owes(self, who: object) -> bool:
        """Say whether this caller, who is about to put, must learn of a halt first."""
        if self._latest is not None and self._latest[0] is who and self._latest[1] == self._halts:
            return False
        if self._learned.setdefault(who, self._halts) < self._halts:
            return True
        self._latest = who, self._halts
        return False

    def report(self, who: object, *, puts: bool) -> None:
        """Raise what this caller is to be told.

        Raises:
            IngestError: something failed since the last report, or the pipeline halted and this caller does not know.
        """
        self.raise_complaint()
        if self.is_told and not puts:
            return
        owes = self._learned.get(who, self._halts) < self._halts
        if who in self._learned:
            self._learned[who] = self._halts
        self.is_halted = False
        if any(self._counts.values()):
            error = IngestError(tuple(self._kept), **self._counts)
            self._kept, self._counts = [], dict.fromkeys(self._counts, 0)
            if self._halt_report is None:
                self._halt_report = error
            raise error
        if owes and self._halt_report is not None:
            raise IngestError(*self._halt_report.args)

    def raise_complaint(self) -> None:
        """Raise what `on_failure` raised."""
        complaint, self._complaint = self._complaint, None
        if complaint is not None:
            raise complaint

    def forget_callers(self) -> None:
        """Keep no caller alive once the pipeline has ended."""
        self._latest = None


class Outcomes:
    """What became of each event, in the order in which it came to be known; `IngestPipeline.outcomes` makes it.

    It ends when the pipeline has ended and all is read. One task or thread reads it. What is not read counts as pending.

    Args:
        ledger: where they come from.
        more: waits until there may be more; False: there will be none.
        taken: called when some were taken, so that there is room for others.
    """

    def __init__(self, ledger: Ledger, more: Callable[[], Awaitable[bool]], taken: Callable[[], None]) -> None:
        self._ledger, self._more, self._taken = ledger, more, taken
        self._ready: deque[IngestOutcome] = deque()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> IngestOutcome:
        while not self._ready:
            self._ready.extend(self._ledger.outcomes())
            if self._ready:
                self._taken()
            elif not await self._more():
                raise StopAsyncIteration
        return self._ready.popleft()

    def _next_now(self) -> IngestOutcome | None:
        return self._ready.popleft() if self._ready else None


def id_conflict(event: Event, version: int, *, is_draft: bool, is_equal: bool) -> IdConflictError:
    """Return the error of an event whose id is stored at a version, with other content or with the same."""
    expected = 0 if is_draft else event.version
    reason = f"not at {expected}" if is_equal else "with other content; a changed event is a new event and needs an id of its own"
    return IdConflictError(event.actor_id, expected, version, event.id, reason)


def too_many_ids(actor_id: str, known_ids_max: int) -> StoreFullError:
    """Return the error of an actor whose ids alone are more than may be remembered."""
    return StoreFullError(
        f"the memory of ids for {actor_id!r}", f"known_ids_max={known_ids_max:,}", "allow more; each takes about 64 bytes"
    )


def as_put(event: Event, *, is_draft: bool) -> Putable:
    """Return what was put: a draft that got a number goes back to the pair that it was."""
    return (event.actor_id, event._draft()) if is_draft else event  # noqa: SLF001 - for this use


def not_sent(cause: AetherError) -> AetherError:
    """Return the error of an event that was not sent because of what happened to others."""
    if not isinstance(cause, OutcomeUnknownError):
        return cause
    error = AetherError(f"not sent, because the pipeline stopped: {cause}")
    error.__cause__ = cause
    return error


def is_verdict(error: AetherError) -> bool:
    """Say whether this error is about the event, its actor or its shard alone; any other would meet all events alike."""
    actors = VersionConflictError | VersionsUsedUpError | CommitTooLargeError | CorruptEventError
    return isinstance(error, actors | NotOwnerError | ShardUnavailableError)


def note(stats: IngestStats) -> str:
    """Say where a pipeline stood when it was left by an exception."""
    return (
        f"ingestion stood at: {stats.put:,} events put, {stats.saved:,} saved, {stats.already_stored:,} already stored, "
        f"{stats.conflicts:,} conflicts, {stats.failed:,} failed or not sent, {stats.unknown:,} unknown"
    )
