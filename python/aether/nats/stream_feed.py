"""A stream's messages into a native sink: what the sink wants is asked for, and its answers reach it without Python.

A long read pulls from a consumer of its own, because a server serves that about three times as fast as direct gets; where it
may not make one, and for whatever a pull leaves open, there are direct gets. A read changes nothing, so whatever is lost on the
way is asked for again, over the next connection if need be.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from typing import TYPE_CHECKING, Any

import msgspec

from aether.errors import AccessDeniedError
from aether.nats.errors import NoRespondersError, UnansweredError

if TYPE_CHECKING:
    from aether._native import Replay
    from aether.nats.connection import Connection
    from aether.nats.transport import Inbox, Transport

__all__ = ["StreamFeed"]

_LOG = logging.getLogger("aether.nats")

CONSUMER: dict[str, Any] = {
    "deliver_policy": "by_start_sequence",
    "ack_policy": "none",
    "replay_policy": "instant",
    "mem_storage": True,
    "num_replicas": 1,
    # The server forgets it by itself, should nobody say goodbye.
    "inactive_threshold": 60_000_000_000,
}


PULL = "$JS.API.CONSUMER.MSG.NEXT."


class _Made(msgspec.Struct):
    error: dict[str, Any] | None = None


RETRY_S = 0.02
"""How long to wait where nothing could be asked."""


class StreamFeed:
    """An inbox whose answers a sink takes; made by `StreamLog.feed`, ended by `aclose`.

    Args:
        connection: the connection; it is opened where it is not open.
        stream: the stream.
        sink: says what to ask, and takes the answers.
        attempt_s: how long answers may stay away before they are asked for again, in seconds.
    """

    def __init__(self, connection: Connection, stream: str, sink: Replay, attempt_s: float) -> None:
        self._connection, self._stream, self._sink, self._attempt_s = connection, stream, sink, attempt_s
        self._direct = f"$JS.API.DIRECT.GET.{stream}"
        self._consumer: str | None = None
        self._may_pull = True
        self._inbox: Inbox | None = None
        self._transport: Transport | None = None
        self._woken = asyncio.Event()
        self._refusal: Exception | None = None

    async def ask(self, deadline: float) -> None:
        """Send what the sink wants to ask, over a new connection where the last is lost.

        Raises:
            ServerUnavailableError: there is no connection by the deadline.
        """
        transport = await self._connection.ready(deadline)
        if transport is not self._transport:
            await self._leave()
            self._sink.lose()
            try:
                self._inbox = await transport.open_inbox(self._sink, self._woken.set, self._lost)
            except NoRespondersError:
                return  # lost again; the next call goes on with another
            self._transport = transport
        start = self._sink.pull_start() if self._may_pull else None
        if start is not None:
            await self._make_consumer(transport, start, deadline)
        await self._send(deadline)

    async def _make_consumer(self, transport: Transport, start: int, deadline: float) -> None:
        """Let a consumer begin at `start`; without one the read goes on all the same."""
        await self._forget_consumer()
        name = f"aether-{secrets.token_hex(8)}"
        asked = {"stream_name": self._stream, "config": {**CONSUMER, "name": name, "opt_start_seq": start}}
        until = min(deadline, asyncio.get_running_loop().time() + self._attempt_s)
        try:
            reply = await transport.request(f"$JS.API.CONSUMER.CREATE.{self._stream}.{name}", msgspec.json.encode(asked), until)
            refusal = msgspec.json.decode(reply.data, type=_Made).error
        except (NoRespondersError, UnansweredError, msgspec.DecodeError):
            return  # direct gets go on, and the next call tries again
        except AccessDeniedError as error:
            refusal = {"description": str(error)}
        if refusal is not None:
            self._do_without(str(refusal.get("description")))
            return
        self._consumer = name
        self._sink.pull(start)

    def _do_without(self, reason: str) -> None:
        self._may_pull = False
        _LOG.info("%s: read without a consumer, which is slower: %s", self._stream, reason)

    async def _forget_consumer(self) -> None:
        name, self._consumer = self._consumer, None
        if name is not None and self._inbox is not None:
            # A lost connection cannot say it; the server forgets it after a while then.
            with contextlib.suppress(NoRespondersError):
                now = asyncio.get_running_loop().time()
                await self._inbox.ask(f"$JS.API.CONSUMER.DELETE.{self._stream}.{name}", b"", 0, now)

    async def ask_ahead(self) -> None:
        """Send what the sink wants to ask, if that needs no waiting."""
        if self._transport is not None and self._transport.is_open():
            await self._send(asyncio.get_running_loop().time())

    async def _send(self, deadline: float) -> None:
        if self._inbox is None:
            return
        try:
            for token, payload, is_pull in self._sink.requests():
                subject = f"{PULL}{self._stream}.{self._consumer}" if is_pull else self._direct
                await self._inbox.ask(subject, payload, token, deadline)
        except NoRespondersError:
            self._sink.lose()

    async def heard(self, deadline: float) -> None:
        """Wait until something came, or so long that what is asked for counts as lost.

        Raises:
            AccessDeniedError: the server refuses to be asked.
        """
        now = asyncio.get_running_loop().time()
        wait_s = self._attempt_s if self._sink.is_waiting() else RETRY_S
        try:
            async with asyncio.timeout_at(min(deadline, now + wait_s)):
                await self._woken.wait()
        except TimeoutError:
            self._sink.lose()
        self._woken.clear()
        if self._refusal is not None:
            raise self._refusal

    def _lost(self, reason: Exception, subject: str | None) -> None:
        if subject is not None and subject.startswith(PULL.lower()):
            self._do_without(str(reason))
            self._sink.stop_pulling()
            self._woken.set()
            return
        if subject is not None and subject != self._direct.lower():
            return
        if not isinstance(reason, UnansweredError):
            self._refusal = reason
        self._sink.lose()
        self._woken.set()

    async def aclose(self) -> None:
        """Give the inbox back."""
        await self._leave()

    async def _leave(self) -> None:
        await self._forget_consumer()
        inbox, self._inbox, self._transport = self._inbox, None, None
        if inbox is not None:
            await inbox.aclose()
