"""What becomes of an actor's records: a pure function of what the actor holds, so that it can be tested without a server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from aether._native import number_events
from aether.errors import VersionsUsedUpError
from aether.store.arguments import VERSION_MAX

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from aether.event import Event, NewEvent
    from aether.ingest.records import Record

__all__ = ["Holdings", "Plan", "Refusal", "make_plan"]

CONTENT_BITS = 64
_CONTENT = (1 << CONTENT_BITS) - 1


class Holdings:
    """What an actor holds: its latest version, and for each id the version and a 64-bit hash of the content.

    A hash instead of the event keeps memory independent of what events hold. That two contents under the same id are taken for
    equal has a chance of one in 2**64.

    Attributes:
        version: the latest version, 0 for a new actor.
    """

    __slots__ = ("_held", "version")

    def __init__(self) -> None:
        self.version = 0
        self._held: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._held)

    def add(self, events: Iterable[Event]) -> None:
        """Note events that are stored, in version order."""
        for event in events:
            self._held[event.id] = event.version << CONTENT_BITS | _content(event._draft())  # noqa: SLF001 - for this use
            self.version = event.version

    def version_of(self, event_id: str) -> int:
        """Return the version at which an id is held; 0: it is not."""
        return self._held.get(event_id, 0) >> CONTENT_BITS

    def is_equal(self, event_id: str, event: NewEvent) -> bool:
        """Say whether what is held under an id has this event's content."""
        return self._held[event_id] & _CONTENT == _content(event)


class Refusal(NamedTuple):
    """A record that cannot be stored.

    Attributes:
        kind: "conflict": not beside what is there; "failed": not at all.
        line: its line in the input.
        reason: what is there instead, or what stands against it.
    """

    kind: Literal["conflict", "failed"]
    line: int
    reason: str


class Plan(NamedTuple):
    """What becomes of some records of one actor.

    Attributes:
        events: those to store, numbered, as one commit.
        records: their records, in the same order.
        already_there: how many are stored already, or stand in the input twice.
        refused: those that cannot be stored.
    """

    events: list[Event]
    records: list[Record]
    already_there: int
    refused: list[Refusal]


def make_plan(actor_id: str, holdings: Holdings, records: Sequence[Record]) -> Plan:
    """Decide for each record, in order, whether it is new, known or in conflict with what is there.

    Args:
        actor_id: the actor.
        holdings: what it holds; it is not changed.
        records: its next records.
    """
    plan = Plan([], [], 0, [])
    already_there = 0
    version = holdings.version
    planned: dict[str, Event] = {}
    for record in records:
        earlier = planned.get(record.event_id)
        held_at = earlier.version if earlier is not None else holdings.version_of(record.event_id)
        if held_at:
            equal = earlier._draft() == record.event if earlier is not None else holdings.is_equal(record.event_id, record.event)  # noqa: SLF001
            if equal and record.version in (None, held_at):
                already_there += 1
            else:
                plan.refused.append(_same_id(actor_id, record, held_at, equal=equal))
        elif record.version is None and version == VERSION_MAX:
            plan.refused.append(Refusal("failed", record.line, str(VersionsUsedUpError(actor_id))))
        elif record.version is not None and record.version <= version:
            plan.refused.append(_passed(actor_id, record, version))
        else:
            version = record.version or version + 1
            event = number_events(actor_id, [record.event], version)[0]
            planned[record.event_id] = event
            plan.events.append(event)
            plan.records.append(record)
    return plan._replace(already_there=already_there)


def _same_id(actor_id: str, record: Record, held_at: int, *, equal: bool) -> Refusal:
    what = f"the event {record.event_id!a} of {actor_id!a} is there already at version {held_at}"
    if equal:
        return Refusal("conflict", record.line, f"{what}, not at {record.version}")
    return Refusal(
        "conflict", record.line, f"{what}, with other content; a changed event is a new event and needs an id of its own"
    )


def _passed(actor_id: str, record: Record, version: int) -> Refusal:
    return Refusal(
        "conflict",
        record.line,
        f"the event {record.event_id!a} wants version {record.version} of {actor_id!a}, which is at {version} with other events; "
        "leave the version out to add it behind them",
    )


def _content(event: NewEvent) -> int:
    return hash(event) & _CONTENT
