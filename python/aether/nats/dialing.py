"""The nats-py client that a connection owns: how it is made, given up and ended, so that it never hangs and never leaks."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, TypedDict

from aether.nats.control import ControlClient

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from nats.aio.client import Client

    from aether.errors import AetherError
    from aether.nats.login import Login

__all__ = [
    "Callbacks",
    "attempt_s",
    "drop_socket",
    "end_client",
    "make_client",
    "ping_s",
]

RECONNECT_WAIT_S = 0.1
END_S = 1.0
ABANDON_S = 0.1


class Callbacks(TypedDict):
    """Whom the client tells, by nats-py's names."""

    error_cb: Callable[[Exception], Awaitable[None]]
    disconnected_cb: Callable[[], Awaitable[None]]
    reconnected_cb: Callable[[], Awaitable[None]]
    closed_cb: Callable[[], Awaitable[None]]


def attempt_s(timeout_s: float) -> float:
    """Return how long one attempt to connect may take, in seconds, where a call may take `timeout_s`."""
    return min(2.0, max(0.5, timeout_s / 5))


def ping_s(timeout_s: float) -> float:
    """Return how long a peer may be silent before it is asked whether it is there, in seconds."""
    return min(5.0, max(0.5, timeout_s / 10))


async def make_client(
    login: Login, timeout_s: float, give_up: asyncio.Future[AetherError], callbacks: Callbacks
) -> ControlClient:
    """Connect a client that reconnects for ever, or raise what `give_up` is given meanwhile.

    Args:
        login: the servers, which it tries one after another, again and again, and who we are to them.
        timeout_s: what a call of ours may take: a mute peer is left for another within half of it.
        give_up: set from a callback, when trying on is in vain.
        callbacks: whom it tells.
    """
    client = ControlClient(login)
    connecting = asyncio.ensure_future(
        client.connect(
            servers=list(login.urls),
            name="aether",
            allow_reconnect=True,
            max_reconnect_attempts=-1,
            # It sleeps and waits so long, and fractions of a second work, whatever the annotations say.
            reconnect_time_wait=RECONNECT_WAIT_S,  # type: ignore[arg-type]
            connect_timeout=attempt_s(timeout_s),  # type: ignore[arg-type]
            # A peer that is gone without a word is noticed after three of these.
            ping_interval=ping_s(timeout_s),  # type: ignore[arg-type]
            max_outstanding_pings=2,
            # Subjects are made of tokens here; to check each again costs a third of a publish.
            skip_subject_validation=True,
            tls=login.options.tls,
            tls_hostname=login.options.tls_hostname,
            tls_handshake_first=login.options.tls_handshake_first,
            **callbacks,
        )
    )
    either: list[asyncio.Future[Any]] = [connecting, give_up]
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not give_up.done():
            await connecting
            return client
    except BaseException:
        await _abandon(connecting, client)
        raise
    await _abandon(connecting, client)
    raise give_up.result()


async def _stop(connecting: asyncio.Future[None]) -> None:
    while not connecting.done():
        # Again and again, because nats-py lets a cancellation pass in some places, and would go on connecting.
        connecting.cancel()
        await asyncio.wait([connecting], timeout=ABANDON_S)


async def _abandon(connecting: asyncio.Future[None], client: Client) -> None:
    await _stop(connecting)
    if not connecting.cancelled():
        connecting.exception()
    await end_client(client)


async def end_client(client: Client) -> None:
    """Close the client, in good order if that is quick, else by dropping its socket."""
    closing = asyncio.ensure_future(client.close())
    try:
        done, _ = await asyncio.wait([closing], timeout=END_S)
        if not done:
            drop_socket(client)
            await asyncio.wait([closing], timeout=END_S)
    finally:
        if not closing.done():
            closing.cancel()
        reconnecting = getattr(client, "_reconnection_task", None)
        if reconnecting is not None:
            await _stop(reconnecting)  # it may have missed that the client was closed meanwhile
        if isinstance(client, ControlClient):
            await client.end_websocket(END_S)
    if closing.done() and not closing.cancelled():
        # A socket that is lost before it is closed is as good as closed.
        with contextlib.suppress(OSError):
            closing.result()


def drop_socket(client: Client) -> None:
    """End the TCP connection at once.

    nats-py waits until a mute peer has taken all that is buffered, which may be for ever, before it reconnects or closes; and
    none of its public names reaches the socket.
    """
    writer = getattr(client._transport, "_io_writer", None)  # noqa: SLF001 - as the docstring says
    if writer is not None:
        writer.transport.abort()
