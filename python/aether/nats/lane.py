"""The lane: a second connection whose socket is asyncio's and whose bytes are the crate's.

nats-py spends 10 to 16 µs on a message, most of it on parsing and on the hops between its tasks; framing and parsing the
same bytes natively costs about 1 µs. So data travels here, per the published NATS client protocol, and control stays with
nats-py: it finds the servers, reconnects with backoff, and the lane follows it to the server it is connected to. The lane is
no general client: it publishes, sends requests, hears answers on inboxes of its own, leads a bus's messages to native mailboxes,
and answers PING.

What goes out waits where the server takes less than it is given. What comes in needs no such thing: answers come only where they
were asked for, and each who asks bounds them (one a request, `ANSWERS_BYTES_MAX` for a batch, the windows of whoever reads by an
inbox), and a bus's messages are bounded by the mailboxes they go to. Both are taken in the chunk in which they come, so a reader
that is late leaves them in the socket.

When the connection is lost everything in flight is unanswered at once; nothing is sent again here, because only the caller
knows whether that is safe.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from aether._native import publish_events, publish_frame, request_frames
from aether.errors import ServerRefusedError
from aether.nats.errors import UnansweredError
from aether.nats.lane_subscriptions import LaneSubscriptions
from aether.nats.transport import ANSWERS_BYTES_MAX, PUBLISH_BYTES_MAX, Reply, header_bytes, heard
from aether.nats.waiting import Waiting, expire, finish

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from urllib.parse import ParseResult

    from aether._native import Event
    from aether.nats.login import Server

__all__ = ["Lane"]

ANSWER_BYTES = 256
"""What an answer takes beside its body, so that empty ones count too."""


class Lane(LaneSubscriptions):
    """An open lane; made by `await Lane.open(server, …)`.

    Attributes:
        has_events: whether it was given events to publish.
    """

    name = "lane"
    losses = 0  # one that is lost is not made anew

    def __init__(self, server: Server, ping_s: float, changed: Callable[[], None]) -> None:
        """Use `open`: a lane that is not connected carries nothing."""
        super().__init__(server, ping_s, changed)
        self._takers: dict[int, Callable[[int, Reply], None]] = {}
        self._hearing: dict[int, Callable[[bytes], None]] = {}
        self._waiting = Waiting()
        self._next_token = 1
        self._drained: asyncio.Future[None] | None = None
        self._delivered = False  # whether it was left in good order: the server has all that it was ever given
        self._passing: asyncio.Task[None] | None = None
        self.has_events = False

    @classmethod
    async def open(cls, server: Server, ping_s: float, changed: Callable[[], None]) -> Lane:
        """Connect and log in; see `LaneSocket`.

        Raises:
            OSError: nobody listens there, or it hangs up.
            AccessDeniedError: the server refuses the login, or the inbox.
            ServerUnavailableError: what answers is no NATS server, or offers no TLS where it must.
        """
        lane = cls(server, ping_s, changed)
        await lane.connect()
        return lane

    @property
    def max_payload(self) -> int:
        """The largest message the server takes, in bytes, headers included."""
        return self.info.max_payload

    @property
    def connected_url(self) -> ParseResult | None:
        """Where it is connected."""
        return self.server.url

    async def aclose(self) -> None:
        """Close; what is in flight becomes unanswered."""
        self.lose(UnansweredError("the connection was closed"), orderly=True)
        if self._passing is not None:
            self._passing.cancel()
            await asyncio.wait([self._passing])
        await asyncio.sleep(0)  # the socket hears of its end in the loop's next round

    def leave(self, pass_on: Callable[[Lane], Coroutine[Any, Any, None]] | None = None) -> None:
        """Take no more requests and events. Feeds end at once, inboxes when their owners give them back.

        Args:
            pass_on: waits until other servers have the events that were published here, which `flush` then waits for too.
        """
        if self._drained is not None:
            return
        self._drained = self._loop.create_future()
        if pass_on is not None and self.has_events:
            self._passing = asyncio.create_task(pass_on(self), name="aether-nats-passing")
        self.end_feeds(UnansweredError("the server is about to go"))
        self._settled()

    async def drain(self, deadline: float) -> None:
        """Leave, let what is in flight be answered until the deadline, and close."""
        self.leave()
        try:
            async with asyncio.timeout_at(deadline):
                if self._drained is not None:
                    await self._drained
            with contextlib.suppress(UnansweredError):
                await self.flush(deadline)
                self._delivered = True
        except TimeoutError:
            pass  # what is unanswered by then the close tells
        finally:
            await self.aclose()

    async def flush(self, deadline: float) -> None:
        """Return when the server has all that was given to this lane before; see `Transport.flush`."""
        if not self._delivered:
            await super().flush(deadline)
        if self._passing is not None:
            await asyncio.wait([self._passing], timeout=deadline - self._loop.time())

    def is_open(self) -> bool:
        """Say whether requests can go out."""
        return self.lost is None and self._drained is None

    def is_leaving(self) -> bool:
        """Say whether requests can go out, but the server told that it is about to go."""
        return self.is_open() and self.info.ldm

    def _settled(self) -> None:
        if self._drained is not None and not self._takers and not self._inboxes:
            finish(self._drained)

    def take(self, answers: list[Any]) -> None:
        """Give answers to whoever asked."""
        takers = self._takers
        for token, status, position, subject, body in answers:
            taker = takers.get(token)
            # An answer that nobody waits for any more: its request was resolved another way.
            if taker is not None:
                taker(token, Reply(status, position, subject, body))
            elif token in self._hearing:
                self._hearing[token](body)

    def lose_waiting(self, reason: Exception, subject: str | None = None) -> bool:
        """End what is in flight (to `subject`, in lower case, or all) with `reason`; say whether a request was."""
        waited = self._waiting.lose(reason, subject)
        for inbox in [*self._inboxes.values()]:
            inbox.lost(reason, subject)
        if subject is None:
            self.end_feeds(reason)
        if self.lost is not None and self._drained is not None:
            finish(self._drained)
        return waited

    def _check_size(self, subject: str, size: int) -> None:
        if size > self.info.max_payload:
            raise ServerRefusedError(subject, 0, f"{size:,} bytes are more than the server takes: {self.info.max_payload:,}")

    # Requests.

    async def request(
        self,
        subject: str,
        payload: bytes,
        deadline: float,
        headers: dict[str, str] | None = None,
        wanted: Callable[[Reply], bool] | None = None,
    ) -> Reply:
        """Send one request and return its answer; see `Transport.request`."""
        answers: list[Reply] = []
        done = self._loop.create_future()

        def taker(_: int, reply: Reply) -> None:
            if wanted is None or wanted(reply):
                answers.append(reply)
                finish(done)

        lines = [*headers.items()] if headers else []
        self._check_size(subject, len(payload) + header_bytes(lines))
        tokens = self._new_tokens(1)
        frame = publish_frame(subject, f"{self._inbox}{tokens.start}", lines, payload)
        await self._exchange(subject, frame, tokens, taker, done=done, deadline=deadline)
        return heard(answers[0])

    async def request_each(self, subject: str, payloads: Sequence[bytes], deadline: float) -> list[Reply]:
        """Send all requests at once and return their answers in the same order."""
        if not payloads:
            return []
        count = len(payloads)
        tokens = self._new_tokens(count)
        answers: list[Reply | None] = [None] * count
        left = count
        done = self._loop.create_future()

        def taker(token: int, reply: Reply) -> None:
            nonlocal left
            left -= answers[token - tokens.start] is None
            answers[token - tokens.start] = reply
            if not left:
                finish(done)

        frames = request_frames(subject, self._inbox, tokens.start, list(payloads))
        await self._exchange(subject, frames, tokens, taker, done=done, deadline=deadline)
        return [heard(reply) for reply in answers if reply is not None]

    async def request_batch(self, subject: str, payload: bytes, deadline: float) -> list[Reply]:
        """Send one request that is answered by several messages; return them up to and with the one that has a status."""
        answers: list[Reply] = []
        size = 0
        done = self._loop.create_future()

        def taker(_: int, reply: Reply) -> None:
            nonlocal size
            size += len(reply.data) + ANSWER_BYTES
            if size > ANSWERS_BYTES_MAX:
                expire(done, f"more than {ANSWERS_BYTES_MAX:,} bytes answer one request")
                return
            answers.append(reply)
            if reply.status:
                finish(done)

        tokens = self._new_tokens(1)
        frame = request_frames(subject, self._inbox, tokens.start, [payload])
        await self._exchange(subject, frame, tokens, taker, done=done, deadline=deadline)
        heard(answers[-1])
        return answers

    def _new_tokens(self, count: int) -> range:
        tokens = range(self._next_token, self._next_token + count)
        self._next_token = tokens.stop
        return tokens

    async def _exchange(
        self,
        subject: str,
        frames: bytes,
        tokens: range,
        taker: Callable[[int, Reply], None],
        *,
        done: asyncio.Future[None],
        deadline: float,
    ) -> None:
        """Send, and give what answers these tokens to `taker` until it has what it wants."""
        self._takers.update((token, taker) for token in tokens)
        try:
            if not self._room.is_set():
                await self.room(deadline)
            self.write(frames)
            await self._waiting.within(done, subject, deadline)
        finally:
            for token in tokens:
                del self._takers[token]
            self._settled()

    # Events.

    def hear(self, taker: Callable[[bytes], None]) -> str:
        """Lead what is published to a subject of our own to `taker`; see `Transport.hear`."""
        token = self._new_tokens(1).start
        self._hearing[token] = taker
        return f"{self._inbox}{token}"

    async def publish_events(self, namespace: str, events: list[Event], start: int, deadline: float) -> int:
        """Publish events in their order; see `Transport.publish_events`."""
        await self.carry(deadline)
        frames, following = publish_events(namespace, events, start, self.info.max_payload, PUBLISH_BYTES_MAX)
        self.write(frames)
        self.has_events = True
        return following

    async def publish_reply(self, subject: str, body: bytes, deadline: float) -> None:
        """Answer a request; see `Transport.publish_reply`."""
        self._check_size(subject, len(body))
        await self.carry(deadline)
        self.write(publish_frame(subject, "", [], body))
