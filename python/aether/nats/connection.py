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
import random
from typing import Any
from urllib.parse import urlsplit

from nats.aio.client import Client

from aether.errors import AccessDeniedError, AetherError, DeadlineError, ServerUnavailableError, UnsupportedServerError
from aether.nats.errors import UnansweredError, client_error, denied_subject, login_refused
from aether.nats.server import EmbeddedServer, parse_embedded_url
from aether.nats.transport import NatsPyTransport

__all__ = ["Connection"]

_LOG = logging.getLogger("aether.nats")

SERVER_VERSION_MIN = (2, 14, 5)
"""Older servers have known advisories, or lack batched direct reads."""

RECONNECT_WAIT_S = 0.1
POLL_BORROWED_S = 0.02
SCHEMES = ("nats", "tls", "ws", "wss")


class Connection:
    """A nats-py client and the transport over it, opened at first use.

    Args:
        target: a URL ("nats://host:port", several joined by commas, or "embedded:DIR"), or a connected nats-py client.
        timeout_s: how long opening may take, in seconds.
    """

    def __init__(self, target: str | Client, timeout_s: float) -> None:
        if not isinstance(target, str | Client):
            raise TypeError(f"a URL or a connected nats-py client is needed, not {type(target).__name__}")
        self._embedded_dir = parse_embedded_url(target) if isinstance(target, str) else None
        self._servers = [] if isinstance(target, Client) or self._embedded_dir is not None else _servers(target)
        self._borrowed = target if isinstance(target, Client) else None
        self._timeout_s = timeout_s
        self._client: Client | None = None
        self._transport: NatsPyTransport | None = None
        self._embedded: EmbeddedServer | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = os.getpid()
        self._opening = asyncio.Lock()
        self._up = asyncio.Event()
        self._fatal: asyncio.Future[AccessDeniedError] | None = None
        self._last_error: BaseException | None = None
        self._denied: tuple[float, AetherError | None] = (-1.0, None)
        self._closed = False

    @property
    def url(self) -> str:
        """Where this connects to, without credentials."""
        if self._embedded_dir is not None:
            return f"embedded:{self._embedded_dir}"
        if self._borrowed is not None:
            connected = self._borrowed.connected_url
            return _redacted(connected.geturl()) if connected else "a borrowed client"
        return ",".join(_redacted(server) for server in self._servers)

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
        return self.client.max_payload

    @property
    def server_version(self) -> str:
        """The server's version, as "2.15.1"."""
        version = self.client.connected_server_version
        return f"{version.major}.{version.minor}.{version.patch}"

    def is_up(self) -> bool:
        """Say whether the client is connected at this moment."""
        return self._client is not None and self._client.is_connected

    async def ready(self, deadline: float) -> NatsPyTransport:
        """Return the transport once the client is connected, opening it first where needed.

        Raises:
            ServerUnavailableError: no server answers by the deadline.
            UnsupportedServerError: the server is too old.
            AccessDeniedError: the server refuses the credentials.
        """
        transport = self._transport
        if transport is not None and self._client is not None and self._client.is_connected and not self._closed:
            if self._loop is not asyncio.get_running_loop() or self._pid != os.getpid():
                raise self._foreign()
            return transport
        if self._closed:
            raise AetherError(f"{self.url}: this was closed; make a new one")
        if self._loop not in (None, asyncio.get_running_loop()) or self._pid != os.getpid():
            raise self._foreign()
        return await self._wait(deadline)

    def _foreign(self) -> AetherError:
        return AetherError(
            f"{self.url}: this connection belongs to another event loop or process; open one in each, or use aether.sync"
        )

    async def _wait(self, deadline: float) -> NatsPyTransport:
        """Open, reopen, or wait for the reconnect."""
        self._loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(deadline):
                async with self._opening:
                    if self._transport is None or self._client is None or (self._client.is_closed and self._borrowed is None):
                        await self._open()
                if self._borrowed is None:
                    await self._up.wait()
                else:
                    await self._borrowed_up()
        except TimeoutError:
            raise self._unavailable() from self._last_error
        if self._transport is None:
            raise self._unavailable()
        return self._transport

    async def _borrowed_up(self) -> None:
        # A borrowed client's callbacks are its owner's, so its state can only be looked at.
        while not self.client.is_connected:
            if self.client.is_closed:
                raise ServerUnavailableError(self.url, "the borrowed client is closed; connect it, and make a new store")
            await asyncio.sleep(POLL_BORROWED_S)

    def _unavailable(self) -> ServerUnavailableError:
        reason = (
            "no server answers"
            if self._last_error is None
            else str(client_error(self.url, self._last_error)).removeprefix(f"{self.url}: ")
        )
        return ServerUnavailableError(self.url, f"{reason}; is it running? To start one: aether dev")

    async def _open(self) -> None:
        if self._borrowed is not None:
            self._client = self._borrowed
            if self._borrowed.is_closed:
                raise ServerUnavailableError(self.url, "the borrowed client is closed; connect it first: await nats.connect(url)")
            await self._borrowed_up()
        else:
            if self._embedded_dir is not None and self._embedded is None:
                server = EmbeddedServer(self._embedded_dir)
                await server.start()
                self._embedded = server
                self._servers = [server.url]
            self._client = await self._connect()
        self._check_version()
        self._transport = await NatsPyTransport.open(self._client)
        self._up.set()

    async def _connect(self) -> Client:
        client = Client()
        self._fatal = asyncio.get_running_loop().create_future()
        connecting = asyncio.ensure_future(
            client.connect(
                servers=list(self._servers),
                name="aether",
                allow_reconnect=True,
                max_reconnect_attempts=-1,
                reconnect_time_wait=RECONNECT_WAIT_S,  # type: ignore[arg-type]  # it sleeps so long, and a fraction works
                connect_timeout=max(1, round(self._timeout_s)),
                # Subjects are made of tokens here; to check each again costs a third of a publish.
                skip_subject_validation=True,
                error_cb=self._on_error,
                disconnected_cb=self._on_disconnect,
                reconnected_cb=self._on_reconnect,
                closed_cb=self._on_disconnect,
            )
        )
        either: list[asyncio.Future[Any]] = [connecting, self._fatal]
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not self._fatal.done():
                await connecting
                return client
            refused = self._fatal.result()
        except BaseException:
            await _abandon(connecting, client)
            raise
        finally:
            self._fatal = None
        await _abandon(connecting, client)
        raise refused

    def _check_version(self) -> None:
        version = self.client.connected_server_version
        if (version.major, version.minor, version.patch) < SERVER_VERSION_MIN:
            needed = ".".join(str(part) for part in SERVER_VERSION_MIN)
            raise UnsupportedServerError(
                self.url, f"the server is nats-server {self.server_version}, {needed} or later is needed; upgrade it"
            )

    async def _on_error(self, error: Exception) -> None:
        self._last_error = error
        if login_refused(error) and self._fatal is not None and not self._fatal.done():
            refused = client_error(self.url, error)
            if isinstance(refused, AccessDeniedError):
                self._fatal.set_result(refused)
        subject = denied_subject(error)
        if subject is not None:
            denied = client_error(self.url, error)
            self._denied = (asyncio.get_running_loop().time(), denied)
            if self._transport is not None:
                # A denied publish never gets an answer; a denied inbox means that no answer is ever heard.
                inbox = not subject.startswith(("$JS.", "aether"))
                self._transport.lose(denied, None if inbox else subject)
        _LOG.info("%s: %s", self.url, error)

    def denied_since(self, started: float) -> AetherError | None:
        """Return the server's last refusal of a subject, if it came after `started` on the loop's clock."""
        at, error = self._denied
        return error if at >= started else None

    async def _on_disconnect(self) -> None:
        self._up.clear()
        if self._transport is not None:
            self._transport.lose(UnansweredError("the connection was lost"))

    async def _on_reconnect(self) -> None:
        self._up.set()

    async def aclose(self) -> None:
        """End the connection, and the embedded server; a borrowed client stays open."""
        if self._closed:
            return
        self._closed = True
        async with contextlib.AsyncExitStack() as stack:
            if self._embedded is not None:
                stack.push_async_callback(self._embedded.aclose)
            if self._client is not None and self._borrowed is None:
                stack.push_async_callback(self._client.close)
            if self._transport is not None:
                stack.push_async_callback(self._transport.aclose)


