"""The state machine of a lease: what was seen and answered goes in with its time, what to do comes out. Pure, no clock, no I/O.

A lease is the last message of one subject. It is taken, renewed and released by guarded writes, so that of several only one goes
well, and it expires by itself. Gray and Cheriton (1989) have the idea; that a holder counts its time from before it asked, and
that clocks may differ by a stated margin, is theirs too. What is particular here:

- A write that was not answered may have been done, may still be done, or never. So it never counts as success, and never as
  failure: the subject is read, and an own write that lies there is known by its session and beat, hence its time of sending.
- The server says when a lease has expired, by a marker; whoever wants it bids at once under the marker's position, and one wins.
- After an outage all leases may have expired. The one who held it last may bid at once, all others wait a moment, so that an
  outage of the server moves nothing.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

from aether.cluster.lease_words import RELEASED, Action, Change, Record, What

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MARGIN", "Lease"]

MARGIN = 0.1
"""What a holder gives away of the time to live. Its clock may run slower than the server's by as much; clocks of machines differ
by one in ten thousand. The rest is for a server whose clock is set, or that another with another clock succeeds."""

RENEWALS = 3
"""How often a lease is renewed in its time to live."""

BACKOFF_FIRST_S = 0.01
BACKOFF_SHARE_MAX = 1 / 12
"""What is tried again waits longer each time, at most this share of the time to live."""


class Lease:
    """One candidate's side of a lease; all times are seconds on the caller's clock, which never goes back.

    The caller does what `due` says, one thing at a time, and tells its outcome by `acked`, `refused`, `unanswered` or `read`.
    What a watch sees it tells by `seen`, `synced` and `broken`. After any of these, and at `wake_at`, it asks `due` again and
    takes what stands in `changes`.

    Args:
        session: a name that no other candidate has, nor this one after a restart.
        ttl_s: the time to live.
        jitter: returns 0 to 1, by chance.
        take_over: bid once for a lease that another session holds, under its guard: it is known to be of the same name.
        margin_s: what is given away of the time to live; None: a tenth.

    Attributes:
        changes: what became of the lease, to be taken from the left.
        term: the term that is held, 0: none.
        deadline: until when it is held at most.
        position: where the last own write of the term lies.
        replaced: a session came that takes over as this one did; this lease bids no more.
        failures: how many writes and reads went wrong since the last that went well.
    """

    def __init__(
        self,
        session: str,
        ttl_s: float,
        jitter: Callable[[], float],
        *,
        take_over: bool = False,
        margin_s: float | None = None,
    ) -> None:
        self.session, self._ttl_s, self._jitter, self._take_over = session, ttl_s, jitter, take_over
        self._life_s = ttl_s - (ttl_s * MARGIN if margin_s is None else margin_s)
        self.changes: deque[Change] = deque()
        self.term = self.position = self.failures = 0
        self.deadline = self._renew_at = -math.inf
        self.replaced = False
        self.wanted = self._suspended = False
        self._record: Record | None = None
        self._doubt = False  # read the subject before anything is written again
        self._known_at_read: Record | None = None
        self._sent: dict[int, float] = {}  # own writes that began or renewed a term, by beat: when they were sent
        self._beat = self._term_last = 0
        self._flight: Action | None = None
        self._retry_at = -math.inf
        self._bid_from = math.inf  # until the watch has seen everything
        self._outage = self._former = self._touched = False
        self._look_at = math.inf
        self._overdue_at, self._overdue = math.inf, 0  # when another's record should have expired, and where it lies

    # What the caller wants.

    def want(self) -> None:
        """Bid for the lease from now on."""
        self.wanted, self._suspended = True, False

    def unwant(self, now: float) -> None:
        """Bid no more, and let go of it."""
        self._expire(now)
        self.wanted = self._former = self._suspended = False
        if self.term:
            self._lose(RELEASED)

    def suspend(self, now: float) -> None:
        """Bid no more for the moment, and leave what lies there: a term has ended, and its holder may want the next."""
        self._expire(now)
        if not self.term and self.wanted:
            self.wanted, self._suspended = False, True

    def touch(self, now: float) -> None:
        """Renew now, because what the record says has changed."""
        if self.term:
            self._renew_at = now
            self._touched = self._flight is not None  # what is on its way may still say the old

    def is_settled(self) -> bool:
        """Say whether an unwanted lease lies on the subject no more, as far as is known, and nothing is in flight."""
        return not (self._flight or self._doubt) and (self._record is None or self._record.session != self.session)

    def is_busy(self) -> bool:
        """Say whether something was to be done whose outcome has not been told."""
        return self._flight is not None

    def is_valid(self, now: float) -> bool:
        """Say whether it is held at this moment; once it is not, this term never is again. Any thread may ask."""
        return self.held(now) != 0

    def held(self, now: float) -> int:
        """Return the term that is held at this moment, 0: none. Any thread may ask: it changes nothing.

        A term that was found over stays over, because whatever is told later comes with a later time, and ends it first.
        """
        term = self.term
        return term if term and now < self.deadline and term == self.term else 0

    def tick(self, now: float) -> None:
        """Take it that time has passed."""
        self._expire(now)

    # What is to be done.

    def due(self, now: float) -> Action | None:
        """Return what to do now; None: nothing before `wake_at`, or before something is told."""
        self._expire(now)
        if self._flight is not None or now < self._retry_at:
            return None
        self._flight = self._next(now)
        return self._flight

    def _next(self, now: float) -> Action | None:
        if self._doubt:
            return self._reading()
        if self.term:
            return self._write(What.RENEW, self.position, now) if now >= self._renew_at else None
        if not self.wanted:
            return self._cleaning(now)
        return None if self.replaced else self._bidding(now)

    def _cleaning(self, now: float) -> Action | None:
        """Take back what still lies there, as a bid that was stored after nobody wanted it any more."""
        if self._suspended or self._record is None or self._record.session != self.session:
            return None
        return self._write(What.RELEASE, self._record.position, now)

    def _bidding(self, now: float) -> Action | None:
        if self._record is None:
            return self._reading()
        if self._may_bid(self._record, now):
            return self._write(What.ACQUIRE, self._record.position, now)
        return self._reading() if now >= self._look_at else None

    def _reading(self) -> Action:
        self._known_at_read = self._record
        return Action(What.READ)

    def _may_bid(self, record: Record, now: float) -> bool:
        if record.session == self.session or record.released:
            return True
        if record.session is None:
            return self._former or now >= self._bid_from
        return self._take_over

    def _write(self, what: What, guard: int, now: float) -> Action:
        self._beat += 1
        if what is not What.RELEASE:
            for beat in [beat for beat, sent_at in self._sent.items() if sent_at + self._life_s <= now]:
                del self._sent[beat]  # too old to hold anything
            self._sent[self._beat] = now
        return Action(what, guard, self.term, self._beat)

    def wake_at(self) -> float:
        """Return when `due` may say something without being told anything; inf: never."""
        held_until = self.deadline if self.term else math.inf
        if self._flight is not None:
            return held_until
        if self._doubt or (self._record is None and self.wanted and not self.replaced):
            at = self._retry_at
        elif self.term:
            at = self._renew_at
        elif not self.wanted:
            at = self._retry_at if not (self._suspended or self.is_settled()) else math.inf
        elif self.replaced or self._record is None:
            at = math.inf
        elif self._record.session is None or self._record.session == self.session:
            at = self._bid_from if not (self._former or self._record.released or self._record.session) else self._retry_at
        else:
            at = self._retry_at if self._take_over else self._look_at
        return min(held_until, max(at, self._retry_at))

    # What became of it.

    def acked(self, now: float, position: int) -> None:
        """Take it that the write is stored at `position`."""
        action = self._landed()
        self.failures = 0
        self._expire(now)
        if action.what is What.ACQUIRE and position < self._term_last:
            self._term_last = 0  # the stream was made anew, or fell back: its positions begin anew, and so do terms
        released = action.what is What.RELEASE
        session = None if released else self.session
        self._take(now, Record(position, session, action.term, action.beat, released, self._ttl_s))
        if self._touched and self.term:
            self._renew_at = now
        self._touched = False

    def refused(self, now: float) -> None:
        """Take it that the guard did not hold: somebody wrote, perhaps this one itself, before."""
        self._landed()
        self._expire(now)
        self._fail(now)
        self._doubt = True

    def unanswered(self, now: float) -> None:
        """Take it that nobody knows what became of the write, or the read; it changes nothing, and holds nothing."""
        self._landed()
        self._expire(now)
        self._fail(now)
        self._doubt = True

    def read(self, now: float, record: Record) -> None:
        """Take what the read found."""
        self._landed()
        self._expire(now)
        self._doubt = False
        if not self.term and self._record is self._known_at_read:
            # Nothing newer was seen meanwhile, so this counts though it may show less: the marker of an expired lease goes too.
            self._record = None
        self._take(now, record)
        if self._look_at <= now:
            self._look_at = now + self._ttl_s

    def _landed(self) -> Action:
        action, self._flight = self._flight, None
        if action is None:
            raise RuntimeError("an outcome was told, and nothing was to be done")
        return action

    def _fail(self, now: float) -> None:
        longest = max(BACKOFF_FIRST_S, self._ttl_s * BACKOFF_SHARE_MAX)
        wait_s = min(longest, BACKOFF_FIRST_S * 2.0 ** min(self.failures, 16))
        # The first failure is looked into at once: mostly another was faster, and then this one only waits.
        self._retry_at = now + (wait_s * (0.5 + self._jitter() / 2) if self.failures else 0.0)
        self.failures += 1

    # What a watch sees.

    def seen(self, now: float, record: Record) -> None:
        """Take the subject's new last message."""
        self._expire(now)
        self._take(now, record)

    def synced(self, now: float, record: Record | None) -> None:
        """Take it that the watch sees everything again; `record` is the subject's last message, where it has one."""
        self._expire(now)
        self._bid_from = now + self._grace_s() if self._outage else now
        self._outage = False
        if record is None or (self._record is not None and record.position < self._record.position):
            self._doubt = True
        else:
            self._take(now, record)

    def broken(self, now: float) -> None:
        """Take it that something may be missed from now on."""
        self._expire(now)
        self._outage, self._bid_from = True, math.inf

    def _grace_s(self) -> float:
        """Return how long who held the lease before an outage may come back before others bid."""
        return self._ttl_s / RENEWALS * (1 + self._jitter())

    def _take(self, now: float, record: Record) -> None:
        if self._record is not None and record.position < self._record.position:
            return  # an older word than what is known
        self._record = record
        if record.session == self.session:
            self._look_at = self._overdue_at = math.inf
            self._take_own(now, record)
            return
        if self.term and record.position < self.position:
            return  # a replica that lags, or a server that lost what it had: a renewal decides
        if self.term:
            self._lose(_why(record))
        if record.session is None and now >= self._overdue_at:
            # It expired later than it would have on a server that works: there was an outage, though the watch saw nothing of it.
            self._bid_from = max(self._bid_from, now + self._grace_s())
        # Should the word of its end get lost, it is looked for, again and again; when it should have ended stays what it was.
        self._look_at = math.inf if record.session is None else now + record.ttl_s + self._ttl_s / RENEWALS
        if record.session is None or record.position != self._overdue:
            self._overdue_at, self._overdue = self._look_at, record.position
        if record.session is not None and record.position > self._term_last:
            self._former = False
            # Whoever takes over a held lease is the same name's next process.
            self.replaced = self.replaced or (self._take_over and self._term_last > 0)

    def _take_own(self, now: float, record: Record) -> None:
        sent_at = self._sent.get(record.beat, -math.inf)
        begins = not self.term and self.wanted and record.term == 0 and record.position > self._term_last
        if begins and sent_at + self._life_s > now:
            # The deadline first: another thread may look in between.
            self.deadline = sent_at + self._life_s
            self._renew_at = sent_at + self._ttl_s / RENEWALS
            self.term = self._term_last = record.position
            self.changes.append(Change(held=True, term=self.term))
            self._former = True
            self.failures = 0
        if self.term and self.term in (record.term, record.position):
            self.position = max(self.position, record.position)
            if sent_at + self._life_s > self.deadline:
                self.deadline = sent_at + self._life_s
                self._renew_at = sent_at + self._ttl_s / RENEWALS

    def _expire(self, now: float) -> None:
        if self.term and now >= self.deadline:
            self._lose("not renewed in time")

    def _lose(self, reason: str) -> None:
        self.changes.append(Change(held=False, term=self.term, reason=reason))
        self.term = self.position = 0
        self.deadline = self._renew_at = -math.inf


def _why(record: Record) -> str:
    if record.session is not None:
        return "another session took it"
    return "the server forgot it" if record.position == 0 else "it expired on the server"
