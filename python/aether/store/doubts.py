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

Drafts, which the pipeline numbered, are judged by the numbers they got, so that a copy of theirs is found. What counts as a
conflict of other events says of them only that others wrote first, and that no copy of theirs is stored or can come to be: they
go back to their queue and get other numbers.

The pipeline and `append` or `save_event` of the same store take no turns with each other on one actor: should they meet, the
guard refuses one of them, and it ends here or in its own course.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from aether.errors import (
    AetherError,
    CommitTooLargeError,
    DeadlineError,
    OutcomeUnknownError,
    ServerRefusedError,
    VersionConflictError,
    VersionsUsedUpError,
)
from aether.nats.errors import CONFLICT
from aether.store.guarded_write import AppendRequest, SaveRequest
from aether.store.ingesting import Fate, as_put, id_conflict, not_sent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aether.event import Event
    from aether.nats.stream_log import StreamLog
    from aether.store.commit_writer import Writer, Written
    from aether.store.guarded_write import WriteRequest
    from aether.store.ingesting import Putable

__all__ = ["Doubt", "Doubts", "Ending"]

BEATEN_MAX = 100
"""How often in a row others may write first at one actor; each time they have made progress and we have not."""


class Doubt(NamedTuple):
    """A commit in trouble, as `Pending.troubles` tells it, and until when it must be settled, on the loop's clock.

    While the server goes on answering there is more time: see `Doubts`.
    """

    ticket: int
    why: str
    number: int
    guard: int
    version: int
    beaten: int
    events: list[Event]
    drafts: list[bool]
    tags: list[int]
    deadline: float

    @property
    def was_sent(self) -> bool:
        """Whether a copy may be on its way."""
        return self.why in ("silent", "refused", "unheard")

    @property
    def may_be_stored(self) -> bool:
        """Whether a copy may be stored: not where none was sent, or the server said of it that it is not."""
        denied = self.why == "refused" and self.number not in (0, *CONFLICT)
        return self.was_sent and self.why != "unheard" and not denied

    @property
    def may_be_written(self) -> bool:
        """Whether settling it may write its events."""
        return self.why not in ("large", "taken", "elsewhere", "unread")

    @property
    def actor_id(self) -> str:
        """The actor."""
        return self.events[0].actor_id

    def put(self) -> list[tuple[Putable, int]]:
        """Return the events as they were put, with their tags."""
        events = [as_put(event, is_draft=is_draft) for event, is_draft in zip(self.events, self.drafts, strict=True)]
        return list(zip(events, self.tags, strict=True))


class Ending:
    """What becomes of the events of one commit: each once, in their order."""

    def __init__(self) -> None:
        self.fates: list[Fate] = []
        self.error: AetherError | None = None
        """What ended it early, and would most likely meet others too."""

    def stored(self, written: Written, count: int, *, found: bool) -> None:
        """Take it that so many are stored: by this pipeline's commit, or found in the log."""
        status = "already_stored" if found else "saved"
        # Where events of a commit were found they may lie in several: only the last one's place is known.
        unplaced = count - 1 if found else 0
        self.fates += [Fate(status)] * unplaced + [Fate(status, position=written.position)] * (count - unplaced)

    def unstored(self, status: str, error: AetherError, count: int = 1) -> None:
        """Take it that so many are not stored, or may not be."""
        self.fates += [Fate(status, error=error)] * count


class SentRequest(SaveRequest):
    """Events that got their versions on top of one version, and belong nowhere else."""

    def __init__(self, events: list[Event], version: int) -> None:
        super().__init__(events)
        self._version = version

    @property
    def expected(self) -> int:
        """The version that they were put on top of."""
        return self._version

    def plan(self, version: int) -> list[Event] | None:
        """Return the events if the actor is still there."""
        return self.events if version == self._version else None


