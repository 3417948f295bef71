"""The leader's work: decide by the planner, write the table under its guard, and hear who has let go what, and who has taken it.

The first thing a new leader writes is the table with its own term. What an earlier leader still has under way is refused from
then on, because it names an older position. Nothing is decided on a table that is not the last one: the guard says so.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from aether.cluster.planner import Situation
from aether.cluster.pulse import until
from aether.cluster.table import Table
from aether.cluster.telling import Trouble
from aether.errors import AetherError, DecodeError, UnknownFormatError
from aether.nats.errors import NoRespondersError, UnansweredError
from aether.nats.pauses import backoff_s

if TYPE_CHECKING:
    from collections.abc import Callable

    from aether.cluster.members import Members
    from aether.cluster.planner import Planner
    from aether.cluster.progress import Progress
    from aether.nats.coordination import Coordination

__all__ = ["Controller", "TableView"]

_LOG = logging.getLogger("aether.cluster")

WRITE_S = 2.0
"""How long one attempt to write or read the table may take."""

REFUSALS_TOLD = FAILURES_TOLD = 3
"""A refusal or two are another leader's last words, and a failure or two a connection that is made anew."""


class TableView:
    """The last table that is known.

    Args:
        changed: called with each new table and its position.

    Attributes:
        table: what it says; None: there is none yet.
        position: where its message lies; 0: there is none yet.
        trouble: why the last message cannot be read; "" where it can.
        foreign: a later version of Aether wrote the last message, so nobody of this one may write another.
    """

    def __init__(self, changed: Callable[[Table, int], None]) -> None:
        self._changed = changed
        self.table: Table | None = None
        self.position = 0
        self.trouble = ""
        self.foreign = False

    def see(self, position: int, body: bytes, *, is_last: bool = False) -> None:
        """Take it that this lies at this position; what lies before the last one is not heeded.

        Of what is no table that is told; the last good one stays.

        Args:
            position: where it lies.
            body: what it says.
            is_last: it is known to be the stream's last one, so one that is known and lies behind it is gone: the stream was
                made anew, or fell back when its server lost power.
        """
        if position == self.position or (position < self.position and not is_last):
            return
        self.position = position
        try:
            table = Table.decode(body)
        except DecodeError as error:
            self.trouble, self.foreign = str(error), isinstance(error, UnknownFormatError)
            _LOG.error("the shard table at position %d cannot be read, the one before it stays: %s", position, error)
            return
        self._take(table)

    def gone(self) -> None:
        """Take it that the stream has no table any more; the last one stays, and is to be written again."""
        self.position = 0

    def wrote(self, position: int, table: Table) -> None:
        """Take it that this node has written a table there."""
        if position > self.position:
            self.position = position
            self._take(table)

    def _take(self, table: Table) -> None:
        self.table, self.trouble, self.foreign = table, "", False
        self._changed(table, self.position)


class Controller:
    """Leads, as long as it is told to.

    Args:
        coordination: the namespace's coordination stream.
        subject: the table's subject there.
        view: the last table; written to as soon as a write is acked.
        members: who is there.
        clock: the clock of all times here.
    """

    def __init__(
        self, coordination: Coordination, subject: str, view: TableView, members: Members, clock: Callable[[], float]
    ) -> None:
        self._coordination, self._subject, self._view, self._members, self._clock = coordination, subject, view, members, clock
        self._planner: Planner | None = None
        self._is_read = False
        self._refusals = 0
        self._trouble = Trouble()
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Decide again: something changed."""
        self._woken.set()

    def hear(self, told: Progress) -> bool:
        """Take how far a node has come; False: say it again, for this one does not lead, or does not know that table yet."""
        if self._planner is None:
            return False
        if self._planner.hear(told):
            self.wake()
        return told.position <= self._view.position

    async def lead(
        self,
        planner: Planner,
        term: int,
        valid: Callable[[], bool],
        steady_since: Callable[[], float | None],
        *,
        blind_s: float,
    ) -> None:
        """Lead until the term is over, or nothing was seen for too long to decide anything.

        Args:
            planner: decides; a new one for each term.
            term: the term.
            valid: says whether the term is over, by the clock.
            steady_since: see `Situation`.
            blind_s: how long that may say None, in seconds.
        """
        led_since, attempt = self._clock(), 0
        saw_at = led_since
        self._planner, self._is_read, self._refusals = planner, False, 0
        try:
            while valid() and self._clock() < saw_at + blind_s:
                self._woken.clear()
                saw_at = saw_at if steady_since() is None else self._clock()
                try:
                    await self._read()
                    at = self._situation(term, led_since, steady_since())
                    wake_at = await self._decide(planner, at, valid)
                    attempt = 0 if self._is_read else attempt + 1
                except (AetherError, NoRespondersError, UnansweredError) as error:
                    attempt, self._is_read = attempt + 1, False
                    lasts = attempt >= FAILURES_TOLD and self._trouble.is_news(str(error), self._clock())
                    _LOG.log(logging.WARNING if lasts else logging.INFO, "the shard table was not written: %s", error)
                    wake_at = None
                if not self._is_read:
                    wake_at = self._clock() + backoff_s(attempt)
                await self._wait(wake_at)
        finally:
            self._planner = None

    async def _wait(self, wake_at: float | None) -> None:
        """Wait until something happens, at most until this time, and a second: the term may end without anything happening."""
        left_s = 1.0 if wake_at is None else max(0.0, min(1.0, wake_at - self._clock()))
        await until(self._woken, asyncio.get_running_loop().time() + left_s)

    async def _read(self) -> None:
        """Look what the last table is, where that is not known: at first, and after a write that went wrong."""
        if self._is_read:
            return
        position = self._view.position
        entry = await self._coordination.read(self._subject, self._coordination.until(WRITE_S))
        # Who was refused believes what it reads, even where that is less than it knew, unless a newer one was told meanwhile.
        believed = self._refusals > 0 and self._view.position == position
        if entry is not None:
            self._view.see(entry.position, entry.body, is_last=believed)
        elif believed:
            self._view.gone()
        self._is_read = True

    def _situation(self, term: int, led_since: float, steady_since: float | None) -> Situation:
        members, view = self._members, self._view
        present, left = members.present, members.left
        return Situation(self._clock(), term, led_since, steady_since, present, left, view.table, view.position)

    async def _decide(self, planner: Planner, at: Situation, valid: Callable[[], bool]) -> float | None:
        """Decide and write; return when to decide again."""
        view = self._view
        if view.foreign:
            raise DecodeError(-1, f"{view.trouble}; no leader of this version writes over it")
        plan = planner.plan(at)
        # A last message that is no table at all is written over by what was decided before it.
        table = view.table if plan.table is None and view.trouble else plan.table
        if table is None or not valid():
            return plan.wake_at
        written = await self._coordination.write(self._subject, table.encode(), view.position, self._coordination.until(WRITE_S))
        if written.refused:
            self._is_read = False
            self._refusals += 1
            if self._refusals % REFUSALS_TOLD == 0:
                _LOG.warning("the shard table was refused %d times, under position %d", self._refusals, view.position)
            return None
        self._refusals = 0
        planner.learn(table, written.position, self._clock())
        view.wrote(written.position, table)
        return self._clock()
