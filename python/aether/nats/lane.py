"""The lane: a second connection whose socket is asyncio's and whose bytes are the crate's.

nats-py spends 10 to 16 µs on a message, most of it on parsing and on the hops between its tasks; framing and parsing the
same bytes natively costs about 1 µs. So data travels here, per the published NATS client protocol, and control stays with
nats-py: it finds the servers, reconnects with backoff, and the lane follows it to the server it is connected to. The lane is
no general client: it publishes, sends requests, hears answers on inboxes of its own, and answers PING.

What goes out waits where the server takes less than it is given. What comes in needs no such thing: nothing comes that was not
asked for, and each who asks bounds it (one answer a request, `ANSWERS_BYTES_MAX` for a batch, the windows of whoever reads by an
inbox); answers are taken in the chunk in which they come, so a reader that is late leaves them in the socket.

When the connection is lost everything in flight is unanswered at once; nothing is sent again here, because only the caller
knows whether that is safe.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import TYPE_CHECKING, Any

from aether._native import publish_frame, request_frames
from aether.errors import ServerRefusedError
from aether.nats.errors import NoRespondersError, UnansweredError
from aether.nats.lane_socket import LaneSocket
from aether.nats.transport import ANSWERS_BYTES_MAX, Reply, expire, finish, header_bytes, heard

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aether.nats.login import Server
    from aether.nats.transport import Outbox, Sink

__all__ = ["Lane"]

ANSWER_BYTES = 256
"""What an answer takes beside its body, so that empty ones count too."""


class Lane(LaneSocket):
    """An open lane; made by `await Lane.open(server, …)`."""

    name = "lane"

    def __init__(self, server: Server, ping_s: float, changed: Callable[[], None]) -> None:
        """Use `open`: a lane that is not connected carries nothing."""
        super().__init__(server, f"_INBOX.{secrets.token_hex(11)}.", ping_s, changed)
        self._takers: dict[int, Callable[[int, Reply], None]] = {}
        self._waiting: dict[asyncio.Future[None], str] = {}
        self._inboxes: dict[int, LaneInbox] = {}
        self._next_token = 1
        self._next_sid = 2
        self._drained: asyncio.Future[None] | None = None

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

    async def aclose(self) -> None:
        """Close; what is in flight becomes unanswered."""
        self.lose(UnansweredError("the connection was closed"))
        await asyncio.sleep(0)  # the socket hears of its end in the loop's next round

    async def drain(self, deadline: float) -> None:
        """Take no more requests, let those in flight be answered until the deadline, and close.

        Inboxes are in flight until their owners give them back; they can ask and send no more.
        """
        self._drained = self._loop.create_future()
        self._settled()
        try:
            async with asyncio.timeout_at(deadline):
                await self._drained
        except TimeoutError:
            pass  # what is unanswered by then the close tells
        finally:
            await self.aclose()

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

    def wake(self, sid: int) -> None:
        """Tell whoever reads under this subscription that its sink took answers."""
        inbox = self._inboxes.get(sid)
        if inbox is not None:
            inbox.woken()

    def lose_waiting(self, reason: Exception, subject: str | None = None) -> None:
        """End what is in flight (to `subject`, in lower case, or all) with `reason`."""
        for future, sent_to in self._waiting.items():
            if (subject is None or sent_to.lower() == subject) and not future.done():
                future.set_exception(reason)
        for inbox in [*self._inboxes.values()]:
            inbox.lost(reason, subject)
        if self.lost is not None and self._drained is not None:
            finish(self._drained)

    def _check_size(self, subject: str, size: int) -> None:
        if size > self.info.max_payload:
            raise ServerRefusedError(subject, 0, f"{size:,} bytes are more than the server takes: {self.info.max_payload:,}")

    # Requests.

    async def request(self, subject: str, payload: bytes, deadline: float, headers: dict[str, str] | None = None) -> Reply:
        """Send one request and return its answer."""
        answers: list[Reply] = []
        done = self._loop.create_future()

        def taker(_: int, reply: Reply) -> None:
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
            await self._within(done, subject, deadline)
        finally:
            for token in tokens:
                del self._takers[token]
            self._settled()

    async def _within(self, done: asyncio.Future[None], subject: str, deadline: float) -> None:
        self._waiting[done] = subject
        timer = self._loop.call_at(deadline, expire, done)
        try:
            await done
        finally:
            timer.cancel()
            del self._waiting[done]

    # Answers that are taken natively.

    async def open_inbox(self, sink: Sink, woken: Callable[[], None], lost: Callable[[Exception, str | None], None]) -> LaneInbox:
        """Lead answers to a native sink; see `Transport.open_inbox`."""
        sid = self._next_sid
        self._next_sid += 1
        inbox = LaneInbox(self, sid, woken, lost)
        self._reader.attach(sid, inbox.prefix, sink)
        self._inboxes[sid] = inbox
        # What is asked later goes the same way, so the server has the subscription before it has a question.
        self.write(f"SUB {inbox.prefix}* {sid}\r\n".encode())
        return inbox

    def close_inbox(self, sid: int) -> None:
        """End what `open_inbox` began."""
        if self._inboxes.pop(sid, None) is not None:
            self._reader.detach(sid)
            with contextlib.suppress(NoRespondersError):  # a lane that is lost has no subscriptions
                self.write(f"UNSUB {sid}\r\n".encode())
            self._settled()

    async def carry(self, deadline: float) -> None:
        """Wait until an inbox can send.

        Raises:
            NoRespondersError: the lane is lost, takes nothing until the deadline, or takes no more; nothing was sent.
        """
        await self.room(deadline)
        if not self.is_open():
            raise NoRespondersError("the lane is closed, or closing")


class LaneInbox:
    """An inbox whose answers go to a native sink; see `transport.Inbox`."""

    def __init__(self, lane: Lane, sid: int, woken: Callable[[], None], lost: Callable[[Exception, str | None], None]) -> None:
        self._lane, self._sid, self.woken, self.lost = lane, sid, woken, lost
        self.prefix = f"_INBOX.{secrets.token_hex(11)}."

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
