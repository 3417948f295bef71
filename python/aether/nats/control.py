"""nats-py's client, as far as it must be another: what it says in CONNECT, when TLS is demanded, and when trying is in vain.

nats-py does not decode a URL's credentials, has none for servers that a cluster tells of, sends none to a server that takes
anybody too, keeps the public key of a seed file that changed, and goes on without TLS where the server asks for none. There is
no public way to change that, so some of its methods are wrapped here; the tests of logging in fail should one be renamed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

import msgspec
import nats.errors
from nats.aio.client import Client, Srv

from aether.errors import AccessDeniedError, ServerUnavailableError
from aether.nats.tls_errors import tls_error
from aether.nats.urls import redacted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aether.errors import AetherError
    from aether.nats.login import Login

__all__ = ["ControlClient", "HopelessError"]

_CONNECT = b"CONNECT "
_LOG = logging.getLogger("aether.nats")


class HopelessError(OSError):
    """Trying again, or another server, is in vain; an `OSError`, which nats-py reports and lives on. Internal.

    Attributes:
        reason: the error for the caller.
    """

    def __init__(self, reason: AetherError) -> None:
        super().__init__(str(reason))
        self.reason = reason


class ControlClient(Client):
    """The client of a connection of ours.

    Args:
        login: who we are.
    """

    def __init__(self, login: Login) -> None:
        super().__init__()
        self._login = login
        self._refusals: dict[str, AetherError] = {}
        self._connected = self._greeted = False

    @property
    def tls_name(self) -> str | None:
        """The name that the server's certificate had to have, where the cluster told of it by its address."""
        return None if self._current_server is None else self._current_server.tls_name

    async def _connect_to_server(self, s: Srv) -> None:
        self._connected = self._greeted = False
        with self._judged(s):
            await super()._connect_to_server(s)
        self._connected = True

    async def _process_connect_init(self) -> None:
        with self._judged(self._server()):
            try:
                await super()._process_connect_init()
            except BaseException:
                self._drop_socket()
                raise
        self._refusals.clear()

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        server, said = self._server(), info
        self._greeted = True
        if initial_connection and self._login.demands_tls(server.uri) and server.uri.scheme != "wss":
            # nats-py looks here again, and starts TLS; it does not know that a server may offer TLS without asking for it.
            info["tls_required"] = bool(info.get("tls_required") or info.get("tls_available"))
            if not info["tls_required"]:
                raise ServerUnavailableError(
                    redacted(server.uri.geturl()), "it offers no TLS; turn TLS on there, or type nats:// to go without"
                )
        if server.uri.scheme in ("ws", "wss"):
            # nats-py would speak to the WebSocket ports of the others as to NATS's own.
            info = {**info, "connect_urls": []}
        await super()._process_info(info, initial_connection)
        if not initial_connection:
            self._server_info = {**self._server_info, **said}  # nats-py keeps what was said first

    def _connect_command(self) -> bytes:
        said: dict[str, Any] = msgspec.json.decode(super()._connect_command().removeprefix(_CONNECT))
        try:
            said |= self._login.claims(self._server().uri, self._server_info.get("nonce", ""))
        except AccessDeniedError as error:
            raise HopelessError(error) from error
        return _CONNECT + msgspec.json.encode(said) + b"\r\n"

    def _server(self) -> Srv:
        if self._current_server is None:
            raise nats.errors.Error("nats: no server was chosen")
        return self._current_server

    def _drop_socket(self) -> None:
        """Forget the socket: nats-py would leave it, or wait for ever until one is closed whose TLS handshake failed."""
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()
            self._transport = None

    async def end_websocket(self, within_s: float) -> None:
        """Close the WebSocket and its session, which nats-py leaves open where its own closing was interrupted."""
        socket, session = getattr(self._transport, "_ws", None), getattr(self._transport, "_client", None)
        if session is None:
            return
        try:
            async with asyncio.timeout(within_s):
                if socket is not None:
                    await socket.close()
        except TimeoutError:
            _LOG.info("a WebSocket's peer did not say goodbye within %g s", within_s)
        finally:
            await session.close()

    @contextlib.contextmanager
    def _judged(self, server: Srv) -> Iterator[None]:
        """Say what is wrong with a server that cannot be spoken to; when all are like that, that it is hopeless."""
        shown = redacted(server.uri.geturl())
        try:
            yield
        except HopelessError:
            raise
        except ServerUnavailableError as error:
            self._give_up_on(server, error)
            raise
        except TimeoutError as error:
            if self._greeted or not self._connected:
                raise
            hint = "it says nothing; a server that begins with TLS needs tls_handshake_first=True"
            raise ServerUnavailableError(shown, hint) from error
        except OSError as error:
            reason = tls_error(shown, error)
            if reason is None:
                raise
            reason.__cause__ = error
            self._give_up_on(server, reason)
            raise reason from error

    def _give_up_on(self, server: Srv, reason: AetherError) -> None:
        """Take note that this server is no use, and raise when all are none."""
        self._refusals[server.uri.netloc] = reason
        if all(other.uri.netloc in self._refusals for other in self._server_pool):
            raise HopelessError(reason) from reason
