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

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from aether.errors import (
    AetherError,
    CommitTooLargeError,
    OutcomeUnknownError,
    ServerRefusedError,
    VersionConflictError,
)
from aether.nats.errors import CONFLICT
from aether.store.guarded_write import SaveRequest
from aether.store.ingesting import not_sent

if TYPE_CHECKING:
    from aether.event import Event
    from aether.nats.stream_log import StreamLog
    from aether.store.commit_writer import CommitWriter, Written

__all__ = ["Doubt", "Doubts", "Ending"]


class Doubt(NamedTuple):
    """A commit in trouble, as `Pending.troubles` tells it, and until when it must be settled, on the loop's clock.

    While the server goes on answering there is more time: see `Doubts`.
    """

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

    Each answer of the log gives all of them the whole time-out anew: a healthy server may have thousands of them to judge, event
    by event, and those wait for each other. Where nothing is answered they all end at their deadlines, however many wait.

    Args:
        writer: the store's writer.
        log: the namespace's event stream.
    """

    def __init__(self, writer: CommitWriter, log: StreamLog) -> None:
        self._writer = writer
        self._log = log
        self._renewed = 0.0

    async def settle(self, doubt: Doubt, commit_bytes_max: int) -> Ending:
        """Find out what became of a commit, writing it where it is not stored; never raises an `AetherError`."""
        ending = Ending()
        events = doubt.events
        if doubt.why == "large":
            error = CommitTooLargeError(events[0].actor_id, doubt.number, commit_bytes_max)
            ending.failed += [(event, error) for event in events]
            return ending
        try:
            written = await self._write(events, doubt)
        except VersionConflictError as error:
            await self._one_by_one(ending, doubt, error)
        except AetherError as error:
            if len(events) > 1 and _is_too_large(error):
                await self._one_by_one(ending, doubt, error)
                return ending
            self._give_up(ending, events, error, may_be_stored=doubt.may_be_stored)
        else:
            # Where the ack was lost, what stands behind the guard is most likely its commit.
            ours = doubt.why == "silent" and written.position > doubt.guard
            ending.stored(len(events), found=written.found and not ours)
        return ending

    async def _write(self, events: list[Event], doubt: Doubt) -> Written:
        loop = asyncio.get_running_loop()
        try:
            written = await self._writer.write(SaveRequest(events), max(doubt.deadline, self._renewed))
        except VersionConflictError:
            self._renewed = loop.time() + self._log.timeout_s
            raise
        self._renewed = loop.time() + self._log.timeout_s
        return written

    async def _one_by_one(self, ending: Ending, doubt: Doubt, reason: AetherError) -> None:
        """Judge each event by itself, as `save_event` would, where the commit as a whole conflicts or has become too large.

        An earlier copy of it that is stored yet shows with the first event, which is found; one that is not can no longer be
        stored once the first event is, under the guard of both.
        """
        if len(doubt.events) == 1:
            ending.conflicts.append((doubt.events[0], reason))
            return
        # Whether a copy of the whole may be stored still.
        unsure = doubt.may_be_stored and not isinstance(reason, VersionConflictError)
        for index, event in enumerate(doubt.events):
            try:
                written = await self._write([event], doubt)
            except VersionConflictError as error:
                ending.conflicts.append((event, error))
            except AetherError as error:
                self._give_up(ending, [event], error, may_be_stored=unsure)
                later = doubt.events[index + 1 :]
                if unsure:
                    self._give_up(ending, later, error, may_be_stored=True)
                else:
                    ending.failed += [(event, not_sent(error)) for event in later]
                return
            else:
                ending.stored(1, found=written.found)
                unsure = unsure and written.found

    def _give_up(self, ending: Ending, events: list[Event], error: AetherError, *, may_be_stored: bool) -> None:
        if events and may_be_stored and not isinstance(error, OutcomeUnknownError):
            unknown = OutcomeUnknownError(events[0].actor_id, self._log.timeout_s)
            unknown.__cause__ = error
            error = unknown
        unsure = isinstance(error, OutcomeUnknownError)
        (ending.unknown if unsure else ending.failed).extend((event, error) for event in events)
        ending.error = error


def _is_too_large(error: AetherError) -> bool:
    """Whether a server that was started anew takes smaller messages than the commit was made for; a copy may be in doubt yet."""
    cause = error.__cause__ if isinstance(error, OutcomeUnknownError) else error
    # Without a number of JetStream's it is the connection that refuses, by the server's max_payload.
    return isinstance(cause, CommitTooLargeError) or (isinstance(cause, ServerRefusedError) and cause.err_code == 0)
