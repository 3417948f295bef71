"""How requests travel: the one seam between what JetStream is asked and who carries it.

`lane.Lane` carries them natively. `portable.NatsPyTransport` carries them over nats-py's public API, where a lane cannot be
opened: for a borrowed client and over WebSocket. Both have many requests in flight, and a lost connection ends them all at
once instead of by their time-outs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from aether.nats.errors import UNAVAILABLE, NoRespondersError, UnansweredError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence


__all__ = ["Inbox", "Outbox", "Reply", "Sink", "Transport"]

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
