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
import contextlib
import logging
import math
import secrets
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import nats.errors

from aether.errors import AetherError, ServerUnavailableError
from aether.nats.boot_clock import boot_time
from aether.nats.coordination import Entry
from aether.nats.errors import TRY_AGAIN, NoRespondersError, UnansweredError, api_error
from aether.nats.overdue import Overdue
from aether.nats.pauses import backoff_s
from aether.nats.portable_flush import RoundTrips
from aether.nats.portable_inbox import subscribe, unsubscribe
from aether.nats.stream_log import StreamLog
from aether.nats.subjects import coordination_filter, coordination_stream
from aether.nats.transport import TTL

if TYPE_CHECKING:
    from collections.abc import Callable

    from nats.aio.client import Client
    from nats.aio.msg import Msg

    from aether.nats.connection import Connection

__all__ = ["BEHIND_S", "CoordinationWatch", "Listener"]

_LOG = logging.getLogger("aether.nats")

HEARTBEAT_S = 1
SILENCE_S = 2.0
"""After so long without a message or a heartbeat the watch is broken."""
LAG_S = 2.0
"""After so long without a message that is known to be in the stream the watch is broken."""
BEHIND_S = LAG_S + 0.5
"""After so long a watch that is behind knows it, if its node writes each second."""
LOOK_S = 0.25
"""How often it is looked whether the connection or the heartbeats are gone, or it lags."""
LATE_MAX = 4
"""So often in a row it is not looked when the look itself comes late."""
ATTEMPT_S = 2.0
MARKERS_MAX = 1_024
"""How many expired subjects are remembered; the oldest are forgotten first."""

CONSUMER: dict[str, Any] = {
    "deliver_policy": "last_per_subject",
    "ack_policy": "none",
    "idle_heartbeat": HEARTBEAT_S * 1_000_000_000,
    "mem_storage": True,
    "num_replicas": 1,
    # The server forgets it by itself, should nobody say goodbye.
    "inactive_threshold": 10_000_000_000,
}

_POSITION, _NUMBER, _STORED, _PENDING = -4, -3, -2, -1
"""Where a delivery's reply subject says its stream sequence, its number in this consumer, when it was stored, in nanoseconds, and
how many are still to come."""


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


class _Made(msgspec.Struct):
    num_pending: int = 0
    error: dict[str, Any] | None = None


class CoordinationWatch:
    """The coordination subjects of a namespace, as they change; one for each node or election.

    Args:
        connection: the connection, which the caller ends.
        namespace: the namespace, whose coordination stream is there.
        timeout_s: what `start` may take, in seconds.
        subject: the only subject that is watched; None: all. Who cares for one lease need not hear each renewal of all others.
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
        self._consumer: _Consumer | None = None
        self._overdue = Overdue()

    def listen(self, listener: Listener) -> None:
        """Tell a listener from now on what is seen; what was seen before stands in `entries`."""
        self._listeners.append(listener)

    def unlisten(self, listener: Listener) -> None:
        """Tell a listener no more; one that is not told anyway is none of its matter."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    def expect(self, position: int) -> None:
        """Take it that what is watched has a message at this position, or had one: the watch must come to it, or past it."""
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
                self._consumer = consumer = _Consumer(self)
                reason = await consumer.follow(self._connection)
                attempt = 0 if consumer.is_synced else attempt + 1
            except (nats.errors.Error, NoRespondersError, UnansweredError) as error:
                reason, attempt = str(error), attempt + 1
            except ServerUnavailableError as error:
                reason, attempt = str(error), attempt + 1
            except AetherError as error:
                reason, attempt, self.failure = str(error), attempt + 1, error
                self._news.set()
            except Exception as error:  # noqa: BLE001 - a watch that ends in silence would seem to see everything
                _LOG.exception("the watch on %s: an error that nobody expected; it begins anew", self._stream)
                reason, attempt = repr(error), attempt + 1
            self._tell_broken(reason)
            await asyncio.sleep(backoff_s(attempt))

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
        self.unbroken_since, self.failure = self._clock(), None
        self._news.set()
        for listener in [*self._listeners]:
            listener.on_synced()


