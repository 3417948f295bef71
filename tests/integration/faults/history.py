"""What callers were told, and whether the log agrees: the checker behind the fault tests."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from aether import AetherError, OutcomeUnknownError, VersionConflictError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Sequence

    from aether import Event
    from faults.dump import Stored


class Write(NamedTuple):
    """One write and what its caller was told.

    Attributes:
        actor_id: the actor.
        event_id: the id of its only event.
        told: "acked", "refused", "unknown" or "failed" (an error that promises that nothing was stored).
        version: the event's version where it is known: given, or told by the ack.
        position: where the ack says it lies.
        actual: the version really there, as a refusal says.
    """

    actor_id: str
    event_id: str
    told: str
    version: int = 0
    position: int = 0
    actual: int = 0


class Read(NamedTuple):
    """One load, and what had been acked to this actor before it began."""

    actor_id: str
    seen: tuple[tuple[int, str], ...]
    acked_before: frozenset[str]


@dataclass
class History:
    """Everything that was told."""

    writes: list[Write] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    _acked: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    async def write(self, actor_id: str, event_id: str, version: int, call: Awaitable[tuple[int, int]]) -> Write:
        """Await a write that returns (version, position), and note what it told."""
        try:
            acked_version, position = await call
        except VersionConflictError as error:
            write = Write(actor_id, event_id, "refused", version, actual=error.actual)
        except OutcomeUnknownError:
            write = Write(actor_id, event_id, "unknown", version)
        except AetherError:
            write = Write(actor_id, event_id, "failed", version)
        else:
            write = Write(actor_id, event_id, "acked", acked_version, position)
            self._acked[actor_id].add(event_id)
        self.writes.append(write)
        return write

    async def read(self, actor_id: str, call: Awaitable[Sequence[Event]]) -> None:
        """Await a load, and note what it showed."""
        before = frozenset(self._acked[actor_id])
        seen = tuple((event.version, event.id) for event in await call)
        self.reads.append(Read(actor_id, seen, before))

    def told(self, what: str) -> list[Write]:
        """The writes whose callers were told this."""
        return [write for write in self.writes if write.told == what]


def violations(history: History, stored: Sequence[Stored], *, contiguous: bool) -> list[str]:
    """Return a sentence for each promise that is broken.

    Args:
        history: what was told.
        stored: the raw dump.
        contiguous: whether every actor's versions must be 1, 2, 3, … without gaps.
    """
    log: dict[str, list[tuple[int, str, int]]] = defaultdict(list)
    for message in stored:
        for version, event_id in zip(message.versions, message.ids, strict=True):
            log[message.commit["actor"]].append((version, event_id, message.position))
    return [
        *_order(log, contiguous=contiguous),
        *_effects(history.writes, log),
        *_winners(history.told("acked")),
        *_reads(history.reads, log),
    ]


def _order(log: dict[str, list[tuple[int, str, int]]], *, contiguous: bool) -> Iterable[str]:
    for actor_id, events in log.items():
        versions = [version for version, _, _ in events]
        if versions != sorted(set(versions)):
            yield f"{actor_id}: versions do not strictly increase: {versions}"
        if contiguous and versions != list(range(1, len(versions) + 1)):
            yield f"{actor_id}: versions have a gap: {versions}"


def _effects(writes: Sequence[Write], log: dict[str, list[tuple[int, str, int]]]) -> Iterable[str]:
    places: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for actor_id, events in log.items():
        for version, event_id, position in events:
            places[actor_id, event_id].append((version, position))
    told: dict[tuple[str, str], set[str]] = defaultdict(set)
    for write in writes:
        told[write.actor_id, write.event_id].add(write.told)
        found = places[write.actor_id, write.event_id]
        if write.told == "acked" and (write.version, write.position) not in found:
            yield f"{write.actor_id}: acked {write.event_id} as {write.version} at {write.position}, stored: {found}"
        if write.told == "refused" and not any(version == write.actual for version, _, _ in log[write.actor_id]):
            yield f"{write.actor_id}: refused because of version {write.actual}, which was never there"
    for (actor_id, event_id), found in places.items():
        if len(found) > 1:
            yield f"{actor_id}: {event_id} is stored twice, at {found}"
        if found and not told[actor_id, event_id] & {"acked", "unknown"}:
            yield f"{actor_id}: {event_id} is stored, and its callers were told {told[actor_id, event_id] or 'nothing'}"


def _winners(acked: Sequence[Write]) -> Iterable[str]:
    winners: dict[tuple[str, int], set[str]] = defaultdict(set)
    for write in acked:
        winners[write.actor_id, write.version].add(write.event_id)
    for (actor_id, version), ids in winners.items():
        if len(ids) > 1:
            yield f"{actor_id}: version {version} has {len(ids)} winners"


def _reads(reads: Sequence[Read], log: dict[str, list[tuple[int, str, int]]]) -> Iterable[str]:
    for read in reads:
        final = [(version, event_id) for version, event_id, _ in log[read.actor_id]]
        if list(read.seen) != final[: len(read.seen)]:
            yield f"{read.actor_id}: a read is no prefix of the log: {read.seen}"
        missing = read.acked_before - {event_id for _, event_id in read.seen}
        if missing:
            yield f"{read.actor_id}: acked before the read began, and not in it: {sorted(missing)}"