async def _abandon(connecting: asyncio.Future[None], client: Client) -> None:
    connecting.cancel()
    await asyncio.gather(connecting, return_exceptions=True)
    await client.close()


def _servers(urls: str) -> list[str]:
    servers = [url.strip() for url in urls.split(",")]
    for url in servers:
        scheme, separator, rest = url.partition("://")
        if not rest or not separator or scheme not in SCHEMES:
            raise ValueError(f"{_redacted(url)!r} is no NATS URL; type nats://HOST:PORT, or embedded:DIR for a server of its own")
    return servers


def _redacted(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    host = (urlsplit(url).netloc or rest).rpartition("@")[2]
    return f"{scheme}{separator}{host}" if separator else url.rpartition("@")[2]


async def pause(attempt: int, deadline: float, what: str, timeout_s: float) -> None:
    """Wait a little before trying again: longer with each attempt, with jitter, never past the deadline.

    Raises:
        DeadlineError: the deadline would pass meanwhile.
    """
    wait_s = random.uniform(0.5, 1.0) * min(0.2, 0.002 * 2 ** min(attempt, 7))  # noqa: S311 - spreads load, guards nothing
    if asyncio.get_running_loop().time() + wait_s >= deadline:
        raise DeadlineError(what, timeout_s)
    await asyncio.sleep(wait_s)
