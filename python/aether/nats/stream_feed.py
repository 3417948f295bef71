"""A stream's messages into a native sink: what the sink wants is asked for, and its answers reach it without Python.

A read changes nothing, so whatever is lost on the way is asked for again, over the next connection if need be.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aether.nats.errors import NoRespondersError, UnansweredError

if TYPE_CHECKING:
    from aether._native import Replay
    from aether.nats.connection import Connection
    from aether.nats.transport import Inbox, Transport

__all__ = ["StreamFeed"]

RETRY_S = 0.02
"""How long to wait where nothing could be asked."""


class StreamFeed:
    """An inbox whose answers a sink takes; made by `StreamLog.feed`, ended by `aclose`.

    Args:
        connection: the connection; it is opened where it is not open.
        subject: where requests go.
        sink: says what to ask, and takes the answers.
        attempt_s: how long answers may stay away before they are asked for again, in seconds.
    """

    def __init__(self, connection: Connection, subject: str, sink: Replay, attempt_s: float) -> None:
        self._connection, self._subject, self._sink, self._attempt_s = connection, subject, sink, attempt_s
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
        await self._send(deadline)

    async def ask_ahead(self) -> None:
        """Send what the sink wants to ask, if that needs no waiting."""
        if self._transport is not None and self._transport.is_open():
            await self._send(asyncio.get_running_loop().time())

    async def _send(self, deadline: float) -> None:
        if self._inbox is None:
            return
        try:
            for token, payload in self._sink.requests():
                await self._inbox.ask(self._subject, payload, token, deadline)
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
        if subject is not None and subject != self._subject.lower():
            return
        if not isinstance(reason, UnansweredError):
            self._refusal = reason
        self._sink.lose()
        self._woken.set()

    async def aclose(self) -> None:
        """Give the inbox back."""
        await self._leave()

    async def _leave(self) -> None:
        inbox, self._inbox, self._transport = self._inbox, None, None
        if inbox is not None:
            await inbox.aclose()
