"""A lease in the coordination stream, kept: the state machine of `lease.py`, and the reads and writes that it asks for.

Nothing runs while nothing is to be done: what a watch sees, what an answer says and one timer drive it. Whether the lease is
held is never a remembered fact; `valid` reads the clock each time, so a loop that was blocked cannot act on a lease that is over.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import random
import secrets
import socket
from typing import TYPE_CHECKING, Any

from aether.cluster.ending import end_tasks
from aether.cluster.lease import Lease
from aether.cluster.lease_body import LeaseBody, record_of
from aether.cluster.lease_words import RELEASED, Record, What
from aether.cluster.pulse import Pulse
from aether.cluster.telling import Trouble
from aether.errors import AetherError, DeadlineError, DecodeError, ServerUnavailableError
from aether.nats.boot_clock import boot_time
from aether.nats.errors import NoRespondersError, UnansweredError
from aether.nats.restoring import is_missing
from aether.store.arguments import check_is_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aether.cluster.lease_words import Action
    from aether.nats.coordination import Coordination, Entry
    from aether.nats.watch import CoordinationWatch

__all__ = ["LeaseKeeper", "check_ttl", "default_name"]

_LOG = logging.getLogger("aether.cluster")

TTL_S_MAX = 3_600
ATTEMPTS = 6
ATTEMPT_S_MIN, ATTEMPT_S_MAX = 0.25, 2.0
"""A write or read may take a sixth of the time to live, within these bounds, so that one that is lost can be made again."""

FOREIGN = "?"
"""The session of a body that is none of ours: whatever it is, the subject is taken until it goes."""


def default_name() -> str:
    """Return a name for this process that people can tell from others."""
    return f"{socket.gethostname()}:{os.getpid()}"


def check_ttl(ttl: float) -> int:
    """Return a time to live in whole seconds, or refuse it.

    Raises:
        ValueError: it is not 1 to 3,600, or not whole.
    """
    check_is_seconds("ttl", ttl)
    if not 1 <= ttl <= TTL_S_MAX or ttl != int(ttl):
        raise ValueError(
            f"ttl must be whole seconds, 1 to {TTL_S_MAX:,}, not {ttl}: the server counts the life of a message in whole seconds"
        )
    return int(ttl)


class LeaseKeeper:
    """Bids for one lease while it is wanted, and renews it while it is held.

    Args:
        coordination: the namespace's coordination stream, open.
        watch: the watch on it, which the caller starts and ends.
        subject: the lease's subject.
        ttl_s: the time to live, in whole seconds.
        name: the candidate's or node's name.
        data: what the body tells beside.
        take_over: the first bid may take the lease from another session, under its guard; whoever comes like that later
            replaces this one for good.
        on_held: called with the term when the lease was taken.
        on_lost: called with the term, the reason and the body that lies there now, when a term ended for whatever reason.
        clock: the clock of leases.

    Attributes:
        session: this keeper's own random name.
        failure: the last error that waiting does not cure, as a denied write; None: none.
    """

    def __init__(
        self,
        coordination: Coordination,
        watch: CoordinationWatch,
        subject: str,
        *,
        ttl_s: int,
        name: str,
        data: Mapping[str, Any] | None = None,
        take_over: bool = False,
        on_held: Callable[[int], object] | None = None,
        on_lost: Callable[[int, str, bytes | None], object] | None = None,
        clock: Callable[[], float] = boot_time,
    ) -> None:
        self._coordination, self._watch, self.subject = coordination, watch, subject
        self._ttl_s, self._name, self._data = ttl_s, name, dict(data or {})
        self._on_held, self._on_lost, self._clock = on_held, on_lost, clock
        self.session = secrets.token_hex(16)
        self._lease = Lease(self.session, ttl_s, random.random, take_over=take_over)
        self._attempt_s = min(ATTEMPT_S_MAX, max(ATTEMPT_S_MIN, ttl_s / ATTEMPTS))
        self.failure: AetherError | None = None
        self._trouble = Trouble()
        self._lasting: AetherError | None = None  # what has kept writes from being stored since the last that was
        self._running: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._changed = Pulse()
        self._closed = False

    # What it is now.

    @property
    def term(self) -> int | None:
        """The term that is held, by the clock at this moment; None: none."""
        return self._lease.held(self._clock()) or None

    @property
    def valid(self) -> bool:
        """Whether the lease is held at this moment."""
        return self._lease.is_valid(self._clock())

    @property
    def deadline(self) -> float:
        """Until when it is held at most, on the clock; -inf: it is not held."""
        return self._lease.deadline if self.valid else -math.inf

    @property
    def position(self) -> int:
        """Where the last write of the term lies; 0: the lease is not held."""
        return self._lease.position if self.valid else 0

    @property
    def wanted(self) -> bool:
        """Whether this keeper bids for the lease, or renews it."""
        return self._lease.wanted

    @property
    def replaced(self) -> bool:
        """Whether another process took over under the same name; this keeper bids no more."""
        return self._lease.replaced

    # What is wanted.

    def start(self) -> None:
        """Listen to the watch."""
        self._watch.listen(self)
        if self._watch.unbroken_since is not None:
            self.on_synced()

    def want(self) -> None:
        """Bid for the lease from now on."""
        self._lease.want()
        self._go_on()

    def unwant(self) -> None:
        """Bid no more, and let go of it; `release` also waits for that."""
        self._lease.unwant(self._clock())
        self._go_on()

    def suspend(self) -> None:
        """Bid no more until it is wanted again, and leave what lies there: `on_lost` may want no other term yet."""
        self._lease.suspend(self._clock())

    def update(self, data: Mapping[str, Any]) -> None:
        """Tell something else from now on, and renew at once where the lease is held."""
        self._data = dict(data)
        self._lease.touch(self._clock())
        self._go_on()

    async def wait(self) -> None:
        """Wait until something may have changed: held, lost, replaced, failed, or let go of."""
        await self._changed.next.wait()

    async def release(self, deadline: float) -> None:
        """Let go of the lease, and return when the server knows; others then bid at once.

        Raises:
            DeadlineError: not by the deadline, on the loop's clock; it expires by itself.
        """
        self.unwant()
        try:
            async with asyncio.timeout_at(deadline):
                while not self._lease.is_settled():
                    await self.wait()
        except TimeoutError:
            raise DeadlineError(f"releasing {self.subject}", self._ttl_s) from None

    async def aclose(self) -> None:
        """End at once, without a word to the server; `release` before says it."""
        if self._closed:
            return
        self._lease.unwant(self._clock())
        self._tell_changes()
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._running is not None:
            await end_tasks([self._running])
        self._watch.unlisten(self)

    # What the watch sees.

    def on_entry(self, entry: Entry) -> None:
        """Take a new entry, if it is this lease's."""
        if entry.subject == self.subject:
            self._lease.seen(self._clock(), self._record(entry))
            self._go_on()

    def on_synced(self) -> None:
        """Take it that the watch sees everything again."""
        entry = self._watch.entries.get(self.subject)
        self._lease.synced(self._clock(), None if entry is None else self._record(entry))
        self._go_on()

    def on_broken(self, reason: str) -> None:  # noqa: ARG002 - of the protocol
        """Take it that something may be missed."""
        self._lease.broken(self._clock())
        self._go_on()

    def _record(self, entry: Entry | None) -> Record:
        try:
            return record_of(entry)
        except DecodeError as error:
            assert entry is not None  # noqa: S101 - nothing decodes to nothing
            _LOG.error("%s at position %d: %s; whoever wrote it must remove it", entry.subject, entry.position, error)
            return Record(entry.position, FOREIGN, ttl_s=self._ttl_s)

    # What is to be done.

    def _go_on(self) -> None:
        """Do what is due, tell what has changed, and be called again when more is due."""
        if self._closed:
            return
        now = self._clock()
        # Who hears that a term ended may want no other: it hears so before there is a bid for one.
        self._lease.tick(now)
        self._tell_changes()
        if self._running is None and (action := self._lease.due(now)) is not None:
            self._running = asyncio.create_task(self._do(action), name="aether-lease")
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        at = self._lease.wake_at()
        if at < math.inf:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, at - self._clock()), self._go_on)
        self._changed.beat()

    def _tell_changes(self) -> None:
        while self._lease.changes:
            change = self._lease.changes.popleft()
            if change.held:
                self.failure = None
                _LOG.info("%s: %s holds it, term %d", self.subject, self._name, change.term)
                if self._on_held is not None:
                    self._tell(self._on_held, change.term)
            else:
                level = logging.INFO if change.reason == RELEASED else logging.WARNING
                # Why it was not renewed, where that is known, is what whoever has lost it can do something about.
                known = self._lasting if change.reason != RELEASED else None
                reason = change.reason if known is None else f"{change.reason}: {known}"
                _LOG.log(level, "%s: %s lost it, term %d: %s", self.subject, self._name, change.term, reason)
                entry = self._watch.entries.get(self.subject)
                if self._on_lost is not None:
                    self._tell(self._on_lost, change.term, reason, None if entry is None else entry.body)

    def _tell(self, hear: Callable[..., object], *what: object) -> None:
        """Tell of a change; one who fails to hear it must not keep the lease from being renewed, or let go of."""
        try:
            hear(*what)
        except Exception:  # noqa: BLE001 - whatever they do, the lease is not theirs
            _LOG.exception("%s: whoever hears of it failed; the lease goes on", self.subject)

    async def _do(self, action: Action) -> None:
        """Do one thing, and take what became of it; whatever goes wrong, it goes on."""
        try:
            await self._attempt(action, asyncio.get_running_loop().time() + self._attempt_s)
        except (NoRespondersError, UnansweredError, DeadlineError, ServerUnavailableError):
            self._lease.unanswered(self._clock())
        except AetherError as error:
            level = logging.WARNING if self._trouble.is_news(str(error), self._clock()) else logging.DEBUG
            _LOG.log(level, "%s: %s: %s", self.subject, action.what.value, error)
            self._lasting = error
            if not is_missing(error):  # else the watch makes the stream again, or says why not
                self.failure = error
            self._lease.unanswered(self._clock())
        except Exception as error:  # noqa: BLE001 - a lease that nobody keeps any more, and nobody knows of it, would be worse
            level = logging.ERROR if self._trouble.is_news(repr(error), self._clock()) else logging.DEBUG
            text = "%s: %s: an error that nobody expected; it is tried again, and the lease ends by its deadline"
            _LOG.log(level, text, self.subject, action.what.value, exc_info=True)
            if self._lease.is_busy():  # else its outcome was taken before that
                self._lease.unanswered(self._clock())
        self._running = None
        self._go_on()

    async def _attempt(self, action: Action, deadline: float) -> None:
        if action.what is What.READ:
            entry = await self._coordination.read(self.subject, deadline)
            # What was found to be over may lie there still, at the leader too.
            over = entry is not None and self._watch.is_over(entry)
            record = Record(entry.position) if entry is not None and over else self._record(entry)
            self._watch.expect(record.position)
            self._lease.read(self._clock(), record)
            return
        body = self._body(action)
        published = await self._coordination.write(self.subject, body, action.guard, deadline, ttl_s=self._ttl_s)
        self._lasting = None
        if published.refused:
            self._lease.refused(self._clock())
        else:
            self._watch.expect(published.position)
            self._lease.acked(self._clock(), published.position)

    def _body(self, action: Action) -> bytes:
        released = action.what is What.RELEASE
        return LeaseBody(self._name, self.session, action.term, action.beat, self._ttl_s, released, self._data).encode()
