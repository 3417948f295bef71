"""Leases that should have ended, and of whose end nobody told. Pure: times are given.

The server says when a lease has expired. But a server's copy of a stream may go on holding what has long expired elsewhere: of
three nats-servers 2.15.1 one that was killed and came back kept the lease of a dead member, which the other two had dropped,
marker and all. Whoever watched by that server saw a member that never died (docs/decisions/0008). So a lease that is not renewed
in its time is looked for where the truth is, at the stream's leader. And should the leader have it too, long after any clock of
its holder ran out, then it is over all the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from aether.nats.coordination import Entry

__all__ = ["Overdue"]

LATE = 4 / 3
"""After so many lives a lease is looked for: it is renewed each third of its life, and a marker may be a little late."""

OVER = 10 / 3
"""After so many lives it is over, whoever still has it. Its holder gave it up after nine tenths of one."""

AGAIN = 1 / 3
"""After so many lives it is looked for again."""

OVER_MAX = 1_024
"""Of how many it is remembered that they are over; the oldest are forgotten first."""


@dataclass
class _Life:
    position: int
    ttl_s: float
    stored_s: float
    heard_at: float
    look_at: float


class Overdue:
    """The leases that a watch hears of, by subject."""

    def __init__(self) -> None:
        self._lives: dict[str, _Life] = {}
        self._over: dict[str, tuple[int, float]] = {}

    def heard(self, subject: str, position: int, ttl_s: float | None, stored_s: float, now: float) -> None:
        """Take it that this lies there, was stored at that time of the server's, and lives so long; None: for ever."""
        known = self._lives.get(subject)
        if known is not None and (known.position, known.stored_s) == (position, stored_s):
            return  # told again, as when a watch begins anew
        if position <= self._over.get(subject, (0, 0.0))[0] and not self.is_over(subject, position, stored_s):
            del self._over[subject]  # the stream was made anew, or fell back: the same position is another lease
        self.forget(subject)
        if ttl_s is not None:
            self._lives[subject] = _Life(position, ttl_s, stored_s, now, now + LATE * ttl_s)

    def forget(self, subject: str) -> None:
        """Take it that nothing lies there."""
        self._lives.pop(subject, None)

    def begun(self, now: float) -> None:
        """Take it that everything was told that there was: what is old by the newest's time is looked for at once."""
        newest_s = max((life.stored_s for life in self._lives.values()), default=0.0)
        for life in self._lives.values():
            if newest_s - life.stored_s > LATE * life.ttl_s:
                life.look_at = now

    def due(self, now: float) -> list[tuple[str, int]]:
        """Return what is to be looked for, with the position where it lay."""
        return [(subject, life.position) for subject, life in self._lives.items() if life.look_at <= now]

    def known(self) -> list[tuple[str, int]]:
        """Return all leases that are taken for held, with the position where each lies."""
        return [(subject, life.position) for subject, life in self._lives.items()]

    def unanswered(self, subject: str, now: float) -> None:
        """Take it that the leader did not answer: as long as there is none, nothing is known to have ended."""
        life = self._lives.get(subject)
        if life is not None:
            life.look_at = now + AGAIN * life.ttl_s

    def found(self, subject: str, asked: int, entry: Entry | None, now: float) -> Entry | None:
        """Take what the leader has instead of what lay at `asked`; return the marker that is to be told, if it is over."""
        life = self._lives.get(subject)
        if life is None or life.position != asked:
            return None  # something newer was heard meanwhile
        life.look_at = now + AGAIN * life.ttl_s
        is_there = entry is not None and entry.position == asked
        if entry is None or (is_there and now >= life.heard_at + OVER * life.ttl_s):
            self.forget(subject)
            self._over.pop(subject, None)
            self._over[subject] = (asked, life.stored_s)
            if len(self._over) > OVER_MAX:
                del self._over[next(iter(self._over))]
            return Entry(subject, asked, b"", marker=True)
        return None

    def is_over(self, subject: str, position: int, stored_s: float | None = None) -> bool:
        """Say whether what lies there was found to be over; without the time when it was stored by its position alone."""
        over = self._over.get(subject)
        return over is not None and over[0] == position and stored_s in (None, over[1])
