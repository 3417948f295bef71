"""The NATS bus's subscriptions on the server: shared where they are the same, proven, and made anew after a loss.

The classic flaw of NATS buses is to publish before the server knows the subscription. So nobody is given a seat here before the
subscription is proven, on every server of the cluster where the bus is asked for that. When the connection is lost, or a server
whose publishers might not have been heard, whoever takes from a feed is interrupted at once, at the place where events may be
missing; what comes later waits behind that mark until the feed is proven again. So a reader that meets the mark, and then catches
up from the store, misses nothing.

One task keeps the feeds that somebody takes from. Whoever joins a feed that nobody has yet proves it himself, within his own
deadline; of several that want the same feed one does it and the others wait for him.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from aether.bus.channels import Channel, Line, Seat
from aether.errors import AccessDeniedError, AetherError, DeadlineError, ServersUnreachableError
from aether.nats.errors import NoRespondersError, UnansweredError
from aether.nats.pauses import backoff_s, pause

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from aether.bus.intake import Intake
    from aether.nats.connection import Connection
    from aether.nats.transport import Transport

__all__ = ["Feeds"]

_LOG = logging.getLogger("aether.bus")

UNANSWERED = (NoRespondersError, UnansweredError)


class Feeds:
    """All subscriptions of one bus on the server.

    Args:
        connection: the bus's connection.
        timeout_s: what one attempt may take, in seconds, where no caller waits for it.
        prove: returns when every server that must know what was subscribed on this transport does; takes a deadline.
    """

    def __init__(self, connection: Connection, timeout_s: float, prove: Callable[[Transport, float], Awaitable[None]]) -> None:
        self._connection, self._timeout_s, self._prove = connection, timeout_s, prove
        self._channels: dict[Channel, None] = {}
        self._shared: dict[str, Channel] = {}
        self._broken: dict[Channel, None] = {}
        self._doubts = 0
        self._trouble: AetherError | None = None
        self._unproven_since: float | None = None
        self._wake = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._channels)

    async def join(
        self, taker: Intake, subject: str, *, namespace: str | None, queue: str | None = None, deadline: float
    ) -> Seat:
        """Return once everything published to `subject` from now on arrives in the taker's mailbox.

        Args:
            taker: who takes.
            subject: a subject or a pattern, made of tokens.
            namespace: whose events these are; None: several namespaces', so a mailbox is told of which.
            queue: of all who join with the same queue, in whatever process, each message goes to one; None: to all.
            deadline: on the loop's clock.

        Raises:
            ServerUnavailableError: no server answers by the deadline, or (`ServersUnreachableError`) not every one.
            AccessDeniedError: the server lets nobody subscribe to that.
        """
        channel = self._channel(subject, queue, namespace)
        channel.users += 1
        # A member of a group gets its share from the moment the server knows it, and nobody else gets that.
        seat = None if queue is None else channel.seat(taker)
        try:
            await self._until_live(channel, deadline)
            self._check_open()
        except BaseException:
            if seat is not None:
                channel.leave(seat.number)
            await self._release(channel, None)
            raise
        if self._keeper is None or self._keeper.done():
            self._keeper = asyncio.create_task(self._keep(), name="aether-bus-feeds")
        return channel.seat(taker) if seat is None else seat

    def _check_open(self) -> None:
        if self._is_closed:
            raise AetherError(f"{self._connection.url}: this was closed; make a new one")

    async def leave(self, seat: Seat) -> None:
        """Give a seat back: nothing comes into its mailbox any more; the last one ends the subscription on the server.

        What was on its way is taken before. Where that cannot be, because the connection is lost or the server does not answer,
        the mailbox is told.
        """
        channel = seat.channel
        try:
            await self._release(channel, asyncio.get_running_loop().time() + self._timeout_s)
        except UNANSWERED as error:
            channel.tell(seat, str(error))
        finally:
            channel.leave(seat.number)

    def doubt(self, reason: str) -> None:
        """Take it that events published on some server may be missed from here on, until all is proven again."""
        self._doubts += 1
        for channel in self._channels:
            channel.interrupt(reason)
            self._mend_later(channel)

    async def aclose(self) -> None:
        """End all subscriptions on the server."""
        self._is_closed = True
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait([keeper])
        channels = [*self._channels]
        self._channels.clear()
        self._shared.clear()
        for channel in channels:
            await _hang_up(channel, None)

    def _channel(self, subject: str, queue: str | None, namespace: str | None) -> Channel:
        # A member of a group has one of its own: the server chooses among subscriptions. And subjects tell namespaces apart.
        channel = self._shared.get(subject) if queue is None else None
        if channel is None:
            channel = Channel(subject, queue, namespace)
            self._channels[channel] = None
            if queue is None:
                self._shared[subject] = channel
        return channel

    def _forget(self, channel: Channel) -> None:
        self._channels.pop(channel, None)
        if self._shared.get(channel.subject) is channel:
            del self._shared[channel.subject]

    async def _release(self, channel: Channel, deadline: float | None) -> None:
        """Take it that one user less is there; with a deadline, wait for what is on its way to him."""
        channel.users -= 1
        if not channel.users:
            # Forgotten before anything is waited for: who comes now makes a new one.
            self._forget(channel)
            await _hang_up(channel, deadline)
        elif deadline is not None and channel.line is not None:
            await channel.line.transport.flush(deadline)

    # Making and proving.

    async def _until_live(self, channel: Channel, deadline: float) -> None:
        """Return when it is live, and what the server sent for others who take from it before this call has passed."""
        attempt, passed = 0, False
        while not (passed and channel.is_live()):
            if channel.refusal is not None:
                raise channel.refusal
            if channel.proving is not None:
                await self._others(channel.proving, deadline)
                continue
            try:
                if channel.is_live():
                    await (await self._connection.ready(deadline)).flush(deadline)
                else:
                    await self._establish([channel], deadline)
                passed = True
            except UNANSWERED as error:
                attempt += 1
                _LOG.debug("subscribing to %s: %s", channel.subject, error)
                await pause(attempt, deadline, f"subscribing to {channel.subject}", self._timeout_s)

    async def _others(self, proving: asyncio.Future[None], deadline: float) -> None:
        """Wait for somebody else who proves the same channel."""
        try:
            async with asyncio.timeout_at(deadline):
                await asyncio.shield(proving)
        except TimeoutError:
            raise self._trouble or DeadlineError("subscribing", self._timeout_s) from None

    async def _establish(self, channels: Sequence[Channel], deadline: float) -> None:
        """Have every server that must know these channels know them; they are proven where nothing came between."""
        proving = asyncio.get_running_loop().create_future()
        for channel in channels:
            channel.proving = proving
        try:
            transport = await self._connection.ready(deadline)
            for channel in channels:
                if channel.line is None and channel.users:
                    await self._subscribe(channel, transport)
            doubts, lines = self._doubts, [(channel, channel.line) for channel in channels]
            await self._prove_since(transport, deadline)
            for channel, line in lines:
                if line is not None and channel.line is line and doubts == self._doubts:
                    channel.proven()
            self._trouble = None
        except AetherError as error:
            self._trouble = error
            raise
        finally:
            proving.set_result(None)
            for channel in channels:
                channel.proving = None
                self._mend_later(channel)

    async def _prove_since(self, transport: Transport, deadline: float) -> None:
        """Prove, and keep in mind since when there are servers by which that does not go."""
        since, self._unproven_since = self._unproven_since or asyncio.get_running_loop().time(), None
        try:
            await self._prove(transport, deadline)
        except ServersUnreachableError:
            self._unproven_since = since
            raise

    async def _subscribe(self, channel: Channel, transport: Transport) -> None:
        line = Line(transport)
        channel.line = line
        try:
            line.feed = await transport.subscribe(
                channel.subject,
                channel.queue,
                channel.exchange,
                channel.wake,
                lambda reason: self._on_lost(channel, line, reason),
            )
        except BaseException as error:
            if channel.line is line:
                channel.line = None
            if isinstance(error, AccessDeniedError):
                self._refuse(channel, error)
                return
            raise
        if channel.line is not line or not channel.users:
            await line.feed.aclose()  # lost, or left by everyone, while it was made

    def _on_lost(self, channel: Channel, line: Line, reason: Exception) -> None:
        if channel.line is line:
            channel.line = None
            channel.interrupt(str(reason))
            self._mend_later(channel)
        if isinstance(reason, AccessDeniedError):
            self._refuse(channel, reason)

    def _refuse(self, channel: Channel, error: AetherError) -> None:
        """End a channel that the server does not allow; whoever asks for it later tries anew."""
        channel.refusal = error
        self._forget(channel)
        for taker in [*channel.takers.values()]:
            taker.fail(error)

    # Keeping.

    async def _keep(self) -> None:
        while True:
            try:
                await self._keep_on()
            except Exception as error:  # noqa: BLE001 - whatever it is, nobody must wait for ever
                _LOG.exception("%s: subscriptions end", self._connection.url)
                for channel in [*self._channels]:
                    self._refuse(channel, AetherError(f"the bus cannot go on: {error!r}"))

    def _mend_later(self, channel: Channel) -> None:
        if channel.is_broken():
            self._broken[channel] = None
            self._wake.set()

    async def _keep_on(self) -> None:
        attempt = 0
        while True:
            await self._wake.wait()
            self._wake.clear()
            # One that others are at comes back when they have done with it.
            broken = [channel for channel in self._broken if channel.is_broken()]
            self._broken.clear()
            if broken and not await self._mended(broken):
                attempt += 1
                await asyncio.sleep(backoff_s(attempt))
            else:
                attempt = 0

    async def _mended(self, broken: list[Channel]) -> bool:
        """Try to make these anew, and say whether that went well, or need not be tried again."""
        try:
            await self._establish(broken, asyncio.get_running_loop().time() + self._timeout_s)
        except (*UNANSWERED, AetherError) as error:
            if isinstance(error, AetherError) and (isinstance(error, AccessDeniedError) or self._connection.is_over()):
                for channel in broken:
                    self._refuse(channel, error)
                return True  # as well as it can
            _LOG.info("%s: %d subscriptions are interrupted: %s", self._connection.url, len(broken), error)
            if isinstance(error, ServersUnreachableError):
                self._go_on_without(error.servers, broken)
            return False
        return True

    def _go_on_without(self, servers: tuple[str, ...], broken: list[Channel]) -> None:
        """Let those who take from these go on once some servers could not be reached for long enough."""
        now = asyncio.get_running_loop().time()
        away_s = now - (self._unproven_since or now)
        if away_s < self._timeout_s / 2:
            return  # it is known at once where no proof is possible, and may change
        names = ", ".join(servers)
        reason = (
            f"{names}: not reached for {away_s:.1f} s, so what is published there may be missed from here on, until another "
            "SubscriptionInterruptedError says that it is heard again"
        )
        heard = [channel for channel in broken if channel.line is not None]
        if any(channel.unproven != servers for channel in heard):
            _LOG.warning("%s: %d subscriptions go on without %s", self._connection.url, len(heard), reason)
        for channel in heard:
            channel.go_on_without(servers, reason)


async def _hang_up(channel: Channel, deadline: float | None) -> None:
    """End the subscription on the server; with a deadline, once what is on its way has been taken."""
    line, channel.line = channel.line, None
    if line is None or line.feed is None:
        return
    if deadline is not None:
        await line.feed.leave(deadline)
        return
    with suppress(*UNANSWERED):  # with its connection the subscription is gone too
        await line.feed.aclose()
