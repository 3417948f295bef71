"""What a connection's data travels on: a lane, or nats-py itself for a borrowed client and over WebSocket."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aether.errors import AccessDeniedError
from aether.nats.control import ControlClient
from aether.nats.dialing import attempt_s, ping_s
from aether.nats.errors import NoRespondersError, UnansweredError
from aether.nats.lane import Lane
from aether.nats.passing import pass_on
from aether.nats.pauses import backoff_s
from aether.nats.portable import NatsPyTransport
from aether.nats.tls_errors import tls_error
from aether.nats.urls import redacted

if TYPE_CHECKING:
    from collections.abc import Callable
    from urllib.parse import ParseResult

    from nats.aio.client import Client

    from aether.nats.errors import Denied
    from aether.nats.login import Login
    from aether.nats.transport import Transport

__all__ = ["Carrier"]

WEBSOCKET = ("ws", "wss")


class Carrier:
    """The transport of the moment, opened beside a connected client and again when it is lost.

    Args:
        timeout_s: what a call may take, in seconds.
        changed: called when a transport is lost, or is left.

    Attributes:
        transport: the transport, open or lost; None before the first and while one is left for the next.
    """

    def __init__(self, timeout_s: float, changed: Callable[[], None]) -> None:
        self._timeout_s, self._changed = timeout_s, changed
        self.transport: Transport | None = None
        self._client: Client | None = None
        self._servers = 0
        self._failures = 0
        self._leaving: set[asyncio.Task[None]] = set()

    def open_transport(self) -> Transport | None:
        """Return the transport if requests can go out on it."""
        transport = self.transport
        return transport if transport is not None and transport.is_open() else None

    def has_own_connection(self) -> bool:
        """Say whether the loss of the client's connection leaves what is in flight as it is."""
        return isinstance(self.transport, Lane)

    def lose_waiting(self, reason: Exception, subject: str | None = None) -> None:
        """End what is in flight (to `subject`, in lower case, or all) with `reason`."""
        if self.transport is not None:
            self.transport.lose_waiting(reason, subject)

    def refuse(self, what: Denied, reason: Exception) -> bool:
        """Tell those whom a "permissions violation" on the client's connection concerns; False: it must end."""
        return self.transport.refuse(what, reason) if self.transport is not None else what.publish

    async def open(self, client: Client, login: Login | None) -> BaseException | None:
        """Open a transport to the server that the client is connected to.

        Args:
            client: the connected client.
            login: who we are; None: the client is borrowed, so only it knows.

        Returns:
            Why there is no lane this time; the caller tries again, perhaps to another server.

        Raises:
            AccessDeniedError: the server refuses the login, or the inbox.
            ServerUnavailableError: TLS is in vain there.
        """
        await self._close()
        self._client = client
        url = client.connected_url
        if login is not None and url is not None and url.scheme not in WEBSOCKET:
            self._servers = len(login.urls)
            return await self._open_lane(client, login, url)
        try:
            self.transport = await NatsPyTransport.open(client)
            # After a round trip a denied inbox has been told.
            await self.transport.flush(asyncio.get_running_loop().time() + self._timeout_s)
        except (NoRespondersError, UnansweredError) as error:
            await self._close()
            self._failures += 1
            await asyncio.sleep(backoff_s(self._failures))
            return error
        self._failures = 0
        return None

    async def _open_lane(self, client: Client, login: Login, url: ParseResult) -> BaseException | None:
        try:
            async with asyncio.timeout(attempt_s(self._timeout_s)):
                server = login.server(url, client.tls_name if isinstance(client, ControlClient) else None)
                self.transport = await Lane.open(server, ping_s(self._timeout_s), self._on_lane)
        except AccessDeniedError:
            raise
        except (OSError, TimeoutError) as error:
            hopeless = tls_error(redacted(url.geturl()), error)
            if hopeless is not None:
                raise hopeless from error
            # The client may not know yet that its server is gone, or be connected to another one soon.
            self._failures += 1
            await asyncio.sleep(backoff_s(self._failures))
            return error
        self._failures = 0
        return None

    def _on_lane(self) -> None:
        """Take it that a lane is lost, or that its server is about to go."""
        lane = self.transport
        if isinstance(lane, Lane) and lane.is_leaving() and (lane.info.connect_urls or self._servers > 1):
            # Others are known: what is in flight ends here, what comes goes out on the next lane.
            self.transport = None
            lane.leave(lambda left: pass_on(left, self._timeout_s))
            task = asyncio.ensure_future(self._leave(lane))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)
        self._changed()

    async def _leave(self, lane: Lane) -> None:
        try:
            if self._client is not None and self._client.connected_url == lane.server.url:
                await self._client.force_reconnect()
            await lane.drain(asyncio.get_running_loop().time() + self._timeout_s)
        finally:
            await lane.aclose()

    async def _close(self) -> None:
        transport, self.transport = self.transport, None
        if transport is not None:
            await transport.aclose()

    async def aclose(self) -> None:
        """End the transport, and those that are being left."""
        await self._close()
        for task in [*self._leaving]:
            task.cancel()
            await asyncio.wait([task])
