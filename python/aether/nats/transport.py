"""How requests travel: the one seam between what JetStream is asked and who carries it.

`NatsPyTransport` carries them over nats-py's public API, with an inbox of its own, so that many are in flight at once and a
lost connection ends them all at once instead of by their time-outs. A faster carrier has the same face.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, NamedTuple, Protocol

import nats.errors

from aether.errors import ServerRefusedError
from aether.nats.errors import UNAVAILABLE, NoRespondersError, UnansweredError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

__all__ = ["NatsPyTransport", "Reply", "Transport"]

_NO_HEADERS: Mapping[str, str] = {}


class Reply(NamedTuple):
    """An answer.

    Attributes:
        status: the status line's number, as 404 or 204; 0 where there is none.
        headers: the headers, empty where there are none.
        data: the body.
    """

    status: int
    headers: Mapping[str, str]
    data: bytes


class Transport(Protocol):
    """Requests with deadlines, many in flight; every deadline is in seconds on the running loop's clock.

    Each call raises `NoRespondersError` where nobody listens and `UnansweredError` where the answer did not come in time.
    """

    @property
    def name(self) -> str:
        """Say how messages travel, for `store.info()`."""
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

    async def aclose(self) -> None:
        """Give the inbox back; what is in flight becomes unanswered."""
        self.lose(UnansweredError("the connection was closed"))
        if self._subscription is not None:
            # A borrowed client may have been closed or drained by its owner, and the inbox with it.
            with contextlib.suppress(nats.errors.ConnectionClosedError, nats.errors.BadSubscriptionError):
                await self._subscription.unsubscribe()

    def lose(self, reason: Exception, subject: str | None = None) -> None:
        """End what is in flight (to `subject`, or all) with `reason`: the connection is lost, or the subject is denied.

        The subject is given in lower case, as nats-py tells it.
        """
        for future, sent_to in self._waiting.items():
            if (subject is None or sent_to.lower() == subject) and not future.done():
                future.set_exception(reason)

    async def request(self, subject: str, payload: bytes, deadline: float, headers: dict[str, str] | None = None) -> Reply:
        """Send one request and return its answer."""
        answer: list[Reply] = []
        done = self._loop.create_future()

        def take(msg: Msg) -> None:
            answer.append(_reply(msg))
            _finish(done)

        token = self._expect(take)
        try:
            await self._send(subject, payload, token, headers)
            await self._within(done, subject, deadline)
        finally:
            del self._takers[token]
        return _heard(answer[0])

    async def request_each(self, subject: str, payloads: Sequence[bytes], deadline: float) -> list[Reply]:
        """Send all requests at once and return their answers in the same order."""
        answers: dict[int, Reply] = {}
        done = self._loop.create_future()

        def taker(place: int) -> Callable[[Msg], None]:
            def take(msg: Msg) -> None:
                answers[place] = _reply(msg)
                if len(answers) == len(payloads):
                    _finish(done)

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
        return [_heard(answers[place]) for place in range(len(payloads))]

    async def request_batch(self, subject: str, payload: bytes, deadline: float) -> list[Reply]:
        """Send one request that is answered by several messages; return them up to and with the one that has a status."""
        answers: list[Reply] = []
        done = self._loop.create_future()

        def take(msg: Msg) -> None:
            answers.append(_reply(msg))
            if answers[-1].status:
                _finish(done)

        token = self._expect(take)
        try:
            await self._send(subject, payload, token, None)
            await self._within(done, subject, deadline)
        finally:
            del self._takers[token]
        _heard(answers[-1])
        return answers

    def _expect(self, take: Callable[[Msg], None]) -> str:
        self._last_token += 1
        token = str(self._last_token)
        self._takers[token] = take
        return token

    async def _send(self, subject: str, payload: bytes, token: str, headers: dict[str, str] | None) -> None:
        try:
            await self._client.publish(subject, payload, f"{self._inbox}.{token}", headers)
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

    async def _within(self, done: asyncio.Future[None], subject: str, deadline: float) -> None:
        self._waiting[done] = subject
        timer = self._loop.call_at(deadline, _expire, done)
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


def _reply(msg: Msg) -> Reply:
    headers = msg.headers
    if headers is None:
        return Reply(0, _NO_HEADERS, msg.data)
    return Reply(int(headers.get("Status", 0)), headers, msg.data)


def _heard(reply: Reply) -> Reply:
    if reply.status == UNAVAILABLE:
        raise NoRespondersError("nobody listens on the subject")
    return reply


def _finish(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


def _expire(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_exception(UnansweredError("no answer in time"))
