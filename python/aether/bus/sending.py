"""What the NATS bus publishes: in order, and with an account of what may have been lost with a connection.

Core NATS acknowledges nothing. What was written before a round trip has arrived; what was written since on a connection that is
lost may not have, and whoever published it is told by `flush`.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from aether._native import bus_subject
from aether.errors import (
    DeadlineError,
    PublishInterruptedError,
    ServerUnavailableError,
)
from aether.nats.errors import NoRespondersError, UnansweredError
from aether.nats.lane import Lane
from aether.nats.passing import pass_on_from
from aether.nats.pauses import pause

if TYPE_CHECKING:
    from collections.abc import Callable

    from aether.event import Event
    from aether.nats.connection import Connection
    from aether.nats.transport import Transport

__all__ = ["Sender"]

_LOG = logging.getLogger("aether.bus")

DENIED_MAX = 100
"""Of how many subjects a denial is kept until it is told; others are logged."""

SETTLE_S = 0.1
"""How long after a publish the server is asked for its word, where nobody calls `flush` meanwhile."""


class Sender:
    """Publishes the events of one bus.

    Args:
        connection: the bus's connection.
        namespace: the bus's namespace.
        timeout_s: what each call may take, in seconds.
        unsent: called when the server denied an answer, some time after it, with its subject in lower case and the error; says
            whether somebody was told.
    """

    def __init__(
        self, connection: Connection, namespace: str, timeout_s: float, unsent: Callable[[str, Exception], bool]
    ) -> None:
        self._connection, self._namespace, self._timeout_s, self._unsent = connection, namespace, timeout_s, unsent
        self._transport: Transport | None = None
        self._losses = 0
        self._switching = asyncio.Lock()
        # Of the transport's events, how many were given to it and how many the server has for certain.
        self._written = self._flushed = 0
        self._missing = 0
        self._settling: asyncio.Task[None] | None = None
        self._denied: dict[str, Exception] = {}

    async def send(self, events: list[Event], before: int) -> None:
        """Publish these events, in order; wait while the server takes less than it is given.

        Args:
            events: the events.
            before: how many of the same call were published already, for errors to say.

        Raises:
            CommitTooLargeError: an event does not fit one message; those before it are published.
            AccessDeniedError: the server denied what was published to the same subject before.
            ServerUnavailableError: no server answers in time.
            DeadlineError: the server takes nothing for so long.
        """
        start, deadline, attempt = 0, self._deadline(), 0
        if self._denied and events:
            denied = self._denied.pop(bus_subject(self._namespace, events[0]).lower(), None)
            if denied is not None:
                raise denied
        while start < len(events):
            try:
                transport = await self.ready(deadline)
            except ServerUnavailableError as error:
                if before + start and type(error) is ServerUnavailableError:
                    reason = f"{error.reason}; {before + start:,} events were sent"
                    raise ServerUnavailableError(error.url, reason) from error
                raise
            try:
                end = await transport.publish_events(self._namespace, events, start, deadline)
            except NoRespondersError:
                # Nothing of it was sent.
                attempt += 1
                await pause(attempt, deadline, f"publishing ({before + start:,} events were sent)", self._timeout_s)
                continue
            self._count(transport, end - start)
            if end < len(events):
                deadline = self._deadline()
            start = end

    async def flush(self, deadline: float) -> None:
        """Return when the server has everything that was published before.

        Raises:
            PublishInterruptedError: a connection was lost, and with it perhaps events published since the last flush.
            AccessDeniedError: the server denied a publish.
            DeadlineError: the server does not answer in time.
        """
        # All who wait when a connection is lost are told, whoever of them published what is missing.
        missing = await self._confirm(deadline)
        self._missing = max(self._missing, missing)
        self._raise_denied()
        missing, self._missing = self._missing, 0
        if missing:
            raise PublishInterruptedError(missing)

    def _deadline(self) -> float:
        return asyncio.get_running_loop().time() + self._timeout_s

    # What the server has for certain.

    async def _confirm(self, deadline: float) -> int:
        """Wait until the server has what was given to the connection; return how many events may be lost instead."""
        transport, written = self._transport, self._written
        waiting = written - self._flushed
        if transport is None or not waiting:
            return 0
        if not await self._has_arrived(transport, deadline):
            self._note_loss(transport)
            return waiting
        if self._is_known(transport):
            self._flushed = max(self._flushed, written)
        return 0

    async def _has_arrived(self, transport: Transport, deadline: float) -> bool:
        """Wait until the server has what was given to the transport; return False when its connection is lost."""
        if not self._is_known(transport):
            return False
        try:
            await transport.flush(deadline)
        except UnansweredError as error:
            if self._is_known(transport) and transport.is_open() and asyncio.get_running_loop().time() >= deadline:
                raise DeadlineError("flushing what was published", self._timeout_s) from error
            return False
        return True

    async def _settle(self) -> None:
        """Ask for the server's word a moment after events went out, so that a loss is noticed, and counts few of them."""
        while self._written > self._flushed:
            await asyncio.sleep(SETTLE_S)
            try:
                await self._confirm(self._deadline())
            except DeadlineError as error:
                _LOG.info("%s: %s", self._connection.url, error)

    async def aclose(self) -> None:
        """End what runs by itself; what was published since the last flush is not waited for."""
        if self._settling is not None:
            self._settling.cancel()
            await asyncio.wait([self._settling])
        if self._transport is not None:
            self._note_loss(self._transport)

    # The connection of the moment.

    async def ready(self, deadline: float) -> Transport:
        """Return the connection of the moment, once the one before has delivered what it was given, or that is counted as lost.

        Raises:
            ServerUnavailableError: no server answers by the deadline.
        """
        transport = await self._connection.ready(deadline)
        if not self._is_known(transport):
            async with self._switching:
                if not self._is_known(transport):
                    await self._part(transport, deadline)
                    transport.on_denied = self._on_denied
                    self._transport, self._losses = transport, transport.losses
                    self._written = self._flushed = 0
        return transport

    def _is_known(self, transport: Transport) -> bool:
        """Say whether this carried what was counted, over one connection."""
        return transport is self._transport and transport.losses == self._losses

    async def _part(self, following: Transport, deadline: float) -> None:
        """Have the connection that is left deliver what it was given, where it can, before `following` carries more."""
        left = self._transport
        if left is None:
            return
        try:
            if self._is_known(left):
                # All of it, also what was flushed: that its server has it says nothing of the others.
                await left.flush(deadline)
                self._flushed = self._written
        except UnansweredError as error:
            if self._written > self._flushed:
                _LOG.info("%s: what was published last: %s", self._connection.url, error)
            if isinstance(left, Lane) and left.has_events and left.info.server_id != following.info.server_id:
                await pass_on_from(left, self._timeout_s)
        self._note_loss(left)

    def _count(self, transport: Transport, sent: int) -> None:
        if self._is_known(transport):
            self._written += sent
            if self._settling is None or self._settling.done():
                self._settling = asyncio.create_task(self._settle(), name="aether-bus-settling")
        else:
            self._lose(sent)  # it was lost and left meanwhile

    def _note_loss(self, transport: Transport) -> None:
        """Count, once, what was given to a connection that is lost."""
        if transport is self._transport:
            self._lose(self._written - self._flushed)
            self._flushed = self._written

    def _lose(self, count: int) -> None:
        if count:
            self._missing += count
            _LOG.warning("%s: a connection was lost; up to %d events may not have arrived", self._connection.url, count)

    def _on_denied(self, subject: str, error: Exception) -> None:
        """Keep a denial for the next who publishes to the same subject, or flushes."""
        if not subject.startswith("aether-bus."):
            if not self._unsent(subject, error):
                _LOG.warning("%s: an answer was not sent: %s", self._connection.url, error)
        elif len(self._denied) < DENIED_MAX or subject in self._denied:
            self._denied[subject] = error
        else:
            _LOG.warning("%s: %s", self._connection.url, error)

    def _raise_denied(self) -> None:
        if self._denied:
            error, *others = self._denied.values()
            self._denied = {}
            for other in others:
                _LOG.warning("%s: %s", self._connection.url, other)
            raise error
