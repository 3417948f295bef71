"""How what is ready in a pipeline departs: over an inbox of the connection that there is now, and when."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aether.errors import AccessDeniedError, AetherError
from aether.nats.errors import NoRespondersError, UnansweredError
from aether.nats.pauses import pause

if TYPE_CHECKING:
    from collections.abc import Callable

    from aether._native import Pending
    from aether.nats.connection import Connection
    from aether.nats.stream_log import StreamLog
    from aether.nats.transport import Inbox, Outbox

__all__ = ["Departures", "Linger"]


class Departures:
    """Sends what is ready; the answers go to the bookkeeping.

    Args:
        connection: the open connection.
        log: the namespace's event stream.
        pending: the bookkeeping.
        outbox: what to send comes out of it.
        halt: called with why nothing can be sent within the store's `timeout_s`.
        wake: called when something was answered, or is lost.
    """

    def __init__(
        self,
        connection: Connection,
        log: StreamLog,
        pending: Pending,
        outbox: Outbox,
        *,
        halt: Callable[[AetherError], None],
        wake: Callable[[], None],
    ) -> None:
        self._connection, self._log, self._pending, self._outbox = connection, log, pending, outbox
        self._halt, self._wake = halt, wake
        self._inbox: Inbox | None = None
        self._lost = False

    async def send(self) -> None:
        """Send what is ready, over an inbox of the connection that there is now."""
        loop = asyncio.get_running_loop()
        give_up_at, attempt = loop.time() + self._log.timeout_s, 0
        while self._pending.queued:
            try:
                inbox = await self._ready_inbox(give_up_at)
                await inbox.send(self._outbox, loop.time() + self._log.timeout_s)
                break
            except (NoRespondersError, UnansweredError):
                # What was taken out before counts as sent.
                self._lost = True
                self._pending.lose()
                attempt += 1
            except AetherError as error:
                self._pending.lose()
                self._halt(error)
                return
            try:
                await pause(attempt, give_up_at, f"sending to {self._log.stream}", self._log.timeout_s)
            except AetherError as error:
                self._halt(error)
                return

    async def _ready_inbox(self, deadline: float) -> Inbox:
        transport = await self._connection.ready(deadline)
        if self._inbox is None or self._lost:
            await self.aclose()
            self._lost = False
            self._pending.set_commit_bytes_max(transport.max_payload)
            self._inbox = await transport.open_inbox(self._pending, self._wake, self._on_lost)
        return self._inbox

    def _on_lost(self, reason: Exception, subject: str | None) -> None:
        if subject is None:
            self._lost = True
        # The server took nothing of what it denies.
        self._pending.lose(subject, denied=isinstance(reason, AccessDeniedError))
        self._wake()

    async def aclose(self) -> None:
        """Leave the inbox."""
        inbox, self._inbox = self._inbox, None
        if inbox is not None:
            await inbox.aclose()


class Linger:
    """How long what came next waits for more to go with it, after something was sent.

    Args:
        linger_s: that time in seconds; 0: it does not wait.
        wake: called when it has passed.
    """

    def __init__(self, linger_s: float, wake: Callable[[], None]) -> None:
        self.linger_s, self._wake = linger_s, wake
        self._until = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Something was sent just now."""
        self._until = asyncio.get_running_loop().time() + self.linger_s

    def is_over(self, *, hurried: bool, waits: bool) -> bool:
        """Whether to send now; if not, and something waits, `wake` is called when it is time."""
        loop = asyncio.get_running_loop()
        if not self.linger_s or hurried or loop.time() >= self._until:
            self.cancel()
            return True
        if self._timer is None and waits:
            self._timer = loop.call_at(self._until, self._end)
        return False

    def _end(self) -> None:
        self._timer = None
        self._wake()

    @property
    def is_running(self) -> bool:
        """Whether something waits for its time."""
        return self._timer is not None

    def cancel(self) -> None:
        """Wait no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