class _Consumer:
    """One consumer, from its making until something is amiss."""

    def __init__(self, watch: CoordinationWatch) -> None:
        self._watch = watch
        self._loop = asyncio.get_running_loop()
        self._broken: asyncio.Future[str] = self._loop.create_future()
        self._number = self._reached = self._expected = 0
        self._due, self._due_since = 0, math.inf  # what it must reach next
        self._heard_at = self._loop.time()
        self._seen: set[str] = set()
        self._looking: asyncio.Task[None] | None = None
        self.is_synced = False

    async def follow(self, connection: Connection) -> str:
        """Lead messages to the watch until something is amiss; return what."""
        deadline = self._loop.time() + ATTEMPT_S
        transport = await connection.ready(deadline)
        client = connection.client
        life = _life(client)
        inbox, name = client.new_inbox(), f"aether-{secrets.token_hex(8)}"
        subscription = await subscribe(client, inbox, "", self._take)
        stream = self._watch._stream  # noqa: SLF001 - the two are one
        try:
            await self._flush(client)
            config = {**CONSUMER, "name": name, "deliver_subject": inbox, "filter_subject": self._watch._filter}  # noqa: SLF001
            asked = msgspec.json.encode({"stream_name": stream, "config": config})
            reply = await transport.request(f"$JS.API.CONSUMER.CREATE.{stream}.{name}", asked, deadline)
            made = msgspec.json.decode(reply.data, type=_Made)
            if made.error is not None:
                raise self._refused(connection, made.error)
            self._heard_at = self._due_since = self._loop.time()
            if made.num_pending == 0 and not self.is_synced:
                self._sync()
            late = 0
            while not self._broken.done():
                looked_at = self._loop.time()
                await asyncio.wait([self._broken], timeout=LOOK_S)
                if _life(client) != life:
                    return "the connection was lost"
                late = late + 1 if self._loop.time() - looked_at > 2 * LOOK_S else 0
                if 0 < late <= LATE_MAX:
                    continue  # the loop was held up, and what was told meanwhile still waits to be heard
                self._look()
                if self._loop.time() - self._heard_at > SILENCE_S:
                    return f"nothing was heard for {SILENCE_S:g} s"
                if self._reached < self._due and self._loop.time() - self._due_since > LAG_S:
                    return f"the stream has a position {self._due}, and it was not told within {LAG_S:g} s"
            return self._broken.result()
        finally:
            if self._looking is not None:
                self._looking.cancel()
                await asyncio.wait([self._looking])
            await unsubscribe(subscription)
            if client.is_connected:
                # A lost connection cannot say it; the server forgets the consumer after a while then.
                with contextlib.suppress(nats.errors.Error):
                    await client.publish(f"$JS.API.CONSUMER.DELETE.{stream}.{name}", b"")

    def expect(self, position: int) -> None:
        """Take it that the stream has such a position."""
        self._expected = max(self._expected, position)
        self._expect_next()

    def _expect_next(self) -> None:
        """Where it has come to what it had to reach, take the newest that it has not."""
        if self._due <= self._reached < self._expected:
            self._due, self._due_since = self._expected, self._loop.time()

    def _look(self) -> None:
        """Have leases looked for that should have ended, a few at a time."""
        watch = self._watch
        if self.is_synced and (self._looking is None or self._looking.done()) and watch._overdue.due(watch._clock()):  # noqa: SLF001
            self._looking = asyncio.create_task(watch._look(), name="aether-coordination-look")  # noqa: SLF001

    async def _flush(self, client: Client) -> None:
        """Return when the server has the subscription.

        nats-py's own time-out would, on Python 3.11, swallow a cancellation that comes together with the answer.
        """
        trip = RoundTrips(client).begin()
        if not (await asyncio.wait([trip], timeout=ATTEMPT_S))[0]:
            raise UnansweredError("the server did not answer in time")
        trip.result()

    def _refused(self, connection: Connection, error: dict[str, Any]) -> Exception:
        code, number, words = (error.get(key, 0) for key in ("code", "err_code", "description"))
        if number in TRY_AGAIN:
            return UnansweredError(str(words))
        return api_error(connection.url, self._watch._stream, code, number, str(words))  # noqa: SLF001

    async def _take(self, msg: Msg) -> None:
        if self._broken.done():
            return
        self._heard_at = self._loop.time()
        if msg.header and msg.header.get("Status"):
            told = msg.header.get("Nats-Last-Consumer")
            if told is not None and int(told) != self._number:
                self._break("a message was lost")
            elif not self.is_synced:
                self._sync()  # a heartbeat comes when there is nothing to send: what was still to come has expired meanwhile
            return
        where = msg.reply.split(".")
        self._number += 1
        if int(where[_NUMBER]) != self._number:
            self._break("a message was lost")
            return
        if not self.is_synced:
            self._seen.add(msg.subject)
        self._reached = max(self._reached, int(where[_POSITION]))
        self._expect_next()
        entry = Entry(msg.subject, int(where[_POSITION]), msg.data, not msg.data)
        self._watch._hear(entry, _ttl_s(msg), int(where[_STORED]) / 1e9)  # noqa: SLF001
        if int(where[_PENDING]) == 0 and not self.is_synced:
            self._sync()

    def _sync(self) -> None:
        self.is_synced = True
        self._watch._synced(self._seen)  # noqa: SLF001
        self._seen = set()

    def _break(self, reason: str) -> None:
        self._broken.set_result(reason)


def _life(client: Client) -> tuple[bool, int]:
    """Return what changes when the connection is lost, or was."""
    return client.is_connected, client.stats["reconnects"]


def _ttl_s(msg: Msg) -> float | None:
    """Return how long a message lives by its header, in seconds; None: for ever, or as somebody else says it."""
    text = (msg.header or {}).get(TTL, "")
    return float(text) if text.isascii() and text.isdecimal() else None
