"""A bus's feeds over nats-py's public API, message by message.

nats-py subscribes again by itself after a loss, without a word of what was missed meanwhile, and a borrowed client tells its
owner, and only its owner, of losses and refusals. So while there are feeds, the client is looked at: at each message, and at
times. It remembers the last refusal only, which is why subscriptions are made one after the other, each with a round trip.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aether.nats.errors import NoRespondersError, UnansweredError, client_error, denied
from aether.nats.portable_inbox import subscribe, unsubscribe
from aether.nats.urls import redacted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

    from aether._native import Exchange
    from aether.nats.errors import Denied

__all__ = ["NatsPyFeed", "NatsPyFeeds"]

LOOK_S = 0.05
"""How often a client with feeds is looked at."""

TAKE_S = 0.001
"""How often it is looked whether what came has been taken."""

SUBSCRIBE_S = 5.0
"""How long the server may take to say what it thinks of a subscription."""


class NatsPyFeeds:
    """The feeds on one client.

    Args:
        client: the client.
        refuse: told of what the server denied, where nobody else tells.
        flush: returns when the server has everything that was given to the client; takes a deadline.
    """

    def __init__(
        self, client: Client, refuse: Callable[[Denied, Exception], object], flush: Callable[[float], Awaitable[None]]
    ) -> None:
        self._client, self._refuse, self._flush = client, refuse, flush
        self._loop = asyncio.get_running_loop()
        self._open: set[NatsPyFeed] = set()
        self._subscribing = asyncio.Lock()
        self._known_error = client.last_error
        self._looking: asyncio.TimerHandle | None = None

    async def subscribe(self, subject: str, queue: str | None, feed: NatsPyFeed) -> NatsPyFeed:
        """Begin a feed; see `Transport.subscribe`."""
        async with self._subscribing:
            self.look()
            if not self._client.is_connected:
                raise NoRespondersError("the client is not connected")
            try:
                await feed.subscribe(subject, queue, self._flush)
                self._open.add(feed)
                await self._flush(self._loop.time() + SUBSCRIBE_S)
            except BaseException:
                self._open.discard(feed)
                await feed.aclose()
                raise
        self._look_again()
        return feed

    def heard(self) -> None:
        """Take it that somebody told of the client's last error."""
        self._known_error = self._client.last_error

    def end(self, reason: Exception, what: Denied | None = None) -> None:
        """End all feeds, or those that the server denies."""
        for feed in [*self._open]:
            if what is None or feed.is_meant(what):
                feed.end(reason)

    def look(self) -> None:
        """Notice that the connection was lost, and what the server denied."""
        for feed in [*self._open]:
            if feed.is_open and feed.is_cut():
                feed.end(UnansweredError("the connection was lost"))
            if not feed.is_open:
                self._open.discard(feed)
        error = self._client.last_error
        if error is None or error is self._known_error:
            return
        self.heard()
        what = denied(error)
        if what is None:
            return
        url = self._client.connected_url
        self._refuse(what, client_error(redacted(url.geturl()) if url else "a borrowed client", error))
        if what.sid is not None:
            # What was allowed is no more; of several that end like this only the last is remembered. Whoever is still allowed
            # begins again, and hears that something may have been missed.
            self.end(UnansweredError("the server takes back what this client may subscribe to"))

    def _look_again(self) -> None:
        if self._open and self._looking is None:
            self._looking = self._loop.call_later(LOOK_S, self._look_at_times)

    def _look_at_times(self) -> None:
        self._looking = None
        self.look()
        self._look_again()


class NatsPyFeed:
    """A subscription on nats-py's client whose messages go to a native exchange; see `transport.Feed`.

    nats-py subscribes again by itself after a loss, without a word of what was missed meanwhile. So a feed belongs to one
    connection, and ends with it.
    """

    _flush: Callable[[float], Awaitable[None]]

    def __init__(
        self,
        client: Client,
        exchange: Exchange,
        woken: Callable[[], None],
        lost: Callable[[Exception], None],
    ) -> None:
        self._client, self._exchange, self._woken, self._lost = client, exchange, woken, lost
        self._connections = client.stats["reconnects"]
        self._subscription: Subscription | None = None
        self._closing: asyncio.Task[None] | None = None
        self.is_open = True

    async def subscribe(self, subject: str, queue: str | None, flush: Callable[[float], Awaitable[None]]) -> None:
        """Let messages come. nats-py's own bounds are off: the exchange takes each message, and its mailboxes have bounds."""
        self._flush = flush
        self._subscription = await subscribe(self._client, subject, queue or "", self._take)

    def is_cut(self) -> bool:
        """Say whether the connection was lost since the feed began, so that messages may have been missed."""
        return self._client.stats["reconnects"] != self._connections or not self._client.is_connected

    def is_meant(self, what: Denied) -> bool:
        """Say whether this subscription is denied; nats-py tells the subject in lower case."""
        mine = self._subscription
        if mine is None or mine.subject.lower() != what.subject:
            return False
        # What was allowed before is taken back without naming the group.
        return what.sid is not None or mine.queue.lower() == (what.queue or "")

    async def _take(self, msg: Msg) -> None:
        if self.is_open and not self.is_cut():
            self._exchange.accept(msg.subject, msg.reply, msg.data)
            self._woken()
        else:
            self.end(UnansweredError("the connection was lost"))

    def end(self, reason: Exception) -> None:
        """Give it back, because no more messages come, or none that could be relied on."""
        if self.is_open:
            self._closing = asyncio.ensure_future(self.aclose())
            self.is_open = False
            self._lost(reason)

    async def leave(self, deadline: float) -> None:
        """Give the subscription back, and return once what was on its way has been taken; see `Feed.leave`."""
        subscription = self._subscription
        try:
            if self.is_open and subscription is not None and not self.is_cut():
                # Public calls either forget at once what is on its way, or wait in a way that cannot be given up.
                await self._client._send_unsubscribe(subscription._id)  # noqa: SLF001
                await self._flush(deadline)
                while subscription.pending_msgs:
                    if asyncio.get_running_loop().time() > deadline:
                        raise UnansweredError("what came was not taken in time")
                    await asyncio.sleep(TAKE_S)
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """Give the subscription back; messages that still come are of no more interest."""
        self.is_open = False
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            await unsubscribe(subscription)
