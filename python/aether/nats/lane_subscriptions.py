"""What a lane hears beside its own answers: inboxes for native sinks, and feeds of a bus for native exchanges.

An inbox is part of the lane: where the server denies it, nothing is ever answered, and the lane ends. A feed is one of many: a
denied one ends alone. Nobody asks for a feed's messages, so nothing holds the server back here: the exchange takes each chunk
as it comes, and its mailboxes have the bounds.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
from typing import TYPE_CHECKING

from aether._native import request_frames
from aether.errors import AccessDeniedError
from aether.nats.errors import NoRespondersError
from aether.nats.lane_socket import LaneSocket

if TYPE_CHECKING:
    from collections.abc import Callable

    from aether._native import Exchange
    from aether.nats.errors import Denied
    from aether.nats.login import Server
    from aether.nats.transport import Outbox, Sink

__all__ = ["LaneFeed", "LaneInbox", "LaneSubscriptions"]

_LOG = logging.getLogger("aether.nats")


class LaneSubscriptions(LaneSocket):
    """A lane's connection and the subscriptions on it; requests are `lane.py`'s.

    Attributes:
        on_denied: called when the server denies a publish that is no request, with the subject in lower case and the error.
    """

    on_denied: Callable[[str, Exception], None] | None = None

    def __init__(self, server: Server, ping_s: float, changed: Callable[[], None]) -> None:
        """Use `Lane.open`: a lane that is not connected hears nothing."""
        super().__init__(server, _new_inbox(), ping_s, changed)
        self._inboxes: dict[int, LaneInbox] = {}
        self._feeds: dict[int, LaneFeed] = {}
        self._alike: dict[tuple[str, str | None], set[int]] = {}
        self._last_sid = 1

    def wake(self, sid: int) -> None:
        """Tell whoever reads under this subscription that something was taken."""
        heard = self._inboxes.get(sid) or self._feeds.get(sid)
        if heard is not None:
            heard.woken()

    def _new_sid(self) -> int:
        self._last_sid += 1
        return self._last_sid

    def _forget(self, sid: int) -> None:
        self._reader.detach(sid)
        self._unsubscribe(sid)

    def _unsubscribe(self, sid: int) -> None:
        """Give a subscription back; twice does no harm."""
        with contextlib.suppress(NoRespondersError):  # a lane that is lost has no subscriptions
            self.write(f"UNSUB {sid}\r\n".encode())

    def _settled(self) -> None:
        """Take it that an inbox was given back."""
        raise NotImplementedError

    # Inboxes.

    async def open_inbox(self, sink: Sink, woken: Callable[[], None], lost: Callable[[Exception, str | None], None]) -> LaneInbox:
        """Lead answers to a native sink; see `Transport.open_inbox`."""
        sid = self._new_sid()
        inbox = LaneInbox(self, sid, woken, lost)
        self._reader.attach(sid, inbox.prefix, sink)
        self._inboxes[sid] = inbox
        # What is asked later goes the same way, so the server has the subscription before it has a question.
        self.write(f"SUB {inbox.prefix}* {sid}\r\n".encode())
        return inbox

    def close_inbox(self, sid: int) -> None:
        """End what `open_inbox` began."""
        if self._inboxes.pop(sid, None) is not None:
            self._forget(sid)
            self._settled()

    async def carry(self, deadline: float) -> None:
        """Wait until something can be sent.

        Raises:
            NoRespondersError: the lane is lost, takes nothing until the deadline, or takes no more; nothing was sent.
        """
        await self.room(deadline)
        if not self.is_open():
            raise NoRespondersError("the lane is closed, or closing")

    # Feeds.

    async def subscribe(
        self,
        subject: str,
        queue: str | None,
        exchange: Exchange,
        woken: Callable[[], None],
        lost: Callable[[Exception], None],
    ) -> LaneFeed:
        """Lead messages to a native exchange; see `Transport.subscribe`."""
        if not self.is_open():
            raise NoRespondersError("the lane is closed, or closing")
        sid = self._new_sid()
        self.write(f"SUB {subject} {queue + ' ' if queue else ''}{sid}\r\n".encode())
        self._reader.attach_messages(sid, exchange)
        feed = self._feeds[sid] = LaneFeed(self, sid, (subject, queue), woken=woken, lost=lost)
        self._alike.setdefault(feed.what, set()).add(sid)
        return feed

    def close_feed(self, sid: int) -> bool:
        """End what `subscribe` began; say whether it had not ended before."""
        feed = self._feeds.pop(sid, None)
        if feed is None:
            return False
        alike = self._alike[feed.what]
        alike.discard(sid)
        if not alike:
            del self._alike[feed.what]
        self._forget(sid)
        return True

    async def leave_feed(self, sid: int, deadline: float) -> None:
        """End what `subscribe` began, once what is on its way has been taken."""
        if sid not in self._feeds:
            return
        try:
            self._unsubscribe(sid)
            await self.flush(deadline)
        finally:
            self.close_feed(sid)

    def end_feeds(self, reason: Exception) -> None:
        """Give all feeds back, so that they can begin elsewhere without anything coming twice, and tell their owners why."""
        for feed in [*self._feeds.values()]:
            feed.end(reason)

    def refuse(self, what: Denied, reason: Exception) -> bool:
        """Tell those whom a "permissions violation" concerns; False: the lane is of no use without."""
        if what.publish:
            waited = self.lose_waiting(reason, what.subject)  # it will not be answered
            if not waited and self.on_denied is not None:
                self.on_denied(what.subject, reason)
            return True
        if what.is_inbox:
            return False
        # By its number where what was allowed is taken back, else all that are subscribed alike are denied alike.
        sids = self._alike.get((what.told, what.queue), set()) if what.sid is None else {what.sid}
        ended = [feed for sid in sids if (feed := self._feeds.get(sid)) is not None]
        for feed in ended:
            feed.end(reason)
        if not ended:
            _LOG.info("%s: %s; nobody listens there any more", self.server.shown, reason)
        return True

    def refuse_newest(self) -> bool:
        """Give up the last subscription: the server takes them in order until there are as many as it allows."""
        sid = max(next(reversed(self._inboxes), 0), next(reversed(self._feeds), 0))
        many = "maximum subscriptions exceeded; end some, or let the server allow more (max_subscriptions)"
        reason = AccessDeniedError(self.server.shown, many)
        if sid in self._feeds:
            self._feeds[sid].end(reason)
        elif sid:
            inbox = self._inboxes[sid]
            self.close_inbox(sid)
            inbox.lost(reason, None)
        return bool(sid)


class LaneInbox:
    """An inbox whose answers go to a native sink; see `transport.Inbox`."""

    def __init__(
        self, lane: LaneSubscriptions, sid: int, woken: Callable[[], None], lost: Callable[[Exception, str | None], None]
    ) -> None:
        self._lane, self._sid, self.woken, self.lost = lane, sid, woken, lost
        self.prefix = _new_inbox()

    async def ask(self, subject: str, payload: bytes, token: int, deadline: float) -> None:
        """Send one request whose answers come under `token`."""
        await self._lane.carry(deadline)
        self._lane.write(request_frames(subject, self.prefix, token, [payload]))

    async def send(self, outbox: Outbox, deadline: float) -> None:
        """Send what the outbox has ready."""
        await self._lane.carry(deadline)
        while frames := outbox.frames(self.prefix):
            self._lane.write(frames)
            await self._lane.carry(deadline)

    async def aclose(self) -> None:
        """Give the inbox back; answers that still come are of no more interest."""
        self._lane.close_inbox(self._sid)


class LaneFeed:
    """A subscription whose messages go to a native exchange; see `transport.Feed`.

    Attributes:
        what: its subject and group.
        woken: called after the exchange took some.
    """

    def __init__(
        self,
        lane: LaneSubscriptions,
        sid: int,
        what: tuple[str, str | None],
        *,
        woken: Callable[[], None],
        lost: Callable[[Exception], None],
    ) -> None:
        self._lane, self._sid, self.what = lane, sid, what
        self.woken, self._lost = woken, lost

    def end(self, reason: Exception) -> None:
        """Give it back, because no more messages come, or none that could be relied on."""
        if self._lane.close_feed(self._sid):
            self._lost(reason)

    async def leave(self, deadline: float) -> None:
        """Give the subscription back, and return once what was on its way has been taken; see `Feed.leave`."""
        await self._lane.leave_feed(self._sid, deadline)

    async def aclose(self) -> None:
        """Give the subscription back; messages that still come are of no more interest."""
        self._lane.close_feed(self._sid)


def _new_inbox() -> str:
    return f"_INBOX.{secrets.token_hex(11)}."
