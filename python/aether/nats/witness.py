"""One witness: a lane to one address of a cluster's server, over which probes go out there."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from aether._native import publish_frame
from aether.errors import AccessDeniedError, ServerUnavailableError
from aether.nats.dialing import attempt_s, ping_s
from aether.nats.errors import NoRespondersError, UnansweredError, client_error
from aether.nats.lane import Lane
from aether.nats.pauses import backoff_s
from aether.nats.tls_errors import tls_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from aether.nats.login import Server

__all__ = ["Witness"]


class Witness:
    """A lane to one address, connected when it is asked for.

    Args:
        server: where, and as whom.
        timeout_s: what a call may take, in seconds.
        changed: called when it is connected, when that failed, and when the server denied a probe.
        lost: called when the connection is lost.

    Attributes:
        server: where, and as whom.
        lane: the connection; None while there is none.
        server_id: which server was found there last.
        number: tells this connection's probes from those of others and of earlier ones.
        error: why the last attempt failed.
        refusal: why trying again is in vain, or what the server denied.
    """

    last_number = 0

    def __init__(self, server: Server, timeout_s: float, changed: Callable[[], None], lost: Callable[[Witness], None]) -> None:
        self.server, self._timeout_s, self._changed, self._lost = server, timeout_s, changed, lost
        self.lane: Lane | None = None
        self.server_id = ""
        self.number = 0
        self.error: Exception | None = None
        self.refusal: Exception | None = None
        self._failures = 0
        self._connecting: asyncio.Task[None] | None = None

    def connect(self) -> None:
        """Begin to connect, unless that goes on already."""
        if self.lane is None and self._connecting is None:
            self._connecting = asyncio.ensure_future(self._connect())
            self._connecting.add_done_callback(self._connected)

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(attempt_s(self._timeout_s)):
                lane = await Lane.open(self.server, ping_s(self._timeout_s), self._on_lane)
        except AccessDeniedError as error:
            self.error = self.refusal = error
        except (OSError, TimeoutError) as error:
            self.error = error
            if not isinstance(error, ServerUnavailableError):
                self.refusal = tls_error(self.server.shown, error)
        else:
            self.lane, self.server_id, self._failures = lane, lane.info.server_id, 0
            lane.on_denied = self._denied
            Witness.last_number += 1
            self.number = Witness.last_number
            return
        self._failures += 1
        if self.refusal is None:
            await asyncio.sleep(backoff_s(self._failures))

    def _connected(self, task: asyncio.Task[None]) -> None:
        self._connecting = None
        if not task.cancelled():
            task.result()
            self._changed()

    def _on_lane(self) -> None:
        if self.lane is not None and self.lane.lost is not None:
            self.error, self.lane = self.lane.lost, None
            self._lost(self)

    def _denied(self, _subject: str, reason: Exception) -> None:
        self.refusal = reason
        self._changed()

    def send(self, frame: bytes) -> None:
        """Send through this server, if there is a connection to it."""
        if self.lane is not None:
            with contextlib.suppress(NoRespondersError):  # it is about to be told as lost
                self.lane.write(frame)

    def probe(self, inbox: str) -> None:
        """Publish this connection's number to an inbox, through this server."""
        self.send(publish_frame(f"{inbox}{self.number}", "", [], b""))

    def why_not(self) -> str:
        """Say what keeps its probes away."""
        if self.lane is not None:
            return "what is published there does not come here"
        if self.error is None or isinstance(self.error, TimeoutError):
            return "no answer in time"
        return str(client_error(self.server.shown, self.error)).removeprefix(f"{self.server.shown}: ")

    def end(self) -> None:
        """Give the connection up, and an attempt at one; what was found there stays known."""
        if self._connecting is not None:
            self._connecting.cancel()
        lane, self.lane = self.lane, None
        if lane is not None:
            lane.lose(UnansweredError("the connection was closed"), orderly=True)

    async def aclose(self) -> None:
        """End it, and return when it has ended."""
        self.end()
        if self._connecting is not None:
            await asyncio.wait([self._connecting])
