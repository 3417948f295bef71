"""Errors of stores: writes that are refused or unknown, ingestion, and what is stored and should not be."""

from __future__ import annotations

from typing import Any

from aether.errors.base import AetherError
from aether.errors.values import UnknownFormatError

__all__ = [
    "CommitTooLargeError",
    "CorruptEventError",
    "IdConflictError",
    "IngestError",
    "NamespaceMismatchError",
    "OutcomeUnknownError",
    "StoreFullError",
    "VersionConflictError",
    "VersionsUsedUpError",
]


class CommitTooLargeError(AetherError, ValueError):
    """A commit, or an event on a bus, that does not fit one message.

    Attributes:
        actor_id: whose commit or event it is.
        size: its bytes, headers included.
        limit: the bytes that fit: the server's max_payload, or 1 MiB in memory.
    """

    def __init__(self, actor_id: str, size: int, limit: int) -> None:
        super().__init__(actor_id, size, limit)
        self.actor_id, self.size, self.limit = actor_id, size, limit

    def __str__(self) -> str:
        return (
            f"{self.actor_id!r}: a message of {self.size:,} bytes, and the limit is {self.limit:,}; keep large blobs elsewhere "
            "and store their address, raise the server's max_payload, or, where it is a commit, save fewer events at once"
        )


class VersionConflictError(AetherError):
    """Another write came first: reload the actor, decide again, save again.

    Attributes:
        actor_id: the actor.
        expected: the latest version the caller counted on (for `save_event` of version v that is v - 1 or less).
        actual: the latest version really there.
    """

    def __init__(self, actor_id: str, expected: int, actual: int) -> None:
        super().__init__(actor_id, expected, actual)
        self.actor_id, self.expected, self.actual = actor_id, expected, actual

    def __str__(self) -> str:
        return (
            f"{self.actor_id!r} is at version {self.actual}, not {self.expected} as this write expected; "
            "reload its events, decide again and save again"
        )


class IdConflictError(VersionConflictError):
    """An event's id is stored already, and not as this event; told where known ids are skipped.

    Attributes:
        actor_id: the actor.
        expected: the version that the event was given, 0 for none.
        actual: the version at which the id is stored.
        event_id: the id.
        reason: what is different there.
    """

    def __init__(self, actor_id: str, expected: int, actual: int, event_id: str, reason: str) -> None:
        super().__init__(actor_id, expected, actual)
        self.args = (actor_id, expected, actual, event_id, reason)
        self.event_id, self.reason = event_id, reason

    def __str__(self) -> str:
        return f"the event {self.event_id!a} of {self.actor_id!a} is there already at version {self.actual}, {self.reason}"


class VersionsUsedUpError(AetherError, ValueError):
    """An actor is at version 2**64 - 1, or so near it that the events do not fit: versions never wrap around.

    Attributes:
        actor_id: the actor.
    """

    def __init__(self, actor_id: str) -> None:
        super().__init__(actor_id)
        self.actor_id = actor_id

    def __str__(self) -> str:
        return f"the versions of {self.actor_id!r} are used up: the last is 2**64 - 1; go on with an actor of another id"


class CorruptEventError(AetherError):
    """A message that is foreign, truncated or altered. Reading stops here rather than guess.

    Attributes:
        stream: where it lies; of a bus, the subject it came on.
        position: its place there, the stream sequence; of a bus, 0.
        actor_id: the actor that was read, or None where that cannot be told.
        reason: what is wrong with it.
    """

    def __init__(self, stream: str, position: int, actor_id: str | None, reason: str) -> None:
        super().__init__(stream, position, actor_id, reason)
        self.stream, self.position, self.actor_id, self.reason = stream, position, actor_id, reason

    def __str__(self) -> str:
        who = "" if self.actor_id is None else f" of {self.actor_id!r}"
        whole = isinstance(self.__cause__, UnknownFormatError)
        cure = "" if self.actor_id is None or whole else f"; to go on without it: aether repair {self.actor_id!r}"
        # What a bus brings has a subject and no place.
        place = f"message {self.position}" if self.position else "a message"
        return f"{place}{who} in {self.stream}: {self.reason}{cure}"


class StoreFullError(AetherError):
    """A bound of the store is reached; nothing of this write was stored.

    Attributes:
        what: the store or stream.
        limit: the bound in words, as "max_events=1000".
        remedy: what makes room.
    """

    def __init__(self, what: str, limit: str, remedy: str) -> None:
        super().__init__(what, limit, remedy)
        self.what, self.limit, self.remedy = what, limit, remedy

    def __str__(self) -> str:
        return f"{self.what} is full ({self.limit}); {self.remedy}"


class NamespaceMismatchError(AetherError):
    """The namespace's stream exists, but with settings this store must not write under.

    Attributes:
        namespace: the namespace.
        differences: one sentence a setting: "guard mode is 'shard', this store needs 'actor'".
        advice: what to do.
    """

    def __init__(
        self, namespace: str, differences: tuple[str, ...], advice: str = "use another namespace, or correct the stream"
    ) -> None:
        super().__init__(namespace, differences, advice)
        self.namespace, self.differences, self.advice = namespace, differences, advice

    def __str__(self) -> str:
        differences = "; ".join(self.differences)
        return f"namespace {self.namespace!r} does not fit: {differences}; {self.advice}"


class OutcomeUnknownError(AetherError):
    """A write was sent and no answer could be had within the deadline: it may be stored, or not, or still be on its way.

    Saving the same events again is safe: what is there already is recognised.

    Attributes:
        actor_id: whose write it was.
        timeout_s: the deadline that passed, in seconds.
    """

    def __init__(self, actor_id: str, timeout_s: float) -> None:
        super().__init__(actor_id, timeout_s)
        self.actor_id, self.timeout_s = actor_id, timeout_s

    def __str__(self) -> str:
        return (
            f"{self.actor_id!r}: no answer within {self.timeout_s:g} s, the write may or may not be stored; "
            "saving the same event again is safe, an append is best followed by a load"
        )


class IngestError(AetherError):
    """Events that were put into an ingestion pipeline and are not stored, or may not be; all others are.

    The pipeline can go on. Putting the failed events again, in their order, is safe: what is stored is recognised.

    Attributes:
        failures: pairs of an event and its error, the first 1,000; `on_failure` of `ingest` gets all.
        conflicts: how many were refused because their actor was at their version or beyond.
        failed: how many were not stored for another reason.
        unknown: how many may be stored or not.
    """

    def __init__(self, failures: tuple[tuple[Any, AetherError], ...], conflicts: int, failed: int, unknown: int) -> None:
        super().__init__(failures, conflicts, failed, unknown)
        self.failures, self.conflicts, self.failed, self.unknown = failures, conflicts, failed, unknown

    def __str__(self) -> str:
        total = self.conflicts + self.failed + self.unknown
        first = f"; the first: {self.failures[0][1]}" if self.failures else ""
        return (
            f"{total:,} of the events put are not known to be stored "
            f"({self.conflicts:,} conflicts, {self.failed:,} failed, {self.unknown:,} unknown){first}"
        )
