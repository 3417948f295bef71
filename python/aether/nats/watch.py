"""A watch on a namespace's coordination stream: every subject's last message, pushed, with no gap that goes unnoticed.

A push consumer sends the last message of each subject, then what comes; its heartbeats and its own numbering show what is
missing. Where anything is, or the connection was lost, the watch says that it is broken, and begins anew. Whoever must know how
long it has seen everything looks at `unbroken_since`: the death of a member may be believed only by who was looking.

Heartbeats come too from a server whose copy of the stream stands still, or lags. So whoever wrote something, or read it from the
stream's leader, says where that lies (`expect`), and a watch that does not get there in time is broken as well. And a lease that
such a copy still has, though its time is over, is looked for at the leader (`Overdue`).
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol

import nats.errors

from aether.errors import AetherError, ServerUnavailableError
from aether.nats.boot_clock import boot_time
from aether.nats.coordination import Entry
from aether.nats.errors import NoRespondersError, UnansweredError, api_error
from aether.nats.overdue import Overdue
from aether.nats.pauses import backoff_s
from aether.nats.restoring import Restoring, is_missing
from aether.nats.stream_log import StreamLog
from aether.nats.subjects import coordination_filter, coordination_stream
from aether.nats.watch_consumer import ATTEMPT_S, WatchConsumer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aether.nats.connection import Connection
    from aether.nats.messages import Message

__all__ = ["CoordinationWatch", "Listener"]

_LOG = logging.getLogger("aether.nats")

MARKERS_MAX = 1_024
"""How many expired subjects are remembered; the oldest are forgotten first."""


class Listener(Protocol):
    """Who is told what a watch sees; plain calls on the loop, which must not wait."""

    def on_entry(self, entry: Entry) -> None:
        """Take a subject's new last message."""
        ...

    def on_synced(self) -> None:
        """Take it that `entries` are everything there is; so after each beginning."""
        ...

    def on_broken(self, reason: str) -> None:
        """Take it that something may be missed until the next `on_synced`."""
        ...


