"""One consumer of a watch: led until something is amiss, which its numbering, its heartbeats and what it must reach show."""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
from typing import TYPE_CHECKING, Any

import msgspec
import nats.errors

from aether.nats.coordination import Entry
from aether.nats.errors import TRY_AGAIN, UnansweredError, api_error
from aether.nats.portable_flush import RoundTrips
from aether.nats.portable_inbox import subscribe, unsubscribe
from aether.nats.transport import TTL

if TYPE_CHECKING:
    from collections.abc import Callable

    from nats.aio.client import Client
    from nats.aio.msg import Msg

    from aether.nats.connection import Connection

__all__ = ["ATTEMPT_S", "BEHIND_S", "WatchConsumer"]

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


class _Made(msgspec.Struct):
    num_pending: int = 0
    error: dict[str, Any] | None = None


class WatchConsumer:
    """One consumer, from its making until something is amiss.

    Args:
        stream: the stream.
        subjects: the filter.
        hear: called with each message, how long it lives, in seconds, and when it was stored, in seconds since 1970.
        synced: called once everything was told that there was, with the subjects that were told of.
        look: returns a task that looks for what should have ended, should there be something.
    """

    def __init__(
        self,
        stream: str,
        subjects: str,
        *,
        hear: Callable[[Entry, float | None, float], None],
        synced: Callable[[set[str]], None],
        look: Callable[[], asyncio.Task[None] | None],
    ) -> None:
        self._stream, self._filter, self._hear, self._synced, self._look_for = stream, subjects, hear, synced, look
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
        stream = self._stream
        try:
            await self._flush(client)
            config = {**CONSUMER, "name": name, "deliver_subject": inbox, "filter_subject": self._filter}
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
        if self.is_synced and (self._looking is None or self._looking.done()):
            self._looking = self._look_for()

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
        return api_error(connection.url, self._stream, code, number, str(words))

    async def _take(self, msg: Msg) -> None:
        if self._broken.done():
            return
        self._heard_at = self._loop.time()
        if msg.header and msg.header.get("Status"):
            told = msg.header.get("Nats-Last-Consumer")
            if told is not None and int(told) != self._number:
                self.end("a message was lost")
            elif not self.is_synced:
                self._sync()  # a heartbeat comes when there is nothing to send: what was still to come has expired meanwhile
            return
        where = msg.reply.split(".")
        self._number += 1
        if int(where[_NUMBER]) != self._number:
            self.end("a message was lost")
            return
        if not self.is_synced:
            self._seen.add(msg.subject)
        self._reached = max(self._reached, int(where[_POSITION]))
        self._expect_next()
        entry = Entry(msg.subject, int(where[_POSITION]), msg.data, not msg.data)
        self._hear(entry, _ttl_s(msg), int(where[_STORED]) / 1e9)
        if int(where[_PENDING]) == 0 and not self.is_synced:
            self._sync()

    def _sync(self) -> None:
        self.is_synced = True
        self._synced(self._seen)
        self._seen = set()

    def end(self, reason: str) -> None:
        """Take it that something is amiss."""
        self._broken.set_result(reason)


def _life(client: Client) -> tuple[bool, int]:
    """Return what changes when the connection is lost, or was."""
    return client.is_connected, client.stats["reconnects"]


def _ttl_s(msg: Msg) -> float | None:
    """Return how long a message lives by its header, in seconds; None: for ever, or as somebody else says it."""
    text = (msg.header or {}).get(TTL, "")
    return float(text) if text.isascii() and text.isdecimal() else None
