"""One connection to NATS, owned (made from a URL) or borrowed (a connected nats-py client).

An owned connection reconnects for ever, says so when it is lost so that nothing in flight waits for a time-out, and is made
anew should the client give up, as nats-py does when the server refuses a login in mid-flight. nats-py's client belongs to
one event loop and one process; using it from another is refused here, because there it would wait for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from typing import TYPE_CHECKING

import nats.errors
from nats.aio.client import Client

from aether.errors import AetherError, ServerUnavailableError, UnsupportedServerError
from aether.nats.carrier import Carrier
from aether.nats.connect_options import ConnectOptions
from aether.nats.control import HopelessError
from aether.nats.dialing import (
    Callbacks,
    drop_socket,
    end_client,
    make_client,
)
from aether.nats.errors import UnansweredError, client_error, denied, login_refused
from aether.nats.login import Login
from aether.nats.server import EmbeddedServer, parse_embedded_url
from aether.nats.urls import parse_urls, redacted

if TYPE_CHECKING:
    from aether.nats.transport import Transport

__all__ = ["Connection"]

_LOG = logging.getLogger("aether.nats")

SERVER_VERSION_MIN = (2, 14, 5)
"""Older servers have known advisories, or lack batched direct reads."""

POLL_BORROWED_S = 0.02
STUCK_S = 1.0
"""How long a lost connection may take to be told of as lost; after that its socket is dropped."""


class Connection:
    """A nats-py client and the transport over it, opened at first use.

    Args:
        target: a URL ("nats://host:port", several joined by commas, or "embedded:DIR"), or a connected nats-py client.
        timeout_s: how long opening may take, in seconds.
        options: who we are, and which TLS it must be; for a URL of a server that is not ours.

    Raises:
        ValueError: no URL, or options that do not go with it.
        MissingExtraError: a WebSocket URL, and what speaks that is not installed.
    """

    def __init__(self, target: str | Client, timeout_s: float, options: ConnectOptions | None = None) -> None:
        if not isinstance(target, str | Client):
            raise TypeError(f"a URL or a connected nats-py client is needed, not {type(target).__name__}")
        if not isinstance(options, ConnectOptions | None):
            raise TypeError(f"options must be a ConnectOptions, not {type(options).__name__}")
        self._embedded_dir = parse_embedded_url(target) if isinstance(target, str) else None
        if options is not None and isinstance(target, Client):
            raise ValueError("options are for a URL; a borrowed client has logged in already, with options of its own")
        if options is not None and self._embedded_dir is not None:
            raise ValueError("options are for servers of others; an embedded one listens on loopback, and asks for no login")
        known = isinstance(target, str) and self._embedded_dir is None
        self._login = Login(parse_urls(str(target)) if known else [], options)
        self._borrowed = target if isinstance(target, Client) else None
        self._timeout_s = timeout_s
        self._client: Client | None = None
        self._carrier = Carrier(timeout_s, self._tell_change)
        self._embedded: EmbeddedServer | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = os.getpid()
        self._opening = asyncio.Lock()
        self._change = asyncio.Event()
        self._give_up: asyncio.Future[AetherError] | None = None
        self._last_error: BaseException | None = None
        self._refusal: BaseException | None = None
        self._ending: asyncio.Future[None] | None = None
        self._denied: tuple[float, BaseException | None] = (-1.0, None)
        self._parted = False
        self._closed = False

    @property
    def url(self) -> str:
        """Where this connects to, without credentials."""
        if self._embedded_dir is not None:
            return f"embedded:{self._embedded_dir}"
        if self._borrowed is not None:
            connected = self._borrowed.connected_url
            return redacted(connected.geturl()) if connected else "a borrowed client"
        return ",".join(redacted(server) for server in self._login.urls)

    @property
    def client(self) -> Client:
        """The nats-py client, once open."""
        if self._client is None:
            raise AetherError("the connection is not open yet")
        return self._client

    @property
    def embedded(self) -> EmbeddedServer | None:
        """The server this connection owns, for an "embedded:DIR" URL."""
        return self._embedded

    @property
    def max_payload(self) -> int:
        """The largest message the server takes, in bytes, headers included."""
        transport = self._carrier.transport
        return self.client.max_payload if transport is None else transport.max_payload

    @property
    def server_version(self) -> str:
        """The server's version, as "2.15.1"."""
        version = self.client.connected_server_version
        return f"{version.major}.{version.minor}.{version.patch}"

    def is_up(self) -> bool:
        """Say whether the client is connected at this moment."""
        return self._client is not None and self._client.is_connected

    def is_over(self) -> bool:
        """Say whether no call can go well any more: this is closed, or its borrowed client is."""
        return self._closed or (self._borrowed is not None and self._borrowed.is_closed)

    async def ready(self, deadline: float) -> Transport:
        """Return the transport once the client is connected, opening it first where needed.

        Raises:
            ServerUnavailableError: no server answers by the deadline.
            UnsupportedServerError: the server is too old.
            AccessDeniedError: the server refuses the credentials.
        """
        self._check_owner()
        transport = self._carrier.open_transport()
        if transport is not None and self._refusal is None and not self._closed:
            return transport
        self._loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(deadline):
                while True:
                    async with self._opening:
                        if not self._closed and (self._client is None or self._lost()):
                            await self._open()
                        if self._usable() and self._carrier.open_transport() is None:
                            await self._open_carrier()
                    transport = self._carrier.open_transport()
                    if not self._usable():
                        await self._changed()
                    elif transport is not None:
                        return transport
        except TimeoutError:
            raise self._unavailable() from self._last_error

    def _check_owner(self) -> None:
        if self._pid != os.getpid() or (self._loop is not None and self._loop is not asyncio.get_running_loop()):
            raise AetherError(
                f"{self.url}: this connection belongs to another event loop or process; open one in each, or use aether.sync"
            )

    def _lost(self) -> bool:
        """Say whether a client of ours has given up or was turned away, so that another must be made."""
        return self._borrowed is None and (self.client.is_closed or self._refusal is not None)

    def _usable(self) -> bool:
        """Say whether the client is connected; raise where waiting for that is in vain."""
        if self._closed:
            raise self._was_closed()
        if self._refusal is not None:
            error = client_error(self.url, self._refusal)
            raise error from (self._refusal if error is not self._refusal else error.__cause__)
        if self._borrowed is not None and self._borrowed.is_closed:
            raise ServerUnavailableError(
                self.url, "the borrowed client is closed; connect a new one, and make a new store or bus with it"
            )
        return self.client.is_connected

    async def _changed(self) -> None:
        """Wait until `_usable` may answer otherwise."""
        if self._borrowed is not None:
            # A borrowed client's callbacks are its owner's, so its state can only be looked at.
            await asyncio.sleep(POLL_BORROWED_S)
            return
        try:
            async with asyncio.timeout(STUCK_S):
                await self._change.wait()
        except TimeoutError:
            if not self._parted and self.client.is_reconnecting:
                drop_socket(self.client)

    def _tell_change(self) -> None:
        self._change.set()
        self._change = asyncio.Event()

    def _was_closed(self) -> AetherError:
        return AetherError(f"{self.url}: this was closed; make a new one")

    def _unavailable(self) -> ServerUnavailableError:
        if self._embedded_dir is not None and self._embedded is None:
            return ServerUnavailableError(self.url, f"it was not ready within {self._timeout_s:g} s; allow more with timeout_s=")
        reason, remedy = "no server answers", "is it running? To start one: aether dev"
        if self._last_error is not None:
            reason = str(client_error(self.url, self._last_error)).removeprefix(f"{self.url}: ")
            absent = isinstance(self._last_error, OSError) and not isinstance(self._last_error, AetherError)
            remedy = remedy if absent else "it was tried until the deadline"
        return ServerUnavailableError(self.url, f"{reason}; {remedy}")

    async def _open(self) -> None:
        await self._ended()
        self._refusal = None
        if self._borrowed is not None:
            self._client = self._borrowed
            while not self._usable():
                await self._changed()
        else:
            if self._embedded_dir is not None and self._embedded is None:
                self._embedded = await self._start_embedded(EmbeddedServer(self._embedded_dir))
            self._client = await self._connect()
            self._parted = False
        try:
            self._check_version()
            await self._open_carrier()
        except BaseException as error:
            client, self._client = self.client, None
            if self._borrowed is None:
                await end_client(client)
            if isinstance(error, nats.errors.Error):
                raise client_error(self.url, error) from error
            raise

    async def _open_carrier(self) -> None:
        error = await self._carrier.open(self.client, None if self._borrowed is not None else self._login)
        if error is not None:
            self._last_error = error
        self._usable()

    async def _ended(self) -> None:
        if self._ending is not None:
            await self._ending
            self._ending = None

    async def _start_embedded(self, server: EmbeddedServer) -> EmbeddedServer:
        await server.start()
        if self._closed:
            await server.aclose()
            raise self._was_closed()
        self._login = Login([server.url])
        return server

    async def _connect(self) -> Client:
        self._give_up = asyncio.get_running_loop().create_future()
        callbacks = Callbacks(
            error_cb=self._on_error,
            disconnected_cb=self._on_disconnect,
            reconnected_cb=self._on_reconnect,
            closed_cb=self._on_disconnect,
        )
        try:
            return await make_client(self._login, self._timeout_s, self._give_up, callbacks)
        finally:
            self._give_up = None

    def _check_version(self) -> None:
        version = self.client.connected_server_version
        if (version.major, version.minor, version.patch) < SERVER_VERSION_MIN:
            needed = ".".join(str(part) for part in SERVER_VERSION_MIN)
            raise UnsupportedServerError(
                self.url, f"the server is nats-server {self.server_version}, {needed} or later is needed; upgrade it"
            )

    async def _on_error(self, error: Exception) -> None:
        self._last_error = error
        _LOG.info("%s: %s", self.url, error)
        if self._client is not None and self._borrowed is None and (self._client.is_connecting or self._client.is_reconnecting):
            drop_socket(self._client)  # nats-py leaves the socket of an attempt that failed
        what = denied(error)
        if what is not None:
            self._denied = (asyncio.get_running_loop().time(), error)
        if what is not None and self._carrier.refuse(what, client_error(self.url, error)):
            return
        if isinstance(error, HopelessError):
            self._turn_away(error.reason)
        elif what is not None or login_refused(error):
            self._turn_away(error)

    def _turn_away(self, error: Exception) -> None:
        """End the client that the server does not take, or does not let hear its answers; the next call tries with a new one."""
        if self._give_up is not None:
            self._stop_connecting(client_error(self.url, error))
        elif self._ending is None:
            self._refusal = error
            self._lose_all(str(error))
            self._ending = asyncio.ensure_future(end_client(self.client))

    def _stop_connecting(self, reason: AetherError) -> None:
        if self._give_up is not None and not self._give_up.done():
            self._give_up.set_result(reason)

    def _lose_all(self, reason: str) -> None:
        # What was sent may have been done, whatever became of the connection.
        self._carrier.lose_waiting(UnansweredError(reason))
        self._tell_change()

    def denied_since(self, started: float) -> AetherError | None:
        """Return the server's last refusal of a subject, if it came after `started` on the loop's clock."""
        at, error = self._denied
        return client_error(self.url, error) if error is not None and at >= started else None

    async def _on_disconnect(self) -> None:
        self._parted = True
        if self._carrier.has_own_connection():
            self._tell_change()
        else:
            self._lose_all("the connection was lost")

    async def _on_reconnect(self) -> None:
        self._parted = False
        self._tell_change()

    async def aclose(self) -> None:
        """End the connection, and the embedded server; a borrowed client stays open.

        Raises:
            AetherError: called from another event loop or process than the one that opened it.
        """
        if self._closed:
            return
        self._check_owner()
        self._closed = True
        self._stop_connecting(self._was_closed())
        self._tell_change()
        async with self._opening, contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self._ended)
            if self._embedded is not None:
                stack.push_async_callback(self._embedded.aclose)
            if self._client is not None and self._borrowed is None:
                stack.push_async_callback(end_client, self._client)
            stack.push_async_callback(self._carrier.aclose)
