"""What the ingestion pipeline does with a commit that was not plainly acked: it asks the log, as every other write does.

A commit in doubt goes through `CommitWriter.write` as a `SaveRequest` of the very same events. Why its earlier copies, which may
still be on their way, can never be stored a second time: every copy was sent under a guard, the position g of the actor's last
message then, and the server stores it only while that is still the last. A write ends in one of these ways:

- Stored, by whichever copy came first: that moved the actor's last message behind g, so every other copy under g is refused for
  ever.
- Written under a later guard: the head had moved behind g, which kills the copies under g the same way; and what is read at that
  head has versions below these events, so no copy is among what is stored.
- A conflict: the head has reached their versions and so lies behind g too; the events there were compared as a whole, and differ.
- Unknown: a copy may still be stored, once, and the caller is told so. What is written to the actor later either comes first, and
  the copy is refused, or finds the copy there.

The pipeline and `append` or `save_event` of the same store take no turns with each other on one actor: should they meet, the
guard refuses one of them, and it ends here or in its own course.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from aether.errors import AetherError, CommitTooLargeError, OutcomeUnknownError, VersionConflictError
from aether.nats.errors import CONFLICT
from aether.store.guarded_write import SaveRequest
from aether.store.ingesting import not_sent

if TYPE_CHECKING:
    from aether.event import Event
    from aether.nats.stream_log import StreamLog
    from aether.store.commit_writer import CommitWriter

__all__ = ["Doubt", "Doubts", "Ending"]


class Doubt(NamedTuple):
    """A commit in trouble, as `Pending.troubles` tells it, and until when it must be settled, on the loop's clock."""

    ticket: int
    why: str
    number: int
    guard: int
    events: list[Event]
    deadline: float

    @property
    def was_sent(self) -> bool:
        """Whether a copy may be on its way."""
        return self.why not in ("behind", "large")

    @property
    def may_be_stored(self) -> bool:
        """Whether a copy may be stored: not where none was sent, or the server said of it that it is not."""
        denied = self.why == "refused" and self.number not in (0, *CONFLICT)
        return self.was_sent and self.why != "unheard" and not denied


class Ending:
    """What became of the events of one commit: each once."""

    def __init__(self) -> None:
        self.saved = self.already_stored = 0
        self.conflicts: list[tuple[Event, AetherError]] = []
        self.failed: list[tuple[Event, AetherError]] = []
        self.unknown: list[tuple[Event, AetherError]] = []
        self.error: AetherError | None = None
        """What ended it early, and would most likely meet others too."""

    def stored(self, count: int, *, found: bool) -> None:
        """Take it that so many are stored: by this pipeline's commit, or found in the log."""
        if found:
            self.already_stored += count
        else:
            self.saved += count


class Doubts:
    """Settles commits in doubt.

    Args:
        writer: the store's writer.
        log: the namespace's event stream.
    """

    def __init__(self, writer: CommitWriter, log: StreamLog) -> None:
        self._writer = writer
        self._log = log

    async def settle(self, doubt: Doubt, commit_bytes_max: int) -> Ending:
        """Find out what became of a commit, writing it where it is not stored; never raises an `AetherError`."""
        ending = Ending()
        events = doubt.events
        if doubt.why == "large":
            error = CommitTooLargeError(events[0].actor_id, doubt.number, commit_bytes_max)
            ending.failed += [(event, error) for event in events]
            return ending
        try:
            written = await self._writer.write(SaveRequest(events), doubt.deadline)
        except VersionConflictError as error:
            await self._one_by_one(ending, doubt, error)
        except AetherError as error:
            self._give_up(ending, events, error, may_be_stored=doubt.may_be_stored)
        else:
            # Where the ack was lost, what stands behind the guard is most likely its commit.
            ours = doubt.why == "silent" and written.position > doubt.guard
            ending.stored(len(events), found=written.found and not ours)
        return ending

    async def _one_by_one(self, ending: Ending, doubt: Doubt, conflict: VersionConflictError) -> None:
        """Judge each event by itself, as `save_event` would: the commit as a whole is not stored and never will be."""
        if len(doubt.events) == 1:
            ending.conflicts.append((doubt.events[0], conflict))
            return
        for index, event in enumerate(doubt.events):
            try:
                written = await self._writer.write(SaveRequest([event]), doubt.deadline)
            except VersionConflictError as error:
                ending.conflicts.append((event, error))
            except AetherError as error:
                self._give_up(ending, [event], error, may_be_stored=False)
                reason = not_sent(error)
                ending.failed += [(later, reason) for later in doubt.events[index + 1 :]]
                return
            else:
                ending.stored(1, found=written.found)

    def _give_up(self, ending: Ending, events: list[Event], error: AetherError, *, may_be_stored: bool) -> None:
        if may_be_stored and not isinstance(error, OutcomeUnknownError):
            unknown = OutcomeUnknownError(events[0].actor_id, self._log.timeout_s)
            unknown.__cause__ = error
            error = unknown
        unsure = isinstance(error, OutcomeUnknownError)
        (ending.unknown if unsure else ending.failed).extend((event, error) for event in events)
        ending.error = error