class CoordinationWatch:
    """The coordination subjects of a namespace, as they change; one for each node or election.

    Args:
        connection: the connection, which the caller ends.
        namespace: the namespace, whose coordination stream is there.
        timeout_s: what `start` may take, in seconds.
        subject: the only subject that is watched; None: all. Who cares for one lease need not hear each renewal of all others.
        restore: makes the stream again where it is missing, so that its positions lie behind the given one, by a deadline; None:
            nobody does, so the watch fails.
        clock: the clock of `unbroken_since`.

    Attributes:
        entries: the last message by subject, markers included.
        unbroken_since: since when nothing was missed, on the clock; None: broken, or not begun.
        failure: why it cannot go on, where that is no matter of time: it is denied, or the stream is gone.
    """

    def __init__(
        self,
        connection: Connection,
        namespace: str,
        timeout_s: float,
        *,
        subject: str | None = None,
        restore: Callable[[int, float], Awaitable[None]] | None = None,
        clock: Callable[[], float] = boot_time,
    ) -> None:
        self._connection, self._timeout_s, self._clock = connection, timeout_s, clock
        self._stream, self._filter = coordination_stream(namespace), subject or coordination_filter(namespace)
        self.entries: dict[str, Entry] = {}
        self._markers: dict[str, None] = {}
        self.unbroken_since: float | None = None
        self.failure: AetherError | None = None
        self._listeners: list[Listener] = []
        self._task: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._consumer: WatchConsumer | None = None
        self._overdue = Overdue()
        self._restoring = None if restore is None else Restoring(self._stream, restore)
        self._reached = 0  # the last position that is known
        self._was_there = False

    def listen(self, listener: Listener) -> None:
        """Tell a listener from now on what is seen; what was seen before stands in `entries`."""
        self._listeners.append(listener)

    def unlisten(self, listener: Listener) -> None:
        """Tell a listener no more; one that is not told anyway is none of its matter."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    def expect(self, position: int) -> None:
        """Take it that what is watched has a message at this position, or had one: the watch must come to it, or past it."""
        self._reached = max(self._reached, position)
        if self._consumer is not None:
            self._consumer.expect(position)

    def is_over(self, entry: Entry) -> bool:
        """Say whether a lease that a server still has was found to be over."""
        return self._overdue.is_over(entry.subject, entry.position)

    async def start(self, deadline: float) -> None:
        """Begin, and return when `entries` are complete.

        Raises:
            ServerUnavailableError: they are not by the deadline.
            AccessDeniedError: the server denies what a watch needs.
        """
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="aether-coordination-watch")
        try:
            async with asyncio.timeout_at(deadline):
                while self.unbroken_since is None:
                    if self.failure is not None:
                        raise self.failure
                    await self._news.wait()
                    self._news.clear()
        except TimeoutError:
            reason = f"{self._stream}: it could not be watched within {self._timeout_s:g} s"
            raise self._connection_error(reason) from None

    def _connection_error(self, reason: str) -> AetherError:
        return api_error(self._connection.url, reason, 503, 0, "no answer")

    async def aclose(self) -> None:
        """End the watch; its listeners hear nothing more."""
        self._listeners.clear()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        self.unbroken_since = None

    # One consumer after the other.

    async def _run(self) -> None:
        attempt = 0
        while True:
            try:
                self._consumer = consumer = WatchConsumer(
                    self._stream, self._filter, hear=self._hear, synced=self._synced, look=self._begin_to_look
                )
                reason = await consumer.follow(self._connection)
                attempt = 0 if consumer.is_synced else attempt + 1
            except (nats.errors.Error, NoRespondersError, UnansweredError) as error:
                reason, attempt = str(error), attempt + 1
            except ServerUnavailableError as error:
                reason, attempt = str(error), attempt + 1
            except AetherError as error:
                reason, attempt, self.failure = str(error), attempt + 1, await self._hopeless(error)
                self._news.set()
            except Exception as error:  # noqa: BLE001 - a watch that ends in silence would seem to see everything
                _LOG.exception("the watch on %s: an error that nobody expected; it begins anew", self._stream)
                reason, attempt = repr(error), attempt + 1
            self._tell_broken(reason)
            await asyncio.sleep(backoff_s(attempt))

    async def _hopeless(self, error: AetherError) -> AetherError | None:
        """Return why it cannot go on; None: it may, for the stream is missing, and is made again, once it had been seen."""
        if self._restoring is None or not self._was_there or not is_missing(error):
            return error
        try:
            await self._restoring.missing(self._reached)
        except ServerUnavailableError:
            pass  # it was told; a server that cannot be asked now may be asked later
        except AetherError as failure:
            return failure
        return None

    def _tell_broken(self, reason: str) -> None:
        if self.unbroken_since is not None:
            self.unbroken_since = None
            _LOG.info("the watch on %s is broken: %s", self._stream, reason)
            for listener in [*self._listeners]:
                listener.on_broken(reason)

    def _hear(self, entry: Entry, ttl_s: float | None, stored_s: float) -> None:
        if self._overdue.is_over(entry.subject, entry.position, stored_s):
            entry = entry._replace(body=b"", marker=True)
        self._overdue.heard(entry.subject, entry.position, None if entry.marker else ttl_s, stored_s, self._clock())
        self._take(entry)

    def _take(self, entry: Entry) -> None:
        self._reached = max(self._reached, entry.position)
        self.entries[entry.subject] = entry
        self._markers.pop(entry.subject, None)
        if entry.marker:
            self._markers[entry.subject] = None
            if len(self._markers) > MARKERS_MAX:
                self._forget(next(iter(self._markers)))
        for listener in [*self._listeners]:
            listener.on_entry(entry)

    def _forget(self, subject: str) -> None:
        del self.entries[subject]
        self._markers.pop(subject, None)
        self._overdue.forget(subject)

    def _begin_to_look(self) -> asyncio.Task[None] | None:
        return asyncio.create_task(self._look(), name="aether-coordination-look") if self._overdue.due(self._clock()) else None

    async def confirm(self, deadline: float) -> None:
        """Ask the stream's leader for each lease that is known, so that none is shown as held that has ended, or passed on.

        A watch finds that out by itself, a little later than it is begun.

        Raises:
            DeadlineError: the leader does not answer by the deadline.
            ServerUnavailableError: there is no connection, or nobody who answers, by the deadline.
        """
        known = self._overdue.known()
        log, asked_at = StreamLog(self._connection, self._stream, self._timeout_s), self._clock()
        messages = await log.last_each([subject for subject, _ in known], deadline)
        for (subject, position), message in zip(known, messages, strict=True):
            # None is also what is not sure, and that is asked about by itself.
            latest = message or await log.last(subject, deadline)
            self._note(subject, position, latest, asked_at)
            heard = self.entries.get(subject)
            if latest is not None and heard is not None and latest.position > heard.position:
                self._take(Entry(subject, latest.position, latest.body, not latest.body))

    async def _look(self) -> None:
        """Look for leases that should have ended, at the stream's leader."""
        log = StreamLog(self._connection, self._stream, ATTEMPT_S)
        for subject, position in self._overdue.due(self._clock()):
            asked_at = self._clock()
            try:
                message = await log.last(subject, asyncio.get_running_loop().time() + ATTEMPT_S)
            except (AetherError, NoRespondersError, UnansweredError) as error:
                _LOG.info("%s, which should have ended, cannot be looked for at the moment: %s", subject, error)
                self._overdue.unanswered(subject, self._clock())
                continue
            self._note(subject, position, message, asked_at)

    def _note(self, subject: str, position: int, message: Message | None, asked_at: float) -> None:
        """Take what the stream's leader has of a lease that was heard of at a position."""
        entry = None if message is None else Entry(subject, message.position, message.body, not message.body)
        if entry is not None:
            self.expect(entry.position)  # a newer one is on its way, or the watch is behind
        marker = self._overdue.found(subject, position, entry, asked_at)
        if marker is not None:
            _LOG.warning("%s at position %d has ended, and the server that tells of it did not say so", subject, position)
            self._take(marker)

    def _synced(self, seen: set[str]) -> None:
        """Take it that every subject there is has been seen; what else is known has expired, and its marker too."""
        for subject in self.entries.keys() - seen:
            self._forget(subject)
        self._overdue.begun(self._clock())
        self._was_there = True
        if self._restoring is not None:
            self._restoring.found()
        self.unbroken_since, self.failure = self._clock(), None
        self._news.set()
        for listener in [*self._listeners]:
            listener.on_synced()
