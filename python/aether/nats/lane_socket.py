"""The lane's connection: socket, TLS, login, pings, and what a server says of itself; requests are `lane.py`'s.

Everything a peer can do wrong ends here in one way: the connection is lost, with a reason, and whoever waits is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Any

import msgspec
import nats.errors

from aether._native import FrameReader
from aether.errors import AetherError, DecodeError, ServerUnavailableError
from aether.nats.errors import NoRespondersError, UnansweredError, client_error, denied, login_refused, too_many_subscriptions
from aether.nats.transport import Info

if TYPE_CHECKING:
    from collections.abc import Callable

    from aether.nats.errors import Denied
    from aether.nats.login import Server

__all__ = ["LaneSocket"]

LINGER_NONE = struct.pack("ii", 1, 0)
"""Closing resets the connection."""

HIGH_WATER = 4 * 2**20
"""How many bytes may wait in the socket's buffer before senders wait."""


_INFO = msgspec.json.Decoder(Info)

NOT_NATS = (DecodeError, msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What reading raises when a peer sends something else; msgspec tells text that is no UTF-8, and depth, in Python's own way."""


class LaneSocket(asyncio.Protocol):
    """One connection to one server, from its first byte to its last.

    Args:
        server: where, and as whom.
        inbox: the prefix under which answers for Python come.
        ping_s: how long the peer may be silent before it is asked whether it is there; three times as long, and it is gone.
        changed: called when the connection is lost, or the server is about to go.

    Attributes:
        server: where it is connected.
        info: what the server said of itself last.
        lost: why the connection is no more; None while it is.
        on_info: called when the server has said something new of itself.
    """

    on_info: Callable[[], None] | None = None

    def __init__(self, server: Server, inbox: str, ping_s: float, changed: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self.server, self._inbox, self._ping_s, self._changed = server, inbox, ping_s, changed
        self._reader = FrameReader(inbox)
        self._transport: asyncio.Transport | None = None
        self._greeting: asyncio.Future[None] = self._loop.create_future()
        self._pongs: list[asyncio.Future[None]] = []
        self._room = asyncio.Event()
        self._room.set()
        self._owes_pong = False
        self._heard_at = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self.info = Info()
        self.lost: Exception | None = None

    async def connect(self) -> None:
        """Connect and log in; return once the server hears the inbox.

        Raises:
            OSError: nobody listens there, or it hangs up.
            AccessDeniedError: the server refuses the login, or the inbox.
            ServerUnavailableError: what answers is no NATS server, or offers no TLS where it must.
        """
        server = self.server
        try:
            first = server.tls_context() if server.handshake_first else None
            await self._loop.create_connection(
                lambda: self, server.host, server.port, ssl=first, server_hostname=server.tls_hostname if first else None
            )
            await self._greeting
            if first is None and (server.tls or self.info.tls_required):
                await self._start_tls()
            hello = msgspec.json.encode(server.hello(self.info.nonce))
            await self._round_trip(b"CONNECT " + hello + f"\r\nSUB {self._inbox}* 1\r\n".encode())
        except (UnansweredError, NoRespondersError) as error:
            # It was lost between two of these steps, or during one; why says `lost`.
            if isinstance(self.lost, AetherError):
                raise self.lost from error
            raise ConnectionResetError(str(self.lost or error)) from error
        except BaseException:
            self.lose(UnansweredError("the connection was not made"))
            raise
        self._watch()

    async def _start_tls(self) -> None:
        if not (self.info.tls_required or self.info.tls_available):
            # What nats-py would send in cleartext stays here.
            raise ServerUnavailableError(self.server.shown, "it offers no TLS; turn TLS on there, or type nats:// to go without")
        if self._transport is None:
            raise ConnectionResetError("the connection was lost")
        secured = await self._loop.start_tls(
            self._transport, self, self.server.tls_context(), server_hostname=self.server.tls_hostname
        )
        if secured is None:
            raise ConnectionResetError("the connection was lost")
        self.connection_made(secured)

    async def flush(self, deadline: float) -> None:
        """Return when the server has taken all that was written before.

        Raises:
            UnansweredError: the connection is lost, or the server does not answer by the deadline.
        """
        try:
            async with asyncio.timeout_at(deadline):
                await self._round_trip()
        except TimeoutError as error:
            raise UnansweredError("no answer in time") from error
        except NoRespondersError as error:
            raise UnansweredError(str(self.lost or error)) from error

    async def _round_trip(self, data: bytes = b"") -> None:
        pong = self._loop.create_future()
        self._pongs.append(pong)
        self.write(data + b"PING\r\n")
        await pong

    def write(self, data: bytes) -> None:
        """Send, without waiting for room.

        Raises:
            NoRespondersError: the connection is lost; nothing was sent.
        """
        # A socket whose sending failed is told of as lost only in the loop's next round.
        if self._transport is None or self.lost is not None or self._transport.is_closing():
            raise NoRespondersError("the lane is closed")
        self._transport.write(data)

    async def room(self, deadline: float) -> None:
        """Wait while the peer takes less than it is given.

        Raises:
            NoRespondersError: it takes nothing until the deadline; nothing was sent.
        """
        if self._room.is_set():
            return
        try:
            async with asyncio.timeout_at(deadline):
                # All who wait are woken at once, and the first of them may fill it again.
                while not self._room.is_set():
                    await self._room.wait()
        except TimeoutError as error:
            raise NoRespondersError("the server takes no more bytes") from error

    def is_open(self) -> bool:
        """Say whether requests can go out."""
        return self.lost is None

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the socket."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("a lane needs a stream")
        self._transport = transport
        transport.set_write_buffer_limits(high=HIGH_WATER)

    def data_received(self, data: bytes) -> None:
        """Read what came: a whole chunk's answers at once."""
        if self.lost is not None:
            return  # a transport may still give what it has taken in before
        self._heard_at = self._loop.time()
        try:
            answers, controls, touched = self._reader.feed(data)
            # First the answers: what ends the connection in the same chunk shall not make them unknown.
            if answers:
                self.take(answers)
            for sid in touched:
                self.wake(sid)
            for name, text in controls:
                self._control(name, text)
        except NOT_NATS as error:
            self.lose(ServerUnavailableError(self.server.shown, f"what answers there is no NATS server: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits that no answer comes any more."""
        self.lose(UnansweredError(f"the connection was lost{f': {exc}' if exc else ''}"))

    def pause_writing(self) -> None:
        """Make senders wait: the peer takes less than they give."""
        self._room.clear()

    def resume_writing(self) -> None:
        """Let senders go on."""
        self._room.set()
        if self._owes_pong:
            self._owes_pong = False
            self._pong()

    # What the lane does with it.

    def take(self, answers: list[Any]) -> None:
        """Give answers to whoever asked."""
        raise NotImplementedError

    def wake(self, sid: int) -> None:
        """Tell whoever reads under this subscription that its sink took answers."""
        raise NotImplementedError

    def lose_waiting(self, reason: Exception, subject: str | None = None) -> bool:
        """End what is in flight (to `subject`, in lower case, or all) with `reason`; say whether a request was."""
        raise NotImplementedError

    def refuse(self, what: Denied, reason: Exception) -> bool:
        """Tell those whom a "permissions violation" concerns; False: the connection is of no use without."""
        raise NotImplementedError

    def refuse_newest(self) -> bool:
        """Give up the last subscription, which the server did not take; False: there is none but the lane's own."""
        raise NotImplementedError

    def _control(self, name: str, text: bytes) -> None:
        if name == "PING":
            self._pong()
        elif name == "PONG":
            if self._pongs:
                pong = self._pongs.pop(0)
                if not pong.done():
                    pong.set_result(None)
        elif name == "INFO":
            was_leaving, self.info = self.info.ldm, _INFO.decode(text)
            if not self._greeting.done():
                self._greeting.set_result(None)
            if self.info.ldm and not was_leaving:
                self._changed()
            if self.on_info is not None:
                self.on_info()
        else:
            self._refused(nats.errors.Error(f"nats: '{text.decode(errors='replace')}'"))

    def _pong(self) -> None:
        if not self._room.is_set():
            self._owes_pong = True  # one will do: who asks and takes no answer shall not fill our memory
            return
        with contextlib.suppress(NoRespondersError):
            self.write(b"PONG\r\n")

    def _refused(self, error: Exception) -> None:
        """Take a -ERR: its texts are the protocol."""
        what = denied(error)
        reason = client_error(self.server.shown, error)
        if what is not None and self.refuse(what, reason):
            return
        if too_many_subscriptions(error) and self.refuse_newest():
            return
        if what is not None or login_refused(error):
            self.lose(reason)
        else:
            self.lose(ServerUnavailableError(self.server.shown, f"the server hung up: {text_of(error)}"))

    def lose(self, reason: Exception, *, orderly: bool = False) -> None:
        """End the connection, and what waits for it, with `reason`; the first reason counts.

        Unless that is orderly, the system shall drop what it has not sent yet, lest it comes late, behind what the next
        connection brings.
        """
        if self.lost is not None:
            return
        self.lost = reason
        self._room.set()
        if self._timer is not None:
            self._timer.cancel()
        for opening in (self._greeting, *self._pongs):
            if not opening.done():
                opening.set_exception(reason)
                opening.exception()  # not everyone waits for it
        # Not even a refusal says anything of what was sent before it.
        self.lose_waiting(reason if isinstance(reason, UnansweredError) else UnansweredError(str(reason)))
        if self._transport is not None:
            if not orderly and not self._transport.is_closing():
                self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NONE)
            self._transport.abort()
        self._changed()

    def _watch(self) -> None:
        """Ask a silent peer whether it is there; take a long silence for a loss."""
        silent_s = self._loop.time() - self._heard_at
        if silent_s >= 3 * self._ping_s:
            self.lose(UnansweredError(f"the server was silent for {silent_s:.1f} s"))
            return
        if silent_s >= self._ping_s:
            with contextlib.suppress(NoRespondersError):
                self.write(b"PING\r\n")
                self._pongs.append(self._loop.create_future())  # so that each PONG finds who asked for it
        self._timer = self._loop.call_later(self._ping_s / 2, self._watch)


def text_of(error: Exception) -> str:
    """Return the server's words."""
    return str(error).removeprefix("nats: ").strip("'")
