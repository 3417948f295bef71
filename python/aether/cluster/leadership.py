"""A term of leadership as its holder sees it, and who leads as everybody else does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from aether.cluster.lease_body import LeaseBody
from aether.cluster.pulse import until
from aether.errors import AetherError, DecodeError, NotLeaderError

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from aether.cluster.election import LeaderElection
    from aether.nats.coordination import Entry

__all__ = ["Leader", "Leadership", "LossSignal", "leader_of"]


class Leader(NamedTuple):
    """Who leads.

    Attributes:
        candidate: its name.
        term: the number of its term, which only grows.
    """

    candidate: str
    term: int


def leader_of(entry: Entry) -> Leader | None:
    """Return who leads by what lies on an election's subject; None: nobody."""
    if entry.marker:
        return None
    try:
        body = LeaseBody.decode(entry.body)
    except DecodeError:
        return None  # the keeper says so, loudly
    return None if body.free else Leader(body.name, body.term or entry.position)


class Leadership:
    """A term of leadership, and the block in which it is held; made by `LeaderElection.leadership`.

    Others lead at the earliest when it is over, as far as clocks go. `valid` and `check` look at the clock each time, so they are
    true also where the loop was blocked or the process stood still; `lost` tells those who wait.
    """

    def __init__(self, election: LeaderElection, timeout_s: float | None) -> None:
        self._election, self._timeout_s = election, timeout_s
        self._number = 0
        self._lost = LossSignal(self)

    def __repr__(self) -> str:
        return f"<Leadership of {self._election._group!r}, term {self._number}, {'valid' if self.valid else 'over'}>"  # noqa: SLF001

    async def __aenter__(self) -> Self:
        if self._number:
            raise AetherError("this term is over or held already; call election.leadership() for another")
        self._number = await self._election._lead(self, self._timeout_s)  # noqa: SLF001 - the two are one
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self._election._leave(self)  # noqa: SLF001
        finally:
            self._lost._set()  # noqa: SLF001

    @property
    def number(self) -> int:
        """The term's number, larger than that of any earlier one of this group; 0 before the block is entered."""
        return self._number

    @property
    def valid(self) -> bool:
        """Whether this term is held at this moment, by the clock; once it is not, it never is again."""
        keeper = self._election._keeper  # noqa: SLF001
        return self._number != 0 and keeper is not None and keeper.term == self._number

    @property
    def lost(self) -> LossSignal:
        """Set once the term is over."""
        return self._lost

    def check(self) -> None:
        """Do nothing while the term is held; call it right before what only the leader may do.

        Raises:
            NotLeaderError: the term is over.
        """
        if not self.valid:
            leader = self._election.leader
            raise NotLeaderError(None if leader is None else leader.candidate)


class LossSignal:
    """Set once a term is over, as an `asyncio.Event` that only the election sets."""

    def __init__(self, leadership: Leadership) -> None:
        self._leadership, self._event = leadership, asyncio.Event()

    def __repr__(self) -> str:
        return f"<LossSignal, {'set' if self.is_set() else 'not set'}>"

    def is_set(self) -> bool:
        """Say whether the term is over, by the clock at this moment."""
        return self._event.is_set() or not self._leadership.valid

    async def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the term is over, or for at most `timeout_s` seconds; say whether it is."""
        deadline = None if timeout_s is None else asyncio.get_running_loop().time() + timeout_s
        return await until(self._event, deadline) or self.is_set()

    def _set(self) -> None:
        self._event.set()
