"""Requests over nats-py's public API: slower than a lane, and everywhere where nats-py is.

It has inboxes of its own, so that many requests are in flight at once and a lost connection ends them all at once instead of
by their time-outs.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import nats.errors

from aether.errors import ServerRefusedError
from aether.nats.errors import NoRespondersError, UnansweredError
from aether.nats.transport import GUARD, Reply, expire, finish, heard

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

    from aether.nats.transport import Outbox, Sink

__all__ = ["NatsPyTransport"]

ACK = "$JS.ACK."


class NatsPyTransport:
    """A transport over a connected nats-py client, owned or borrowed; made by `await NatsPyTransport.open(client)`."""

    name = "nats-py"

    def __init__(self, client: Client, inbox: str) -> None:
        """Use `open`: a transport without its subscription hears nothing."""
        self._client = client
        self._inbox = inbox
        self._loop = asyncio.get_running_loop()
        self._takers: dict[str, Callable[[Msg], None]] = {}
        self._waiting: dict[asyncio.Future[None], str] = {}
        self._inboxes: dict[NatsPyInbox, Callable[[Exception, str | None], None]] = {}
        self._last_token = 0
        self._subscription: Subscription | None = None

    @classmethod
    async def open(cls, client: Client) -> NatsPyTransport:
        """Subscribe an inbox of its own on the client."""
        self = cls(client, client.new_inbox())
        # No bounds here: whoever asks bounds what can come back, and a full queue would drop answers.
        self._subscription = await client.subscribe(
            f"{self._inbox}.*", cb=self._take, pending_msgs_limit=0, pending_bytes_limit=0
        )
        return self

    @property
    def max_payload(self) -> int:
        """The largest message the server takes, in bytes, headers included."""
        return self._client.max_payload

    def is_open(self) -> bool:
        """Say whether requests can go out."""
        return self._client.is_connected

    async def aclose(self) -> None:
        """Give the inbox back; what is in flight becomes unanswered."""
        self.lose_waiting(UnansweredError("the connection was closed"))
        if self._subscription is not None:
            await _unsubscribe(self._subscription)

    def lose_waiting(self, reason: Exception, subject: str | None = None) -> None:
        """End what is in flight (to `subject`, or all) with `reason`: the connection is lost, or the subject is denied.

        The subject is given in lower case, as nats-py tells it.
        """
        for future, sent_to in self._waiting.items():
            if (subject is None or sent_to.lower() == subject) and not future.done():
                future.set_exception(reason)
        for lost in [*self._inboxes.values()]:
            lost(reason, subject)

    async def open_inbox(
        self, sink: Sink, woken: Callable[[], None], lost: Callable[[Exception, str | None], None]
    ) -> NatsPyInbox:
        """Lead answers to a native sink; see `Transport.open_inbox`."""
        inbox = NatsPyInbox(self._client, sink, woken, lambda closed: self._inboxes.pop(closed, None))
        await inbox.subscribe()
        self._inboxes[inbox] = lost
        return inbox

    async def request(self, subject: str, payload: bytes, deadline: float, headers: dict[str, str] | None = None) -> Reply:
        """Send one request and return its answer."""
        answer: list[Reply] = []
        done = self._loop.create_future()

        def take(msg: Msg) -> None:
            answer.append(_reply(msg))
            finish(done)

        token = self._expect(take)
        try:
            await self._send(subject, payload, token, headers)
            await self._within(done, subject, deadline)
        finally:
            del self._takers[token]
        return heard(answer[0])

    async def request_each(self, subject: str, payloads: Sequence[bytes], deadline: float) -> list[Reply]:
        """Send all requests at once and return their answers in the same order."""
        answers: dict[int, Reply] = {}
        done = self._loop.create_future()

        def taker(place: int) -> Callable[[Msg], None]:
            def take(msg: Msg) -> None:
                answers[place] = _reply(msg)
                if len(answers) == len(payloads):
                    finish(done)

            return take

        tokens = [self._expect(taker(place)) for place in range(len(payloads))]
        try:
            for token, payload in zip(tokens, payloads, strict=True):
                await self._send(subject, payload, token, None)
            if payloads:
                await self._within(done, subject, deadline)
        finally:
            for token in tokens:
                del self._takers[token]
        return [heard(answers[place]) for place in range(len(payloads))]

    async def request_batch(self, subject: str, payload: bytes, deadline: float) -> list[Reply]:
        """Send one request that is answered by several messages; return them up to and with the one that has a status."""
        answers: list[Reply] = []
        done = self._loop.create_future()

        def take(msg: Msg) -> None:
            answers.append(_reply(msg))
            if answers[-1].status:
                finish(done)

        token = self._expect(take)
        try:
            await self._send(subject, payload, token, None)
            await self._within(done, subject, deadline)
        finally:
            del self._takers[token]
        heard(answers[-1])
        return answers

    def _expect(self, take: Callable[[Msg], None]) -> str:
        self._last_token += 1
        token = str(self._last_token)
        self._takers[token] = take
        return token

    async def _send(self, subject: str, payload: bytes, token: str, headers: dict[str, str] | None) -> None:
        await _publish(self._client, subject, payload, f"{self._inbox}.{token}", headers)

    async def _within(self, done: asyncio.Future[None], subject: str, deadline: float) -> None:
        self._waiting[done] = subject
        timer = self._loop.call_at(deadline, expire, done)
        try:
            await done
        finally:
            timer.cancel()
            del self._waiting[done]

    async def _take(self, msg: Msg) -> None:
        take = self._takers.get(msg.subject.rpartition(".")[2])
        # An answer that nobody waits for any more: its request was resolved another way.
        if take is not None:
            take(msg)


class NatsPyInbox:
    """An inbox on nats-py's client, message by message; see `Inbox`."""

    def __init__(self, client: Client, sink: Sink, woken: Callable[[], None], closed: Callable[[NatsPyInbox], object]) -> None:
        self._client, self._sink, self._woken, self._closed = client, sink, woken, closed
        self.prefix = f"{client.new_inbox()}."
        self._subscription: Subscription | None = None

    async def subscribe(self) -> None:
        """Let answers come."""
        self._subscription = await self._client.subscribe(
            f"{self.prefix}*", cb=self._take, pending_msgs_limit=0, pending_bytes_limit=0
        )

    async def _take(self, msg: Msg) -> None:
        if msg.reply.startswith(ACK):
            # A consumer delivers a message under its own subject, and says in the reply where it lies.
            self._sink.accept(0, 0, msg.metadata.sequence.stream, msg.subject, msg.data)
        else:
            reply = _reply(msg)
            token = int(msg.subject.rpartition(".")[2])
            self._sink.accept(token, reply.status, reply.position, reply.subject or "", reply.data)
        self._woken()

    async def ask(self, subject: str, payload: bytes, token: int, deadline: float) -> None:  # noqa: ARG002 - of the protocol
        """Send one request whose answers come under `token`."""
        await _publish(self._client, subject, payload, f"{self.prefix}{token}", None)

    async def send(self, outbox: Outbox, deadline: float) -> None:  # noqa: ARG002 - of the protocol
        """Send what the outbox has ready; nats-py holds the caller back where the server takes less."""
        while messages := outbox.messages():
            for subject, token, guard, body in messages:
                await _publish(self._client, subject, body, f"{self.prefix}{token}", {GUARD: str(guard)})

    async def aclose(self) -> None:
        """Give the inbox back; answers that still come are of no more interest."""
        self._closed(self)
        if self._subscription is not None:
            await _unsubscribe(self._subscription)


async def _publish(client: Client, subject: str, payload: bytes, reply: str, headers: dict[str, str] | None) -> None:
    try:
        await client.publish(subject, payload, reply, headers)
    except (
        nats.errors.ConnectionClosedError,
        nats.errors.ConnectionDrainingError,
        nats.errors.OutboundBufferLimitError,
    ) as error:
        # Refused before a byte was sent; with others in flight that makes no difference to the caller.
        raise NoRespondersError(str(error)) from error
    except nats.errors.MaxPayloadError as error:
        raise ServerRefusedError(
            subject, 0, f"{len(payload):,} bytes are more than the server takes since it restarted"
        ) from error


async def _unsubscribe(subscription: Subscription) -> None:
    # A borrowed client may have been closed or drained by its owner, and the inbox with it.
    with contextlib.suppress(nats.errors.ConnectionClosedError, nats.errors.BadSubscriptionError):
        await subscription.unsubscribe()


def _reply(msg: Msg) -> Reply:
    headers = msg.headers
    if headers is None:
        return Reply(0, 0, None, msg.data)
    return Reply(int(headers.get("Status", 0)), int(headers.get("Nats-Sequence", 0)), headers.get("Nats-Subject"), msg.data)