class Doubts:
    """Settles commits in doubt.

    Each answer of the log gives all of them the whole time-out anew: a healthy server may have thousands of them to judge, event
    by event, and those wait for each other. Where nothing is answered they all end at their deadlines, however many wait.

    Args:
        writer: the store's writer.
        log: the namespace's event stream.
        renumber: events whose version is taken are given another.
        skip_known: what lies behind the guard must be known before anything is written on top of it.
    """

    def __init__(self, writer: Writer, log: StreamLog, *, renumber: bool, skip_known: bool) -> None:
        self._writer = writer
        self._log = log
        self._renumber, self._skip_known = renumber, skip_known
        self._renewed = 0.0
        self.unread: dict[str, AetherError] = {}
        """Why what an actor holds could not be read."""

    async def settle(self, doubt: Doubt, commit_bytes_max: int) -> Ending:
        """Find out what became of a commit, writing it where it is not stored; never raises an `AetherError`."""
        ending, count = Ending(), len(doubt.events)
        match doubt.why:
            case "large":
                ending.unstored("failed", CommitTooLargeError(doubt.actor_id, doubt.number, commit_bytes_max), count)
            case "taken" | "elsewhere":
                is_draft, is_equal = doubt.drafts[0], doubt.why == "elsewhere"
                error = id_conflict(doubt.events[0], doubt.number, is_draft=is_draft, is_equal=is_equal)
                ending.unstored("conflict", error)
            case "unread":
                ending.error = self.unread.pop(doubt.actor_id, None) or DeadlineError("reading known ids", self._log.timeout_s)
                ending.unstored("failed", ending.error, count)
            case "behind" if doubt.drafts[0]:
                await self._append(ending, doubt)
            case _:
                await self._judge(ending, doubt)
        return ending

    async def _judge(self, ending: Ending, doubt: Doubt) -> None:
        """Find out what became of a commit as a whole."""
        events = doubt.events
        strict = doubt.was_sent and (self._skip_known or doubt.drafts[0])
        request = SentRequest(events, doubt.version) if strict else SaveRequest(events)
        try:
            written = await self._write(request, doubt)
        except VersionConflictError as error:
            if doubt.was_sent and (self._skip_known or any(doubt.drafts)):
                self._again(ending, doubt, error)
            else:
                await self._one_by_one(ending, doubt, error)
        except AetherError as error:
            if len(events) > 1 and _is_too_large(error):
                await self._one_by_one(ending, doubt, error)
            else:
                self._give_up(ending, len(events), error, doubt, may_be_stored=doubt.may_be_stored)
        else:
            # Where the ack was lost, what stands behind the guard is most likely its commit.
            ours = doubt.why == "silent" and written.position > doubt.guard
            ending.stored(written, len(events), found=written.found and not ours)

    def _again(self, ending: Ending, doubt: Doubt, error: VersionConflictError) -> None:
        """Others wrote first: what has no version of its own gets another one."""
        count = len(doubt.events) - len(ending.fates)
        if doubt.beaten < BEATEN_MAX:
            ending.fates += [Fate("again")] * count
        else:
            ending.unstored("failed", error, count)

    async def _append(self, ending: Ending, doubt: Doubt) -> None:
        """Append drafts of an actor whose head could not be read along with others."""
        for event in doubt.events:
            try:
                request = AppendRequest(doubt.actor_id, event._draft(), None)  # noqa: SLF001 - for this use
                written = await self._write(request, doubt)
            except (CommitTooLargeError, VersionsUsedUpError) as error:
                ending.unstored("failed", error)
            except AetherError as error:
                self._give_up(ending, 1, error, doubt, may_be_stored=False)
                ending.unstored("failed", not_sent(error), len(doubt.events) - len(ending.fates))
                return
            else:
                ending.fates.append(Fate("saved", written.version, written.position))

    async def _write(self, request: WriteRequest, doubt: Doubt) -> Written:
        loop = asyncio.get_running_loop()
        try:
            written = await self._writer.write(request, max(doubt.deadline, self._renewed))
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
            self._conflict(ending, doubt, reason)
            return
        # Whether a copy of the whole may be stored still.
        unsure = doubt.may_be_stored and not isinstance(reason, VersionConflictError)
        for request in self._requests(doubt):
            try:
                written = await self._write(request, doubt)
            except VersionConflictError as error:
                if isinstance(request, SentRequest):
                    self._again(ending, doubt, error)
                else:
                    self._conflict(ending, doubt, error)
                if len(ending.fates) == len(doubt.events):
                    return
            except AetherError as error:
                self._give_up(ending, 1, error, doubt, may_be_stored=unsure)
                later = len(doubt.events) - len(ending.fates)
                if unsure:
                    self._give_up(ending, later, error, doubt, may_be_stored=True)
                else:
                    ending.unstored("failed", not_sent(error), later)
                return
            else:
                ending.stored(written, 1, found=written.found)
                unsure = unsure and written.found

    def _requests(self, doubt: Doubt) -> Iterator[SaveRequest]:
        before = doubt.version
        for event, is_draft in zip(doubt.events, doubt.drafts, strict=True):
            strict = doubt.was_sent and (self._skip_known or is_draft)
            yield SentRequest([event], before) if strict else SaveRequest([event])
            before = event.version

    def _conflict(self, ending: Ending, doubt: Doubt, error: AetherError) -> None:
        """Take the next event's version for taken; what comes after it must not overtake it."""
        if self._renumber:
            ending.fates.append(Fate("renumber"))
            ending.fates += [Fate("again")] * (len(doubt.events) - len(ending.fates))
        else:
            ending.unstored("conflict", error)

    def _give_up(self, ending: Ending, count: int, error: AetherError, doubt: Doubt, *, may_be_stored: bool) -> None:
        if count and may_be_stored and not isinstance(error, OutcomeUnknownError):
            unknown = OutcomeUnknownError(doubt.actor_id, self._log.timeout_s)
            unknown.__cause__ = error
            error = unknown
        ending.unstored("unknown" if isinstance(error, OutcomeUnknownError) else "failed", error, count)
        ending.error = error


def _is_too_large(error: AetherError) -> bool:
    """Whether a server that was started anew takes smaller messages than the commit was made for; a copy may be in doubt yet."""
    cause = error.__cause__ if isinstance(error, OutcomeUnknownError) else error
    # Without a number of JetStream's it is the connection that refuses, by the server's max_payload.
    return isinstance(cause, CommitTooLargeError) or (isinstance(cause, ServerRefusedError) and cause.err_code == 0)
