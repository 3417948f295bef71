"""How requests travel: the one seam between what JetStream is asked and who carries it.

`lane.Lane` carries them natively. `NatsPyTransport` carries them over nats-py's public API, where a lane cannot be opened: for
a borrowed client and over WebSocket. Both have many requests in flight, and a lost connection ends them all at once instead of
by their time-outs.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, NamedTuple, Protocol

import nats.errors

from aether.errors import ServerRefusedError
from aether.nats.errors import UNAVAILABLE, NoRespondersError, UnansweredError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

__all__ = ["Inbox", "NatsPyTransport", "Outbox", "Reply", "Sink", "Transport"]

GUARD = "Nats-Expected-Last-Subject-Sequence"
HEADER_FRAME = len("NATS/1.0\r\n\r\n")

ANSWERS_BYTES_MAX = 64 * 2**20
"""What the answers to one request may take together; whoever asks asks for less."""


class Reply(NamedTuple):
    """An answer.

    Attributes:
        status: the status line's number, as 404 or 204; 0 where there is none.
        position: for a stored message, its stream sequence; 0 for any other answer.
        subject: for a stored message, where it was published.
        data: the body.
    """

    status: int
    position: int
    subject: str | None
    data: bytes


class Sink(Protocol):
    """A native taker of answers: a lane gives them to it without an object for each."""

    def accept(self, token: int, status: int, position: int, subject: str, body: bytes) -> None:
        """Take one answer, where they come one by one."""
        ...


class Outbox(Protocol):
    """A native giver of messages to send; each is guarded, and is answered under a token."""

    def frames(self, inbox: str) -> bytes:
        """Return messages as frames, a bounded number of bytes; none: there are no more."""
        ...

    def messages(self) -> list[tuple[str, int, int, bytes]]:
        """Return messages one by one, as (subject, token, guard, body); none: there are no more."""
        ...


class Inbox(Protocol):
    """Where answers to a native sink come.

    Attributes:
        prefix: answers' subjects are this and a token.
    """

    prefix: str

    async def ask(self, subject: str, payload: bytes, token: int, deadline: float) -> None:
        """Send one request whose answers come under `token`.

        Raises:
            NoRespondersError: the connection is lost; nothing was sent.
        """
        ...

    async def send(self, outbox: Outbox, deadline: float) -> None:
        """Send what the outbox has ready, waiting while the server takes less than it is given.

        Raises:
            NoRespondersError: the connection is lost; what was taken from the outbox before counts as sent.
        """
        ...

    async def aclose(self) -> None:
        """Give the inbox back; answers that still come are of no more interest."""
        ...


class Transport(Protocol):
    """Requests with deadlines, many in flight; every deadline is in seconds on the running loop's clock.

    Each call raises `NoRespondersError` where nobody listens and `UnansweredError` where the answer did not come in time.
    """

    @property
    def name(self) -> str:
        """Say how messages travel, for `store.info()`."""
        ...

    @property
    def max_payload(self) -> int:
        """The largest message the server takes, in bytes, headers included."""
        ...

    def is_open(self) -> bool:
        """Say whether requests can go out."""
        ...

    def lose_waiting(self, reason: Exception, subject: str | None = None) -> None:
        """End what is in flight (to `subject`, in lower case, or all) with `reason`."""
        ...

    async def aclose(self) -> None:
        """Close; what is in flight becomes unanswered."""
        ...

    async def open_inbox(self, sink: Sink, woken: Callable[[], None], lost: Callable[[Exception, str | None], None]) -> Inbox:
        """Lead answers to a native sink.

        Args:
            sink: takes the answers.
            woken: called after the sink took some.
            lost: called with the reason when what is in flight will not be answered; with a subject in lower case where only
                what was sent there is denied.

        Raises:
            NoRespondersError: the connection is lost.
        """
        ...

    async def request(self, subject: str, payload: bytes, deadline: float, headers: dict[str, str] | None = None) -> Reply:
        """Send one request and return its answer."""
        ...

    async def request_each(self, subject: str, payloads: Sequence[bytes], deadline: float) -> list[Reply]:
        """Send all requests at once and return their answers in the same order."""
        ...

    async def request_batch(self, subject: str, payload: bytes, deadline: float) -> list[Reply]:
        """Send one request that is answered by several messages; return them up to and with the one that has a status."""
        ...


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
        inbox = NatsPyInbox(self._client, sink, woken, self._inboxes.pop)
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


def header_bytes(lines: Sequence[tuple[str, str]]) -> int:
    """Return what these headers take in a message."""
    return sum(len(name) + len(value) + 4 for name, value in lines) + HEADER_FRAME if lines else 0


def heard(reply: Reply) -> Reply:
    """Return the answer, or raise where it says that nobody listens."""
    if reply.status == UNAVAILABLE:
        raise NoRespondersError("nobody listens on the subject")
    return reply


def finish(done: asyncio.Future[None]) -> None:
    """Let whoever waits go on."""
    if not done.done():
        done.set_result(None)


def expire(done: asyncio.Future[None], reason: str = "no answer in time") -> None:
    """End the wait without an answer."""
    if not done.done():
        done.set_exception(UnansweredError(reason))
