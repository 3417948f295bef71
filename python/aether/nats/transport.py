"""How requests and events travel: the one seam between what is said to a server and who carries it.

`lane.Lane` carries them natively. `portable.NatsPyTransport` carries them over nats-py's public API, where a lane cannot be
opened: for a borrowed client and over WebSocket. Both have many requests in flight, and a lost connection ends them all at
once instead of by their time-outs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NamedTuple, Protocol

import msgspec

from aether.nats.errors import UNAVAILABLE, NobodyListensError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from urllib.parse import ParseResult

    from aether._native import Event, Exchange
    from aether.nats.errors import Denied

__all__ = ["Feed", "Inbox", "Info", "Outbox", "Reply", "Sink", "Transport"]

GUARD = "Nats-Expected-Last-Subject-Sequence"
TTL = "Nats-TTL"
GUARD_SUBJECT = "Nats-Expected-Last-Subject-Sequence-Subject"
HEADER_FRAME = len("NATS/1.0\r\n\r\n")

ANSWERS_BYTES_MAX = 64 * 2**20
"""What the answers to one request may take together; whoever asks asks for less."""


PUBLISH_BYTES_MAX = 2**20
"""How many bytes of events go out at once, so that other writers get their turn."""


class Info(msgspec.Struct):
    """What a server says of itself, as far as it matters here.

    Attributes:
        ldm: it is about to go, and takes no new connections ("lame duck mode").
        cluster: the cluster's name; empty: it is a server of its own.
        connect_urls: HOST:PORT of every server of the cluster that it knows of, itself included, some with several addresses.
    """

    version: str = ""
    server_id: str = ""
    cluster: str = ""
    max_payload: Annotated[int, msgspec.Meta(ge=1)] = 1_048_576
    tls_required: bool = False
    tls_available: bool = False
    nonce: str = ""
    ldm: bool = False
    connect_urls: list[str] = msgspec.field(default_factory=list)


class Reply(NamedTuple):
    """An answer.

    Attributes:
        status: the status line's number, as 404 or 204; 0 where there is none.
        position: for a stored message, its stream sequence. For the end of an answer (204) to a request for the last messages of
            several subjects, how far the server that gave it had got. 0 for any other answer.
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

    def messages(self) -> list[tuple[str, int, int, bytes, str | None]]:
        """Return messages one by one, as (subject, token, guard, body, of what the guard speaks if not of the subject).

        None: there are no more.
        """
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


class Feed(Protocol):
    """A subscription whose messages a native exchange takes."""

    async def leave(self, deadline: float) -> None:
        """Give the subscription back, and return once the server knows and what was on its way has been taken.

        Raises:
            UnansweredError: the connection is lost, or the server does not answer by the deadline; it is given back all the same.
            NoRespondersError: the connection is lost; it is given back all the same.
        """
        ...

    async def aclose(self) -> None:
        """Give the subscription back; what still comes is of no more interest."""
        ...


class Transport(Protocol):
    """Requests with deadlines, many in flight, and events; every deadline is in seconds on the running loop's clock.

    Each request raises `NoRespondersError` where nobody listens and `UnansweredError` where the answer did not come in time.

    Attributes:
        on_denied: called when the server denies a publish that is no request, some time after it, with the subject in lower case
            and the error.
    """

    on_denied: Callable[[str, Exception], None] | None

    @property
    def name(self) -> str:
        """Say how messages travel, for `store.info()`."""
        ...

    @property
    def max_payload(self) -> int:
        """The largest message the server takes, in bytes, headers included."""
        ...

    @property
    def info(self) -> Info:
        """What the server said of itself last, as far as this transport hears of it."""
        ...

    @property
    def connected_url(self) -> ParseResult | None:
        """Where it is connected; None: nowhere at the moment."""
        ...

    @property
    def losses(self) -> int:
        """How often the connection was lost and made anew; what was published before may then not have arrived."""
        ...

    def is_open(self) -> bool:
        """Say whether requests can go out."""
        ...

    def refuse(self, what: Denied, reason: Exception) -> bool:
        """Tell those whom a "permissions violation" concerns; False: nothing works without it, so the connection must end."""
        ...

    def lose_waiting(self, reason: Exception, subject: str | None = None) -> bool:
        """End what is in flight (to `subject`, in lower case, or all) with `reason`; say whether a request was."""
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

    async def request(
        self,
        subject: str,
        payload: bytes,
        deadline: float,
        headers: dict[str, str] | None = None,
        wanted: Callable[[Reply], bool] | None = None,
    ) -> Reply:
        """Send one request and return its first answer, or the first that is `wanted`."""
        ...

    async def request_each(self, subject: str, payloads: Sequence[bytes], deadline: float) -> list[Reply]:
        """Send all requests at once and return their answers in the same order."""
        ...

    async def request_batch(self, subject: str, payload: bytes, deadline: float) -> list[Reply]:
        """Send one request that is answered by several messages; return them up to and with the one that has a status."""
        ...

    # Events.

    def hear(self, taker: Callable[[bytes], None]) -> str:
        """Return a subject of our own; bodies that anybody publishes to it go to `taker`, as long as this transport lives."""
        ...

    async def subscribe(
        self,
        subject: str,
        queue: str | None,
        exchange: Exchange,
        woken: Callable[[], None],
        lost: Callable[[Exception], None],
    ) -> Feed:
        """Lead messages to a native exchange; the server may have the subscription only after the next `flush`.

        Args:
            subject: the subject, with or without wildcards.
            queue: the queue group; None: every message comes.
            exchange: takes the messages.
            woken: called after the exchange took some.
            lost: called once when no more messages come, and the feed has been given back: with `AccessDeniedError` when the
                server denies this subscription, at once or later, else with `UnansweredError`.

        Raises:
            NoRespondersError: the connection is lost.
            UnansweredError: it was lost meanwhile.
            AccessDeniedError: the server denies it, and that is known already.
        """
        ...

    async def publish_events(self, namespace: str, events: list[Event], start: int, deadline: float) -> int:
        """Publish events in their order, from `start` and as many as go out at once; return the index of the first that did not.

        Raises:
            NoRespondersError: the connection is lost, or takes nothing until the deadline; nothing of this call was sent.
            CommitTooLargeError: the server does not take an event as large as the first.
        """
        ...

    async def publish_reply(self, subject: str, body: bytes, deadline: float) -> None:
        """Answer a request.

        Raises:
            NoRespondersError: the connection is lost, or takes nothing until the deadline; nothing was sent.
            ServerRefusedError: the answer is larger than the server takes.
        """
        ...

    async def flush(self, deadline: float) -> None:
        """Return when the server has everything that was given to this transport before.

        Raises:
            UnansweredError: the connection is lost, or the server does not answer by the deadline.
        """
        ...


def header_bytes(lines: Sequence[tuple[str, str]]) -> int:
    """Return what these headers take in a message."""
    return sum(len(name) + len(value) + 4 for name, value in lines) + HEADER_FRAME if lines else 0


def heard(reply: Reply) -> Reply:
    """Return the answer, or raise where it says that nobody listens."""
    if reply.status == UNAVAILABLE:
        raise NobodyListensError("nobody listens on the subject")
    return reply
